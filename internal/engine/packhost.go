package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// packHost is the storage as package packing sees it: it implements [packing.Host].
type packHost struct{ s *Storage }

func (h packHost) Transaction(tid zodb.TID) (*record.Transaction, error) {
	return h.s.transactionFile(tid)
}
func (h packHost) BeforeDamaged(tid zodb.TID) (zodb.TID, error) { return h.s.beforeDamaged(tid) }
func (h packHost) IsDamage(ctx context.Context, err error) bool { return h.s.isDamage(ctx, err) }
func (h packHost) CheckHome() error                             { return h.s.checkHome() }
func (h packHost) MakeRoom(bytes uint64)                        { h.s.space.MakeRoom(bytes) }
func (h packHost) NotePassing()                                 { h.s.passing.Add(1) }
func (h packHost) Counts() zodb.Counts                          { return h.s.Counts() }
func (h packHost) Packed() zodb.TID                             { return h.s.packed() }
func (h packHost) SetPacked(tid zodb.TID)                       { h.s.packedTo.Store(uint64(tid)) }
func (h packHost) ForgetKnown(oid zodb.OID)                     { h.s.known.remove(oid) }
func (h packHost) SameA() error                                 { return h.s.whyAnotherA() }

func (h packHost) OlderRevision(oid zodb.OID, before zodb.TID) (zodb.TID, error) {
	return h.s.olderRevision(oid, before)
}

func (h packHost) TransactionsBackward(ctx context.Context, before zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return h.s.TransactionsBackward(ctx, before)
}

func (h packHost) Recount(n zodb.Counts, sign int64) {
	h.s.countsMu.Lock()
	defer h.s.countsMu.Unlock()
	h.s.saveCounts(h.s.state.Recount(n, sign))
}

// Current implements [packing.Reader].
func (h packHost) Current(ctx context.Context, oid zodb.OID) (o *record.Object, err error) {
	err = h.s.settled(ctx, func() error {
		if r, ok := h.s.state.Current(oid); ok {
			o, err = h.s.fromLog(r)
		} else {
			o, err = h.s.currentFile(oid)
		}
		return err
	})
	if k, ok := errors.AsType[*zodb.KeyError](err); ok && k.TID == 0 {
		return nil, fmt.Errorf("%w: %s", pack.ErrNoObject, oid)
	}
	return o, err
}

// Revision implements [packing.Reader].
func (h packHost) Revision(ctx context.Context, oid zodb.OID, tid zodb.TID) (o *record.Object, err error) {
	err = h.s.settled(ctx, func() error {
		if r, ok := h.s.state.Revision(oid, tid); ok {
			o, err = h.s.fromLog(r)
		} else {
			o, err = h.s.fromFile(layout.Revision(oid, tid), oid, tid)
		}
		return err
	})
	if errors.Is(err, zodb.ErrNotFound) {
		if why := h.s.whyNoRevision(oid, tid); why != nil {
			return nil, why
		}
	}
	return o, err
}
