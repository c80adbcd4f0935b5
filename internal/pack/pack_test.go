package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// somePlan writes a plan with entries of all kinds.
func somePlan(t testing.TB, n int) (data []byte, h Header, entries []Entry) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	h = Header{Identity: "0123456789abcdef0123456789abcdef", Threshold: 7, Stamp: 1700000000, Oldest: 5, Last: 9, Sum: []byte{1, 2, 3}}
	var b bytes.Buffer
	w, err := NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		e := Entry{OID: zodb.OID(rnd.Uint64()), Whole: rnd.IntN(2) == 0}
		tid := zodb.TID(rnd.Uint64() >> 1)
		for range 1 + rnd.IntN(4) {
			e.TIDs = append(e.TIDs, tid)
			tid += zodb.TID(1 + rnd.Uint64N(1<<40))
		}
		entries = append(entries, e)
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), h, entries
}

func read(data []byte) (h Header, entries []Entry, err error) {
	h, all, err := Read(bytes.NewReader(data))
	if err != nil {
		return h, nil, err
	}
	for e, err := range all {
		if err != nil {
			return h, entries, err
		}
		e.TIDs = slices.Clone(e.TIDs)
		entries = append(entries, e)
	}
	return h, entries, nil
}

func TestPlanIsReadAsWritten(t *testing.T) {
	t.Parallel()
	data, h, want := somePlan(t, 2000)
	got, entries, err := read(data)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(h) || fmt.Sprint(entries) != fmt.Sprint(want) {
		t.Errorf("read %+v with %d entries, %v", got, len(entries), err)
	}
}

// TestDamagedPlanIsAnError cuts it everywhere, and flips each of its bits.
func TestDamagedPlanIsAnError(t *testing.T) {
	t.Parallel()
	data, _, _ := somePlan(t, 6)
	for n := range data {
		if _, _, err := read(data[:n]); !errors.Is(err, ErrBadPlan) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, _, err := read(bad); !errors.Is(err, ErrBadPlan) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
	if _, _, err := read(append(bytes.Clone(data), 0)); !errors.Is(err, ErrBadPlan) {
		t.Errorf("with a byte behind it: %v", err)
	}
}

// TestPlanThatCannotBeReadIsNotDamaged: each read of it may fail, that behind its end too.
func TestPlanThatCannotBeReadIsNotDamaged(t *testing.T) {
	t.Parallel()
	data, _, _ := somePlan(t, 6)
	for n := range len(data) + 1 {
		_, entries, err := Read(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(syscall.EIO)))
		if err == nil {
			for _, err = range entries {
				if err != nil {
					break
				}
			}
		}
		if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrBadPlan) {
			t.Errorf("an error after %d bytes: %v", n, err)
		}
	}
}

func TestEntriesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	w, err := NewWriter(new(bytes.Buffer), Header{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{{OID: 1}, {OID: 1, TIDs: []zodb.TID{2, 2}}, {OID: 1, TIDs: []zodb.TID{3, 2}}} {
		if err := w.Add(e); err == nil {
			t.Errorf("%+v was written", e)
		}
	}
}

func FuzzRead(f *testing.F) {
	data, _, _ := somePlan(f, 3)
	f.Add(data)
	f.Add([]byte(planMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, entries, err := read(b)
		for _, e := range entries {
			if len(e.TIDs) == 0 || !slices.IsSorted(e.TIDs) {
				t.Errorf("%+v (%v)", e, err)
			}
		}
	})
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	day := func(n int) zodb.TID { return zodb.TIDFromTime(time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)) }
	for _, tt := range []struct {
		rule             string
		serial, previous zodb.TID
		want             bool
	}{
		{"", day(21), day(19), true},  // the one before was current at the threshold
		{"", day(20), day(19), false}, // this one was
		{"", day(19), day(18), false}, // this one was, too
		{"", day(25), day(22), true},  // both came later
		{"extra 5", day(19), day(16), true},
		{"extra 5", day(19), day(14), false},
		{"extra 5", day(16), day(15), true},
		{"forever", day(3), day(2), true},
	} {
		rules := map[string]string{}
		if tt.rule != "" {
			rules["m.C"] = tt.rule
		}
		p, err := NewPolicy(day(20), rules)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.keep(tt.serial, tt.previous, p.since("m.C")); got != tt.want {
			t.Errorf("%q: %s before %s is kept %t", tt.rule, tt.previous.Time(), tt.serial.Time(), got)
		}
	}
	if _, err := NewPolicy(1, map[string]string{"m.C": "nonsense"}); err == nil {
		t.Error("nonsense was taken for a rule")
	}
	p := Policy{Threshold: zodb.TIDFromTime(time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)), Classes: map[string]settings.Keep{"m.C": {Extra: 100 * 365 * 24 * time.Hour}}}
	if p.since("m.C") != 0 {
		t.Error("a time before there were tids is not “always”")
	}
}

