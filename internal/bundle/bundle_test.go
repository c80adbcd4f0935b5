package bundle

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
	"github.com/google/go-cmp/cmp"
)

// made is a bundle, and its members as they were given.
type made struct {
	file    []byte
	info    Info
	content map[layout.Name][]byte
	flags   map[layout.Name]uint16
}

const firstTID = zodb.TID(0x03F6ED2440000000)

// text is compressible, and not the same each time.
func text(rnd *rand.Rand, n int) []byte {
	words := []string{"title", "description", "Products.CMFPlone", "persistent", "BTrees", "creators", "modified", "\x80\x03c"}
	var b []byte
	for len(b) < n {
		b = append(b, words[rnd.IntN(len(words))]...)
		b = append(b, byte(rnd.Uint32()))
	}
	return b[:n]
}

// bundleOf makes a bundle of transactions of some sizes of records.
func bundleOf(t testing.TB, o Options, transactions [][]int) *made {
	t.Helper()
	if o.Min == 0 {
		o.Min = firstTID
	}
	return bundleFrom(t, o, transactions)
}

// bundleFrom is bundleOf from o.Min on.
func bundleFrom(t testing.TB, o Options, transactions [][]int) *made {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	m := &made{content: make(map[layout.Name][]byte), flags: make(map[layout.Name]uint16)}
	var out bytes.Buffer
	w, err := NewWriter(&out, o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	tid := o.Min
	for _, sizes := range transactions {
		tx := record.Transaction{TID: tid, User: []byte("user"), Description: []byte("/path")}
		for k, size := range sizes {
			oid := zodb.OID(rnd.IntN(50)*1000 + k)
			flags := uint16(0)
			if size == 0 {
				flags = FlagGone
			}
			o := record.Object{OID: oid, Serial: tid, Data: text(rnd, size)}
			b, err := o.Append(nil, record.MD5)
			if err == nil {
				err = w.Revision(oid, tid, flags, b)
			}
			if err != nil {
				t.Fatal(err)
			}
			m.content[layout.Revision(oid, tid)], m.flags[layout.Revision(oid, tid)] = b, flags
			tx.OIDs = append(tx.OIDs, oid)
		}
		b, err := tx.Append(nil, record.MD5)
		if err == nil {
			err = w.Transaction(tid, 0, b)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.content[layout.Transaction(tid)] = b
		tid += 1000
	}
	if m.info, err = w.Close(); err != nil {
		t.Fatal(err)
	}
	m.file = out.Bytes()
	return m
}

func (m *made) open(t testing.TB) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(m.file), int64(len(m.file)), "A/bundles/x")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func many(n int) [][]int {
	rnd := rand.New(rand.NewPCG(3, 4))
	list := make([][]int, n)
	for i := range list {
		for range rnd.IntN(30) {
			list[i] = append(list[i], int(rnd.ExpFloat64()*600))
		}
	}
	return list
}

func shapes() map[string][][]int {
	return map[string][][]int{
		"nothing":                 nil,
		"empty transaction":       {{}},
		"one record":              {{100}},
		"records around a frame":  {{DefaultFrameSize - 512 - 72, DefaultFrameSize - 1024 - 72, DefaultFrameSize, 0, 0, 3 * DefaultFrameSize, 1}},
		"large record":            {{5}, {3 << 20, 7}, {}},
		"one block of the index":  {make([]int, placesInBlock)},
		"a bit more than a block": {make([]int, placesInBlock+1), {1}},
		"many":                    many(400),
	}
}

func TestEachMemberIsFound(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Workers: 3, Identity: [16]byte{1, 2}, Generation: 5, Previous: 7, HighestOID: 99}
			if name == "nothing" {
				o.Max = firstTID + 5
			}
			m := bundleOf(t, o, shape)
			r := m.open(t)
			if r.Info != m.info || r.Generation != 5 || r.Previous != 7 || r.HighestOID != 99 || r.Identity != o.Identity || r.Min != firstTID {
				t.Errorf("info %+v, want %+v", r.Info, m.info)
			}
			if err := r.CheckIndex(); err != nil {
				t.Error(err)
			}
			if n := r.Revisions + r.Transactions; n != int64(len(m.content)) {
				t.Errorf("%d members, want %d", n, len(m.content))
			}
			for n, want := range m.content {
				p, number := Place{}, int64(-1)
				var err error
				if n.Kind == layout.KindRevision {
					var e Revision
					e, number, err = r.Find(n.OID, n.TID)
					p = e.Place
				} else {
					var e Transaction
					e, number, err = r.LatestTransaction(n.TID)
					p = e.Place
				}
				if err != nil || number < 0 || p.Flags != m.flags[n] {
					t.Fatalf("%s: %+v, number %d, %v", n, p, number, err)
				}
				got, err := r.Read(p, n)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s: %d bytes, %v", n, len(got), err)
				}
			}
		})
	}
}

