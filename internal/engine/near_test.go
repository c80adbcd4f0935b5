package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestRecordsBesideAWriterLookOnce: one who reads the records of a transaction beside another process looks once
// for moved files, not for each record. A pack in the midst takes nothing from it that is current, and
// what comes is right.
func TestRecordsBesideAWriterLookOnce(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Format: "bundled", Set: map[string]string{"storage.min_pack_time": "0", "storage.keep_policy": "undoable"}})
	s := engine.OpenHome(t, home, engine.Options{})
	const objects = 60
	text := func(round string, oid int) []byte { return enginetest.Record(fmt.Sprint(round, oid)) }
	var changes []enginetest.Change
	for oid := range objects {
		changes = append(changes, enginetest.Change{OID: zodb.OID(oid), Data: text("first", oid)})
	}
	enginetest.Commit(t, s, changes...)
	newer := enginetest.Commit(t, s, enginetest.Change{OID: objects - 1, Data: text("second", objects-1)})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	under, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	var looks atomic.Int64
	counting := errfs.New(under, func(op errfs.Op) error {
		if op.Kind == "stat" && op.Name == "A/bundles" {
			looks.Add(1)
		}
		return nil
	})
	later := func() time.Time { return time.Now().Add(time.Hour) }
	r := engine.OpenHome(t, home, engine.OnFS(engine.Options{ReadOnly: true, Clock: later}, counting))
	for txn, err := range r.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if txn.TID == newer {
			break
		}
		looks.Store(0)
		n := 0
		for rec, err := range r.Records(t.Context(), txn) {
			if err != nil {
				t.Fatal(err)
			}
			if int(rec.OID) != n || !rec.Exists || !bytes.Equal(rec.Data, text("first", n)) {
				t.Errorf("record %d is of object %s: %q", n, rec.OID, rec.Data)
			}
			if n++; n == objects/2 {
				if looks.Load() > 3 {
					t.Errorf("%d looks for %d records", looks.Load(), n)
				}
				if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: newer.Time(), NoGC: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n < objects-1 { // the last one may be packed away by now
			t.Errorf("%d records came", n)
		}
	}
}
