package bundle

import (
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
				g = g.Without(stamp)
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

// FuzzGone lies about no checksum: it is put right first, so that the checks behind it are reached.
func FuzzGone(f *testing.F) {
	of := &Info{Revisions: 100, Transactions: 3}
	b, err := (*Gone)(nil).With(of.Sum, 5, roaring.BitmapOf(1, 2, 3, 102)).With(of.Sum, 9, roaring.BitmapOf(50)).Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= goneTail {
			tail := b[len(b)-goneTail:]
			copy(tail, []byte{0, 0, 0, 0})
			sum := checksum(b[:len(b)-goneTail])
			copy(tail, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
		}
		g, err := ParseGone(b, "x", of)
		if err != nil {
			wantCorrupt(t, err)
			return
		}
		for n := range int64(110) {
			if g.Has(n) && n >= 103 {
				t.Errorf("member %d of 103 is gone", n)
			}
		}
		if _, err := g.Append(nil); err != nil {
			t.Error(err)
		}
	})
}