func TestNeighboursAreNotFound(t *testing.T) {
	t.Parallel()
	r := bundleOf(t, Options{}, many(300)).open(t)
	var last Revision
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, tid := range []zodb.TID{e.TID - 1, e.TID + 1} {
			if _, n, err := r.Find(e.OID, tid); n >= 0 || err != nil {
				t.Fatalf("%s of %s is found as %d, %v", tid, e.OID, n, err)
			}
		}
		before, _, err := r.Latest(e.OID, e.TID-1)
		if err != nil || last.OID == e.OID && before != last || last.OID != e.OID && before != (Revision{}) {
			t.Fatalf("before %s of %s: %+v, %v; want %+v", e.TID, e.OID, before, err, last)
		}
		newest, _, err := r.Latest(e.OID, zodb.MaxTID)
		if err != nil || newest.OID != e.OID || newest.TID < e.TID {
			t.Fatalf("newest of %s: %+v, %v", e.OID, newest, err)
		}
		last = e
	}
	if e, n, err := r.LatestTransaction(firstTID - 1); n >= 0 || err != nil {
		t.Errorf("%+v, %d, %v before all", e, n, err)
	}
	if e, n, err := r.LatestTransaction(firstTID + 1999); n != 1 || err != nil || e.TID != firstTID+1000 {
		t.Errorf("%+v, %d, %v", e, n, err)
	}
}

// TestOrdinaryToolsUnpackIt asks tar, which asks zstd.
func TestOrdinaryToolsUnpackIt(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("zstd is not on this machine")
	}
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if name == "nothing" {
				o.Max = firstTID
			}
			m := bundleOf(t, o, shape)
			dir := t.TempDir()
			file := filepath.Join(dir, "b.tar.zst")
			if err := os.WriteFile(file, m.file, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("tar", "--zstd", "-xf", file, "-C", dir).CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			got := make(map[string]string)
			names, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range names {
				if strings.HasSuffix(e.Name(), ".zst") {
					continue
				}
				b, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				got[e.Name()] = string(b)
			}
			want := make(map[string]string)
			for n, b := range m.content {
				want[n.String()] = string(b)
			}
			if !cmp.Equal(want, got) {
				t.Errorf("tar unpacks %d files, want %d, or their contents differ", len(got), len(want))
			}
		})
	}
}

// TestNoFlippedBitIsRead flips bits all over a bundle: each read returns the content as written, or a
// CorruptError.
func TestNoFlippedBitIsRead(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{FrameSize: 2048}, many(5))
	flips := hometest.OneOf(2000, 600, 200)
	rnd := rand.New(rand.NewPCG(5, 6))
	found := 0
	for range flips {
		bit := rnd.IntN(8 * len(m.file))
		m.file[bit/8] ^= 1 << (bit % 8)
		found += m.readAll(t, bit)
		m.file[bit/8] ^= 1 << (bit % 8)
	}
	if found == 0 {
		t.Error("no flipped bit was found")
	}
	if n := m.readAll(t, -1); n != 0 {
		t.Error("the bundle as it was written is damaged")
	}
}

// readAll reads each member by the index. It returns 1 if something was damaged.
func (m *made) readAll(t *testing.T, bit int) int {
	t.Helper()
	corrupt := func(err error) int {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte("corrupt data in A/bundles/x")) {
			t.Fatalf("bit %d: error %v", bit, err)
		}
		return 1
	}
	r, err := Open(bytes.NewReader(m.file), int64(len(m.file)), "A/bundles/x")
	if err != nil {
		return corrupt(err)
	}
	damaged := 0
	if err := r.CheckIndex(); err != nil {
		damaged = corrupt(err)
	}
	seen := int64(0)
	var near Near
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			return corrupt(err)
		}
		read := r.Read
		if bit%2 == 0 {
			read = func(p Place, n layout.Name) ([]byte, error) { return near.Read(r, p, n) }
		}
		b, err := read(e.Place, e.Name())
		if err != nil {
			damaged = corrupt(err)
			continue
		}
		if want, ok := m.content[e.Name()]; !ok || !bytes.Equal(b, want) {
			t.Fatalf("bit %d: %s is read as %d bytes that were not written", bit, e.Name(), len(b))
		}
		seen++
	}
	if damaged == 0 && seen != m.info.Revisions {
		t.Fatalf("bit %d: %d of %d revisions are there, and nothing is said", bit, seen, m.info.Revisions)
	}
	return damaged
}

