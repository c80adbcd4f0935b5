package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestEngineDoesWhatTheModelDoes drives engine and model side by side with
// actions that rapid chooses, and shrinks failing sequences. It prints the seed.
func TestEngineDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		f := crashfs.New(rapid.Int64().Draw(t, "order of directories"))
		format := rapid.SampledFrom(allFormats()).Draw(t, "format")
		if err := populateHome(f, zodb.ClassFull, format); err != nil {
			t.Fatal(err)
		}
		sc := &scenario{fs: f, o: scriptOptions(f), m: &model{}}
		var err error
		if sc.s, err = Open(ctx, "", sc.o); err != nil {
			t.Fatal(err)
		}
		defer func() { sc.s.Close() }()
		ok := func(t *rapid.T, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		anyTxn := func(t *rapid.T) *modelTxn {
			if len(sc.m.acked) == 0 {
				t.Skip("no transaction yet")
			}
			return rapid.SampledFrom(sc.m.acked).Draw(t, "transaction")
		}
		anyOID := func(t *rapid.T) zodb.OID {
			if len(sc.m.oids) == 0 {
				t.Skip("no object yet")
			}
			return rapid.SampledFrom(sc.m.oids).Draw(t, "object")
		}
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) {
				sc.rnd = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "content"), 0))
				err := sc.m.commit(ctx, sc.s, sc.rnd)
				if _, refused := errors.AsType[*zodb.UndoError](err); !refused {
					ok(t, err)
				}
			},
			"conflict": func(t *rapid.T) {
				oid := anyOID(t)
				now, err := sc.s.Serial(ctx, oid)
				ok(t, err)
				txn, err := sc.s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
				ok(t, err)
				defer txn.Abort()
				stale := now + 1
				read := rapid.Bool().Draw(t, "read")
				if read {
					ok(t, txn.CheckCurrent(oid, stale))
				} else {
					ok(t, txn.Store(oid, stale, rec("stale")))
				}
				var c *zodb.ConflictsError
				if err := txn.Vote(ctx); !errors.As(err, &c) || len(c.Conflicts) != 1 || c.Conflicts[0].OID != oid ||
					c.Conflicts[0].Serial != stale || c.Conflicts[0].Current != now || c.Conflicts[0].Read != read {
					t.Fatalf("vote: %v", err)
				}
			},
			"loadBefore": func(t *rapid.T) {
				oid, txn := anyOID(t), anyTxn(t)
				sc.loadBefore(t, ctx, oid, txn.tid)
				sc.loadBefore(t, ctx, oid, txn.tid+1)
			},
			"history": func(t *rapid.T) {
				oid := anyOID(t)
				var want []zodb.TID
				for _, txn := range sc.m.acked {
					if _, ok := txn.changes[oid]; ok {
						want = append([]zodb.TID{txn.tid}, want...)
					}
				}
				got, err := sc.s.History(ctx, oid, 1000)
				if len(want) == 0 {
					if !errors.Is(err, zodb.ErrNotFound) {
						t.Fatalf("history of nothing: %v", err)
					}
					return
				}
				ok(t, err)
				if len(got) != len(want) {
					t.Fatalf("%d revisions, want %d", len(got), len(want))
				}
				for i := range got {
					if got[i].TID != want[i] {
						t.Fatalf("revision %d is %s, want %s", i, got[i].TID, want[i])
					}
				}
			},
			"flush": func(t *rapid.T) { ok(t, sc.s.Flush(ctx)) },
			"enter": func(t *rapid.T) {
				err := sc.s.EnterSnapshot(ctx, "code")
				if sc.m.snapshot == "" {
					ok(t, err)
					sc.m.snapshot, sc.m.least = "code", len(sc.m.acked)
				} else if !errors.Is(err, zodb.ErrSnapshotMode) {
					t.Fatalf("entered twice: %v", err)
				}
			},
			"leave": func(t *rapid.T) {
				code := rapid.SampledFrom([]string{"code", "other"}).Draw(t, "code")
				err := sc.s.LeaveSnapshot(ctx, code)
				if sc.m.snapshot == code {
					ok(t, err)
					sc.m.snapshot, sc.m.least = "", 0
				} else if !errors.Is(err, zodb.ErrSnapshotMode) {
					t.Fatalf("left under another code: %v", err)
				}
			},
			"copy of the snapshot": func(t *rapid.T) {
				ok(t, sc.m.clone().verifySnapshot(ctx, f, crashfs.New(0), sc.o))
			},
			"reopen": func(t *rapid.T) {
				sc.m.snapshot, sc.m.least = "", 0
				ok(t, sc.s.Close())
				sc.s, err = Open(ctx, "", sc.o)
				ok(t, err)
			},
			"": func(t *rapid.T) { ok(t, sc.m.verify(ctx, sc.s, len(sc.m.acked))) },
		})
		ok(t, errors.Join(sc.s.Close(), sc.recovered(ctx, f)))
	})
}

func (sc *scenario) loadBefore(t *rapid.T, ctx context.Context, oid zodb.OID, before zodb.TID) {
	n := 0
	for n < len(sc.m.acked) && sc.m.acked[n].tid < before {
		n++
	}
	r, err := sc.s.LoadBefore(ctx, oid, before)
	want := sc.m.state(oid, n)
	if want.gone {
		if err == nil && r != nil || err != nil && !errors.Is(err, zodb.ErrNotFound) {
			t.Fatalf("load %s before %s: %+v, %v; it did not exist", oid, before, r, err)
		}
		return
	}
	var end zodb.TID
	for _, txn := range sc.m.acked[n:] {
		if _, ok := txn.changes[oid]; ok {
			end = txn.tid
			break
		}
	}
	if err != nil || r == nil || string(r.Data) != want.data || r.End != end {
		t.Fatalf("load %s before %s: %+v, %v; want %.40q until %s", oid, before, r, err, want.data, end)
	}
}
