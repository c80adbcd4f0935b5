package bundle

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

func TestNamesLeadBack(t *testing.T) {
	t.Parallel()
	for _, n := range []Name{{1, 1, 0}, {firstTID, firstTID + 5, 12}, {1, zodb.MaxTID, 1<<64 - 1}} {
		if got, number, ok := ParseName(n.String()); got != n || number != 0 || !ok {
			t.Errorf("%s: %v, %d, %t", n, got, number, ok)
		}
		if got, number, ok := ParseName(n.Gone(7)); got != n || number != 7 || !ok {
			t.Errorf("%s: %v, %d, %t", n.Gone(7), got, number, ok)
		}
	}
	if got := (Name{0x1A, 0xFF, 3}).Gone(2); got != "000000000000001A-00000000000000FF.3.2.gone" {
		t.Error(got)
	}
	for _, s := range []string{
		"", ".tar.zst", "000000000000001A-00000000000000FF.tar.zst", "000000000000001A-00000000000000FF.03.tar.zst", "000000000000001A-00000000000000FF.+3.tar.zst",
		"000000000000001a-00000000000000ff.3.tar.zst", "00000000000000FF-000000000000001A.3.tar.zst", "0000000000000000-000000000000001A.3.tar.zst",
		"000000000000001A-00000000000000FF.3.tar", "000000000000001A-00000000000000FF.3.gone", "000000000000001A-00000000000000FF.3.0.gone", "000000000000001A-00000000000000FF.3.02.gone",
		"000000000000001A-00000000000000FF.3.1.tar.zst", "000000000000001A_00000000000000FF.3.tar.zst", "000000000000001A-00000000000000FF.3.tar.zst.tmp",
		"000000000000001A-00000000000000FF-00000000000000FF.3.tar.zst", "000000000000001A-00000000000000FF.18446744073709551616.tar.zst",
	} {
		if n, number, ok := ParseName(s); ok {
			t.Errorf("%q is read as %v, %d", s, n, number)
		}
	}
}

// TestLiveOfAHeapIsThatOfTheNewestState lays all states of a directory of bundles over each
// other, or some of them and the newest.
func TestLiveOfAHeapIsThatOfTheNewestState(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var newest []Name
		heap := make(map[Name]bool)
		next := zodb.TID(1)
		for range 60 {
			switch {
			case len(newest) < 2 || rnd.IntN(2) == 0: // a flush
				last := next + zodb.TID(rnd.IntN(5))
				newest = append(newest, Name{next, last, 0})
				next = last + 1 + zodb.TID(rnd.IntN(3))
			case rnd.IntN(2) == 0: // a merge
				from := rnd.IntN(len(newest) - 1)
				to := from + 1 + rnd.IntN(len(newest)-from-1)
				newest = slices.Replace(newest, from, to+1, Name{newest[from].Min, newest[to].Max, 0})
			default: // a pack that rewrites one
				newest[rnd.IntN(len(newest))].Generation++
			}
			if rnd.IntN(3) == 0 {
				for _, n := range newest {
					heap[n] = true
				}
			}
		}
		var all []Name
		old := 0
		for n := range heap {
			if !slices.Contains(newest, n) {
				all, old = append(all, n), old+1
			}
		}
		all = append(all, newest...)
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		live, superseded, err := Live(all)
		if err != nil || !slices.Equal(live, newest) || len(superseded) != old {
			t.Fatalf("seed %d: %v, %d superseded of %d, %v; want %v", seed, live, len(superseded), old, err, newest)
		}
	}
}

func TestOverlapIsAnError(t *testing.T) {
	t.Parallel()
	for _, all := range [][]Name{
		{{1, 5, 0}, {4, 9, 0}}, {{1, 9, 0}, {4, 10, 3}}, {{1, 5, 0}, {5, 6, 0}}, {{1, 9, 1}, {2, 3, 0}, {9, 12, 0}},
	} {
		if live, _, err := Live(all); err == nil {
			t.Errorf("%v: live are %v", all, live)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("000000000000001A-00000000000000FF.3.tar.zst")
	f.Add("000000000000001A-00000000000000FF.3.9.gone")
	f.Fuzz(func(t *testing.T, s string) {
		n, number, ok := ParseName(s)
		if want := n.String(); ok && number == 0 && s != want {
			t.Errorf("%q is read as %s", s, want)
		}
		if want := n.Gone(number); ok && number != 0 && s != want {
			t.Errorf("%q is read as %s", s, want)
		}
	})
}
