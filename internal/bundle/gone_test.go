package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestGoneFollowsPacks compares with a map from members to stamps, over packs, undeletes and
// purges, each of which is written and read again.
func TestGoneFollowsPacks(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		of := &Info{Revisions: int64(1 + rnd.IntN(3000)), Transactions: int64(rnd.IntN(100)), Sum: [32]byte{byte(seed)}}
		want := make(map[int64]int64)
		var g *Gone
		for range 20 {
			stamp := int64(rnd.IntN(6))
			switch {
			case g == nil || rnd.IntN(2) == 0:
				m := roaring.New()
				from := rnd.IntN(int(of.Revisions + of.Transactions))
				for n := from; n < int(of.Revisions+of.Transactions) && n < from+200; n += 1 + rnd.IntN(3) {
					m.Add(uint32(n))
					if _, ok := want[int64(n)]; !ok {
						want[int64(n)] = stamp
					}
				}
				g = g.With(of.Sum, stamp, m)
			case rnd.IntN(2) == 0:
				g = g.Back(membersOf(g, stamp))
				maps.DeleteFunc(want, func(_, s int64) bool { return s != 0 && (stamp == 0 || s == stamp) })
			default:
				g = g.Purged(stamp)
				for n, s := range want {
					if s < stamp {
						want[n] = 0
					}
				}
			}
			b, err := g.Append([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			if g, err = ParseGone(b[6:], "x", of); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			got := make(map[int64]int64)
			for _, s := range g.Sets {
				for _, n := range s.Members.ToArray() {
					got[int64(n)] = s.Stamp
				}
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d: %d members, want %d", seed, len(got), len(want))
			}
			forGood, aside := 0, false
			for n := range of.Revisions + of.Transactions {
				s, ok := want[n]
				if g.Has(n) != ok {
					t.Fatalf("seed %d: member %d gone: %t", seed, n, g.Has(n))
				}
				if ok && s == 0 {
					forGood++
				}
				aside = aside || s != 0
			}
			n := 0
			if m := g.ForGood(); m != nil {
				n = int(m.GetCardinality())
			}
			if n != forGood || g.Aside() != aside {
				t.Fatalf("seed %d: %d gone for good, want %d; aside %t, want %t", seed, n, forGood, g.Aside(), aside)
			}
		}
	}
}

func TestNoFlippedBitOfAGoneIsRead(t *testing.T) {
	t.Parallel()
	of := &Info{Revisions: 100, Transactions: 3, Sum: [32]byte{7}}
	b, err := (*Gone)(nil).With(of.Sum, 5, roaring.BitmapOf(1, 2, 3, 102)).With(of.Sum, 9, roaring.BitmapOf(50)).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseGone(b, "x", of); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := ParseGone(b, "x", of); !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("bit %d: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, err := ParseGone(b[:n], "x", of); !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for what, other := range map[string]*Info{
		"another bundle":      {Revisions: 100, Transactions: 3, Sum: [32]byte{8}},
		"one with less in it": {Revisions: 99, Transactions: 3, Sum: [32]byte{7}},
	} {
		if _, err := ParseGone(b, "x", other); !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAnEmptySetIsRefused: nobody writes one, and a list of nothing else would say that there is one.
func TestAnEmptySetIsRefused(t *testing.T) {
	t.Parallel()
	of := &Info{Revisions: 100, Transactions: 3}
	for _, sets := range [][]GoneSet{{{5, roaring.New()}}, {{0, roaring.BitmapOf(1)}, {5, roaring.New()}}} {
		b, err := (&Gone{Sets: sets}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := ParseGone(b, "x", of); !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("%+v is read as %+v: %v", sets, g, err)
		}
	}
}

// FuzzGone lies about no checksum: it is put right first, so that the checks behind it are reached. A list
// that is read agrees with itself.
func FuzzGone(f *testing.F) {
	of := &Info{Revisions: 100, Transactions: 3}
	first := (*Gone)(nil).With(of.Sum, 5, roaring.BitmapOf(1, 2, 3, 102))
	run := roaring.New()
	run.AddRange(10, 90)
	for _, g := range []*Gone{first, first.With(of.Sum, 9, roaring.BitmapOf(50)), first.Purged(6).With(of.Sum, 9, run), {}} {
		b, err := g.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if len(b) >= goneTail {
			binary.BigEndian.PutUint32(b[len(b)-goneTail:], checksum(b[:len(b)-goneTail]))
		}
		g, err := ParseGone(b, "x", of)
		if err != nil {
			wantCorrupt(t, err)
			return
		}
		wantCorrupt(t, CheckGone(b, "x"))
		agreesWithItself(t, g, of)
	})
}

// agreesWithItself wants a list that was read to be one that could have been written: sets in order of their
// stamps, none empty, no member in two, none that the bundle does not have. Written and read again it is the
// same. All of it comes back, but for members gone for good; a purge makes all of it so; a pack of members gone
// already changes nothing.
func agreesWithItself(t *testing.T, g *Gone, of *Info) {
	t.Helper()
	stamps := make(map[uint32]int64)
	before := int64(-1)
	for _, s := range g.Sets {
		if s.Stamp <= before || s.Members.IsEmpty() {
			t.Errorf("a set with the stamp %d behind %d, of %d members", s.Stamp, before, s.Members.GetCardinality())
		}
		before = s.Stamp
		n := uint64(0)
		for member := range roaring.Values(s.Members) {
			if _, twice := stamps[member]; twice || int64(member) >= of.Revisions+of.Transactions {
				t.Errorf("member %d of %d, twice: %t", member, of.Revisions+of.Transactions, twice)
			}
			stamps[member] = s.Stamp
			n++
		}
		if n != s.Members.GetCardinality() {
			t.Errorf("a set has %d members, and says %d", n, s.Members.GetCardinality())
		}
	}
	for member, stamp := range stamps {
		if got, ok := g.stampOf(int64(member)); !ok || got != stamp {
			t.Errorf("member %d has the stamp %d, want %d: %t", member, got, stamp, ok)
		}
	}
	same := func(what string, got *Gone, want map[uint32]int64) {
		t.Helper()
		n := 0
		for _, s := range got.Sets {
			for member := range roaring.Values(s.Members) {
				if stamp, ok := want[member]; !ok || stamp != s.Stamp {
					t.Errorf("%s: member %d has the stamp %d, want %d: %t", what, member, s.Stamp, stamp, ok)
				}
				n++
			}
		}
		if n != len(want) {
			t.Errorf("%s: %d members, want %d", what, n, len(want))
		}
	}
	b, err := g.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseGone(b, "again", &Info{Revisions: of.Revisions, Transactions: of.Transactions, Sum: g.Sum})
	if err != nil {
		t.Fatal(err)
	}
	same("written and read again", again, stamps)
	same("a pack of all that is gone", g.With(g.Sum, 3, g.All()), stamps)
	forGood, all := make(map[uint32]int64), make(map[uint32]int64)
	for member, stamp := range stamps {
		if all[member] = 0; stamp == 0 {
			forGood[member] = 0
		}
	}
	same("brought back", g.Back(membersOf(g, 0)), forGood)
	if before < 1<<63-1 {
		same("purged", g.Purged(before+1), all)
	}
}

// membersOf returns all members that can be brought back of a stamp; 0: of any.
func membersOf(g *Gone, stamp int64) *roaring.Bitmap {
	m := roaring.New()
	for _, n := range g.All().ToArray() {
		if g.IsAside(int64(n), stamp) {
			m.Add(n)
		}
	}
	return m
}
