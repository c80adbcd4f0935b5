package dirstorage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// packGuard stands between a pack and the transactions that go on meanwhile. Each
// transaction passes it at vote, when it holds its locks and before it looks
// whether what it refers to is there. There are three times:
//
//   - There is no pack. The guard notes the transaction, as always, until it ends: a
//     pack that begins waits for those that have passed before.
//   - The pack marks. What the transaction writes, and what it refers to, is marked too.
//   - The pack has made up its mind: what is not marked is condemned. If the
//     transaction writes, relies on, or refers to a condemned object, that one is
//     spared, with all that can be reached from it, durably. If something of that
//     was removed already, the transaction is refused.
//
// So no transaction that was finished refers to what a pack removes.
type packGuard struct {
	mu      sync.Mutex
	passed  map[*Txn]struct{} // guarded by mu; voted, or about to
	verdict *verdict          // guarded by mu; nil: there is no pack
}

// verdict is what the guard needs to know of a pack that is under way.
// packGuard.mu guards what is not said to be another's.
type verdict struct {
	s      *Storage
	marker *pack.Marker // nil: it has made up its mind
	gc     bool         // unreachable objects are condemned; else only deleted ones
	index  *refIndex    // nil: none is written
	// unseen is about records of transactions whose references cannot be seen, while marking.
	unseen error

	condemned *oidset.Set
	spared    *oidset.Set
	all       atomic.Bool // all are spared
	file      vfs.File    // what was spared; nil: the plan is not written yet
	size      int64       // of that file

	// batch is held while files of condemned objects are removed, and while some
	// are spared, so that none is seen half removed.
	batch sync.Mutex
}

// oidsetLimit is how many bytes a set of oids of a pack may take.
const oidsetLimit = 12 << 20

// pass is where each vote passes the guard.
func (g *packGuard) pass(ctx context.Context, t *Txn) error {
	g.mu.Lock()
	if g.passed == nil {
		g.passed = make(map[*Txn]struct{})
	}
	g.passed[t] = struct{}{}
	v := g.verdict
	g.mu.Unlock()
	if v == nil {
		return nil
	}
	touched, unseen, err := t.touched()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch v = g.verdict; {
	case v == nil:
		return nil // the next pack waits for this transaction
	case v.marker != nil:
		v.unseen = errors.Join(v.unseen, v.mark(touched))
		if v.gc {
			v.unseen = errors.Join(v.unseen, unseen)
		}
		return nil
	case unseen != nil && v.gc:
		return v.spareAll()
	}
	return v.spare(ctx, touched)
}

// mark notes what a transaction touches before the pack has made up its mind: first
// what it writes, which may not be there yet, and then what it refers to, because that
// may be the same. packGuard.mu must be held.
func (v *verdict) mark(touched []touch) error {
	for _, r := range touched {
		// Without gc everything is marked; what was deleted is not to go if it comes back.
		if !v.gc || r.from == r.to {
			if ok, _ := v.spared.Add(r.to); !ok {
				return errOIDsTooFar
			}
		}
	}
	if !v.gc {
		return nil
	}
	for _, r := range touched {
		if err := v.marker.Add(r.to); err != nil {
			return err
		}
	}
	return nil
}

// ended forgets a transaction.
func (g *packGuard) ended(t *Txn) {
	g.mu.Lock()
	delete(g.passed, t)
	g.mu.Unlock()
}

