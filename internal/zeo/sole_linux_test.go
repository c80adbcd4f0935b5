package zeo

import (
	"net"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestASoleLoaderWaitsInTheKernel: until another connection asks for something, or itself for
// anything but a load from memory. Each of them is answered all the while.
func TestASoleLoaderWaitsInTheKernel(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{processors: 1})
	c := ts.client(wire.Pickle)
	tid := c.commit(1, 0, "x")
	side := ts.lone()
	load := func(c *rawClient, times int) {
		t.Helper()
		for range times {
			if v, ok := c.call("loadBefore", zodb.OID(1), tid+1).(wire.Tuple); !ok || len(v) != 3 {
				t.Fatalf("loaded %v", v)
			}
		}
	}
	inKernel := func(want bool) {
		t.Helper()
		eventually(t, "the reader has chosen", func() bool { return side.sole.waits.On() == want })
	}
	inKernel(false)
	other := ts.client(wire.Msgpack)
	for name, ends := range map[string]func(){
		"nothing":           nil,
		"a load of another": func() { load(other, 1); load(c, 1) },
		"a ping of another": func() { other.call("ping"); load(c, 1) },
		"its own ping":      func() { c.call("ping") },
		"a load that finds nothing": func() {
			c.fails(classPOSKey, "loadBefore", zodb.OID(77), tid+1)
		},
		"its own commit": func() { tid = c.commit(1, tid, "y") },
	} {
		load(c, soleTurn-1)
		inKernel(true)
		load(c, 1) // the turn of the others
		inKernel(false)
		load(c, 1)
		inKernel(true)
		time.Sleep(3 * listen.KernelTime) // it goes on in the poller
		load(c, 1)
		if ends == nil {
			side.srv.recent.Store(nil)
			load(c, 1)
			continue
		}
		inKernel(true)
		ends()
		inKernel(false)
		load(other, soleTurn) // both by turns are none
		for range 2 * soleTurn {
			load(c, 1)
			load(other, 1)
		}
		inKernel(false)
		c.call("ping")
		t.Log(name)
	}
	load(c, soleTurn-1)
	inKernel(true)
	ts.stop()
}

// TestALoaderBesideAnUploadIsNotSole, although the pieces of the blob are read in one go.
func TestALoaderBesideAnUploadIsNotSole(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{processors: 1})
	c := ts.client(wire.Pickle)
	tid := c.commit(1, 0, "x")
	loader := ts.lone()
	other := ts.client(wire.Msgpack)
	uploader := ts.all()[1]
	other.begin(mine)
	other.oneWay("storeBlobStart")
	piece := other.callFrame("storeBlobChunk", content(blobPiece))
	half := len(piece) / 2
	came := uploader.sends.bytes.Load() + int64(blobPiece)
	other.quiet(append(piece[:len(piece):len(piece)], piece[:half]...))
	for i := range 4 * soleStreak {
		eventually(t, "a piece has come", func() bool { return uploader.sends.bytes.Load() > came })
		c.call("loadBefore", zodb.OID(1), tid+1)
		if loader.sole.waits.On() {
			t.Fatalf("after %d pieces and loads by turns the loader waits in the kernel", i)
		}
		came += blobPiece
		other.quiet(append(piece[half:len(piece):len(piece)], piece[:half]...))
	}
}

// TestTheTurnOfOthersComesInBurstsToo: loads that come in pairs may pass over the count.
func TestTheTurnOfOthersComesInBurstsToo(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{1, 2, 3, 50, soleTurn} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		const bursts = 1000
		s := sole{waits: listen.NewKernelWait(nc), streak: 1}
		turns := 0
		for range bursts {
			s.streak += burst
			if s.choose(); s.streak >= soleStreak && !s.waits.On() {
				turns++
			}
		}
		if want := bursts * burst / soleTurn; turns < want || turns > want+1 {
			t.Errorf("bursts of %d loads: %d turns of the poller, want %d", burst, turns, want)
		}
	}
}

// TestWithMoreProcessorsNobodyWaitsInTheKernel: there it takes longer.
func TestWithMoreProcessorsNobodyWaitsInTheKernel(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{processors: 2})
	c := ts.client(wire.Pickle)
	tid := c.commit(1, 0, "x")
	for range 2 * soleStreak {
		c.call("loadBefore", zodb.OID(1), tid+1)
	}
	if ts.lone().sole.waits != nil {
		t.Error("it may wait in the kernel")
	}
}

// deadlines counts how often a deadline is set.
type deadlines struct {
	net.Conn
	set   int
	until time.Time
}

func (d *deadlines) Write(b []byte) (int, error) { return len(b), nil }

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set, d.until = d.set+1, t
	return nil
}

// TestADeadlineIsGoodForManyAnswers: each write has stallTime, and not much more.
func TestADeadlineIsGoodForManyAnswers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	c := &deadlines{}
	o := newOutbox(c, 1<<20, 1<<20, budget.NewPool(1<<20).Share(1000), func() time.Time { return now })
	const writes = 1000
	for range writes {
		o.putRaw([]byte("answer"))
		if err := o.flush(); err != nil {
			t.Fatal(err)
		}
		if left := c.until.Sub(now); left < stallTime || left > stallTime+stallSlack {
			t.Fatalf("after %d deadlines: the peer has %s", c.set, left)
		}
		now = now.Add(20 * time.Millisecond)
	}
	if most := int(writes*20*time.Millisecond/stallSlack) + 1; c.set > most {
		t.Errorf("%d deadlines were set for %d writes, want %d at most", c.set, writes, most)
	}
	o.close(ErrClosed)
	if !c.until.Before(now) {
		t.Error("a write goes on after the end")
	}
}
