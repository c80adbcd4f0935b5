package zeo

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// limited is a server with limits, its log and its refusals.
func limited(t *testing.T, l Limits, more ...func(*Options)) (*testServer, *refusals, *logBuffer) {
	t.Helper()
	refused, log := &refusals{}, &logBuffer{}
	o := Options{Limits: l, Observer: refused, Logger: log.logger()}
	for _, f := range more {
		f(&o)
	}
	o.Storages = []StorageOptions{{Name: "1", Storage: openStorage(t, memoryHome(t), engine.Options{})}}
	return serve(t, o), refused, log
}

// pipe is a connection to the server that keeps nothing on the way: unread bytes wait in the
// server.
func (ts *testServer) pipe(e wire.Encoding) *rawClient {
	ts.t.Helper()
	mine, its := net.Pipe()
	ts.t.Cleanup(func() { mine.Close() })
	return ts.over(mine, its, e)
}

// over is a registered client by a connection that the server has not accepted; these are its two ends.
func (ts *testServer) over(mine, its net.Conn, e wire.Encoding) *rawClient {
	ts.t.Helper()
	ts.welcome(its)
	c := &rawClient{t: ts.t, conn: mine, in: wire.NewReader(mine, 1<<30), enc: e}
	c.next()
	c.send([]byte{byte(e), '5'})
	c.call("register", "1", false)
	return c
}

func TestMessageLimitClosesTheConnection(t *testing.T) {
	t.Parallel()
	ts, refused, _ := limited(t, Limits{Message: 10_000})
	c := ts.client(wire.Pickle)
	c.begin(mine)
	c.oneWay("storea", zodb.OID(1), zodb.TID(0), make([]byte, 9_000), mine)
	c.call("ping")
	c.oneWay("storea", zodb.OID(1), zodb.TID(0), make([]byte, 10_000), mine)
	c.closed()
	eventually(t, "the refusal is counted", func() bool { return refused.of("message") == 1 })
	ts.servesOthers()
}

func TestLengthThatIsOnlyClaimedCostsNoMemory(t *testing.T) {
	t.Parallel()
	ts, _, _ := limited(t, Limits{})
	for range 20 {
		c := ts.connect()
		if _, err := c.conn.Write([]byte{0x3f, 0xff, 0xff, 0xff, 'Z', '5'}); err != nil {
			t.Fatal(err)
		}
	}
	ts.servesOthers()
}

func TestConnectionLimitRefusesTheNextOne(t *testing.T) {
	t.Parallel()
	ts, refused, _ := limited(t, Limits{Connections: 3})
	a, b, c := ts.client(wire.Pickle), ts.client(wire.Msgpack), ts.client(wire.Pickle)
	d := ts.connect()
	closedSoon(t, d.conn)
	eventually(t, "the refusal is counted", func() bool { return refused.of("connections") == 1 })
	a.call("ping")
	b.call("ping")
	c.conn.Close()
	eventually(t, "the place is free", func() bool { return ts.Connections() == 2 })
	ts.servesOthers()
}

func TestTransactionLimitIsToldAtTheVote(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, refused, _ := limited(t, Limits{Transaction: 10_000})
		c := ts.client(e)
		c.begin(mine)
		for i := range 11 {
			c.oneWay("storea", zodb.OID(i+1), zodb.TID(0), make([]byte, 1000), mine)
		}
		c.fails(classStorage, "vote", mine)
		if n := refused.of("transaction"); n != 1 {
			t.Errorf("refused %d times", n)
		}
		c.call("tpc_abort", mine)
		c.commit(1, 0, "small")
		ts.servesOthers()
	})
}

// staged returns the files of blobs that no transaction has brought to their place.
func staged(t *testing.T, s *engine.Storage) []string {
	t.Helper()
	if err := s.Flush(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(filepath.Join(s.Home(), "journal", "*blob*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestBlobLimitIsToldAtTheVoteAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, refused, _ := limited(t, Limits{Blob: 100_000})
		c := ts.client(e)
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("b"), mine)
		c.oneWay("storeBlobStart")
		for range 5 {
			c.oneWay("storeBlobChunk", make([]byte, blobPiece))
		}
		c.oneWay("storeBlobEnd", zodb.OID(1), zodb.TID(0), record("b"), mine)
		c.fails(classStorage, "vote", mine)
		if n := refused.of("blob"); n != 1 {
			t.Errorf("refused %d times", n)
		}
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
		c.call("tpc_abort", mine)
		c.commit(1, 0, "small")
		ts.servesOthers()
	})
}

