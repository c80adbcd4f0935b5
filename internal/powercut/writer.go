//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// writer is the state of one writer.
type writer struct {
	*worker
	w       int
	rnd     *rand.Rand
	serials map[zodb.OID]zodb.TID
	is      map[zodb.OID]object // current state of the static objects
	made    []zodb.OID          // the last objects
	undo    *undoable
}

// undoable is the last transaction that can be undone, with the state before it.
type undoable struct {
	tid    zodb.TID
	before []object
}

func (k *worker) write(ctx context.Context, n int, rnd *rand.Rand) error {
	w := &writer{worker: k, w: n, rnd: rnd, serials: make(map[zodb.OID]zodb.TID), is: make(map[zodb.OID]object)}
	oids := []zodb.OID{bucket(n)}
	for i := range statics {
		oids = append(oids, static(n, i))
	}
	for _, oid := range oids {
		r, err := k.s.Load(ctx, oid)
		if err != nil {
			return err
		}
		w.serials[oid] = r.Serial
		w.is[oid] = object{OID: oid, Data: hash(r.Data)}
		o := w.is[oid]
		switch b, err := readBlob(ctx, k.s, oid, r.Serial); {
		case err == nil:
			o.Blob = hash(b)
			w.is[oid] = o
		case !errors.Is(err, zodb.ErrNotFound):
			return err
		}
	}
	busy := pick(rnd, 1, 40) // flushes of a few files are synced in another way than large ones
	for ctx.Err() == nil {
		var err error
		switch dice := rnd.IntN(10); {
		case dice < 6:
			err = w.update(ctx)
		case dice < 9:
			err = w.create(ctx)
		case w.undo != nil:
			err = w.takeBack(ctx)
		}
		if err != nil {
			return fmt.Errorf("writer %d: %w", n, err)
		}
		if rnd.IntN(busy) == 0 {
			time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
		}
	}
	return nil
}

func readBlob(ctx context.Context, s *engine.Storage, oid zodb.OID, tid zodb.TID) ([]byte, error) {
	b, err := s.OpenBlob(ctx, oid, tid)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

// bytes returns random bytes, mostly few.
func (w *writer) bytes(limit int) []byte {
	n := w.rnd.IntN(limit)
	if w.rnd.IntN(4) > 0 {
		n /= 10
	}
	b := make([]byte, n+8)
	for i := range b {
		b[i] = byte(w.rnd.Uint32())
	}
	return b
}

func (w *writer) update(ctx context.Context) error {
	var changes []change
	var before []object
	for _, i := range w.rnd.Perm(statics)[:1+w.rnd.IntN(3)] {
		oid := static(w.w, i)
		c := change{oid: oid, serial: w.serials[oid], data: pickletest.Record(w.bytes(30000))}
		if w.rnd.IntN(10) == 0 {
			c.blob = w.bytes(200000)
		}
		before = append(before, w.is[oid])
		changes = append(changes, c)
	}
	tid, err := w.commit(ctx, changes...)
	if err != nil {
		return err
	}
	for _, c := range changes {
		w.serials[c.oid], w.is[c.oid] = tid, c.object()
	}
	w.undo = &undoable{tid, before}
	return nil
}

func (w *writer) create(ctx context.Context) error {
	oids, err := w.s.NewOIDs(1)
	if err != nil {
		return err
	}
	c := change{oid: oids[0], data: pickletest.Record(w.bytes(20000))}
	if w.rnd.IntN(2) == 0 {
		c.blob = w.bytes(200000)
	}
	w.made = append(w.made, oids[0])
	if len(w.made) > remember {
		w.made = w.made[1:]
	}
	refs := append([]zodb.OID(nil), w.made...)
	for i := range statics {
		refs = append(refs, static(w.w, i))
	}
	own := bucket(w.w)
	b := change{oid: own, serial: w.serials[own], data: pickletest.Record(w.bytes(100), refs...), live: refs}
	tid, err := w.commit(ctx, c, b)
	w.serials[own] = tid
	return err
}

// takeBack undoes a transaction. A pack may have taken the revisions that it needs.
func (w *writer) takeBack(ctx context.Context) error {
	u := w.undo
	w.undo = nil
	tid, err := w.transaction(ctx, ack{Objects: u.before}, func(t zodb.Txn) error {
		_, err := t.Undo(ctx, u.tid)
		return err
	})
	if _, ok := errors.AsType[*zodb.UndoError](err); ok {
		return nil
	}
	if err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	for _, o := range u.before {
		w.serials[o.OID], w.is[o.OID] = tid, o
	}
	return nil
}
