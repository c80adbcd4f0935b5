package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestSnapshotsNotOlderThanAPackFindEverything has readers walk from the root through the database as of a
// transaction, as connections of clients do, while writers link objects, let go of them, move them and link
// them again in all ways that there are, and packs follow each other. A walk as of a transaction after the
// latest pack time finds every object that is referred to, with its content; only an older one may miss some.
func TestSnapshotsNotOlderThanAPackFindEverything(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky}[:hometest.OneOf(2, 2, 1)] {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			walked(t, format)
		})
	}
}

// walks are readers, writers and packs of one storage.
type walks struct {
	t      *testing.T
	s      *Storage
	stop   chan struct{}
	walks  chan struct{}     // one for each that is due: a few for each transaction
	work   chan struct{}     // one for each transaction that may be made
	recent [64]atomic.Uint64 // tids
	count  atomic.Uint64     // of recent

	during, late atomic.Int64
	kinds        [waysToLink]atomic.Int64
}

// walked runs until everything that the test is about has happened.
func walked(t *testing.T, format layout.Format) {
	s := open(t, newHome(t, CreateOptions{Format: string(format), Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "0", "journal.flush_transaction_threshold": "7", "filesystem.sync": "0",
	}}), Options{})
	w := &walks{t: t, s: s, stop: make(chan struct{}), walks: make(chan struct{}, 20), work: make(chan struct{}, 120)}
	const writers = 3
	heads := newOIDs(t, s, 2*writers)
	changes := []change{{oid: 0, data: w.record(0, heads)}}
	for _, oid := range heads {
		changes = append(changes, change{oid: oid, data: w.record(oid, nil)})
	}
	w.made(commit(t, s, changes...))
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			x := &walkWriter{w: w, rnd: rand.New(rand.NewPCG(uint64(i), 6)), heads: [2]zodb.OID(heads[2*i:])}
			x.run()
		})
		wait.Go(func() { w.read(rand.New(rand.NewPCG(uint64(i), 7))) })
	}
	rnd := rand.New(rand.NewPCG(8, 9))
	packs, enough := 0, false
	for ; !enough && packs < 300 && !t.Failed(); packs++ {
		for range cap(w.work) {
			select {
			case w.work <- struct{}{}:
			default:
			}
		}
		o := zodb.PackOptions{}
		if packs%4 > 0 {
			o.Time = w.some(rnd).Time()
		}
		doPack(t, s, o)
		enough = packs >= 5 && w.during.Load() >= 5 && w.late.Load() >= 1
		for k := range w.kinds {
			enough = enough && w.kinds[k].Load() >= 2
		}
	}
	close(w.stop)
	wait.Wait()
	var kinds [waysToLink]int64
	for k := range kinds {
		kinds[k] = w.kinds[k].Load()
	}
	t.Logf("%d packs; %d walks during them, %d were too late; links by kind %v", packs, w.during.Load(), w.late.Load(), kinds)
	if !enough && !t.Failed() {
		t.Error("too little has happened to show anything")
	}
	if missing, _, err := w.walk(t.Context(), s.LastTransaction()); err != nil || missing != nil {
		t.Errorf("at the end: %v, %v", missing, err)
	}
	if err := errors.Join(s.Flush(t.Context()), s.Close(), sound(context.Background(), s.home.FS, false)); err != nil {
		t.Error(err)
	}
}

// record is one that says of which object it is.
func (w *walks) record(oid zodb.OID, refs []zodb.OID) []byte {
	return rec("object "+oid.String(), refs...)
}

func (w *walks) made(tid zodb.TID) {
	n := w.count.Add(1) - 1
	w.recent[n%uint64(len(w.recent))].Store(uint64(tid))
	for range 2 {
		select {
		case w.walks <- struct{}{}:
		default:
		}
	}
}

// some returns one of the last transactions.
func (w *walks) some(rnd *rand.Rand) zodb.TID {
	return zodb.TID(w.recent[rnd.IntN(int(min(w.count.Load(), uint64(len(w.recent)))))].Load())
}

func (w *walks) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// missingObject is one that a walk did not find, and the one that refers to it.
type missingObject struct{ from, to zodb.OID }

func (m *missingObject) String() string { return fmt.Sprintf("%s, to which %s refers", m.to, m.from) }

