package bundled_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// history makes random work on a store, and knows the right content.
type history struct {
	s     *bundled.Store
	r     *rand.Rand
	oids  int
	last  zodb.TID
	txns  map[zodb.TID]*storetest.Txn
	gone  map[layout.Name]int64 // by stamp; 0: for good
	stamp int64
	aside int // of three packs so many put aside; else they remove for good
	least float64
	blob  func(tid zodb.TID) string // makes the file of a transaction's blob, and returns its name, or ""; nil: no blobs
}

func newHistory(s *bundled.Store, seed uint64) *history {
	return &history{s: s, r: rand.New(rand.NewPCG(seed, 17)), oids: 12, txns: make(map[zodb.TID]*storetest.Txn), gone: make(map[layout.Name]int64), stamp: 100, aside: 1}
}

// there reports whether a name is there.
func (h *history) there(n layout.Name) bool {
	_, gone := h.gone[n]
	return !gone
}

// revisions returns those of an object, gone or not, the oldest first.
func (h *history) revisions(oid zodb.OID) (list []zodb.TID) {
	for tid, x := range h.txns {
		if slices.Contains(x.OIDs, oid) {
			list = append(list, tid)
		}
	}
	slices.Sort(list)
	return list
}

// current returns the current revision of an object; 0: it has none.
func (h *history) current(oid zodb.OID) zodb.TID {
	list := h.revisions(oid)
	if len(list) == 0 || !h.there(layout.Revision(oid, list[len(list)-1])) {
		return 0
	}
	return list[len(list)-1]
}

func (h *history) put(side store.Side) error { return h.toPut(side)() }

// toPut chooses transactions, which are there from now on, and returns the work, which can be repeated; toPack,
// toBringBack and toPurge are alike.
func (h *history) toPut(side store.Side) (work func() error) {
	var batch []store.Transaction
	for range 1 + h.r.IntN(3) {
		tid := h.last + 1<<20
		x := &storetest.Txn{Tid: tid, Previous: h.last, Before: make(map[zodb.OID]zodb.TID)}
		for range 1 + h.r.IntN(4) {
			oid := zodb.OID(h.r.IntN(h.oids))
			if !slices.Contains(x.OIDs, oid) {
				x.OIDs = append(x.OIDs, oid)
				x.Before[oid] = h.current(oid)
			}
		}
		if h.blob != nil {
			x.Blob = h.blob(tid)
		}
		h.txns[tid], h.last = x, tid
		batch = append(batch, x)
	}
	last := h.last
	return func() error {
		return errors.Join(h.s.Put(side, batch, new(store.Progress)), h.s.SetLast(side, last))
	}
}

func (h *history) pack() error { return h.toPack()() }

// toPack removes old revisions, some objects, and transactions of which nothing is left.
func (h *history) toPack() (work func() error) {
	h.stamp++
	stamp := h.stamp
	if h.r.IntN(3) >= h.aside {
		stamp = 0
	}
	var what store.Removal
	drop := func(oid zodb.OID, tids []zodb.TID) {
		var list []zodb.TID
		for _, tid := range tids {
			if n := layout.Revision(oid, tid); h.there(n) {
				h.gone[n] = stamp
				list = append(list, tid)
			}
		}
		what.Revisions = append(what.Revisions, store.Revisions{OID: oid, TIDs: list})
	}
	for oid := range zodb.OID(h.oids) {
		list := h.revisions(oid)
		switch {
		case len(list) == 0 || h.r.IntN(3) == 0:
		case h.r.IntN(4) == 0:
			what.Objects = append(what.Objects, oid)
			drop(oid, list)
		default:
			drop(oid, list[:len(list)-1])
		}
	}
	for tid, x := range h.txns {
		n := layout.Transaction(tid)
		if tid == h.last || !h.there(n) || slices.ContainsFunc(x.OIDs, func(oid zodb.OID) bool { return h.there(layout.Revision(oid, tid)) }) {
			continue
		}
		h.gone[n] = stamp
		what.Transactions = append(what.Transactions, tid)
	}
	last := h.last
	return func() error {
		_, err := h.s.Remove(stamp, what)
		if err == nil {
			err = h.s.Sync()
		}
		if err == nil {
			err = h.s.SetPacked(last)
		}
		if err == nil {
			err = h.s.Sync()
		}
		return err
	}
}

func (h *history) back() error { return h.toBringBack()() }

// toBringBack takes a pack back, or all of them.
func (h *history) toBringBack() (work func() error) {
	stamp := int64(0)
	if h.r.IntN(2*h.aside) > 0 && h.stamp > 100 {
		stamp = 101 + h.r.Int64N(h.stamp-100)
	}
	for _, n := range slices.Collect(maps.Keys(h.gone)) {
		if was, gone := h.gone[n]; gone && was != 0 && (was == stamp || stamp == 0) {
			h.comesBack(n)
		}
	}
	return func() error {
		b := h.s.BringBack(stamp)
		defer b.Close()
		for range 1000 {
			n, err := b.Step(1, func() error { return nil })
			if err != nil || n.Done {
				return err
			}
		}
		return errors.New("it does not end")
	}
}

