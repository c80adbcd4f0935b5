package zeo

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// only returns the activity of the one storage.
func (ts *testServer) only() StorageActivity {
	ts.t.Helper()
	a := ts.Activity()
	if len(a.Storages) != 1 || a.Time.Before(a.Started) {
		ts.t.Fatalf("%+v", a)
	}
	return a.Storages[0]
}

// labelled returns the client with a label.
func (a StorageActivity) labelled(label string) ClientActivity {
	for _, c := range a.Clients {
		if c.Label == label {
			return c
		}
	}
	return ClientActivity{}
}

// TestActivityCountsTheWorkOfEachClient: loads, stores, commits, aborts, conflicts and bytes are those of
// the client that caused them, in sum those of the storage, and kept apart from those of others.
func TestActivityCountsTheWorkOfEachClient(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		writer, reader := ts.client(e), ts.client(e)
		writer.call("set_client_label", "writer")
		reader.call("set_client_label", "reader")
		silent := ts.connect() // says nothing
		first := writer.commit(7, 0, "one")
		second := writer.commit(7, first, strings.Repeat("two", 50))
		writer.begin(mine)
		writer.oneWay("storea", zodb.OID(8), zodb.TID(0), record("x"), mine)
		writer.call("tpc_abort", mine)
		for range 5 {
			reader.call("loadBefore", zodb.OID(7), zodb.TID(1<<62))
		}
		var a StorageActivity
		eventually(t, "nothing waits to be read", func() bool { // an answer may be read before it counts as written
			a = ts.only()
			return a.labelled("reader").QueueBytes == 0
		})
		w, r := a.labelled("writer"), a.labelled("reader")
		if a.Storage != "1" || len(a.Clients) != 2 || a.Clients[0].Client >= a.Clients[1].Client || len(a.Waits) != 0 {
			t.Fatalf("%+v", a)
		}
		eventually(t, "the silent one is counted", func() bool { return ts.Activity().Unregistered == 1 })
		silent.conn.Close()
		bytes := int64(len(record("one")) + len(record(strings.Repeat("two", 50))) + len(record("x")))
		if w.Loads != 0 || w.Stores != 3 || w.Commits != 2 || w.Aborts != 1 || w.Conflicts != 0 || w.ReceivedBytes != bytes || w.Transaction != nil {
			t.Errorf("the writer: %+v", w)
		}
		if l := w.Largest; l == nil || *l != (LargestTxn{second, 1, int64(len(record(strings.Repeat("two", 50))))}) {
			t.Errorf("its largest transaction: %+v", l)
		}
		if r.Loads != 5 || r.Stores != 0 || r.Commits != 0 || r.ReceivedBytes != 0 || r.Largest != nil || r.SentBytes < 5*150 || r.QueueBytes != 0 {
			t.Errorf("the reader: %+v", r)
		}
		if w.Address == "" || w.Address == r.Address || w.Since.Before(ts.Activity().Started) {
			t.Errorf("%+v", w)
		}
		if a.Loads != 5 || a.Stores != 3 || a.Commits != 2 || a.Aborts != 1 {
			t.Errorf("the storage: %+v", a)
		}
		writer.conn.Close()
		eventually(t, "it is gone", func() bool { return len(ts.only().Clients) == 1 })
	})
}

// TestConflictsAreCounted, also those that the client is given to resolve, as Python's clients are.
func TestConflictsAreCounted(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c, late := ts.client(e), ts.client(e)
		late.call("set_client_label", "late")
		first := c.commit(7, 0, "one")
		c.commit(7, first, "two")
		late.begin(mine)
		late.oneWay("storea", zodb.OID(7), first, record("late"), mine)
		if n := len(elements(late.call("vote", mine))); n != 1 {
			t.Fatalf("the vote gives %d conflicts", n)
		}
		late.call("tpc_abort", mine)
		if a := ts.only(); a.Conflicts != 1 || a.labelled("late").Conflicts != 1 || a.Aborts != 1 {
			t.Errorf("%+v", a)
		}
	})
}

