package zeoclient_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestTransactionIsSentAsPythonSendsIt(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		var got []string
		var args []wire.Tuple
		o := registered(t, func(f *fake) {
			for {
				frame, err := f.in.Next()
				if err != nil {
					return
				}
				m, err := wire.Decode(f.e, bytes.Clone(frame))
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, m.Name)
				args = append(args, m.Args.(wire.Tuple))
				if m.OneWay() {
					continue
				}
				if m.Name == "vote" {
					f.reply(m, wire.List{zodb.OID(9)})
				} else {
					f.reply(m, nil)
				}
			}
		})
		o.Encoding = e
		c := dial(t, o)
		txn, err := c.BeginWith([]byte("u"), nil, wire.Dict{{Key: "k", Value: int64(1)}}, zeoclient.BeginOptions{TID: 5, Status: 'p'})
		for _, step := range []error{
			err,
			txn.Store(1, 0, []byte("data")),
			txn.Restore(zodb.Record{OID: 2, TID: 5, Data: []byte("old"), Exists: true, DataTID: 4}),
			txn.Restore(zodb.Record{OID: 3, TID: 5}),
			txn.Delete(4, 3),
			txn.CheckCurrent(5, 2),
			txn.Undo(6),
			txn.StoreBlob(7, 1, []byte("blob"), strings.NewReader("content")),
			txn.StoreBlob(8, 1, []byte("blob"), strings.NewReader("")),
		} {
			if step != nil {
				t.Fatal(step)
			}
		}
		resolved, conflicts, err := txn.Vote(t.Context())
		if err != nil || len(conflicts) != 0 || len(resolved) != 1 || resolved[0] != 9 {
			t.Errorf("vote: %v, %v, %v", resolved, conflicts, err)
		}
		if err := txn.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		h := txn.Handle()
		b := func(i zodb.OID) []byte { return i.Bytes() }
		wantNames := []string{"tpc_begin", "storea", "restorea", "restorea", "deleteObject", "checkCurrentSerialInTransaction", "undoa",
			"storea", "storeBlobStart", "storeBlobChunk", "storeBlobEnd", "storea", "storeBlobStart", "storeBlobEnd", "vote", "tpc_abort"}
		want := []wire.Tuple{
			{h, []byte("u"), []byte{}, wire.Dict{{Key: "k", Value: int64(1)}}, b(5), "p"},
			{b(1), b(0), []byte("data"), h},
			{b(2), b(5), []byte("old"), b(4), h},
			{b(3), b(5), nil, nil, h},
			{b(4), b(3), h},
			{b(5), b(2), h},
			{[]byte("AAAAAAAAAAY="), h},
			{b(7), b(1), []byte("blob"), h}, {}, {[]byte("content")}, {b(7), b(1), []byte("blob"), h},
			{b(8), b(1), []byte("blob"), h}, {}, {b(8), b(1), []byte("blob"), h},
			{h}, {h},
		}
		if d := cmp.Diff(wantNames, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(want, args); d != "" {
			t.Error(d)
		}
	})
}

// TestTheFirstChunkOfABlobIsSentAtOnce, and takes the memory of one: many blobs are small.
func TestTheFirstChunkOfABlobIsSentAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		const chunk = 59_000
		came := make(chan int, 20)
		o := registered(t, func(f *fake) {
			for {
				frame, err := f.in.Next()
				if err != nil {
					return
				}
				if m, err := wire.Decode(f.e, frame); err == nil && m.Name == "storeBlobChunk" {
					came <- len(m.Args.(wire.Tuple)[0].([]byte))
				}
			}
		})
		o.Encoding = e
		txn, err := dial(t, o).Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		source, sink := io.Pipe()
		stored := make(chan error, 1)
		go func() { stored <- txn.StoreBlob(7, 1, []byte("blob"), source) }()
		for _, n := range []int{chunk, 5*chunk + 3} {
			sink.Write(make([]byte, n))
			select {
			case got := <-came:
				if got != chunk {
					t.Errorf("a chunk of %d bytes", got)
				}
			case <-time.After(time.Minute):
				t.Fatal("nothing is sent until there is more")
			}
		}
		sink.Close()
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{chunk, chunk, chunk, chunk, 3} {
			if got := <-came; got != want {
				t.Errorf("a chunk of %d bytes, want %d", got, want)
			}
		}
	})
}