// source is a Source in memory.
type source map[zodb.OID][]*record.Object // oldest first

func (s source) Current(_ context.Context, oid zodb.OID) (*record.Object, error) {
	revs := s[oid]
	if len(revs) == 0 {
		return nil, ErrNoObject
	}
	return revs[len(revs)-1], nil
}

func (s source) Revision(_ context.Context, oid zodb.OID, tid zodb.TID) (*record.Object, error) {
	for _, o := range s[oid] {
		if o.Serial == tid {
			return o, nil
		}
	}
	return nil, &zodb.KeyError{OID: oid, TID: tid}
}

func recordOf(refs ...zodb.OID) []byte {
	b := []byte("cm\nC\n.(")
	for _, oid := range refs {
		b = append(append(append(b, 'U', 8), binary.BigEndian.AppendUint64(nil, uint64(oid))...), 'Q')
	}
	return append(b, "t."...)
}

// TestMarkerReachesWhatCanBeReached compares it with a naive walk, over random
// graphs, with a work list so short that it overflows all the time.
func TestMarkerReachesWhatCanBeReached(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		src := make(source)
		const n = 300
		for oid := range zodb.OID(n) {
			previous := zodb.TID(0)
			for rev := range 1 + rnd.IntN(3) {
				var refs []zodb.OID
				for range rnd.IntN(3) {
					refs = append(refs, zodb.OID(rnd.IntN(n+10))) // some lead to nothing
				}
				o := &record.Object{OID: oid, Serial: zodb.TID(10*rev + 1 + rnd.IntN(9)), Previous: previous, Data: recordOf(refs...)}
				src[oid] = append(src[oid], o)
				previous = o.Serial
			}
		}
		threshold := zodb.TID(rnd.IntN(30))
		var mu sync.Mutex
		victims := make(map[zodb.OID][]zodb.TID)
		references := make(map[[2]zodb.OID]bool)
		m := NewMarker(MarkOptions{Source: src, Policy: Policy{Threshold: threshold}, References: true, MemoryLimit: 1 << 20, Workers: 3, Pending: 2,
			Victims: func(e Entry) error {
				mu.Lock()
				defer mu.Unlock()
				victims[e.OID] = append(victims[e.OID], e.TIDs...)
				return nil
			},
			Reference: func(from, to zodb.OID) error {
				mu.Lock()
				defer mu.Unlock()
				references[[2]zodb.OID{from, to}] = true
				return nil
			}})
		if err := m.Add(0); err != nil {
			t.Fatal(err)
		}
		if err := m.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := make(map[zodb.OID][]zodb.TID) // the victims of those that stay
		wantRefs := make(map[[2]zodb.OID]bool)
		alive := make(map[zodb.OID]bool)
		var visit func(zodb.OID)
		visit = func(oid zodb.OID) {
			if alive[oid] {
				return
			}
			alive[oid] = true
			first := 0
			for i, o := range src[oid] {
				if o.Serial <= threshold {
					first = i
				}
			}
			for i, o := range src[oid] {
				if i < first {
					want[oid] = append(want[oid], o.Serial)
					continue
				}
				refs := refsOf(t, o)
				for _, to := range refs {
					if i == len(src[oid])-1 {
						wantRefs[[2]zodb.OID{oid, to}] = true
					}
					visit(to)
				}
			}
		}
		visit(0)
		for oid := range zodb.OID(n + 10) {
			if m.Reached(oid) != alive[oid] {
				t.Errorf("seed %d: object %s is reached %t", seed, oid, m.Reached(oid))
			}
		}
		if !maps.EqualFunc(want, victims, slices.Equal) || !maps.Equal(references, wantRefs) {
			t.Errorf("seed %d: victims %v, want %v", seed, victims, want)
		}
		if !m.Idle() {
			t.Error("it is not idle")
		}
	}
}

func refsOf(t *testing.T, o *record.Object) []zodb.OID {
	t.Helper()
	var refs []zodb.OID
	b := o.Data[len("cm\nC\n.("):]
	for b[0] == 'U' {
		refs = append(refs, zodb.OIDFromBytes(b[2:10]))
		b = b[11:]
	}
	return refs
}