// walk loads all that can be reached from the root as of a transaction.
func (w *walks) walk(ctx context.Context, asOf zodb.TID) (missing *missingObject, n int, err error) {
	work := []missingObject{{0, 0}}
	seen := map[zodb.OID]bool{0: true}
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		rev, err := w.s.LoadBefore(ctx, at.to, asOf+1)
		if errors.Is(err, zodb.ErrNotFound) || err == nil && rev == nil {
			return &at, n, nil
		}
		if err != nil {
			return nil, n, err
		}
		if rev.Serial > asOf || rev.End != 0 && rev.End <= asOf || !bytes.Contains(rev.Data, []byte("object "+at.to.String())) {
			return nil, n, fmt.Errorf("as of %s object %s is %q of %s until %s", asOf, at.to, rev.Data, rev.Serial, rev.End)
		}
		n++
		refs, err := pickle.AppendStrongRefs(nil, rev.Data)
		if err != nil {
			return nil, n, err
		}
		for _, to := range refs {
			if !seen[to] {
				seen[to] = true
				work = append(work, missingObject{at.to, to})
			}
		}
	}
	return nil, n, nil
}

// read walks through one state until that is too old, or long enough, and then through another one.
func (w *walks) read(rnd *rand.Rand) {
	for !w.stopped() {
		asOf := w.s.LastTransaction()
		if rnd.IntN(3) == 0 {
			asOf = w.some(rnd)
		}
		for range 1 + rnd.IntN(20) {
			select {
			case <-w.stop:
				return
			case <-w.walks:
			}
			began := w.s.PackProgress().Phase
			missing, _, err := w.walk(context.Background(), asOf)
			if err != nil {
				w.t.Error(err)
				return
			}
			packed := w.s.Packed() // it is set before anything is removed
			if missing != nil {
				if asOf > packed {
					w.t.Errorf("as of %s there is no %v; packed to %s", asOf, missing, packed)
					return
				}
				w.late.Add(1)
				break
			}
			if asOf > packed && began != "" && w.s.PackProgress().Phase != "" {
				w.during.Add(1)
			}
		}
	}
}

// The ways in which a transaction makes an object reachable that was not.
const (
	byReference  = iota
	byNewObject  // that refers to it
	byItsChild   // which alone is linked
	afterWriting // it, in a transaction before
	afterRelying // on it, in a transaction before
	byUndo
	bySecondVote // after a conflict
	byMoving     // from one object to another one, in two transactions
	waysToLink
)

// walkWriter has two objects to which the root refers, and changes the references of these.
type walkWriter struct {
	w       *walks
	rnd     *rand.Rand
	heads   [2]zodb.OID
	linked  [2][]zodb.OID
	dropped []zodb.OID // that it still knows, as the cache of a client does
	child   map[zodb.OID]zodb.OID
	let     zodb.TID // the transaction that let go last, of the object at the end of dropped; 0: there is none
	of      int      // by that head
}

func (x *walkWriter) run() {
	x.child = make(map[zodb.OID]zodb.OID)
	for {
		select {
		case <-x.w.stop:
			return
		case <-x.w.work:
		}
		if err := x.step(); err != nil {
			x.w.t.Error(err)
			return
		}
	}
}

// commit makes a transaction. ok is false if it was refused because of an object that is gone.
func (x *walkWriter) commit(work func(txn *txn.Txn) error) (tid zodb.TID, ok bool, err error) {
	ctx := context.Background()
	txn, err := x.w.s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		return 0, false, err
	}
	defer txn.Abort()
	if err = work(txn); err == nil {
		err = txn.Vote(ctx)
	}
	if errors.Is(err, zodb.ErrDangling) || errors.Is(err, zodb.ErrConflict) || errors.Is(err, zodb.ErrUndo) {
		return 0, false, nil
	}
	if err == nil {
		tid, err = txn.Finish(ctx, nil)
	}
	if err != nil {
		return 0, false, err
	}
	x.w.made(tid)
	return tid, true, nil
}

// store returns work that stores objects.
func (x *walkWriter) store(changes ...change) func(*txn.Txn) error {
	return func(txn *txn.Txn) error { return fill(x.w.s, txn, changes...) }
}

func (x *walkWriter) head(h int, refs []zodb.OID) change {
	return change{oid: x.heads[h], data: x.w.record(x.heads[h], refs)}
}

func (x *walkWriter) step() error {
	h := x.rnd.IntN(2)
	switch n := x.rnd.IntN(4); {
	case len(x.linked[h]) > 6:
		return x.letGo(h)
	case n == 0 || len(x.linked[h]) < 3 && len(x.dropped) == 0:
		return x.grow(h)
	case n == 1 && len(x.linked[h]) > 2:
		return x.letGo(h)
	case len(x.dropped) > 0:
		return x.link(h, x.rnd.IntN(waysToLink))
	}
	return nil
}

