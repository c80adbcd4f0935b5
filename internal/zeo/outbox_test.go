package zeo

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// stuck is a connection whose peer reads when the test lets it.
type stuck struct {
	sink
	read chan struct{} // closed: it reads
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.read
	return len(b), nil
}

// TestOneLargeAnswerIsNoFaultOfTheClient: the announcements during its sending, and the frames
// before it, are no reason to cut the client off, unless they are too large by themselves.
func TestOneLargeAnswerIsNoFaultOfTheClient(t *testing.T) {
	t.Parallel()
	const limit, size = 1 << 20, 8 << 20
	for name, tc := range map[string]struct {
		memory int64
		before int // bytes that wait when it comes
		behind int // later bytes, in pieces of 1,000
		wrong  bool
	}{
		"announcements behind it":                      {1 << 30, 0, 500_000, false},
		"announcements behind it, memory is short":     {4 << 20, 0, 500_000, false},
		"an answer before it":                          {1 << 30, 1000, 500_000, false},
		"an answer before it, memory is short":         {4 << 20, 1000, 500_000, false},
		"too much behind it":                           {1 << 30, 0, 2 * limit, true},
		"too much behind it, where a little is before": {1 << 30, 1000, 2 * limit, true},
	} {
		for _, sending := range []bool{false, true} {
			c := &stuck{read: make(chan struct{})}
			share := budget.NewPool(tc.memory).Share(1000)
			o := newOutbox(c, limit, 1<<20, share, time.Now)
			if tc.before > 0 {
				o.putRaw(make([]byte, tc.before))
			}
			o.putRaw(make([]byte, size))
			ended := make(chan error, 1)
			if sending {
				now := time.Now()
				go func() { ended <- o.flush() }()
				eventually(t, "it is being sent", func() bool {
					if o.slow(now) {
						t.Fatal("it is slow before it began")
					}
					o.mu.Lock()
					defer o.mu.Unlock()
					return o.writing || o.failed != nil
				})
			}
			for range tc.behind / 1000 {
				o.putRaw(make([]byte, 1000))
			}
			close(c.read)
			if !sending {
				ended <- o.flush()
			}
			if err := <-ended; errors.Is(err, errQueue) != tc.wrong {
				t.Errorf("%s (being sent: %v): %v", name, sending, err)
			}
			if err := o.flush(); err == nil && (o.pending != 0 || share.Held() != 0 || o.large != largeAnswer{}) {
				t.Errorf("%s: %d bytes are taken for pending, %d of memory for held, %v for large", name, o.pending, share.Held(), o.large)
			}
		}
	}
}

// TestLongAnnouncementsTakeTheMemoryThatTheyTake: one of 100,000 objects is shared, so that a
// client that has something else before it is not cut off where memory is short.
func TestLongAnnouncementsTakeTheMemoryThatTheyTake(t *testing.T) {
	t.Parallel()
	pool := budget.NewPool(4 << 20)
	pool.Share(0).Add(4 << 20) // of somebody who is sent a lot
	o := newOutbox(&sink{}, 256<<20, 1<<20, pool.Share(2<<10), time.Now)
	for range 4 {
		o.putRaw(make([]byte, 1000))
		o.putShared(make([]byte, 1_200_000))
	}
	if o.failed != nil {
		t.Error(o.failed)
	}
}

// TestLargeRecordsThatNobodyReadsAreBounded: many connections ask for one each, and read
// nothing. Somebody who reads gets it all the same, since they go.
func TestLargeRecordsThatNobodyReadsAreBounded(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("clients have sixteen seconds to read")
	}
	const size, memory = 2 * largeBytes, 64 << 20
	ts, refused, _ := limited(t, Limits{Memory: memory})
	c := ts.client(wire.Pickle)
	tid := c.storeLarge(1, size)
	const hostile = 24
	for i := range hostile {
		p := ts.pipe(wire.Pickle)
		if i%2 == 0 {
			p.request("loadSerial", zodb.OID(1), tid)
		} else {
			p.request("loadBefore", zodb.OID(1), tid+1)
		}
	}
	// The pool may be overdrawn by frames made at once, and those have a pool of their own.
	most := int64(0)
	eventually(t, "those go that read nothing", func() bool {
		most = max(most, ts.unread())
		return refused.of("queue") > 0
	})
	if most > memory/8+memory/8+size {
		t.Errorf("%d bytes wait to be read", most)
	}
	if got := c.call("loadSerial", zodb.OID(1), tid); len(got.([]byte)) < size {
		t.Errorf("%d bytes", len(got.([]byte)))
	}
}

// unread returns the bytes that wait to be read by all clients.
func (ts *testServer) unread() (n int64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for c := range ts.conns {
		n += c.has.queues.Held()
	}
	return n
}

// TestConnectionsThatDoNotGoOnKeepNobodyFromBlobs: some read nothing of blobs, some begin one
// and send nothing, so that no file is left; both go when somebody waits who has none.
func TestConnectionsThatDoNotGoOnKeepNobodyFromBlobs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("those who do not go on have some seconds")
	}
	ts, _, _ := limited(t, Limits{Memory: 32 << 20})
	c := ts.client(wire.Pickle)
	upload := func(oid zodb.OID) any {
		c.begin(mine)
		c.oneWay("storeBlobStart")
		for range 50 {
			c.oneWay("storeBlobChunk", make([]byte, blobPiece))
		}
		c.oneWay("storeBlobEnd", oid, zodb.TID(0), record("blob"), mine)
		if _, err := c.try("vote", mine); err != nil {
			return err // it waits for a file for a while, not for ever
		}
		return c.call("tpc_finish", mine)
	}
	tid := upload(7).([]byte)
	for i := 0; ts.budgets.files.Free() > 0; i++ {
		p := ts.pipe(wire.Pickle)
		held := ts.budgets.files.Free()
		if i%2 == 0 {
			// At once: whose answers are being written, and who reads none, is not read any more.
			p.quiet(append(p.frame(false, "sendBlob", zodb.OID(7), tid), p.frame(false, "sendBlob", zodb.OID(7), tid)...))
		} else {
			p.begin(mine)
			p.oneWay("storeBlobStart")
		}
		eventually(t, "it has a file", func() bool { return ts.budgets.files.Free() < held })
	}
	eventually(t, "somebody else stores a blob", func() bool {
		_, stored := upload(8).([]byte)
		return stored
	})
	if _, err := c.try("sendBlob", zodb.OID(7), tid); err != nil {
		t.Error(err)
	}
}