// comesBack brings back one thing that a pack took. A revision has its transaction with it, and the current revision of its
// object with that one's; it stays where that is gone for good.
func (h *history) comesBack(n layout.Name) {
	names := []layout.Name{n}
	if n.Kind == layout.KindRevision {
		list := h.revisions(n.OID)
		newest := list[len(list)-1]
		current := layout.Revision(n.OID, newest)
		if was, gone := h.gone[current]; gone && was == 0 {
			return
		}
		names = []layout.Name{n, layout.Transaction(n.TID)}
		if !h.there(current) {
			names = append(names, current, layout.Transaction(newest))
		}
	}
	for _, n := range names {
		if h.gone[n] != 0 {
			delete(h.gone, n)
		}
	}
}

func (h *history) purge() error { return h.toPurge()() }

func (h *history) toPurge() (work func() error) {
	before := 100 + h.r.Int64N(h.stamp-98)
	if h.aside == 3 && before > 101 {
		before-- // the members that the last pack has put aside stay
	}
	for n, was := range h.gone {
		if was < before {
			h.gone[n] = 0
		}
	}
	return func() error {
		p := h.s.Purge(before)
		defer p.Close()
		for range 1000 {
			if _, done, err := p.Step(1); err != nil || done {
				return err
			}
		}
		return errors.New("it does not end")
	}
}

func (h *history) thaw() error {
	for range 1000 {
		if _, empty, err := h.s.Thaw(1); err != nil || empty {
			return err
		}
	}
	return errors.New("it does not end")
}

func (h *history) tend(each func() error) error {
	for range 1000 {
		if more, err := storetest.Tend(context.Background(), h.s, store.Tending{Least: h.least}); err != nil || !more {
			return err
		}
		if err := each(); err != nil {
			return err
		}
	}
	return errors.New("it does not end")
}