func TestConflictsAreLeftToTheClient(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, func(f *fake) {
		f.expect("tpc_begin")
		f.expect("storea")
		f.reply(f.expect("vote"), wire.List{wire.Dict{{Key: "oid", Value: zodb.OID(1)}, {Key: "serials", Value: wire.Tuple{zodb.TID(90), zodb.TID(80)}}, {Key: "data", Value: []byte("mine")}}})
		f.expect("storea")
		f.reply(f.expect("vote"), wire.List{})
		f.reply(f.expect("tpc_finish"), zodb.TID(101))
		f.drain()
	}))
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Store(1, 80, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	_, conflicts, err := txn.Vote(t.Context())
	if d := cmp.Diff([]zeoclient.Conflict{{OID: 1, Committed: 90, Based: 80, Data: []byte("mine")}}, conflicts); d != "" || err != nil {
		t.Fatal(d, err)
	}
	if err := txn.Store(1, conflicts[0].Committed, []byte("merged")); err != nil {
		t.Fatal(err)
	}
	if tid, err := txn.Commit(t.Context()); err != nil || tid != 101 {
		t.Errorf("commit: %s, %v", tid, err)
	}
}

func TestBlobArrivesWholeAndOnlyOnceAtATime(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		o := registered(t, func(f *fake) {
			for i := range 4 {
				m := f.expect("sendBlob")
				oid, serial := m.Args.(wire.Tuple)[0], m.Args.(wire.Tuple)[1]
				if i == 3 {
					f.fail(m, "ZODB.POSException.POSKeyError", wire.Tuple{"No blob file", oid, serial})
					break
				}
				_ = f.call("receiveBlobStart", oid, serial)
				for range i {
					_ = f.call("receiveBlobChunk", oid, serial, []byte("piece "))
				}
				_ = f.call("receiveBlobStop", oid, serial)
				f.reply(m, nil)
			}
			f.drain()
		})
		o.Encoding = e
		c := dial(t, o)
		for i := range 3 {
			var b strings.Builder
			if n, err := c.SendBlob(t.Context(), 1, 2, &b); err != nil || int(n) != b.Len() || b.String() != strings.Repeat("piece ", i) {
				t.Errorf("blob %d: %q, %v", i, b.String(), err)
			}
		}
		if _, err := c.SendBlob(t.Context(), 1, 2, io.Discard); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("no blob: %v", err)
		}
	})
}

// gate is a writer that stops at its first byte until it is opened.
type gate struct{ open chan struct{} }

func (g gate) Write(b []byte) (int, error) {
	<-g.open
	return len(b), nil
}

func TestSlowTakerOfABlobHoldsTheServerBack(t *testing.T) {
	t.Parallel()
	const pieces = 1000 // 59 MB
	var sent atomic.Int64
	c := dial(t, registered(t, func(f *fake) {
		m := f.expect("sendBlob")
		_ = f.call("receiveBlobStart", zodb.OID(1), zodb.TID(2))
		piece := make([]byte, 59000)
		for range pieces {
			if f.call("receiveBlobChunk", zodb.OID(1), zodb.TID(2), piece) != nil {
				return
			}
			sent.Add(1)
		}
		_ = f.call("receiveBlobStop", zodb.OID(1), zodb.TID(2))
		f.reply(m, nil)
		f.drain()
	}))
	g := gate{make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := c.SendBlob(t.Context(), 1, 2, g); err != nil || n != pieces*59000 {
			t.Errorf("blob of %d bytes, %v", n, err)
		}
	}()
	var last int64 = -1
	for now := sent.Load(); now == 0 || now != last; now = sent.Load() { // the bytes that the sockets hold
		last = now
		time.Sleep(50 * time.Millisecond)
	}
	if last > pieces/2 {
		t.Errorf("%d pieces were sent to one who takes none", last)
	}
	close(g.open)
	wait(t, "the blob", done)
}

