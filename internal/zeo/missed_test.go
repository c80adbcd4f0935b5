package zeo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	disk "github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestInvalidationsStartAtOwnTransactionsOnly asks from transactions that the storage
// does not have: between two of it, after the last one, and one whose file is there
// although the chain does not lead to it, as a copy over a newer state leaves it.
func TestInvalidationsStartAtOwnTransactionsOnly(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{InvalidationQueueSize: 100},
		{InvalidationQueueSize: 2},
		{InvalidationQueueSize: 2, InvalidationAge: time.Hour},
		{InvalidationQueueSize: 100, InvalidationAge: time.Hour},
	} {
		home := memoryHome(t)
		if err := engine.Create(home, engine.CreateOptions{Format: "flat"}); err != nil {
			t.Fatal(err)
		}
		s := newStorage(t, home)
		o.Storages = []StorageOptions{{Name: "1", Storage: s}}
		ts := serve(t, o)
		c := ts.client(wire.Pickle)
		var own []zodb.TID
		serial := zodb.TID(0)
		for range 6 {
			serial = c.commit(1, serial, "x")
			own = append(own, serial)
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		foreign := own[3] + 1
		text, err := (&disk.Transaction{TID: foreign, Previous: own[3], OIDs: []zodb.OID{1}}).Append(nil, disk.MD5)
		if err == nil {
			err = os.WriteFile(filepath.Join(home, "A", layout.Flat.Path(layout.Transaction(foreign))), text, 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Transaction(t.Context(), foreign); err != nil {
			t.Fatalf("the file is not as a file of the storage: %v", err)
		}
		known := 0
		for i, tid := range own {
			if v, ok := c.call("getInvalidations", tid).(wire.Tuple); ok {
				known++
				if len(elements(v[1])) == 0 != (i == len(own)-1) {
					t.Errorf("%+v: since transaction %d: %v", o, i, v)
				}
			}
		}
		if want := map[bool]int{true: 6, false: 2}[o.InvalidationQueueSize > 6 || o.InvalidationAge > 0]; known != want {
			t.Errorf("%+v: %d own transactions are known, want %d", o, known, want)
		}
		for _, tid := range []zodb.TID{own[0] - 1, own[0] + 1, foreign, own[4] - 1, own[4] + 1, own[5] - 1, own[5] + 1, own[5] + 1<<32, 1<<63 - 1} {
			if v := c.call("getInvalidations", tid); v != nil {
				t.Errorf("%+v: since %s, which is not a transaction of the storage: %v", o, tid, v)
			}
		}
		ts.stop()
	}
}

// TestInvalidationsOfADamagedHistoryAreUnknown: a client must not be kept from connecting
// by a transaction that cannot be read.
func TestInvalidationsOfADamagedHistoryAreUnknown(t *testing.T) {
	t.Parallel()
	home := memoryHome(t)
	if err := engine.Create(home, engine.CreateOptions{Format: "flat"}); err != nil {
		t.Fatal(err)
	}
	s := newStorage(t, home)
	ts := serve(t, Options{InvalidationQueueSize: 1, InvalidationAge: time.Hour, Storages: []StorageOptions{{Name: "1", Storage: s}}})
	c := ts.client(wire.Pickle)
	first := c.commit(1, 0, "x")
	second := c.commit(1, first, "x")
	c.commit(1, second, "x")
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, ok := c.call("getInvalidations", first).(wire.Tuple); !ok {
		t.Fatalf("before the damage: %v", v)
	}
	if err := os.Truncate(filepath.Join(home, "A", layout.Flat.Path(layout.Transaction(second))), 3); err != nil {
		t.Fatal(err)
	}
	if v := c.call("getInvalidations", first); v != nil {
		t.Errorf("with a damaged transaction in between: %v", v)
	}
}

// TestNothingIsKnownFromBeforeAHistoryThatDiffers: after an import that left something out,
// clients' caches of the source hold revisions with tids of this storage that are not in it.
func TestNothingIsKnownFromBeforeAHistoryThatDiffers(t *testing.T) {
	t.Parallel()
	for _, differs := range []bool{false, true} {
		home := memoryHome(t)
		if err := engine.Create(home, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}}); err != nil {
			t.Fatal(err)
		}
		s, err := engine.Open(t.Context(), home, engine.Options{History: engine.HistoryCopied})
		if err != nil {
			t.Fatal(err)
		}
		copied := []zodb.TID{1 << 56, 2 << 56}
		for i, tid := range copied {
			txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
			if err == nil && differs && i == 0 {
				err = s.DiffersFromSource()
			}
			if err == nil {
				err = txn.Restore(t.Context(), zodb.Record{OID: zodb.RootOID, TID: tid, Data: record("x"), Exists: true}, nil)
			}
			if err == nil {
				err = txn.Vote(t.Context())
			}
			if err == nil {
				_, err = txn.Finish(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for restarts, o := range []Options{
			{InvalidationQueueSize: 100},
			{InvalidationQueueSize: 100},
			{InvalidationQueueSize: 1, InvalidationAge: 200 * 365 * 24 * time.Hour},
		} {
			s := newStorage(t, home)
			began := s.LastTransaction()
			o.Storages = []StorageOptions{{Name: "1", Storage: s}}
			ts := serve(t, o)
			c := ts.client(wire.Pickle)
			own := c.commit(zodb.OID(2+restarts), 0, "x")
			for _, tid := range copied {
				if v := c.call("getInvalidations", tid); v != nil && differs || v == nil && !differs && (restarts == 0 || tid == copied[1]) {
					t.Errorf("differs: %v, start %d: since %s: %v", differs, restarts, tid, v)
				}
			}
			for _, tid := range []zodb.TID{began, own} {
				if v := c.call("getInvalidations", tid); v == nil {
					t.Errorf("differs: %v, start %d: %s of its own is unknown", differs, restarts, tid)
				}
			}
			ts.stop()
			// It stays when it is packed.
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
