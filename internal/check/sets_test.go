package check

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestFingerprintsDifferWhereSetsDo(t *testing.T) {
	t.Parallel()
	h := hasher{maphash.MakeSeed()}
	a, b := &fingerprint{h: h}, &fingerprint{h: h}
	const n = 50_000
	for i := range n {
		a.addRevision(zodb.OID(i), 7)
		b.addRevision(zodb.OID(n-1-i), 7)
	}
	var same bucketSet
	if same.addDifference(a, b); same.count != 0 {
		t.Errorf("%d buckets differ, but the sets don't", same.count)
	}
	a.addRevision(3, 8)
	b.addRevision(4, 9)
	b.addTransaction(5)
	a.addTransaction(5)
	b.addTransaction(6)
	b.removeTransaction(6)
	var differ bucketSet
	differ.addDifference(a, b)
	want := map[int]bool{h.objectBucket(3): true, h.objectBucket(4): true}
	got := map[int]bool{}
	for part := range differ.parts(1) {
		for i, in := range part.bits {
			if in {
				got[i] = true
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("buckets that differ (-want +got):\n%s", d)
	}
}

func TestCheckStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	h, _ := sample(t, layout.Flat)
	h.remove(h.path(layout.Pointer(0)), h.path(layout.Pointer(5)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{FS: h.fs}, func(f Finding) { t.Errorf("found %v", f) }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

func TestPoolDoesEachTaskOnce(t *testing.T) {
	t.Parallel()
	var done atomic.Int64
	var spread func(ctx context.Context, p *pool, w *worker, depth int)
	spread = func(ctx context.Context, p *pool, w *worker, depth int) {
		done.Add(1)
		for range 5 {
			if depth > 0 {
				p.do(ctx, w, func(ctx context.Context, w *worker) { spread(ctx, p, w, depth-1) })
			}
		}
	}
	run(t.Context(), 3, func(ctx context.Context, p *pool, w *worker) { spread(ctx, p, w, 6) })
	if want := int64((78125 - 1) / 4); done.Load() != want {
		t.Errorf("%d tasks were done, want %d", done.Load(), want)
	}
}

func TestProgressIsReportedByOneGoroutineAtATime(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Lawn, "Full")
	h.fill(600, 300)
	var mu sync.Mutex
	calls := 0
	findings(t, Options{FS: h.fs, Workers: 4, Progress: func(p Progress) {
		if !mu.TryLock() {
			t.Error("two calls at a time")
			return
		}
		defer mu.Unlock()
		calls++
		if p.Files == 0 || p.Bytes == 0 {
			t.Errorf("%+v", p)
		}
	}})
	if calls == 0 || calls > 1_300/progressEvery {
		t.Errorf("%d calls for some 1,300 files", calls)
	}
}

func TestFindingSurvivesJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		f    Finding
		want string
	}{
		{Finding{Kind: DanglingReference, Severity: Damage, HasOID: true, Path: "A/x", FromTID: 3, Detail: "d"},
			`{"kind":"dangling-reference","severity":"damage","oid":"0000000000000000","path":"A/x","from":"0000000000000000","from_tid":"0000000000000003","detail":"d"}`},
		{Finding{Kind: ObjectChecksum, Severity: Damage, HasOID: true, OID: 9, TID: 4, Path: "p", Class: "a.B"},
			`{"kind":"object-checksum","severity":"damage","oid":"0000000000000009","tid":"0000000000000004","path":"p","class":"a.B"}`},
		{Finding{Kind: NeedsRecovery, Severity: Note}, `{"kind":"needs-recovery","severity":"note"}`},
	} {
		b, err := json.Marshal(tc.f)
		if err != nil || string(b) != tc.want {
			t.Errorf("JSON %s, %v; want %s", b, err, tc.want)
		}
		var back Finding
		if err := json.Unmarshal(b, &back); err != nil || back != tc.f {
			t.Errorf("read back %+v, %v; want %+v", back, err, tc.f)
		}
	}
}

func TestManyReferrersAreOneFinding(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Bushy, "Full")
	var all []stored
	for i := range 40 {
		all = append(all, stored{oid: zodb.OID(40 - i), data: data(99)})
	}
	h.maxOID = 99
	h.commit(all...)
	got, _ := findings(t, Options{FS: h.fs})
	if len(got) != 1 || got[0].Kind != DanglingReference || got[0].From != 1 || got[0].OID != 99 || got[0].Class != "test.Thing" {
		t.Errorf("found %v, want one dangling reference from 1 to 99 (0x63)", got)
	}
}

func TestLargeFileIsJudgedByItsHeader(t *testing.T) {
	t.Parallel()
	h, tids := sample(t, layout.Chunky)
	for _, n := range []layout.Name{layout.Revision(0, tids[1]), layout.Transaction(tids[4])} {
		f, err := h.fs.OpenWrite(h.path(n))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{1}, 5<<30); err != nil { // sparse
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, s := findings(t, Options{FS: h.fs})
	var kinds []Kind
	for _, f := range got {
		kinds = append(kinds, f.Kind)
	}
	slices.Sort(kinds)
	if d := cmp.Diff([]Kind{ObjectLength, TransactionLength}, kinds); d != "" || s.Bytes > 1<<20 {
		t.Errorf("%d bytes read; findings (-want +got):\n%s", s.Bytes, d)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, format := range layout.Formats() {
		b.Run(format.String(), func(b *testing.B) {
			h := newTestHome(b, format, "Full")
			h.fill(5000, 200)
			var s Summary
			for b.Loop() {
				var all []Finding
				if all, s = findings(b, Options{FS: h.fs}); len(all) > 0 {
					b.Fatal(all)
				}
			}
			b.ReportMetric(float64(s.Files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
			b.SetBytes(s.Bytes)
		})
	}
}
