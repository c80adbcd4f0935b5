package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// dataBytes is the length of each record.
const dataBytes = 800

// Options of [Run]. The zero value of each field but Server and Clock gives the default.
type Options struct {
	Server    zeoclient.Options
	Clock     func() time.Time
	Objects   int           // size of the data set; default 10,000
	Duration  time.Duration // of one measurement; default 5 s
	Sustain   time.Duration // of the sustained commits; 0 = they are left out
	BlobBytes int64         // size of a blob; default 100 MB
	Runs      int           // how often everything is measured; default 1
	// Only selects measurements by their names, or how these begin; default all.
	Only []string
	// Begun, if not nil, is called with the name of the next measurement.
	Begun func(name string, run int)
}

func (o Options) withDefaults() Options {
	if o.Objects <= 0 {
		o.Objects = 10_000
	}
	if o.Duration <= 0 {
		o.Duration = 5 * time.Second
	}
	if o.BlobBytes <= 0 {
		o.BlobBytes = 100_000_000
	}
	o.Runs = max(o.Runs, 1)
	o.Server.Label = "dirstorage bench"
	return o
}

// window is the time in which operations count.
type window struct{ begin, end time.Time }

func (w window) contains(t time.Time) bool { return !t.Before(w.begin) && t.Before(w.end) }

// warmUp is the time before a window, in which caches and buffers get their sizes.
const warmUp = 500 * time.Millisecond

// measurement is one line of the result.
type measurement struct {
	name string
	do   func(ctx context.Context, b *bench) (Result, error)
}

// measurements are all that there are, in the order in which they are made.
func measurements(o Options) []measurement {
	var all []measurement
	for _, conns := range []int{1, 4, 16} {
		for _, depth := range []int{1, 16} {
			all = append(all, measurement{fmt.Sprintf("load-%dx%d", conns, depth), func(ctx context.Context, b *bench) (Result, error) {
				return b.loads(ctx, conns, depth)
			}})
		}
	}
	for _, conns := range []int{1, 8, 32} {
		all = append(all, measurement{fmt.Sprintf("commit-%d", conns), func(ctx context.Context, b *bench) (Result, error) {
			return b.commits(ctx, conns, b.o.Duration)
		}})
	}
	all = append(all,
		measurement{"mixed-loads", func(ctx context.Context, b *bench) (Result, error) { return b.mixed(ctx, true) }},
		measurement{"mixed-commits", func(ctx context.Context, b *bench) (Result, error) { return b.mixed(ctx, false) }},
		measurement{"blob-up", func(ctx context.Context, b *bench) (Result, error) { return b.blobUp(ctx) }},
		measurement{"blob-down", func(ctx context.Context, b *bench) (Result, error) { return b.blobDown(ctx) }},
	)
	if o.Sustain > 0 {
		all = append(all, measurement{"sustain", func(ctx context.Context, b *bench) (Result, error) {
			return b.commits(ctx, sustainConnections, b.o.Sustain)
		}})
	}
	return all
}

const (
	sustainConnections = 8
	mixedConnections   = 4 // of each kind
)

// Names returns the names of all measurements.
func Names() []string {
	var names []string
	for _, m := range measurements(Options{Sustain: 1}) {
		names = append(names, m.name)
	}
	return names
}

// selected reports whether a measurement is wanted.
func (o *Options) selected(name string) bool {
	if len(o.Only) == 0 {
		return true
	}
	for _, s := range o.Only {
		// load-1x1 is one of them, and not the beginning of load-1x16.
		if name == s || strings.HasPrefix(name, s) && !slices.Contains(Names(), s) {
			return true
		}
	}
	return false
}

// bench is the state that the measurements share.
type bench struct {
	o       Options
	objects []object
	oids    []zodb.OID
	blob    blobID
	mixedOf [2]Result // loads and commits of the last mixed measurement, which is made once for both
	mixedOK bool
}

// Run makes the data set and measures. The results are medians over the runs.
func Run(ctx context.Context, o Options) ([]Result, error) {
	b := &bench{o: o.withDefaults()}
	if err := b.prepare(ctx); err != nil {
		return nil, fmt.Errorf("make the objects: %w", err)
	}
	var chosen []measurement
	for _, m := range measurements(b.o) {
		if b.o.selected(m.name) {
			chosen = append(chosen, m)
		}
	}
	runs := make([][]Result, len(chosen))
	for run := range b.o.Runs {
		for i, m := range chosen {
			if b.o.Begun != nil {
				b.o.Begun(m.name, run)
			}
			r, err := m.do(ctx, b)
			if err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			r.Name = m.name
			runs[i] = append(runs[i], r)
		}
	}
	results := make([]Result, len(runs))
	for i, r := range runs {
		results[i] = medians(r)
	}
	return results, nil
}

// emptyDict is the extension of a transaction.
var emptyDict = wire.Dict{}

// newData makes a record of dataBytes: a class, and a dictionary with random bytes.
func newData(rnd *rand.Rand) []byte {
	b := []byte("\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\x00\x00\x00dataB")
	n := dataBytes - len(b) - 4 - 2
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	for range n {
		b = append(b, byte(rnd.Uint32()))
	}
	return append(b, "s."...)
}

// stamp makes a record different from the one before.
func stamp(data []byte, v uint64) { binary.BigEndian.PutUint64(data[len(data)-16:], v) }

// prepareObjects is how many objects are stored in one transaction at first.
const prepareObjects = 500