// TestMergedBundlesHoldWhatTheirSourcesHeld merges bundles of all shapes, some with members that
// are left out, and unpacks the result by its index, and without.
func TestMergedBundlesHoldWhatTheirSourcesHeld(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		want := make(map[layout.Name][]byte)
		var sources []Source
		from := firstTID
		for range 1 + rnd.IntN(5) {
			var shape [][]int
			for range rnd.IntN(6) {
				var sizes []int
				for range rnd.IntN(40) {
					sizes = append(sizes, rnd.IntN(4000))
				}
				shape = append(shape, sizes)
			}
			m := bundleFrom(t, Options{FrameSize: 4096, Min: from, Max: from + 999_999}, shape)
			from += 1_000_000
			r := m.open(t)
			s := Source{Reader: r}
			whole := make(map[zodb.TID]bool) // transactions that go
			dropped := make(map[int64]bool)
			if rnd.IntN(2) == 0 {
				number := r.Revisions
				for e, err := range r.TransactionsFrom(0) {
					if err != nil {
						t.Fatal(err)
					}
					if rnd.IntN(4) == 0 {
						whole[e.TID], dropped[number] = true, true
						delete(m.content, e.Name())
					}
					number++
				}
				number = 0
				for e, err := range r.RevisionsFrom(0) {
					if err != nil {
						t.Fatal(err)
					}
					if whole[e.TID] || rnd.IntN(8) == 0 {
						dropped[number] = true
						delete(m.content, e.Name())
					}
					number++
				}
				s.Drop = func(number int64) bool { return dropped[number] }
			}
			maps.Copy(want, m.content)
			sources = append(sources, s)
		}
		var out bytes.Buffer
		info, err := Merge(t.Context(), &out, Options{FrameSize: 4096, Min: sources[0].Min, Max: sources[len(sources)-1].Max, Generation: 1}, sources)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		r, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), "x")
		if err != nil || r.Info != info || r.CheckIndex() != nil {
			t.Fatalf("seed %d: %v, %+v, want %+v", seed, err, r, info)
		}
		got := make(map[layout.Name][]byte)
		first := make(map[zodb.TID]Place)
		for e, err := range r.RevisionsFrom(0) {
			if err == nil {
				got[e.Name()], err = r.Read(e.Place, e.Name())
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if p, ok := first[e.TID]; !ok || e.before(p) {
				first[e.TID] = e.Place
			}
		}
		for e, err := range r.TransactionsFrom(0) {
			if err == nil {
				got[e.Name()], err = r.Read(e.Place, e.Name())
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			p, ok := first[e.TID]
			if !ok {
				p = e.Place
			}
			if e.FirstFrame != p.Frame || e.FirstBlock != p.Block-1 {
				t.Errorf("seed %d: %+v, and its first member is at %+v", seed, e, p)
			}
		}
		if !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("seed %d: %d members, want %d", seed, len(got), len(want))
		}
		found := scanAll(t, out.Bytes())
		if !maps.EqualFunc(found, want, bytes.Equal) {
			t.Errorf("seed %d: a scan finds %d members, want %d", seed, len(found), len(want))
		}
	}
}

func scanAll(t *testing.T, file []byte) map[layout.Name][]byte {
	t.Helper()
	found := make(map[layout.Name][]byte)
	var last zodb.TID
	for m, err := range Scan(bytes.NewReader(file), int64(len(file)), "x") {
		if err != nil {
			t.Fatal(err)
		}
		if m.Name.TID < last {
			t.Errorf("%s behind %s", m.Name, last)
		}
		last = m.Name.TID
		found[m.Name] = bytes.Clone(m.Content)
	}
	return found
}

// TestScanFindsWhatIsBehindDamage spoils one frame of each bundle.
func TestScanFindsWhatIsBehindDamage(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{FrameSize: 2048}, many(60))
	r := m.open(t)
	if r.Frames < 20 {
		t.Fatalf("%d frames", r.Frames)
	}
	number := uint32(0)
	for f, err := range r.FramesFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		if testing.Short() && number%4 != 0 {
			number++
			continue
		}
		want := make(map[layout.Name][]byte)
		for e, err := range r.RevisionsFrom(0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Frame != number {
				want[e.Name()] = m.content[e.Name()]
			}
		}
		for e, err := range r.TransactionsFrom(0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Frame != number {
				want[e.Name()] = m.content[e.Name()]
			}
		}
		file := bytes.Clone(m.file)
		clear(file[f.Offset+f.Size/3:][:f.Size/3])
		got, errs := make(map[layout.Name][]byte), 0
		for m, err := range Scan(bytes.NewReader(file), int64(len(file)), "x") {
			if err != nil {
				errs++
				continue
			}
			got[m.Name] = bytes.Clone(m.Content)
		}
		if errs == 0 || !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("frame %d: %d errors, %d members, want %d", number, errs, len(got), len(want))
		}
		number++
	}
}