// check compares a store with the right content.
func (h *history) check(s *bundled.Store) error {
	ctx := context.Background()
	var want, got []string
	for tid, x := range h.txns {
		if n := layout.Transaction(tid); h.there(n) {
			want = append(want, n.String())
		}
		for i, oid := range x.OIDs {
			n := layout.Revision(oid, tid)
			if !h.there(n) {
				if _, _, err := s.Get(n); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s is there: %w", n, err)
				}
				continue
			}
			want = append(want, n.String())
			content, err := x.AppendRevision(nil, i)
			if err != nil {
				return err
			}
			if b, _, err := s.Get(n); err != nil || string(b) != string(content) {
				return fmt.Errorf("%s has %q, want %q: %w", n, b, content, err)
			}
		}
	}
	for oid := range zodb.OID(h.oids) {
		current := h.current(oid)
		if current != 0 {
			want = append(want, layout.Object(oid).String())
		}
		if tid, err := s.Current(oid); tid != current || (err == nil) == (current == 0) {
			return fmt.Errorf("object %s is at %s, want %s: %w", oid, tid, current, err)
		}
	}
	for n, err := range s.Names(ctx, layout.KindObject, layout.KindRevision, layout.KindTransaction) {
		if err != nil {
			return err
		}
		got = append(got, n.String())
	}
	if err := h.checkChain(s); err != nil {
		return err
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("there are\n%s\nwant\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
	return nil
}

// checkBlobs reads the blobs of all revisions that are there. The content of each is its name when it was put.
func (h *history) checkBlobs(s *bundled.Store) error {
	for tid, x := range h.txns {
		n := layout.Revision(x.OIDs[0], tid)
		if x.Blob == "" || !h.there(n) {
			continue
		}
		f, _, err := s.OpenBlob(n.OID, tid)
		if err != nil {
			return fmt.Errorf("blob of %s: %w", n, err)
		}
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
		if err = errors.Join(err, f.Close()); err != nil || string(b) != x.Blob {
			return fmt.Errorf("blob of %s is %q, want %q: %w", n, b, x.Blob, err)
		}
	}
	return nil
}

// checkChain follows the transactions: each names the one before it that is there.
func (h *history) checkChain(s *bundled.Store) error {
	at := zodb.TID(0)
	for _, tid := range slices.Sorted(maps.Keys(h.txns)) {
		n := layout.Transaction(tid)
		if !h.there(n) {
			continue
		}
		b, place, err := s.Get(n)
		if err != nil {
			return err
		}
		t, err := record.ParseTransactionAs(b, place, tid, true)
		if err != nil || t.Previous != at {
			return fmt.Errorf("%s names %s, want %s: %w", n, t.Previous, at, err)
		}
		at = tid
	}
	return nil
}

// lay lays all files of A of one disk over those of another one.
func lay(from, to vfs.FS) error { return copyTo(to, from, vfs.Walk(from, "A")) }

// worked is the work of a random run.
type worked struct {
	// carrying is how many bundles were made that carry a list of gone members, and rewritten how many of
	// those were a single one before; listed is how many of them had a gone list later, when some members
	// came back or were gone for good.
	carrying, rewritten, listed int
	// back is how often something came back of a bundle that carries a list.
	back int
}

// TestHeap: every state of A of a random run, laid over each other without a deletion, is the
// newest state. So is A itself, opened anew.
func TestHeap(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	steps := 60
	if testing.Short() {
		steps = 20
	}
	rewritten, superseded := 0, 0
	var sum worked
	for seed := range hometest.Rounds(t, 24) {
		over, n, err := heap(uint64(seed), steps)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		var all []bundle.Name
		for e := range over.List("A/bundles") {
			if n, number, ok := bundle.ParseName(e.Name); ok && number == 0 {
				all = append(all, n)
				rewritten += int(n.Generation)
			}
		}
		_, covered, err := bundle.Live(all)
		if err != nil {
			t.Fatal(err)
		}
		superseded += len(covered)
		sum.carrying, sum.rewritten, sum.listed, sum.back = sum.carrying+n.carrying, sum.rewritten+n.rewritten, sum.listed+n.listed, sum.back+n.back
	}
	if !testing.Short() && (rewritten == 0 || superseded < 10 || sum.carrying < 100 || sum.rewritten < 5 || sum.listed < 20 || sum.back < 3) {
		t.Errorf("%d bundles were rewritten, %d superseded, %+v: the work is not what it was", rewritten, superseded, sum)
	}
}

// heap does random work with the odd seeds; with the even ones packs mostly put aside, and bundles are
// written again of which little is gone for good.
func heap(seed uint64, steps int) (over *crashfs.FS, done worked, err error) {
	disk, over := crashfs.New(1), crashfs.New(2)
	if err := makeEmpty(disk); err != nil {
		return nil, done, err
	}
	options := bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2, MergeSize: 1 << 20}
	s, err := bundled.New(options)
	if err != nil {
		return nil, done, err
	}
	h := newHistory(s, seed)
	if seed%2 == 0 {
		h.aside, h.least = 3, 1e-9
	}
	frozen := false
	carrying := make(map[bundle.Name]int) // bundles that carry a list, with the number of members in it
	for i := range steps {
		what := "put"
		before := len(h.gone)
		kinds := 12
		if h.aside == 3 {
			kinds = 17
		}
		switch n := h.r.IntN(kinds); {
		case n == 0 && !frozen:
			what, frozen = "freeze", true
			s.UseB()
			_, err = s.RaiseFloor(time.Unix(0, 0))
		case n < 3 && frozen:
			what, frozen = "thaw", false
			err = h.thaw()
		case (n == 1 || n == 12 || n == 13) && i > 0 && !frozen:
			what, err = "pack", h.pack()
		case n == 2 && !frozen:
			what, err = "bring back", h.back()
		case (n == 3 || n == 14) && !frozen:
			what, err = "purge", h.purge()
		case n < 6 || n > 14:
			what, err = "tend", errors.Join(h.thawIf(!frozen), h.tend(func() error {
				return errors.Join(lay(disk, over), done.note(disk, carrying, what, 0))
			}))
		default:
			side := store.A
			if frozen {
				side = store.B
			}
			err = h.put(side)
		}
		if err == nil {
			err = h.check(s)
		}
		if err == nil {
			err = lay(disk, over)
		}
		if err == nil && !frozen {
			err = h.checkStill(over)
		}
		if err == nil {
			err = done.note(disk, carrying, what, before-len(h.gone))
		}
		if err == nil && i%7 == 0 {
			if err = s.Close(); err == nil {
				s, err = bundled.New(options)
				h.s = s
			}
			if err == nil {
				err = errors.Join(s.SyncFound(), h.check(s))
			}
		}
		if err != nil {
			return nil, done, fmt.Errorf("step %d, %s: %w", i, what, err)
		}
	}
	return over, done, s.Close()
}

// note counts the changes of a step to bundles that carry a list.
func (w *worked) note(disk vfs.FS, known map[bundle.Name]int, what string, back int) error {
	lists := make(map[bundle.Name]bool)
	for e, err := range disk.List("A/bundles") {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		n, number, ok := bundle.ParseName(e.Name)
		if !ok {
			continue
		}
		if number > 0 {
			lists[n] = true
			continue
		}
		if _, there := known[n]; there {
			continue
		}
		b, err := disk.ReadFile("A/bundles/" + e.Name)
		if err != nil {
			return err
		}
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), e.Name)
		if err != nil {
			return err
		}
		if r.Carried() == nil {
			continue
		}
		known[n] = 0
		w.carrying++
		if n.Generation > 0 {
			w.rewritten++
		}
	}
	for n := range lists {
		if was, ok := known[n]; ok && was == 0 {
			known[n] = 1
			w.listed++
			if what == "bring back" && back > 0 {
				w.back++
			}
		}
	}
	return nil
}

// thawIf finds B empty, if it may be: a store that was just opened does not know.
func (h *history) thawIf(may bool) error {
	if !may {
		return nil
	}
	return h.thaw()
}

func (h *history) checkStill(over vfs.FS) error {
	s, err := bundled.New(bundled.Options{FS: over, Still: true, Clock: time.Now})
	if err != nil {
		return err
	}
	if err := errors.Join(h.check(s), h.checkBlobs(s)); err != nil {
		return fmt.Errorf("the heap: %w", err)
	}
	return s.Close()
}
