package packing

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// manyObjects is a pack.Source that makes its objects when it is asked: a tree in which
// each refers to fanOut others, and objects outside it that nothing refers to.
type manyObjects struct {
	reachable zodb.OID
	leaf      []byte
	looked    atomic.Int64
	now       func(looked int64)
}

const fanOut = 16

// Current implements pack.Source.
func (m *manyObjects) Current(_ context.Context, oid zodb.OID) (*record.Object, error) {
	m.now(m.looked.Add(1))
	o := &record.Object{OID: oid, Serial: 1, Data: m.leaf}
	var refs []zodb.OID
	for to := oid*fanOut + 1; to <= oid*fanOut+fanOut && to < m.reachable; to++ {
		refs = append(refs, to)
	}
	if refs != nil {
		o.Data = rec(refs...)
	}
	return o, nil
}

// Revision implements pack.Source.
func (m *manyObjects) Revision(_ context.Context, oid zodb.OID, tid zodb.TID) (*record.Object, error) {
	return nil, &zodb.KeyError{OID: oid, TID: tid}
}

// rec returns a record that a pickle scanner accepts, holding strong references.
func rec(refs ...zodb.OID) []byte {
	b := []byte("\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03(")
	for _, oid := range refs {
		b = append(append(append(b, "C\x08"...), oid.Bytes()...), 'Q')
	}
	return append(b, "t."...)
}

// miscOnly is a HOME that has only the directory misc.
func miscOnly(t *testing.T) vfs.FS {
	f, err := vfs.OS(t.TempDir())
	if err == nil {
		err = f.Mkdir("misc")
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// heapPeak is how far the heap has grown at most, of the moments it was looked at.
type heapPeak struct {
	mu           sync.Mutex
	before, most int64
}

func newHeapPeak() *heapPeak {
	p := &heapPeak{most: math.MinInt64}
	p.look()
	p.before, p.most = p.most, 0
	return p
}

// look takes the least of a few looks: between a collection and the look after it others go on.
func (p *heapPeak) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := int64(math.MaxInt64)
	for range 4 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, int64(m.HeapAlloc)-p.before)
	}
	p.most = max(p.most, least)
}

// oidSets returns the fields of structures that are sets of oids.
func oidSets(structures ...any) (sets []reflect.Value) {
	for _, s := range structures {
		v := reflect.ValueOf(s).Elem()
		for i := range v.NumField() {
			if v.Field(i).Type() == reflect.TypeFor[*oidset.Set]() {
				sets = append(sets, v.Field(i))
			}
		}
	}
	return sets
}

// TestPackOfTenMillionObjectsTakesNoMoreThan64MB marks objects that are made on the
// fly, a tenth of them garbage, with all that a pack holds in memory: its sets, the work
// list, at its greatest length, and the buffers of the index of references. The race
// detector is slow, so with it there are a tenth of them, and memory that depends on
// their number counts ten times; in a short run there are a quarter of them.
//
// It is not parallel, because allocations of other tests would count.
func TestPackOfTenMillionObjectsTakesNoMoreThan64MB(t *testing.T) {
	const objects, limit = 10_000_000, 64_000_000
	n := zodb.OID(objects)
	if testing.Short() || hometest.RaceDetector {
		n /= 10
	}
	s := New(Config{Home: &home.Home{FS: miscOnly(t), Settings: new(settings.Settings)}, Log: slog.New(slog.DiscardHandler), State: state.New(state.Options{Log: slog.New(slog.DiscardHandler)})})
	peak := newHeapPeak()
	src := &manyObjects{reachable: n - n/10, leaf: rec(), now: func(looked int64) {
		if looked%int64(n/4) == 1 {
			peak.look()
		}
	}}
	r := &packRun{s: s, listed: oidset.New(oidsetLimit), revisions: oidset.New(oidsetLimit), judged: oidset.New(oidsetLimit), index: &refIndex{s: s}}
	r.v = &plan{s: s, gc: true, spared: oidset.New(oidsetLimit), index: r.index}
	for oid := range n {
		r.listed.Add(oid)
		r.revisions.Add(oid)
		r.v.spared.Add(oid)
		r.judged.Add(oid)
	}
	r.index.begin()
	defer r.index.abort()
	r.marker = pack.NewMarker(pack.MarkOptions{Source: src, References: true, MemoryLimit: oidsetLimit, Workers: runtime.GOMAXPROCS(0),
		Reference: func(from, to zodb.OID) error {
			if to%8 > 0 { // some are enough for the index to write runs
				return nil
			}
			return r.index.add(from, to)
		}})
	r.v.marker = r.marker
	for oid := range min(src.reachable, pack.DefaultPending+1) { // as many were written lately
		if err := r.marker.Add(oid); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.marker.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	peak.look()
	r.v.spared = oidset.New(oidsetLimit)
	var g guard
	if done, err := g.condemn(r.v, r.listed, false); err != nil || !done {
		t.Fatalf("condemn: %t, %v", done, err)
	}
	for oid := range n {
		r.v.spared.Add(oid)
	}
	peak.look()
	if marked, _ := r.marker.Counts(); marked != int64(src.reachable) || r.v.condemned.Has(src.reachable-1) || !r.v.condemned.Has(src.reachable) || !r.v.condemned.Has(n-1) {
		t.Fatalf("%d of %d objects are marked", marked, src.reachable)
	}
	if r.index.w == nil {
		t.Error("the index of references was given up")
	}
	sets := oidSets(r, r.v, r.marker)
	for _, set := range sets {
		if set.IsNil() {
			t.Errorf("there is a set of which this test knows nothing: %v", set.Type())
		}
	}
	const fixed = pack.DefaultPending*8 + indexMemory
	growth := max(peak.most, fixed)
	growth = fixed + (growth-fixed)*int64(objects/n)
	t.Logf("the heap grew by %d bytes with %d objects, so by %d with %d", peak.most, n, growth, objects)
	if growth > limit {
		t.Errorf("a pack of %d objects takes %d bytes, more than %d", objects, growth, limit)
	}
	runtime.KeepAlive(r)
}

// TestDocumentSaysWhatMemoryAPackTakes compares it with the constants in the code.
func TestDocumentSaysWhatMemoryAPackTakes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/pack.md")
	if err != nil {
		t.Fatal(err)
	}
	oneLine := strings.Join(strings.Fields(string(text)), " ") // where a line ends means nothing
	const each = 10_000_000 / 8
	sets := len(oidSets(new(packRun), new(plan), new(pack.Marker)))
	if sets != 11 {
		t.Errorf("a pack has %d sets of oids", sets)
	}
	for _, want := range []string{
		"up to eleven sets of oids",
		fmt.Sprintf("10 million objects: %.1f MB each", math.Floor(each/1e5)/10),
		fmt.Sprintf("a list of at most %d MiB", pack.DefaultPending*8>>20),
		fmt.Sprintf("%d MiB to sort references", indexMemory>>20),
		fmt.Sprintf("%.0f MB in all for 10 million objects", float64(sets*each+pack.DefaultPending*8+indexMemory)/1e6),
		fmt.Sprintf("A set may take %d MiB", oidsetLimit>>20),
	} {
		if !strings.Contains(oneLine, want) {
			t.Errorf("docs/pack.md does not say %q", want)
		}
	}
}
