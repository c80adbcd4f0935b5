package zeo

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// entries returns the answer of undoLog or history.
func (c *rawClient) entries(name string, args ...any) (list []wire.Dict) {
	c.t.Helper()
	for _, e := range tuples(c.call(name, args...)).(wire.Tuple) {
		list = append(list, e.(wire.Dict))
	}
	return list
}

// copied is a transaction as iteration delivers it.
type copied struct {
	tid     zodb.TID
	status  string
	records []wire.Tuple // the answers of iterator_record_next
	failed  int          // records that could not be read
}

// iterate reads all transactions.
func (c *rawClient) iterate() (list []copied) {
	c.t.Helper()
	id := c.call("iterator_start", nil, nil)
	for {
		head, ok := tuples(c.call("iterator_next", id)).(wire.Tuple)
		if !ok {
			return list
		}
		x := copied{tid: zodb.TIDFromBytes(head[0].([]byte)), status: head[1].(string)}
		records := c.call("iterator_record_start", id, head[0])
		for {
			v, err := c.try("iterator_record_next", records)
			if err != nil {
				x.failed++
				continue
			}
			rec, ok := tuples(v).(wire.Tuple)
			if !ok {
				break
			}
			x.records = append(x.records, rec)
		}
		list = append(list, x)
	}
}

// copyTo copies transactions as Python's copyTransactionsFrom does.
func (c *rawClient) copyTo(list []copied) {
	c.t.Helper()
	for i, x := range list {
		ttid := int64(1<<41) + int64(i)
		c.oneWay("tpc_begin", ttid, []byte("user"), []byte("description"), wire.Dict{}, x.tid, x.status)
		for _, rec := range x.records {
			c.oneWay("restorea", rec[0], rec[1], rec[2], rec[3], ttid)
		}
		c.want(wire.List{}, c.call("vote", ttid))
		c.want(x.tid.Bytes(), c.call("tpc_finish", ttid))
	}
}

// TestCopiesKeepStatusAndBackPointers copies the transactions of a server into another one: packed
// ones, one without records, and an undo whose data are those of an older one.
func TestCopiesKeepStatusAndBackPointers(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		first := serve(t, Options{}).client(e)
		const tid zodb.TID = 0x03F6000000000001
		first.copyTo([]copied{
			{tid: tid, status: "p", records: []wire.Tuple{{zodb.OID(0), tid, record("root"), nil}, {zodb.OID(1), tid, record("one"), nil}}},
			{tid: tid + 1, status: "p", records: []wire.Tuple{{zodb.OID(1), tid + 1, record("two"), nil}}},
			{tid: tid + 2, status: " "},
			{tid: tid + 3, status: " ", records: []wire.Tuple{{zodb.OID(1), tid + 3, record("one"), tid}, {zodb.OID(2), tid + 3, nil, nil}}},
			{tid: tid + 4, status: " ", records: []wire.Tuple{{zodb.OID(1), tid + 4, record("one"), tid + 3}}},
		})
		whole := first.iterate()
		if len(whole) != 5 || whole[0].status != "p" || whole[1].status != "p" || whole[2].status != " " || len(whole[2].records) != 0 ||
			!bytes.Equal(whole[3].records[0][3].([]byte), tid.Bytes()) || whole[3].records[1][2] != nil ||
			!bytes.Equal(whole[4].records[0][3].([]byte), (tid+3).Bytes()) {
			t.Fatalf("copied: %v", whole)
		}
		second := serve(t, Options{}).client(e)
		second.copyTo(whole)
		second.want(first.iterate2(), second.iterate2())
		if log := second.entries("undoLog", 0, 100); len(log) != 3 {
			t.Errorf("%d entries in the undo log, want those that were not packed: %v", len(log), log)
		}
		second.begin(int64(9))
		second.oneWay("undoa", []byte(base64.StdEncoding.EncodeToString((tid + 1).Bytes())), int64(9))
		reason := second.fails(classUndo, "vote", int64(9)).(wire.Dict).Get("_reason")
		if text, ok := reason.(string); !ok || !strings.Contains(text, "packed") {
			t.Errorf("undo of what was packed: %v", reason)
		}
	})
}