// begin starts to guard, and returns when every transaction that had passed
// before has ended.
func (g *packGuard) begin(ctx context.Context, v *verdict) error {
	g.mu.Lock()
	g.verdict = v
	waitFor := make([]*Txn, 0, len(g.passed))
	for t := range g.passed {
		waitFor = append(waitFor, t)
	}
	g.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		g.mu.Lock()
		waitFor = slices.DeleteFunc(waitFor, func(t *Txn) bool { _, still := g.passed[t]; return !still })
		g.mu.Unlock()
		if len(waitFor) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end stops to guard.
func (g *packGuard) end() {
	g.mu.Lock()
	g.verdict = nil
	g.mu.Unlock()
}

// condemn makes up the mind of the pack, if nothing came to be marked since the
// marker has run: what of the candidates was not reached is condemned.
func (g *packGuard) condemn(v *verdict, candidates *oidset.Set, skipBroken bool) (done bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !v.marker.Idle() {
		return false, nil
	}
	if v.unseen != nil && !skipBroken {
		return false, v.unseen
	}
	v.condemned = oidset.New(oidsetLimit)
	if !v.gc {
		candidates = v.marker.Deleted()
	}
	if v.unseen == nil && !v.marker.Blind() {
		for oid := range candidates.Each() {
			if v.gc && v.marker.Reached(oid) || v.spared.Has(oid) {
				continue
			}
			if ok, _ := v.condemned.Add(oid); !ok {
				return false, errOIDsTooFar
			}
		}
	}
	v.marker = nil
	return true, nil
}

// goes reports whether an object is condemned and was not spared.
func (v *verdict) goes(oid zodb.OID) bool {
	return v.condemned.Has(oid) && !v.all.Load() && !v.spared.Has(oid)
}

// touch is an object that a transaction is about, and the one that refers to it:
// itself, if the transaction writes it or relies on it.
type touch struct{ from, to zodb.OID }

// touched returns all objects that a transaction writes, relies on, or refers to.
// unseen is an error about a record whose references cannot be seen. The
// transaction holds its mutex.
func (t *Txn) touched() (list []touch, unseen, err error) {
	for oid := range t.checks {
		list = append(list, touch{oid, oid})
	}
	var refs []zodb.OID
	for _, oid := range t.order {
		list = append(list, touch{oid, oid})
		op := t.ops[oid]
		if op.gone {
			continue
		}
		data, err := t.spool.get(op.data)
		if err != nil {
			return nil, nil, err
		}
		refs, err = pickle.AppendStrongRefs(refs[:0], data)
		if err != nil {
			unseen = errors.Join(unseen, &pack.BrokenError{OID: oid, Err: fmt.Errorf("a record that was stored meanwhile: %w", err)})
			continue
		}
		for _, to := range refs {
			list = append(list, touch{oid, to})
		}
	}
	return list, unseen, nil
}

// spare takes objects and all that can be reached from them out of what is
// condemned. packGuard.mu must be held.
func (v *verdict) spare(ctx context.Context, touched []touch) error {
	var work []touch
	for _, r := range touched {
		if v.goes(r.to) {
			work = append(work, r)
		}
	}
	if len(work) == 0 {
		return nil
	}
	v.batch.Lock()
	defer v.batch.Unlock()
	src := packSource{v.s}
	found := make(map[zodb.OID]bool)
	var refs []zodb.OID
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		if found[r.to] || !v.goes(r.to) {
			continue
		}
		o, err := src.Current(ctx, r.to)
		if errors.Is(err, pack.ErrNoObject) {
			if r.from == r.to || !v.gc {
				continue // the comparison of serials says it, or the check of references: it was deleted before
			}
			return &zodb.DanglingError{OID: r.from, Target: r.to}
		}
		if err != nil {
			return err
		}
		found[r.to] = true
		if refs, err = pickle.AppendStrongRefs(refs[:0], o.Data); err != nil && len(o.Data) > 0 {
			return v.sparedAll() // it may refer to anything
		}
		for _, to := range refs {
			if !found[to] && v.goes(to) {
				work = append(work, touch{r.to, to})
			}
			if v.index != nil {
				_ = v.index.add(r.to, to) // never an error
			}
		}
	}
	oids := make([]zodb.OID, 0, len(found))
	for oid := range found {
		oids = append(oids, oid)
	}
	if err := v.keep(oids); err != nil {
		return err
	}
	for _, oid := range oids {
		if ok, _ := v.spared.Add(oid); !ok {
			return v.sparedAll()
		}
	}
	return nil
}

func (v *verdict) spareAll() error {
	v.batch.Lock()
	defer v.batch.Unlock()
	return v.sparedAll()
}

// sparedAll spares everything that is not removed yet. batch must be held.
func (v *verdict) sparedAll() error {
	if err := v.keep([]zodb.OID{everything}); err != nil {
		return err
	}
	v.all.Store(true)
	if v.index != nil {
		v.index.abort() // not all of what stays is in it
	}
	return nil
}

// everything stands in the file of what was spared for all objects.
const everything = ^zodb.OID(0)

// sparedSize is the size of one entry of the file of what was spared: an oid, the
// CRC-32C of it, and 4 bytes that are zero.
const sparedSize = 16

// keep makes durable that objects are spared. batch must be held.
func (v *verdict) keep(oids []zodb.OID) error {
	if v.file == nil {
		return nil
	}
	var b []byte
	for _, oid := range oids {
		b = oid.Append(b)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(oid.Bytes(), crc32.MakeTable(crc32.Castagnoli)))
		b = append(b, 0, 0, 0, 0)
	}
	_, err := v.file.WriteAt(b, v.size)
	if err == nil && v.s.settings.Filesystem.Sync {
		err = v.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("keep objects from being packed: %w", withDiskFull(err))
	}
	v.size += int64(len(b))
	return nil
}

// readSpared reads what was spared before a crash. What is torn belongs to a
// transaction that was not finished.
func (v *verdict) readSpared(b []byte) {
	for len(b) >= sparedSize {
		oid := zodb.OIDFromBytes(b[:8])
		if binary.BigEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], crc32.MakeTable(crc32.Castagnoli)) {
			return
		}
		if oid == everything {
			v.all.Store(true)
		} else if ok, _ := v.spared.Add(oid); !ok {
			v.all.Store(true)
		}
		b = b[sparedSize:]
		v.size += sparedSize
	}
}
