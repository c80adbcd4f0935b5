package zeo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// sink is a connection that takes everything.
type sink struct {
	net.Conn
	mu sync.Mutex
	w  io.Writer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (s *sink) Close() error                     { return nil }

// audience is a hub with connections that nobody reads from.
func audience(tb testing.TB, n int, w func(i int) io.Writer) (*hub, []*conn) {
	tb.Helper()
	s, err := New(tb.Context(), Options{Clock: time.Now, Storages: []StorageOptions{{Name: "1", Storage: newStorage(tb, memoryHome(tb))}}})
	if err != nil {
		tb.Fatal(err)
	}
	h := s.order[0]
	var all []*conn
	for i := range n {
		c := newConn(s, &sink{w: w(i)})
		c.encoding = []wire.Encoding{wire.Pickle, wire.Msgpack}[i%2]
		h.join(c, func(zodb.TID) {})
		all = append(all, c)
	}
	return h, all
}

func oidsUpTo(n int) []zodb.OID {
	list := make([]zodb.OID, n)
	for i := range list {
		list[i] = zodb.OID(i) << 20
	}
	return list
}

// BenchmarkAnnounce tells 1,000 connections of a transaction. “locked” is the part under the
// lock, in which nobody can load or commit.
func BenchmarkAnnounce(b *testing.B) {
	for _, objects := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(objects), func(b *testing.B) {
			h, all := audience(b, 1000, func(int) io.Writer { return io.Discard })
			oids := oidsUpTo(objects)
			tid := zodb.TID(h.announced.Load())
			var locked time.Duration
			b.ReportAllocs()
			for b.Loop() {
				tid++
				begun := time.Now()
				h.announce(announcement{tid: tid, oids: oids, sorted: sortedOIDs(oids)})
				locked += time.Since(begun)
				for _, c := range all {
					if err := c.out.flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(locked.Microseconds())/float64(b.N), "locked-µs/op")
		})
	}
}

// TestSharedFramesKeepTheirPlace mixes frames that are shared with others, and flushes
// between.
func TestSharedFramesKeepTheirPlace(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	var sent, want bytes.Buffer
	share := budget.NewPool(1 << 30).Share(0)
	o := newOutbox(&sink{w: &sent}, 1<<30, 1<<20, share, time.Now)
	for range 500 {
		payload := bytes.Repeat([]byte{byte(rnd.IntN(256))}, []int{0, 1, 100, shareBytes - 5, shareBytes, 3 * shareBytes}[rnd.IntN(6)])
		frame, err := wire.AppendFrame(nil, func(b []byte) ([]byte, error) { return append(b, payload...), nil })
		if err != nil {
			t.Fatal(err)
		}
		want.Write(frame)
		if rnd.IntN(2) == 0 {
			o.putShared(frame)
		} else {
			o.putRaw(payload)
		}
		if rnd.IntN(20) == 0 {
			if err := o.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := o.flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent.Bytes(), want.Bytes()) {
		t.Error("what was sent is not what was put in")
	}
	if o.pending != 0 || len(o.shared) != 0 || share.Held() != 0 {
		t.Errorf("%d bytes and %d frames are taken for waiting, %d bytes of memory for held", o.pending, len(o.shared), share.Held())
	}
}

// TestSharedFramesCount: a client that does not read them is cut off, too.
func TestSharedFramesCount(t *testing.T) {
	t.Parallel()
	share := budget.NewPool(1 << 30).Share(0)
	o := newOutbox(&sink{w: io.Discard}, 10*shareBytes, 1<<20, share, time.Now)
	frame := make([]byte, 4*shareBytes)
	for range 3 { // one of them may be as long as it likes
		o.putShared(frame)
	}
	if o.failed != nil {
		t.Fatal(o.failed)
	}
	o.putShared(frame)
	if !errors.Is(o.flush(), errQueue) || o.shared != nil || share.Held() != 0 {
		t.Errorf("failed: %v; %d frames are kept, %d bytes of memory are held", o.failed, len(o.shared), share.Held())
	}
}

// TestAnnouncementIsNotCopiedForEachConnection counts the memory. It is not parallel,
// so that nobody else takes any.
func TestAnnouncementIsNotCopiedForEachConnection(t *testing.T) {
	h, all := audience(t, 200, func(int) io.Writer { return io.Discard })
	a := announcement{tid: zodb.TID(h.announced.Load()) + 1, oids: oidsUpTo(50_000)}
	size := len(a.frame(wire.Pickle))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h.announce(a)
	runtime.ReadMemStats(&after)
	if got := int(after.TotalAlloc - before.TotalAlloc); got > 40*size {
		t.Errorf("%d bytes of memory to announce %d to %d connections", got, size, len(all))
	}
	for _, c := range all {
		if c.out.pending < int64(size)*9/10 {
			t.Fatalf("%d bytes wait on a connection, want %d", c.out.pending, size)
		}
	}
}

// TestReaderWaitsForAnAnnouncementWithoutSpinning: if it did, the test would not end.
func TestReaderWaitsForAnAnnouncementWithoutSpinning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		h.announced.Store(4)
		var wait sync.WaitGroup
		var mu sync.Mutex
		came := 0
		for _, tid := range []zodb.TID{3, 4, 5, 5, 6} {
			wait.Go(func() {
				h.awaitAnnounced(t.Context(), tid)
				mu.Lock()
				defer mu.Unlock()
				came++
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait.Go(func() { h.awaitAnnounced(ctx, 100) })
		for tid, want := range []int{4: 2, 5: 4, 6: 5} {
			if want == 0 {
				continue
			}
			h.announced.Store(uint64(tid))
			h.readers.wake()
			synctest.Wait()
			if came != want {
				t.Errorf("at tid %d, %d go on, want %d", tid, came, want)
			}
		}
		cancel()
		wait.Wait()
	})
}