// grow links a new object with a child.
func (x *walkWriter) grow(h int) error {
	o, err := x.w.s.NewOIDs(2)
	if err != nil {
		return err
	}
	next := append(slices.Clone(x.linked[h]), o[0])
	_, ok, err := x.commit(x.store(x.head(h, next), change{oid: o[0], data: x.w.record(o[0], o[1:])}, change{oid: o[1], data: x.w.record(o[1], nil)}))
	if err != nil || !ok {
		return errors.Join(err, wantOK(ok, "new objects are refused"))
	}
	x.linked[h], x.child[o[0]] = next, o[1]
	return nil
}

func wantOK(ok bool, what string) error {
	if !ok {
		return errors.New(what)
	}
	return nil
}

// letGo takes the oldest reference away.
func (x *walkWriter) letGo(h int) error {
	tid, ok, err := x.commit(x.store(x.head(h, x.linked[h][1:])))
	if err != nil || !ok {
		return errors.Join(err, wantOK(ok, "less references are refused"))
	}
	x.dropped = append(x.dropped, x.linked[h][0])
	if len(x.dropped) > 20 {
		x.dropped = slices.Delete(x.dropped, 0, 1)
	}
	x.linked[h] = slices.Clone(x.linked[h][1:])
	x.let, x.of = tid, h
	return nil
}

// link brings an object back that was let go, if no pack has removed it yet.
func (x *walkWriter) link(h, kind int) error {
	i := x.rnd.IntN(len(x.dropped))
	if kind == byUndo {
		if i = len(x.dropped) - 1; x.let == 0 {
			return nil
		}
		h = x.of
	}
	oid := x.dropped[i]
	next := append(slices.Clone(x.linked[h]), oid)
	changes := []change{x.head(h, next)}
	work := x.store(changes...)
	serial, err := x.w.s.Serial(context.Background(), oid)
	if err != nil {
		return err
	}
	ok := true
	switch kind {
	case byNewObject, byItsChild:
		fresh, err := x.w.s.NewOIDs(1)
		if err != nil {
			return err
		}
		to := oid
		if kind == byItsChild {
			to = x.child[oid]
		}
		next[len(next)-1] = fresh[0]
		x.child[fresh[0]] = to
		work = x.store(x.head(h, next), change{oid: fresh[0], data: x.w.record(fresh[0], []zodb.OID{to})})
	case afterWriting:
		_, ok, err = x.commit(func(txn *txn.Txn) error { return txn.Store(oid, serial, x.w.record(oid, []zodb.OID{x.child[oid]})) })
	case afterRelying:
		_, ok, err = x.commit(func(txn *txn.Txn) error {
			return errors.Join(txn.CheckCurrent(oid, serial), fill(x.w.s, txn, x.head(1-h, x.linked[1-h])))
		})
	case byUndo:
		next = append([]zodb.OID{oid}, x.linked[h]...)
		work = func(txn *txn.Txn) error { _, err := txn.Undo(context.Background(), x.let); return err }
	case bySecondVote:
		work = func(txn *txn.Txn) error {
			first := x.head(h, x.linked[h])
			if first.serial = 1; txn.Store(first.oid, first.serial, first.data) != nil {
				return errors.New("it cannot be stored")
			}
			if err := txn.Vote(context.Background()); !errors.Is(err, zodb.ErrConflict) {
				return fmt.Errorf("a vote with an old serial: %w", err)
			}
			return fill(x.w.s, txn, changes...)
		}
	case byMoving:
		_, ok, err = x.commit(work) // to this head, and then to the other one
		if ok && err == nil {
			x.dropped = slices.Delete(x.dropped, i, i+1)
			x.let = 0
			if _, ok, err = x.commit(x.store(x.head(h, x.linked[h]), x.head(1-h, append(slices.Clone(x.linked[1-h]), oid)))); err == nil {
				err = wantOK(ok, "an object that is linked cannot be moved")
			}
			x.linked[1-h] = append(x.linked[1-h], oid)
			x.w.kinds[kind].Add(1)
			return err
		}
	}
	if ok && err == nil && kind != byMoving {
		_, ok, err = x.commit(work)
	}
	x.dropped = slices.Delete(x.dropped, i, i+1) // it is linked, or gone
	x.let = 0
	if err != nil || !ok {
		return err
	}
	x.linked[h] = next
	x.w.kinds[kind].Add(1)
	return nil
}
