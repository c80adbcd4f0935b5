package bundle

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzReader asserts that whatever is read of the file of anybody has the name of its entry, and
// that everything else is a CorruptError.
func FuzzReader(f *testing.F) {
	f.Add(bundleOf(f, Options{FrameSize: 1024}, [][]int{{100, 0, 3000}, {}}).file)
	f.Add(bundleOf(f, Options{Max: firstTID}, nil).file)
	f.Add(carrying(f))
	f.Add([]byte(magicBegin))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := Open(bytes.NewReader(file), int64(len(file)), "x")
		if err != nil {
			wantCorrupt(t, err)
			return
		}
		wantCorrupt(t, r.CheckIndex())
		if g := r.Carried(); g != nil && (g.All().IsEmpty() || int64(g.All().Maximum()) >= r.Revisions+r.Transactions) {
			t.Errorf("a list of %v in a bundle of %d and %d members", g.All(), r.Revisions, r.Transactions)
		}
		for e, err := range r.RevisionsFrom(0) {
			if err != nil {
				wantCorrupt(t, err)
				break
			}
			b, err := r.Read(e.Place, e.Name())
			wantCorrupt(t, err)
			if err == nil && len(b) != int(e.Length) {
				t.Errorf("%s has %d bytes, and its entry says %d", e.Name(), len(b), e.Length)
			}
		}
		for e, err := range r.TransactionsFrom(0) {
			if err != nil {
				wantCorrupt(t, err)
				break
			}
			_, err = r.Read(e.Place, e.Name())
			wantCorrupt(t, err)
		}
	})
}

func wantCorrupt(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// FuzzScan asserts that a scan of anybody's file ends, and finds only members that tar would.
func FuzzScan(f *testing.F) {
	f.Add(bundleOf(f, Options{FrameSize: 1024}, [][]int{{100, 0, 3000}, {}}).file)
	f.Add([]byte{0x28, 0xB5, 0x2F, 0xFD, 0x20, 0})
	f.Fuzz(func(t *testing.T, file []byte) {
		steps := 0
		for m, err := range Scan(bytes.NewReader(file), int64(len(file)), "x") {
			if steps++; steps > 1_000_000 {
				t.Fatal("the scan does not end")
			}
			if err != nil {
				wantCorrupt(t, err)
			} else if m.Name.TID == 0 && m.Name.OID == 0 && m.Name.Kind == 0 {
				t.Errorf("found %+v", m)
			}
		}
	})
}

// carrying is a bundle that carries a list.
func carrying(tb testing.TB) []byte {
	tb.Helper()
	r := bundleOf(tb, Options{FrameSize: 1024}, [][]int{{100, 0, 3000}, {}}).open(tb)
	gone := (*Gone)(nil).With(r.Sum, 0, roaring.BitmapOf(0)).With(r.Sum, 7, roaring.BitmapOf(2, 4))
	var out bytes.Buffer
	if _, err := Merge(context.Background(), &out, Options{Min: r.Min, Max: r.Max, Generation: 1}, []Source{{Reader: r, Gone: gone}}); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}
