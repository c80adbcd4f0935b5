package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

// twoFormats are a storage of bundles and one of a file for each revision, to which the same is done
// at the same times, so that they give the same tids.
type twoFormats struct {
	t     *testing.T
	now   atomic.Int64 // nanoseconds
	homes [2]string
	s     [2]*engine.Storage
	rnd   *rand.Rand
	oids  int
	refs  map[zodb.OID][]zodb.OID
	packs []int64 // stamps
	tids  []zodb.TID
}

func newTwoFormats(t *testing.T, seed uint64, set string) *twoFormats {
	w := &twoFormats{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), refs: make(map[zodb.OID][]zodb.OID)}
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	o := engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0"}}
	for _, kv := range strings.Fields(set) {
		k, v, _ := strings.Cut(kv, "=")
		o.Set[k] = v
	}
	for i, format := range []string{"bundled", "chunky"} {
		o.Format = format
		o.Rand = strings.NewReader(strings.Repeat("0123456789abcdef", 4))
		w.homes[i] = filepath.Join(t.TempDir(), format)
		if err := engine.Create(w.homes[i], o); err != nil {
			t.Fatal(err)
		}
		w.open(i)
	}
	return w
}

func (w *twoFormats) open(i int) {
	w.s[i] = engine.OpenHome(w.t, w.homes[i], engine.Options{Clock: func() time.Time { return time.Unix(0, w.now.Load()) }, NoControlSocket: true, CacheSize: -1, OpenFiles: 3})
}

// both does something to both, and wants the same outcome.
func (w *twoFormats) both(what string, do func(s *engine.Storage) (any, error)) {
	w.t.Helper()
	var outcome [2]string
	var errs [2]error
	for i, s := range w.s {
		got, err := do(s)
		errs[i] = err
		outcome[i] = fmt.Sprintf("%+v", got)
		if err != nil {
			// Places differ.
			outcome[i] = fmt.Sprint("an error: ", errors.Is(err, zodb.ErrUndo), errors.Is(err, zodb.ErrNotFound), errors.Is(err, zodb.ErrConflict), errors.Is(err, zodb.ErrCorrupt))
		}
	}
	if outcome[0] != outcome[1] {
		w.t.Fatalf("%s:\nbundled: %s\nchunky:  %s\n%v", what, outcome[0], outcome[1], errs)
	}
}

func (w *twoFormats) commit() {
	type one struct {
		oid  zodb.OID
		data []byte
		blob string
	}
	var all []one
	seen := make(map[zodb.OID]bool)
	for range 1 + w.rnd.IntN(4) {
		oid := zodb.OID(w.rnd.IntN(w.oids + 1))
		if w.rnd.IntN(4) == 0 {
			w.oids++
			oid = zodb.OID(w.oids)
			w.refs[0] = append(w.refs[0], oid)
		}
		if seen[oid] {
			continue
		}
		seen[oid] = true
		list := slices.Clone(w.refs[oid])
		switch n := w.rnd.IntN(4); {
		case n == 0 && len(list) > 0:
			list = slices.Delete(list, 0, 1+w.rnd.IntN(len(list)))
		case n < 3 && w.oids > 0:
			list = append(list, zodb.OID(w.rnd.IntN(w.oids)+1))
		}
		w.refs[oid] = list
		c := one{oid: oid, data: pickletest.Record(fmt.Sprint("text ", w.rnd.Uint64()), list...)}
		switch w.rnd.IntN(8) {
		case 0:
			c.blob = fmt.Sprint("blob ", w.rnd.Uint64())
		case 1:
			if oid != 0 {
				c.data = nil
			}
		}
		all = append(all, c)
	}
	w.both("commit", func(s *engine.Storage) (any, error) {
		txn, err := s.Begin(context.Background(), zodb.TxnMeta{User: []byte("u")}, zodb.BeginOptions{})
		if err != nil {
			return nil, err
		}
		defer txn.Abort()
		for _, c := range all {
			if err := enginetest.Fill(context.Background(), s, txn, enginetest.Change{OID: c.oid, Data: c.data, Blob: c.blob}); err != nil {
				return nil, err
			}
		}
		return w.finish(txn)
	})
}

func (w *twoFormats) finish(txn zodb.Txn) (zodb.TID, error) {
	if err := txn.Vote(context.Background()); err != nil {
		return 0, err
	}
	tid, err := txn.Finish(context.Background(), nil)
	if err == nil {
		w.tids = append(w.tids, tid)
	}
	return tid, err
}