// TestOlderTransactionsAreRefusedAtTheVote: transactions are kept in the order of their tids.
func TestOlderTransactionsAreRefusedAtTheVote(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		c := serve(t, Options{}).client(e)
		const tid zodb.TID = 0x03F6000000000005
		c.copyTo([]copied{{tid: tid, status: " ", records: []wire.Tuple{{zodb.OID(0), tid, record("root"), nil}}}})
		for _, old := range []zodb.TID{tid, tid - 1} {
			c.oneWay("tpc_begin", int64(7), []byte("user"), []byte("description"), wire.Dict{}, old, " ")
			c.oneWay("restorea", zodb.OID(0), old, record("older"), nil, int64(7))
			text, ok := tuples(c.fails(classStorage, "vote", int64(7))).(wire.Tuple)[0].(string)
			if !ok || !strings.Contains(text, tid.String()) {
				t.Errorf("refused with %v", text)
			}
			c.call("tpc_abort", int64(7))
		}
		if all := c.iterate(); len(all) != 1 {
			t.Errorf("transactions %v", all)
		}
	})
}

// TestCopiesNeedNoSourceOfTheirData: the source that a record names is a hint.
func TestCopiesNeedNoSourceOfTheirData(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		c := serve(t, Options{}).client(e)
		const tid zodb.TID = 0x03F6000000000005
		c.copyTo([]copied{{tid: tid, status: " ", records: []wire.Tuple{{zodb.OID(0), tid, record("root"), tid - 3}}}})
		all := c.iterate()
		if len(all) != 1 || len(all[0].records) != 1 || !bytes.Equal(all[0].records[0][2].([]byte), record("root")) || all[0].records[0][3] != nil {
			t.Errorf("copied %v", all)
		}
	})
}

func TestClientsCannotUndoTheRoot(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		c := serve(t, Options{}).client(e)
		tid := c.commit(0, 0, "root")
		c.begin(int64(9))
		c.oneWay("undoa", []byte(base64.StdEncoding.EncodeToString(tid.Bytes())), int64(9))
		c.fails(classUndos, "vote", int64(9))
		c.call("tpc_abort", int64(9))
		if c.call("loadBefore", zodb.OID(0), zodb.TID(1<<62)) == nil {
			t.Error("the root is gone")
		}
	})
}

// iterate2 is iterate in values that can be compared.
func (c *rawClient) iterate2() (list wire.Tuple) {
	for _, x := range c.iterate() {
		records := wire.Tuple{}
		for _, r := range x.records {
			records = append(records, r)
		}
		list = append(list, wire.Tuple{x.tid, x.status, records})
	}
	return list
}

// TestDamagedRevisionHidesNothingElse: in the undo log, in the history of the object and
// in an iteration it is the only thing that cannot be read. In a bundle its transaction is next to
// it.
func TestDamagedRevisionHidesNothingElse(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, s := servePacksOf(t, inFiles, Options{})
		c := ts.client(e)
		c.store(map[zodb.OID]string{0: refers("root", 1), 1: refers("one")})
		bad := c.store(map[zodb.OID]string{0: refers("root 2", 1), 1: refers("two")})
		c.store(map[zodb.OID]string{0: refers("root 3", 1)})
		c.store(map[zodb.OID]string{1: refers("three")}) // so that the damaged object is in no cache
		damage(t, s, 1, bad)
		log := c.entries("undoLog", 0, 100)
		if len(log) != 4 {
			t.Fatalf("undo log %v", log)
		}
		for i, entry := range log {
			if got := bytes.Contains(entry.Get("description").([]byte), []byte("cannot be undone")); got != (i == 0 || i == 2) {
				t.Errorf("entry %d of the undo log: %v", i, entry)
			}
		}
		c.begin(int64(9))
		c.oneWay("undoa", log[2].Get("id"), int64(9))
		c.fails(classUndos, "vote", int64(9))
		c.call("tpc_abort", int64(9))
		history := c.entries("history", zodb.OID(1), 100)
		if len(history) != 3 || !bytes.Contains(history[1].Get("description").([]byte), []byte("damaged")) ||
			bytes.Contains(history[0].Get("description").([]byte), []byte("damaged")) ||
			bytes.Contains(history[2].Get("description").([]byte), []byte("damaged")) {
			t.Errorf("history %v", history)
		}
		all := c.iterate()
		if len(all) != 4 || all[0].failed+all[2].failed+all[3].failed != 0 || all[1].failed != 1 || len(all[1].records) != 1 {
			t.Errorf("iteration %v", all)
		}
	})
}