func TestWhoDoesNotRegisterInTimeIsClosed(t *testing.T) {
	t.Parallel()
	ts, refused, _ := limited(t, Limits{Hello: 2 * time.Second})
	quick := ts.client(wire.Msgpack)
	silent := ts.connect()
	half := ts.dial(wire.Pickle)
	loris := ts.connect()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // one byte at a time, of a message that would be right
		for _, b := range frameOf(bytes.Repeat([]byte{'Z'}, 1000)) {
			if _, err := loris.conn.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	for _, c := range []*rawClient{silent, half, loris} {
		closedSoon(t, c.conn)
	}
	eventually(t, "the refusals are counted", func() bool { return refused.of("hello") == 3 })
	quick.call("ping")
}

// TestClientThatDoesNotReadIsClosed fills the queue of a client with announcements. Others are
// told, and the queue is bounded.
func TestClientThatDoesNotReadIsClosed(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		const limit = 20_000
		ts, _, _ := limited(t, Limits{Queue: limit})
		ts.pipe(e) // reads nothing from here on
		var slow *conn
		ts.mu.Lock()
		for c := range ts.conns {
			slow = c
		}
		ts.mu.Unlock()
		other := ts.dialCache(e)
		c := ts.dialCache(e)
		ts.mu.Lock()
		for c := range ts.conns {
			if c != slow { // they read, but not always in time where others need the processor
				c.out.mu.Lock()
				c.out.limit = 1 << 30
				c.out.mu.Unlock()
			}
		}
		ts.mu.Unlock()
		gone := func() bool {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			_, there := ts.conns[slow]
			return !there
		}
		var last zodb.TID
		for i := 0; !gone(); i++ {
			if i > 1000 {
				t.Fatal("it stays connected")
			}
			txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for oid := range zodb.OID(100) {
				if err := txn.Store(oid+1, last, record("x")); err != nil {
					t.Fatal(err)
				}
			}
			if last, err = txn.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			slow.out.mu.Lock()
			pending := slow.out.pending
			slow.out.mu.Unlock()
			if pending > limit+5_000 {
				t.Fatalf("%d bytes wait; the limit is %d", pending, limit)
			}
		}
		if err := other.Ping(t.Context()); err != nil || other.LastTID() != last {
			t.Errorf("the other one was told up to %s, not %s, %v", other.LastTID(), last, err)
		}
	})
}

