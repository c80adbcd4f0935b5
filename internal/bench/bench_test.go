package bench

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// server serves a new storage until the end of the test.
func server(t testing.TB) (zeoclient.Options, *engine.Storage) {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{Set: map[string]string{"filesystem.sync": "0"}}); err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := zeo.New(t.Context(), zeo.Options{Storages: []zeo.StorageOptions{{Name: "1", Storage: s}}, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, zeo.ErrClosed) {
			t.Error(err)
		}
		s.Close()
	})
	return zeoclient.Options{Address: l.Addr().String()}, s
}

// patientClock goes on by a millisecond each time it is looked at, so that a window holds as
// many operations on a machine that has no time. In the middle of a measurement of loads
// beside commits it goes on by a microsecond until each connection has committed once in the
// window: a disk may take longer for one commit than the loads have looks.
type patientClock struct {
	begin   time.Time
	storage *engine.Storage
	ticks   atomic.Int64 // microseconds
	mixed   atomic.Bool
	middle  atomic.Int64 // ticks
	enough  atomic.Int64 // transactions
}

// Microseconds of a measurement: it warms up for 500,000.
const (
	withinTheWindow = 700_000
	middleOfWindow  = 900_000
)

func (c *patientClock) begun(name string) {
	c.middle.Store(c.ticks.Load() + middleOfWindow)
	c.enough.Store(math.MaxInt64)
	c.mixed.Store(strings.HasPrefix(name, "mixed"))
}

func (c *patientClock) now() time.Time {
	ticks, middle := c.ticks.Load(), c.middle.Load()
	if c.mixed.Load() && ticks >= middle-(middleOfWindow-withinTheWindow) {
		done := c.storage.Counts().Transactions
		// One of each connection may have begun before the window.
		c.enough.CompareAndSwap(math.MaxInt64, done+2*mixedConnections+1)
		if ticks >= middle && done < c.enough.Load() {
			return c.begin.Add(time.Duration(c.ticks.Add(1)) * time.Microsecond)
		}
	}
	return c.begin.Add(time.Duration(c.ticks.Add(1000)) * time.Microsecond)
}