// TestDamagedTransactionHidesNothingElse: those before and behind it are in the undo log and
// in an iteration, and nobody who missed it is told that he knows everything.
func TestDamagedTransactionHidesNothingElse(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format layout.Format, e wire.Encoding) {
		ts, s := servePacksOf(t, format, Options{})
		c := ts.client(e)
		var list []zodb.TID
		for i := range 5 {
			store := c.store
			if i == 2 || i == 3 { // the damaged object has a bundle of its own, and there are too few to merge
				store = func(records map[zodb.OID]string) zodb.TID { return c.storeAlone(s, records) }
			}
			list = append(list, store(map[zodb.OID]string{0: refers(fmt.Sprint("root ", i))}))
		}
		damageTransaction(t, s, list[2])
		log := c.entries("undoLog", 0, 100)
		if len(log) != 5 {
			t.Fatalf("undo log %v", log)
		}
		for i, entry := range log {
			if got := bytes.Contains(entry.Get("description").([]byte), []byte("cannot be undone")); got != (i == 2 || i == 1 && format == layout.Bundled) { // with the revision beside it
				t.Errorf("entry %d of the undo log: %v", i, entry)
			}
		}
		var seen []zodb.TID
		failed := 0
		for id := c.call("iterator_start", nil, nil); ; {
			v, err := c.try("iterator_next", id)
			if v == nil && err == nil {
				break
			}
			if err != nil {
				if failed++; len(seen) != 2 || !strings.Contains(err.Error(), list[2].String()) {
					t.Errorf("after %d transactions: %v", len(seen), err)
				}
				continue
			}
			seen = append(seen, zodb.TIDFromBytes(tuples(v).(wire.Tuple)[0].([]byte)))
		}
		if want := slices.Delete(slices.Clone(list), 2, 3); failed != 1 || !slices.Equal(seen, want) {
			t.Errorf("iterated over %v with %d failures, want %v", seen, failed, want)
		}
		// A server that starts knows the transactions behind the damage, and no more.
		again := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}}).client(e)
		for i, tid := range list {
			if v := again.call("getInvalidations", tid); (v != nil) != (i > 2) {
				t.Errorf("missed since transaction %d: %v", i, v)
			}
		}
	})
}

// TestCopyWithoutTransactionsThatArePackedIsRefused: their objects are still there, and would
// be missing in a copy that goes by transactions.
func TestCopyWithoutTransactionsThatArePackedIsRefused(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		home := memoryHome(t)
		set := map[string]string{"storage.min_pack_time": "0", "storage.keep_policy": "undoable"}
		if err := engine.Create(home, engine.CreateOptions{Set: set}); err != nil {
			t.Fatal(err)
		}
		s := newStorage(t, home)
		c := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}}).client(e)
		first := c.store(map[zodb.OID]string{0: refers("root", 1), 1: refers("")})
		c.store(map[zodb.OID]string{0: refers("root 2", 1)})
		if c.call("iterator_start", nil, nil) == nil {
			t.Error("before the pack there is no iterator")
		}
		c.want(nil, c.call("pack", now(), true))
		if _, err := s.Transaction(t.Context(), first); !errors.Is(err, zodb.ErrNotFound) {
			t.Fatalf("the pack left the first transaction: %v", err)
		}
		for _, from := range []any{nil, first} {
			if details := fmt.Sprint(c.fails(classStorage, "iterator_start", from, nil)); !strings.Contains(details, "keep_policy undoable") {
				t.Errorf("from %v: %s", from, details)
			}
		}
		later := c.store(map[zodb.OID]string{1: refers("later")})
		if c.call("iterator_start", later, nil) == nil {
			t.Error("there is no iterator over what is later than the pack time")
		}
	})
}

// TestCopiedTransactionsMustBeLater: a tid that is not later than the last one is refused at the
// vote, with a remedy, and nothing is changed.
func TestCopiedTransactionsMustBeLater(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, s := servePacks(t, Options{})
		c := ts.client(e)
		c.store(map[zodb.OID]string{0: refers("root")})
		last := c.store(map[zodb.OID]string{0: refers("root 2")})
		for i, tid := range []zodb.TID{last, last - 1, 1} {
			ttid := int64(100 + i)
			c.oneWay("tpc_begin", ttid, []byte("user"), []byte("description"), wire.Dict{}, tid, " ")
			c.oneWay("restorea", zodb.OID(7), tid, []byte(refers("copied")), nil, ttid)
			details := fmt.Sprint(c.fails(classStorage, "vote", ttid))
			for _, want := range []string{"not later than the last one", tid.String(), last.String(), "empty storage"} {
				if !strings.Contains(details, want) {
					t.Errorf("tid %s: %q is not in %s", tid, want, details)
				}
			}
			c.call("tpc_abort", ttid)
		}
		if got := s.LastTransaction(); got != last {
			t.Errorf("the last transaction is %s, want %s", got, last)
		}
		c.copyTo([]copied{{tid: last + 1, status: " ", records: []wire.Tuple{{zodb.OID(7), last + 1, []byte(refers("copied")), nil}}}})
	})
}