func (w *twoFormats) undo() {
	if len(w.tids) == 0 {
		return
	}
	victim := w.tids[max(0, len(w.tids)-1-w.rnd.IntN(12))]
	w.both("undo", func(s *engine.Storage) (any, error) {
		txn, err := s.Begin(context.Background(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			return nil, err
		}
		defer txn.Abort()
		oids, err := txn.Undo(context.Background(), victim)
		if err != nil {
			return nil, err
		}
		tid, err := w.finish(txn)
		slices.Sort(oids)
		return fmt.Sprint(tid, oids), err
	})
}

func (w *twoFormats) pack() {
	o := zodb.PackOptions{NoGC: w.rnd.IntN(5) == 0}
	if len(w.tids) > 0 && w.rnd.IntN(2) == 0 {
		o.Time = w.tids[w.rnd.IntN(len(w.tids))].Time()
	}
	w.both("pack", func(s *engine.Storage) (any, error) {
		r, err := s.Pack(context.Background(), o)
		if r.Stamp != 0 {
			w.packs = append(w.packs, r.Stamp)
		}
		return fmt.Sprint(r.Threshold, r.Stamp, " kept ", r.KeptObjects, r.KeptRevisions, r.KeptNewest, " gone ", r.Objects, r.Revisions, r.Transactions, r.Blobs, " dangling ", r.Dangling), err
	})
}

func (w *twoFormats) undelete() {
	stamp := int64(0)
	if len(w.packs) > 0 && w.rnd.IntN(2) == 0 {
		stamp = w.packs[w.rnd.IntN(len(w.packs))]
	}
	w.both("undelete", func(s *engine.Storage) (any, error) {
		r, err := s.Undelete(context.Background(), stamp)
		r.Skipped, r.Objects = 0, 0 // are about files of pointers
		return fmt.Sprintf("%d %+v", stamp, r), err
	})
}

func (w *twoFormats) flush() {
	for _, s := range w.s {
		if err := s.Flush(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *twoFormats) snapshot() {
	for _, s := range w.s {
		if err := s.EnterSnapshot(context.Background(), "code"); err != nil {
			w.t.Fatal(err)
		}
	}
	for range w.rnd.IntN(6) {
		w.tick()
		w.commit()
		if w.rnd.IntN(2) == 0 {
			w.flush()
		}
		if w.rnd.IntN(4) == 0 {
			w.undo()
		}
	}
	w.same()
	for _, s := range w.s {
		if err := errors.Join(s.LeaveSnapshot(context.Background(), "code"), s.WaitNormal(context.Background())); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *twoFormats) tick() { w.now.Add(int64(1+w.rnd.IntN(30)) * int64(time.Second)) }

// same compares all that can be asked.
func (w *twoFormats) same() {
	w.t.Helper()
	ctx := context.Background()
	for _, pair := range [][2]int{{0, 1}, {1, 0}} {
		if n, err := transfer.Compare(ctx, w.s[pair[0]], w.s[pair[1]], transfer.CompareOptions{}); err != nil {
			w.t.Fatalf("%v: %+v, %v", pair, n, err)
		}
	}
	w.both("transactions", func(s *engine.Storage) (any, error) { return engine.TIDs(w.t, s), nil })
	for oid := range zodb.OID(w.oids + 1) {
		w.both(fmt.Sprint("object ", oid), func(s *engine.Storage) (any, error) {
			r, err := s.Load(ctx, oid)
			return fmt.Sprint(r.Serial, string(r.Data)), err
		})
		w.both(fmt.Sprint("serials of ", oid), func(s *engine.Storage) (any, error) {
			var list []zodb.TID
			for tid, err := range s.Serials(ctx, oid) {
				if err != nil {
					return list, err
				}
				list = append(list, tid)
			}
			return list, nil
		})
		if len(w.tids) > 0 {
			tid := w.tids[w.rnd.IntN(len(w.tids))]
			w.both(fmt.Sprint("object ", oid, " before ", tid), func(s *engine.Storage) (any, error) {
				r, err := s.LoadBefore(ctx, oid, tid)
				return fmt.Sprintf("%+v", r), err
			})
		}
	}
	if w.rnd.IntN(3) == 0 {
		for i, s := range w.s {
			if err := s.Flush(ctx); err != nil {
				w.t.Fatal(i, err)
			}
		}
		w.both("counts", func(s *engine.Storage) (any, error) {
			n := s.Counts()
			n.Bytes = 0
			return n, nil
		})
	}
}

// TestBundlesAreAsFilesForEachRevision does the same at random to both, and compares the answers.
func TestBundlesAreAsFilesForEachRevision(t *testing.T) {
	t.Parallel()
	for seed := range hometest.Rounds(t, 2) {
		set := []string{"storage.delay_delete=0", "storage.delay_delete=100000"}[seed%2]
		t.Run(fmt.Sprint(seed, " ", set), func(t *testing.T) {
			t.Parallel()
			w := newTwoFormats(t, uint64(seed), set)
			steps := 150
			if testing.Short() {
				steps = 60
			}
			for range steps {
				w.tick()
				switch n := w.rnd.IntN(40); {
				case n < 20:
					w.commit()
				case n < 23:
					w.undo()
				case n < 32:
					w.flush()
				case n < 34:
					w.pack()
					w.same()
				case n < 36:
					w.undelete()
					w.same()
				case n < 37:
					w.snapshot()
				case n < 38:
					for i, s := range w.s {
						if err := s.Close(); err != nil {
							t.Fatal(err)
						}
						w.open(i)
					}
				default:
					w.same()
				}
			}
			w.flush()
			w.same()
			for _, s := range w.s {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				// Objects are deleted although others refer to them.
				if err := engine.Sound(context.Background(), s.Dir().FS, false); err != nil && strings.Count(err.Error(), "damage ") != strings.Count(err.Error(), "damage dangling-reference") {
					t.Error(err)
				}
			}
		})
	}
}