// TestActivityNamesTheHolderOfALock: a vote waits for a lock, and it is told for which one, since when,
// and who has it.
func TestActivityNamesTheHolderOfALock(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{})
	holder, waiter, third := ts.client(wire.Pickle), ts.client(wire.Msgpack), ts.client(wire.Pickle)
	for label, c := range map[string]*rawClient{"holder": holder, "waiter": waiter, "third": third} {
		c.call("set_client_label", label)
		c.begin(mine)
		c.oneWay("storea", zodb.OID(5), zodb.TID(0), record("h"), mine)
		c.call("ping")
	}
	holder.call("vote", mine)
	id := waiter.request("vote", mine)
	eventually(t, "it waits", func() bool { return len(ts.only().Waits) == 1 })
	late := third.request("vote", mine)
	eventually(t, "both wait", func() bool { return len(ts.only().Waits) == 2 })
	a := ts.only()
	h, w, l := a.labelled("holder"), a.labelled("waiter"), a.labelled("third")
	if a.Waits[0] != (LockWait{Client: w.Client, Known: true, OID: 5, Holder: h.Client, Held: true}) {
		t.Errorf("%+v, of %+v", a.Waits[0], a.Clients)
	}
	if a.Waits[1].Client != l.Client || a.Waits[1].OID != 5 || !a.Waits[1].Known {
		t.Errorf("%+v, of %+v", a.Waits[1], a.Clients)
	}
	x := w.Transaction
	if x == nil || x.State != "voting" || x.User != "user" || x.Description != "description" || x.Records != 1 || x.Bytes != int64(len(record("h"))) || x.StateSince.Before(x.Begun) {
		t.Errorf("the one that waits: %+v", x)
	}
	if x := h.Transaction; x == nil || x.State != "voted" {
		t.Errorf("the holder: %+v", x)
	}
	holder.call("tpc_finish", mine)
	if _, err := waiter.wait(id); err != nil {
		t.Fatal(err)
	}
	waiter.call("tpc_abort", mine)
	if _, err := third.wait(late); err != nil {
		t.Fatal(err)
	}
	third.call("tpc_abort", mine)
	if a := ts.only(); len(a.Waits) != 0 || a.labelled("waiter").Transaction != nil {
		t.Errorf("at the end %+v", a)
	}
}

// TestActivityCountsBlobs: the bytes of a blob count when it has come whole.
func TestActivityCountsBlobs(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{})
	c := ts.client(wire.Msgpack)
	c.begin(mine)
	c.oneWay("storeBlobStart")
	c.oneWay("storeBlobChunk", make([]byte, 100_000))
	c.oneWay("storeBlobEnd", zodb.OID(9), zodb.TID(0), record("b"), mine)
	c.call("ping")
	want := int64(100_000 + len(record("b")))
	if x := ts.only().Clients[0].Transaction; x == nil || x.Bytes != want || x.State != "begun" {
		t.Errorf("%+v", x)
	}
	c.call("vote", mine)
	c.call("tpc_finish", mine)
	if l := ts.only().Clients[0].Largest; l == nil || l.Bytes != want {
		t.Errorf("%+v", l)
	}
}

// TestTextsOfClientsInActivityAreShortAndWhole: long texts and bytes that are not UTF-8 come out as
// valid JSON of bounded length.
func TestTextsOfClientsInActivityAreShortAndWhole(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{})
	c := ts.client(wire.Pickle)
	c.call("set_client_label", strings.Repeat("ä", 10_000))
	c.oneWay("tpc_begin", mine, []byte("\xff\x00\x1b[31m"), []byte(strings.Repeat("ö", 5000)), wire.Dict{}, nil, " ")
	c.call("ping")
	b, err := json.Marshal(ts.Activity())
	if err != nil || len(b) > 3000 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	var back Activity
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	x := back.Storages[0].Clients[0].Transaction
	if x == nil || !strings.HasPrefix(x.User, "\uFFFD\x00") || !strings.HasPrefix(x.Description, "öö") || len(x.Description) > maxLabel+3 {
		t.Errorf("%+v", x)
	}
}

// TestActivityBesideWork looks all the time while clients come, work and go, for the race detector.
func TestActivityBesideWork(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{})
	stop := make(chan struct{})
	var looking, working sync.WaitGroup
	most := 0
	looking.Go(func() {
		for {
			a := ts.only()
			most = max(most, len(a.Clients))
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var commits int64
	for g := range 4 {
		commits += 20
		c := ts.client(wire.Msgpack)
		working.Go(func() {
			serial := zodb.TID(0)
			for range 20 {
				serial = c.commit(zodb.OID(100+g), serial, "x")
				c.call("loadBefore", zodb.OID(100+g), zodb.TID(1<<62))
			}
			c.conn.Close()
		})
	}
	working.Wait()
	close(stop)
	looking.Wait()
	if a := ts.only(); a.Commits != commits || a.Loads != commits || most == 0 {
		t.Errorf("%d commits of %d, %d clients seen", a.Commits, commits, most)
	}
}