// prepare stores the data set.
func (b *bench) prepare(ctx context.Context) error {
	c, err := zeoclient.Dial(ctx, b.o.Server)
	if err != nil {
		return err
	}
	defer c.Close()
	if b.oids, err = c.NewOIDs(ctx, b.o.Objects); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	data := newData(rnd)
	for i := 0; i < len(b.oids); i += prepareObjects {
		some := b.oids[i:min(i+prepareObjects, len(b.oids))]
		txn, err := c.Begin(zodb.TxnMeta{Description: []byte("bench: new objects")}, zeoclient.BeginOptions{})
		if err != nil {
			return err
		}
		for _, oid := range some {
			stamp(data, rnd.Uint64())
			if err := txn.Store(oid, 0, data); err != nil {
				return err
			}
		}
		tid, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		for _, oid := range some {
			b.objects = append(b.objects, object{oid, tid})
		}
	}
	return nil
}

// dialAll makes n connections.
func (b *bench) dialAll(ctx context.Context, n int) (conns []*conn, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range conns {
			c.close()
		}
	}
	for range n {
		c, err := dial(ctx, b.o.Server)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		conns = append(conns, c)
	}
	if n == 1 { // the cost of waiting is the generator's, and with a fast server it is most of it
		conns[0].alone()
	}
	return conns, closeAll, nil
}

// window returns the one that comes next.
func (b *bench) window(d time.Duration) window {
	begin := b.o.Clock().Add(warmUp)
	return window{begin, begin.Add(d)}
}

// worker is a goroutine of a measurement.
type worker interface{ run(w window) error }

// work runs workers until the end of the window, or until one fails.
func work[W worker](w window, workers []W, closeAll func()) error {
	var g errgroup.Group
	for _, x := range workers {
		g.Go(func() error {
			err := x.run(w)
			if err != nil {
				closeAll() // so that no other waits for an answer
			}
			return err
		})
	}
	return g.Wait()
}

func (b *bench) loads(ctx context.Context, conns, depth int) (Result, error) {
	all, closeAll, err := b.dialAll(ctx, conns)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	loaders, err := b.loaders(all, depth)
	if err != nil {
		return Result{}, err
	}
	w := b.window(b.o.Duration)
	if err := work(w, loaders, closeAll); err != nil {
		return Result{}, err
	}
	return loadResult(loaders, depth, b.o.Duration), nil
}

func (b *bench) loaders(conns []*conn, depth int) ([]*loader, error) {
	loaders := make([]*loader, len(conns))
	for i, c := range conns {
		var err error
		if loaders[i], err = newLoader(c, b.oids, depth, uint64(i), b.o.Clock); err != nil {
			return nil, err
		}
	}
	return loaders, nil
}

func loadResult(loaders []*loader, depth int, d time.Duration) Result {
	var h histogram
	for _, l := range loaders {
		h.merge(&l.hist)
	}
	r := rates(&h, d, dataBytes)
	r.Connections, r.Pipeline = len(loaders), depth
	return r
}

// rates makes a result of the counts of a window; each operation moves some bytes.
func rates(h *histogram, d time.Duration, bytes float64) Result {
	seconds := d.Seconds()
	rate := float64(h.n) / seconds
	return Result{Operations: h.n, Seconds: seconds, Rate: rate, Bytes: rate * bytes, Latency: h.latency()}
}

func (b *bench) commits(ctx context.Context, conns int, d time.Duration) (Result, error) {
	all, closeAll, err := b.dialAll(ctx, conns)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	w := b.window(d)
	committers := b.committers(all, w)
	if err := work(w, committers, closeAll); err != nil {
		return Result{}, err
	}
	return commitResult(committers, w), nil
}

// committers gives each connection its share of the objects.
func (b *bench) committers(conns []*conn, w window) []*committer {
	s := newStalls(w)
	committers := make([]*committer, len(conns))
	for i, c := range conns {
		rnd := rand.New(rand.NewPCG(uint64(i), 3))
		from, to := i*len(b.objects)/len(conns), (i+1)*len(b.objects)/len(conns)
		committers[i] = &committer{c: c, objects: b.objects[from:to], rnd: rnd, clock: b.o.Clock, data: newData(rnd), stalls: s}
	}
	return committers
}

func commitResult(committers []*committer, w window) Result {
	var h histogram
	var conflicts int64
	for _, m := range committers {
		h.merge(&m.hist)
		conflicts += m.conflicts
	}
	r := rates(&h, w.end.Sub(w.begin), commitObjects*dataBytes)
	longest, slowest := committers[0].stalls.finish(w)
	r.Connections, r.Conflicts, r.Stall, r.Slowest = len(committers), conflicts, longest.Seconds(), slowest
	return r
}

// mixed commits over some connections and loads over as many others, at the
// same time. It is measured once for both of its lines.
func (b *bench) mixed(ctx context.Context, loads bool) (Result, error) {
	if !loads && b.mixedOK {
		b.mixedOK = false
		return b.mixedOf[1], nil
	}
	all, closeAll, err := b.dialAll(ctx, 2*mixedConnections)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	loaders, err := b.loaders(all[:mixedConnections], 1)
	if err != nil {
		return Result{}, err
	}
	w := b.window(b.o.Duration)
	committers := b.committers(all[mixedConnections:], w)
	var workers []worker
	for i := range mixedConnections {
		workers = append(workers, loaders[i], committers[i])
	}
	if err := work(w, workers, closeAll); err != nil {
		return Result{}, err
	}
	b.mixedOf = [2]Result{loadResult(loaders, 1, b.o.Duration), commitResult(committers, w)}
	if !loads {
		return b.mixedOf[1], nil
	}
	b.mixedOK = true
	return b.mixedOf[0], nil
}