// TestManyLoadsAtOnceAreNoReasonToClose asks for more than the limit of the queue
// at once, and reads the answers as they come.
func TestManyLoadsAtOnceAreNoReasonToClose(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, _, _ := limited(t, Limits{Queue: 4 << 20})
		c := ts.client(e)
		data := strings.Repeat("x", 60_000)
		tid := c.commit(1, 0, data)
		const n = 1000
		var burst []byte
		for i := range n {
			b, err := wire.AppendRequest(nil, e, int64(i+100), false, "loadBefore", zodb.OID(1), tid+1)
			if err != nil {
				t.Fatal(err)
			}
			burst = append(burst, frameOf(b)...)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := c.conn.Write(burst)
			sent <- err
		}()
		for range n {
			if m := c.message(); len(elements(m.Args)) != 3 {
				t.Fatalf("answered %v", m)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

// TestManyLargeLoadsAtOnceAreNoReasonToClose asks for more old records, which are not in
// memory, than the queue may hold, and reads them late.
func TestManyLargeLoadsAtOnceAreNoReasonToClose(t *testing.T) {
	t.Parallel()
	const limit, size, n = 3 << 20, largeBytes, 20
	for _, method := range []string{"loadBefore", "loadSerial"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			ts, _, _ := limited(t, Limits{Queue: limit})
			first := ts.client(wire.Msgpack)
			old := first.commit(1, 0, strings.Repeat("x", size))
			tid := first.commit(1, old, "y")
			asked, record := old, func(m wire.Message) any { return m.Args }
			if method == "loadBefore" {
				asked, record = tid, func(m wire.Message) any { return elements(m.Args)[0] }
			}
			c := ts.client(wire.Msgpack)
			for range n {
				c.request(method, zodb.OID(1), asked)
			}
			ts.mu.Lock()
			for c := range ts.conns {
				c.out.mu.Lock()
				if c.out.pending > limit {
					t.Errorf("%d bytes wait; the limit is %d", c.out.pending, limit)
				}
				c.out.mu.Unlock()
			}
			ts.mu.Unlock()
			time.Sleep(50 * time.Millisecond) // nobody waits for it: it gives the loads time to be too many
			for range n {
				if data, ok := record(c.message()).([]byte); !ok || len(data) < size {
					t.Fatalf("answered with %d bytes, %t", len(data), ok)
				}
			}
		})
	}
}

// TestWhoReadsNoAnswersCostsBoundedMemory asks for a lot and reads nothing.
func TestWhoReadsNoAnswersCostsBoundedMemory(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		const limit = 4 << 20
		ts, _, _ := limited(t, Limits{Queue: limit})
		tid := ts.client(e).commit(1, 0, strings.Repeat("x", 60_000))
		c := ts.pipe(e)
		b, err := wire.AppendRequest(nil, e, int64(7), false, "loadBefore", zodb.OID(1), tid+1)
		if err != nil {
			t.Fatal(err)
		}
		burst := bytes.Repeat(frameOf(b), 5000)
		_ = c.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		_, _ = c.conn.Write(burst) // the server stops reading, or closes
		ts.mu.Lock()
		defer ts.mu.Unlock()
		for c := range ts.conns {
			c.out.mu.Lock()
			if c.out.pending > limit+100_000 {
				t.Errorf("%d bytes wait; the limit is %d", c.out.pending, limit)
			}
			c.out.mu.Unlock()
		}
	})
}

func TestTransactionTimeoutFreesTheLocks(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, refused, log := limited(t, Limits{}, func(o *Options) { o.TransactionTimeout = 2 * time.Second })
		begun := ts.client(e)
		begun.begin(mine)
		begun.oneWay("storea", zodb.OID(2), zodb.TID(0), record("begun"), mine)
		c := ts.client(e)
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("held"), mine)
		c.call("vote", mine)
		waiting := ts.client(e)
		tid := waiting.commit(1, 0, "next") // waits for the lock
		if tid == 0 {
			t.Error("not committed")
		}
		c.closed()
		if !log.has("Transaction timeout after 2 seconds") {
			t.Error("the line is not in the log")
		}
		eventually(t, "the refusal is counted", func() bool { return refused.of("timeout") == 1 })
		// Who has not voted yet has time.
		begun.want(wire.List{}, begun.call("vote", mine))
		begun.call("tpc_finish", mine)
		waiting.call("ping")
		eventually(t, "it is gone", func() bool { return ts.Connections() == 2 })
	})
}

// TestStalledCopyHoldsUpOthersForLittleTime: from the vote of a transaction that has its tid the
// finish of every other one waits, also where transactions have no limit.
func TestStalledCopyHoldsUpOthersForLittleTime(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, refused, log := limited(t, Limits{}, func(o *Options) { o.TransactionTimeout, o.copyTimeout = -1, 2*time.Second })
		ordinary := ts.client(e)
		ordinary.begin(mine)
		ordinary.oneWay("storea", zodb.OID(2), zodb.TID(0), record("has all the time"), mine)
		ordinary.call("vote", mine)
		copying := ts.client(e)
		const tid = zodb.TID(1000)
		copying.oneWay("tpc_begin", mine, []byte{}, []byte{}, wire.Dict{}, tid, " ")
		copying.oneWay("restorea", zodb.OID(1), tid, record("copy"), nil, mine)
		begun := time.Now()
		copying.call("vote", mine)
		if got := ts.client(e).commit(3, 0, "other"); got == 0 {
			t.Error("not committed")
		}
		if waited := time.Since(begun); waited < 2*time.Second {
			t.Errorf("the other one waited %v only: the copy had no time", waited)
		}
		copying.closed()
		if !log.has("Transaction timeout after 2 seconds") {
			t.Error("the line is not in the log")
		}
		eventually(t, "the refusal is counted", func() bool { return refused.of("timeout") == 1 })
		ordinary.call("tpc_finish", mine)
	})
}