// TestMarkerKnowsAllThatIsMissing: every second object is expected, because a transaction
// that is under way writes it.
func TestMarkerKnowsAllThatIsMissing(t *testing.T) {
	t.Parallel()
	const n = 200_000
	refs := make([]zodb.OID, n)
	for i := range refs {
		refs[i] = zodb.OID(i + 1)
	}
	src := source{0: {{OID: 0, Serial: 1, Data: recordOf(refs...)}}}
	m := NewMarker(MarkOptions{Source: src, References: true, MemoryLimit: 1 << 20, Workers: 2, Expected: func(oid zodb.OID) bool { return oid%2 == 0 }})
	if err := errors.Join(m.Add(0), m.Run(t.Context())); err != nil {
		t.Fatal(err)
	}
	if objects, _ := m.Counts(); objects != 1 || m.Missing() != n/2 {
		t.Errorf("%d objects, %d are missing", objects, m.Missing())
	}
	for oid := range zodb.OID(n + 1) {
		if want := oid%2 == 1; m.Absent().Has(oid) != want {
			t.Fatalf("object %s is absent: %t", oid, !want)
		}
	}
}

// TestMarkerMissesOnlyWhatIsReferredTo: an object that is kept because a transaction wrote it, and
// that an earlier pack has removed, is absent, and missing only if something refers to it, whichever comes first.
func TestMarkerMissesOnlyWhatIsReferredTo(t *testing.T) {
	t.Parallel()
	src := source{0: {{OID: 0, Serial: 1, Data: recordOf(2, 3, 5)}}, 5: {{OID: 5, Serial: 1, Data: recordOf()}}}
	m := NewMarker(MarkOptions{Source: src, References: true, MemoryLimit: 1 << 20, Workers: 2})
	for _, oid := range []zodb.OID{1, 2, 2, 5} {
		if err := m.Keep(oid); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(m.Add(0), m.Run(t.Context()), m.Keep(3), m.Keep(4), m.Run(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := m.Missing(); got != 2 {
		t.Errorf("%d objects are missing; 2 and 3 are", got)
	}
	for oid := range zodb.OID(6) {
		if want := oid >= 1 && oid <= 4; m.Absent().Has(oid) != want {
			t.Errorf("object %s is absent: %t", oid, !want)
		}
	}
}

func TestMarkerStopsWithItsContext(t *testing.T) {
	t.Parallel()
	src := source{0: {{OID: 0, Serial: 1, Data: recordOf()}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := NewMarker(MarkOptions{Source: src, References: true, MemoryLimit: 1 << 20, Workers: 2})
	if err := m.Add(0); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
}

func TestMoreOIDsThanTheLimitAllowsAreAnError(t *testing.T) {
	t.Parallel()
	m := NewMarker(MarkOptions{Source: source{}, MemoryLimit: 1 << 10})
	if err := errors.Join(m.Add(1), m.Add(2)); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := zodb.OID(1); i < 100 && err == nil; i++ {
		err = m.Add(i << 40)
	}
	if err == nil || !strings.Contains(err.Error(), "more than the 1024 bytes") {
		t.Errorf("there is no limit: %v", err)
	}
}

// unreadable is a source of which one revision gives an error.
type unreadable struct {
	source
	tid zodb.TID
	err error
}

func (u unreadable) Revision(ctx context.Context, oid zodb.OID, tid zodb.TID) (*record.Object, error) {
	if tid == u.tid {
		return nil, u.err
	}
	return u.source.Revision(ctx, oid, tid)
}

// TestNothingIsCutOffByWhatCannotBeReadNow: revisions before a damaged one are lost to
// packs; those before one that the disk did not give must not be.
func TestNothingIsCutOffByWhatCannotBeReadNow(t *testing.T) {
	t.Parallel()
	src := source{0: {
		{OID: 0, Serial: 1, Data: recordOf()}, {OID: 0, Serial: 2, Previous: 1, Data: recordOf()},
		{OID: 0, Serial: 3, Previous: 2, Data: recordOf()}, {OID: 0, Serial: 4, Previous: 3, Data: recordOf()},
	}}
	for _, tt := range []struct {
		err  error
		want []zodb.TID
	}{
		{&zodb.KeyError{OID: 0, TID: 2}, []zodb.TID{3}},
		{&zodb.CorruptError{OID: 0, TID: 2}, []zodb.TID{3}},
		{errors.New("input/output error"), nil},
	} {
		var victims []zodb.TID
		m := NewMarker(MarkOptions{Source: unreadable{src, 2, tt.err}, Policy: Policy{Threshold: 9}, References: true, MemoryLimit: 1 << 20,
			Victims: func(e Entry) error { victims = append(victims, e.TIDs...); return nil }})
		if err := errors.Join(m.Add(0), m.Run(t.Context())); err != nil {
			t.Errorf("%v: %v", tt.err, err)
		}
		if !slices.Equal(victims, tt.want) {
			t.Errorf("%v: %v goes, want %v", tt.err, victims, tt.want)
		}
	}
}