func TestEverythingIsMeasured(t *testing.T) {
	t.Parallel()
	encodings := []wire.Encoding{wire.Msgpack, wire.Pickle}
	if testing.Short() {
		encodings = encodings[:1]
	}
	for _, e := range encodings {
		t.Run(string(rune(e)), func(t *testing.T) {
			t.Parallel()
			o, s := server(t)
			o.Encoding = e
			var begun []string
			clock := &patientClock{begin: time.Now(), storage: s}
			results, err := Run(t.Context(), Options{
				Server: o, Clock: clock.now, Objects: 700, Duration: time.Second, Sustain: 300 * time.Millisecond, BlobBytes: 3_000_001, Runs: 2,
				Only: []string{"load-1x1", "load-4x16", "commit-8", "mixed", "blob", "sustain"},
				Begun: func(name string, _ int) {
					begun = append(begun, name)
					clock.begun(name)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"load-1x1", "load-4x16", "commit-8", "mixed-loads", "mixed-commits", "blob-up", "blob-down", "sustain"}
			if !slices.Equal(begun, append(want, want...)) {
				t.Errorf("measured %q", begun)
			}
			for i, r := range results {
				commits := strings.Contains(r.Name, "commit") || r.Name == "sustain"
				if r.Name != want[i] || r.Rate <= 0 || r.Latency.Max < r.Latency.P50 || r.Latency.P50 <= 0 || r.Conflicts != 0 || len(r.Runs) != 2 || commits != (r.Stall > 0) {
					t.Errorf("result %+v", r)
				}
			}
			if n := s.Counts().Objects; n != 702 {
				t.Errorf("%d objects in the storage, want 700 and two blobs", n)
			}
		})
	}
}

func TestNothingIsLeftWaitingWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	o, _ := server(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, Options{Server: o, Clock: time.Now, Objects: 200, Duration: time.Hour, Only: []string{"load-4x16"},
		Begun: func(string, int) { time.AfterFunc(50*time.Millisecond, cancel) }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
}

func TestRecordsAreWhatTheyClaim(t *testing.T) {
	t.Parallel()
	data := newData(rand.New(rand.NewPCG(1, 1)))
	stamp(data, 5)
	module, name, err := pickle.Class(data)
	if err != nil || module != "persistent.mapping" || name != "PersistentMapping" || len(data) != dataBytes {
		t.Errorf("a record of %d bytes of %s.%s, %v", len(data), module, name, err)
	}
	if !filestorage.IsBlobRecord([]byte(blobRecord)) {
		t.Error("the record of a blob is none")
	}
}

func TestTemplateIsTheRequestThatServersKnow(t *testing.T) {
	t.Parallel()
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		tmpl, err := newTemplate(e)
		if err != nil {
			t.Fatal(err)
		}
		frame := tmpl.append(nil, 0x1234, 0x5678)
		id, oid, tid, ok := wire.LoadBefore(e, frame[4:])
		if !ok || oid != 0x1234 || tid != 0x5678 {
			t.Errorf("%c: the request is %x %x %v", e, oid, tid, ok)
		}
		data := make([]byte, dataBytes)
		if oid, ok := tmpl.loaded(wire.AppendLoaded(nil, e, id, data, 1, 0)); !ok || oid != 0x1234 {
			t.Errorf("%c: its answer is not known", e)
		}
		none, err := wire.AppendReply(nil, e, id, nil)
		if err != nil {
			t.Fatal(err)
		}
		failed, err := wire.AppendError(nil, e, id, "ZODB.POSException.POSKeyError", wire.Tuple{zodb.OID(0x1234), strings.Repeat("x", dataBytes)})
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range [][]byte{none, failed} {
			if _, ok := tmpl.loaded(frame); ok {
				t.Errorf("%c: %q is taken for a record", e, frame)
			}
		}
	}
}

func TestHistogramIsPrecise(t *testing.T) {
	t.Parallel()
	for v := uint64(0); v < 1<<41; v += 1 + v/50 {
		i := bucket(v)
		if bottom(i) > v || bottom(i+1) <= v || float64(bottom(i+1)-bottom(i)) > 1+float64(v)/64 {
			t.Fatalf("%d is in the bucket from %d to %d", v, bottom(i), bottom(i+1))
		}
	}
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("there is a median of nothing")
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	h.add(-1)
	h.add(1 << 60)
	for _, tc := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 500 * time.Microsecond}, {0.9, 901 * time.Microsecond}, {0.99, 991 * time.Microsecond}} {
		if got := h.quantile(tc.q); got < tc.want*98/100 || got > tc.want*102/100 {
			t.Errorf("quantile %g is %s, want %s", tc.q, got, tc.want)
		}
	}
	if h.latency().Max != 1<<60 {
		t.Errorf("the maximum is %s", h.latency().Max)
	}
}

func TestStallsAreFound(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	w := window{begin, begin.Add(4 * time.Second)}
	s := newStalls(w)
	for _, at := range []time.Duration{100, 200, 1500, 1600, 3100} {
		s.done(begin.Add(at * time.Millisecond))
	}
	longest, slowest := s.finish(w)
	if longest != 1500*time.Millisecond || slowest != 0 {
		t.Errorf("longest stall %s, slowest second %g", longest, slowest)
	}
}

// TestLoadCostsNoAllocation guards what makes this measure the server and not itself.
func TestLoadCostsNoAllocation(t *testing.T) {
	tmpl, err := newTemplate(wire.Pickle)
	if err != nil {
		t.Fatal(err)
	}
	answer := wire.AppendLoaded(nil, wire.Pickle, []byte("C\x08\x00\x00\x00\x00\x00\x00\x00\x01C\x08\x00\x00\x00\x00\x00\x00\x00\x02\x86"), make([]byte, dataBytes), 1, 0)
	l := &loader{c: &conn{out: make([]byte, 0, 4096)}, t: tmpl, oids: []zodb.OID{1}, rnd: rand.New(rand.NewPCG(1, 1)), flights: make([]flight, 16)}
	now := time.Unix(1000, 0)
	got := testing.AllocsPerRun(100, func() {
		l.c.out = l.c.out[:0]
		for i := range l.flights {
			l.send(&l.flights[i], now)
		}
		if f := l.landed(answer); f == nil {
			t.Error("the answer is not known")
		} else {
			l.hist.add(now.Sub(f.sent))
		}
	})
	if got != 0 {
		t.Errorf("%g allocations", got)
	}
}