// TestStalledClientsDelayNobody has one client in the middle of an upload, one that
// does not read its undo logs and one that does not read a blob, while another one works.
func TestStalledClientsDelayNobody(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, _, _ := limited(t, Limits{})
		first := ts.dialCache(e)
		txn, err := first.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := txn.StoreBlob(1, 0, record("b"), bytes.NewReader(make([]byte, 3<<20))); err != nil {
			t.Fatal(err)
		}
		tid, err := txn.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			txn, err := first.Begin(zodb.TxnMeta{Description: make([]byte, 10_000)}, zeoclient.BeginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := txn.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		uploading := ts.client(e)
		uploading.begin(mine)
		uploading.oneWay("storea", zodb.OID(1000), zodb.TID(0), record("x"), mine)
		uploading.oneWay("storeBlobStart")
		for range 20 {
			uploading.oneWay("storeBlobChunk", make([]byte, blobPiece))
		}
		logs := ts.pipe(e)
		logs.request("undoLog", int64(0), int64(-100))
		download := ts.pipe(e)
		download.request("sendBlob", zodb.OID(1), tid)
		ts.servesOthers()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := first.SendBlob(ctx, 1, tid, &bytes.Buffer{}); err != nil {
			t.Error(err)
		}
		uploading.oneWay("storeBlobEnd", zodb.OID(1000), zodb.TID(0), record("x"), mine)
		uploading.call("vote", mine)
		uploading.call("tpc_finish", mine)
	})
}

// TestConnectionsFitIntoTheMemory: a setting that asks for more is bounded, and the log says so.
func TestConnectionsFitIntoTheMemory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		memory                 int64
		asked                  int
		connections, strangers int
	}{
		{112 << 20, 10_000, 1_194, 298},
		{112 << 20, 0, 1_000, 298},
		{16 << 30, 10_000, 10_000, 10_000},
		{1 << 20, 10_000, 16, 100},
	} {
		l := Limits{Memory: tt.memory, Connections: tt.asked}.withDefaults()
		if l.Connections != tt.connections || l.Unregistered != tt.strangers {
			t.Errorf("%d connections in %d MiB: %d, and %d that have not registered", tt.asked, tt.memory>>20, l.Connections, l.Unregistered)
		}
	}
	_, _, log := limited(t, Limits{Memory: 112 << 20, Connections: 10_000})
	if !log.has("fewer connections than were asked for") || !log.has("limit=1194") {
		t.Error("the log does not say that there may be fewer")
	}
}

// TestBoundsOfConnectionsAreDocumented, with the numbers of the code.
func TestBoundsOfConnectionsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/zeo.md")
	if err != nil {
		t.Fatal(err)
	}
	most, few := Limits{}.withDefaults(), Limits{Memory: 1}.withDefaults()
	for want, n := range map[string][2]int{
		"| `max-connections` that have registered | %d; at most one for each 96 KiB of `memory-limit` (but %d), and half of the open files": {most.Connections, few.Connections},
		"| as many more that have not, 100 at least | %d; at most one for each 384 KiB (but %d), and a quarter of the open files":           {most.Unregistered, few.Unregistered},
	} {
		if line := fmt.Sprintf(want, n[0], n[1]); !strings.Contains(string(text), line) {
			t.Errorf("docs/zeo.md has no line %q", line)
		}
	}
	files := Limits{Files: 40}.withDefaults()
	if files.Connections != 20 || files.Unregistered != 10 {
		t.Errorf("with 40 files there are %d connections, and %d that have not registered", files.Connections, files.Unregistered)
	}
}