func TestTakerWhoGoesDoesNotStopTheConnection(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, func(f *fake) {
		m := f.expect("sendBlob")
		_ = f.call("receiveBlobStart", zodb.OID(1), zodb.TID(2))
		for range 100 {
			_ = f.call("receiveBlobChunk", zodb.OID(1), zodb.TID(2), []byte("piece"))
		}
		_ = f.call("receiveBlobStop", zodb.OID(1), zodb.TID(2))
		f.reply(m, nil)
		f.reply(f.expect("ping"), nil)
		f.drain()
	}))
	r, w := io.Pipe()
	full := errors.New("full")
	r.CloseWithError(full)
	if _, err := c.SendBlob(t.Context(), 1, 2, w); !errors.Is(err, full) {
		t.Errorf("blob: %v", err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBlobOfALostConnectionIsAnError(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, func(f *fake) {
		f.expect("sendBlob")
		_ = f.call("receiveBlobStart", zodb.OID(1), zodb.TID(2))
		_ = f.call("receiveBlobChunk", zodb.OID(1), zodb.TID(2), []byte("piece"))
	}))
	if _, err := c.SendBlob(t.Context(), 1, 2, io.Discard); err == nil {
		t.Error("half a blob is taken for a whole one")
	}
}

// iterating plays the server of an iteration over transactions 1 to n with two records
// each. It calls before for each request, and ends when that returns false.
func iterating(n int64, before func(f *fake, m wire.Message) bool) func(f *fake) {
	return func(f *fake) {
		at, ids := int64(0), int64(0)
		records := make(map[int64][]any)
		for {
			frame, err := f.in.Next()
			if err != nil {
				return
			}
			m, err := wire.Decode(f.e, bytes.Clone(frame))
			if err != nil || before != nil && !before(f, m) {
				return
			}
			args := m.Args.(wire.Tuple)
			switch m.Name {
			case "lastTransaction":
				f.reply(m, zodb.TID(n))
			case "iterator_start":
				f.reply(m, ids)
				ids++
			case "iterator_next":
				at++
				f.reply(m, wire.Tuple{zodb.TID(at), " ", []byte("u"), []byte("d"), wire.Dict{}})
			case "iterator_record_start":
				tid := args[1]
				records[ids] = []any{wire.Tuple{zodb.OID(1), tid, []byte("x"), nil}, wire.Tuple{zodb.OID(2), tid, nil, zodb.TID(1)}, nil}
				f.reply(m, ids)
				ids++
			case "iterator_record_next":
				id := args[0].(int64)
				f.reply(m, records[id][0])
				records[id] = records[id][1:]
			case "ping":
				f.reply(m, nil)
			}
		}
	}
}

func TestIterationYieldsEverything(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		o := registered(t, iterating(100, nil))
		o.Encoding = e
		c := dial(t, o)
		n := zodb.TID(0)
		for txn, err := range c.Iterate(t.Context(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if txn.TID != n || txn.Status != ' ' || string(txn.User) != "u" || string(txn.Description) != "d" || len(txn.Extension) != 0 {
				t.Errorf("transaction %d is %+v", n, txn.Transaction)
			}
			if n%3 == 0 {
				continue // its records are not wanted
			}
			var got []zodb.Record
			for rec, err := range txn.Records() {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, rec)
			}
			want := []zodb.Record{{OID: 1, TID: n, Data: []byte("x"), Exists: true}, {OID: 2, TID: n, DataTID: 1}}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("transaction %d: %s", n, d)
			}
		}
		if n != 100 {
			t.Errorf("%d transactions", n)
		}
	})
}

func TestIterationMayBeLeft(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, iterating(100, nil)))
	for _, err := range c.Iterate(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestInterruptedIterationIsNeverTakenForWhole stops the server, or the
// consumer's context, at each request in turn: either everything comes, or an error.
func TestInterruptedIterationIsNeverTakenForWhole(t *testing.T) {
	t.Parallel()
	const n = 5
	for _, cut := range []string{"connection", "context", "error"} {
		t.Run(cut, func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				ctx, cancel := context.WithCancel(t.Context())
				requests := 0
				c := dial(t, registered(t, iterating(n, func(f *fake, m wire.Message) bool {
					requests++
					if requests-1 != at || m.OneWay() {
						return true
					}
					switch cut {
					case "context":
						cancel()
						return true
					case "error":
						f.fail(m, "builtins.Exception", wire.Tuple{"cut"})
					}
					return false
				})))
				records, err := countRecords(ctx, c)
				cancel()
				c.Close()
				if err == nil && records != 2*n {
					t.Fatalf("cut at request %d: %d records, and no error", at, records)
				}
				if err == nil && at > 4*n {
					return
				}
				if at > 100 {
					t.Fatal("it never ends well")
				}
			}
		})
	}
}

func countRecords(ctx context.Context, c *zeoclient.Client) (int, error) {
	n := 0
	for txn, err := range c.Iterate(ctx, 0, 0) {
		if err != nil {
			return n, err
		}
		for _, err := range txn.Records() {
			if err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
