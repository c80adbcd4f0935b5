package zeo

import (
	"slices"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestClientsThatComeBackAfterARestartAreToldWhatTheyMissed restarts the storage
// and the server, and asks with all that a client may have been told last.
func TestClientsThatComeBackAfterARestartAreToldWhatTheyMissed(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		const queue, n = 5, 12
		home := memoryHome(t)
		s := openStorage(t, home, engine.Options{})
		ts := serve(t, Options{InvalidationQueueSize: queue, Storages: []StorageOptions{{Name: "1", Storage: s}}})
		c := ts.client(e)
		tids := []zodb.TID{0}
		serials := make(map[zodb.OID]zodb.TID)
		for i := range n {
			oid := zodb.OID(i%4 + 1)
			if i == 7 { // one without objects
				c.begin(mine)
				c.call("vote", mine)
				tids = append(tids, zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte)))
				continue
			}
			if i == 10 { // one that deletes
				c.begin(mine)
				c.oneWay("deleteObject", oid, serials[oid], mine)
				c.call("vote", mine)
				serials[oid] = zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
			} else {
				serials[oid] = c.commit(oid, serials[oid], "x")
			}
			tids = append(tids, serials[oid])
		}
		// An honest server's answers, from the storage.
		want := func(missed int) map[string]bool {
			oids := make(map[string]bool)
			for _, tx := range committed(t, s, tids[n-missed]) {
				for _, oid := range tx.OIDs {
					oids[string(oid.Bytes())] = true
				}
			}
			return oids
		}
		lists := make([]map[string]bool, n+1)
		for missed := range n + 1 {
			lists[missed] = want(missed)
		}
		ask := func(ts *testServer, missed int, known bool) {
			t.Helper()
			c := ts.client(e)
			defer c.conn.Close()
			v := c.call("getInvalidations", tids[n-missed])
			if !known {
				if v != nil {
					t.Errorf("%d missed: %v; want None", missed, v)
				}
				return
			}
			pair := elements(v)
			if len(pair) != 2 || zodb.TIDFromBytes(pair[0].([]byte)) != tids[n] {
				t.Errorf("%d missed: %v; want a list up to %s", missed, v, tids[n])
				return
			}
			got := make(map[string]bool)
			for _, oid := range elements(pair[1]) {
				if got[string(oid.([]byte))] {
					t.Errorf("%d missed: %x twice", missed, oid)
				}
				got[string(oid.([]byte))] = true
			}
			if len(got) != len(lists[missed]) {
				t.Errorf("%d missed: %d objects; want %d", missed, len(got), len(lists[missed]))
			}
			for oid := range lists[missed] {
				if !got[oid] {
					t.Errorf("%d missed: %x is not there", missed, oid)
				}
			}
		}
		all := func(ts *testServer, known func(missed int) bool) {
			t.Helper()
			for missed := range n + 1 {
				ask(ts, missed, known(missed))
			}
		}
		queued := func(missed int) bool { return missed < queue }
		all(ts, queued)
		ts.stop()
		for _, v := range []struct {
			name  string
			queue int
			age   time.Duration
			known func(int) bool
		}{
			{"the same", queue, 0, queued},
			{"of one", 1, 0, func(missed int) bool { return missed == 0 }},
			{"longer than all", 100, 0, func(missed int) bool { return missed < n }},
			{"and age", queue, time.Hour, func(missed int) bool { return missed < n }}, // z64 is too old
			{"and no age to speak of", queue, time.Nanosecond, queued},
		} {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStorage(t, home, engine.Options{})
			ts := serve(t, Options{InvalidationQueueSize: v.queue, InvalidationAge: v.age, Storages: []StorageOptions{{Name: "1", Storage: s}}})
			if base := ts.dial(e); zodb.TIDFromBytes(base.call("register", "1", false).([]byte)) != tids[n] {
				t.Errorf("%s: registered at another tid", v.name)
			}
			all(ts, v.known)
			if t.Failed() {
				t.Fatalf("the queue %s", v.name)
			}
			ts.stop()
		}
	})
}

// TestEmptyStorageLeavesClientsUpToDate has nothing to tell of.
func TestEmptyStorageLeavesClientsUpToDate(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{InvalidationQueueSize: 3})
	a := ts.dialCache(wire.Pickle)
	b := ts.dialCache(wire.Msgpack)
	last, oids, ok, err := a.GetInvalidations(t.Context(), a.LastTID())
	if err != nil || !ok || last != 0 || len(oids) != 0 {
		t.Fatalf("%s %v %v %v", last, oids, ok, err)
	}
	commitBlob(t, b, 1, 0, "x", []byte("x"))
	last, oids, ok, err = a.GetInvalidations(t.Context(), 0)
	if err != nil || !ok || last != a.LastTID() || !slices.Equal(oids, []zodb.OID{1}) {
		t.Fatalf("%s %v %v %v", last, oids, ok, err)
	}
}

// TestTIDAfterWhichThereIsNoneIsRefused: a storage that has it would never take
// another transaction.
func TestTIDAfterWhichThereIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		for _, tid := range []zodb.TID{1<<63 - 1, 1<<64 - 2, 1<<64 - 1} {
			c.oneWay("tpc_begin", mine, []byte{}, []byte{}, wire.Dict{}, tid, " ")
			c.fails(classStorage, "vote", mine)
		}
		ts.servesOthers()
	})
}

// TestStorageIsServedUnderOneName because commits under one name are not
// announced under another.
func TestStorageIsServedUnderOneName(t *testing.T) {
	t.Parallel()
	s := newStorage(t, tempHome(t))
	if _, err := New(t.Context(), Options{Clock: time.Now, Storages: []StorageOptions{{Name: "1", Storage: s}, {Name: "2", Storage: s}}}); err == nil {
		t.Error("two names were taken")
	}
}
