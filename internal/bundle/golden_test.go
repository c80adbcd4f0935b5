package bundle

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// The files in testdata were written by the first release with this format. They stay as they are:
// a bundle that somebody has is readable for ever. The carrying one is the bundle after a merge with the list.
const (
	goldenBundle   = "testdata/v1.tar.zst"
	goldenGone     = "testdata/v1.gone"
	goldenCarrying = "testdata/v2.tar.zst"
)

// goldenMembers are the members of the golden bundle, in its order.
func goldenMembers(t *testing.T) (names []layout.Name, contents [][]byte, flags []uint16) {
	t.Helper()
	add := func(n layout.Name, f uint16, b []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		names, contents, flags = append(names, n), append(contents, b), append(flags, f)
	}
	tid := firstTID
	for k, tx := range [][]record.Object{
		{{OID: 0, Data: []byte("\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}.")}, {OID: 1, Data: bytes.Repeat([]byte("one "), 300)}},
		{{OID: 1, Previous: tid, BlobSum: record.BlobSum{1, 2}, Data: []byte("two")}, {OID: 0x0123456789ABCDEF, Data: bytes.Repeat([]byte{7}, 5000)}},
		{{OID: 1, Previous: tid + 1, UndoFrom: tid, Data: []byte("one")}, {OID: 2}},
	} {
		f := record.Transaction{TID: tid + zodb.TID(k), User: []byte("user"), Description: []byte("description"), Packed: k == 0}
		if k > 0 {
			f.Previous = f.TID - 1
		}
		for _, o := range tx {
			o.Serial = f.TID
			f.OIDs = append(f.OIDs, o.OID)
			var flag uint16
			switch {
			case o.Gone():
				flag = FlagGone
			case o.HasBlob():
				flag = FlagBlob
			case o.UndoFrom != 0:
				flag = FlagUndo
			}
			b, err := o.Append(nil, record.MD5)
			add(layout.Revision(o.OID, f.TID), flag, b, err)
		}
		flag := uint16(0)
		if f.Packed {
			flag = FlagPacked
		}
		b, err := f.Append(nil, record.MD5)
		add(layout.Transaction(f.TID), flag, b, err)
	}
	return names, contents, flags
}

func goldenOptions() Options {
	return Options{Identity: [16]byte{0xA0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Min: firstTID, Max: firstTID + 2, Generation: 3, Previous: 5, HighestOID: 0x0123456789ABCDEF, FrameSize: 2048}
}

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGoldenBundle reads a bundle of the first release, and compares each byte with the one that
// docs/format.md says.
func TestGoldenBundle(t *testing.T) {
	t.Parallel()
	file := readGolden(t, goldenBundle)
	r, err := Open(bytes.NewReader(file), int64(len(file)), goldenBundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	names, contents, flags := goldenMembers(t)
	k := 0
	for m, err := range Scan(bytes.NewReader(file), int64(len(file)), goldenBundle) {
		if err != nil {
			t.Fatal(err)
		}
		if k == len(names) || m.Name != names[k] || !bytes.Equal(m.Content, contents[k]) {
			t.Fatalf("member %d is %s, %d bytes", k, m.Name, len(m.Content))
		}
		p := Place{}
		if m.Name.Kind == layout.KindRevision {
			e, _, err := r.Find(m.Name.OID, m.Name.TID)
			if p = e.Place; err != nil {
				t.Fatal(err)
			}
		} else {
			e, _, err := r.LatestTransaction(m.Name.TID)
			if p = e.Place; err != nil || e.TID != m.Name.TID {
				t.Fatal(e, err)
			}
		}
		if got, err := r.Read(p, m.Name); err != nil || !bytes.Equal(got, contents[k]) || p.Flags != flags[k] {
			t.Errorf("%s by the index: %d bytes, flags %d, %v", m.Name, len(got), p.Flags, err)
		}
		k++
	}
	if k != len(names) {
		t.Errorf("%d members, want %d", k, len(names))
	}
	// Today a tar of the members, in frames, is written the same.
	plain := make([][]byte, 0, r.Frames)
	for f, err := range r.FramesFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		packed, err := r.ReadPacked(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Decode(f, packed, nil)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, b)
	}
	var tar []byte
	for i, n := range names {
		tar = appendMember(tar, n, contents[i])
	}
	if !bytes.Equal(bytes.Join(plain, nil), tar) {
		t.Error("the members of the tar are written otherwise today")
	}
	// With the frames as they are, the rest is written the same today, byte for byte.
	var out bytes.Buffer
	if _, err := Merge(t.Context(), &out, goldenOptions(), []Source{{Reader: r}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), file) {
		t.Errorf("the index and the footer are written otherwise today:\n%s", cmp.Diff(hex.Dump(file), hex.Dump(out.Bytes())))
	}
}

// TestGoldenFields compares the fields of the index and the footer of the golden bundle, by the
// offsets of docs/format.md, with values that were worked out by hand.
func TestGoldenFields(t *testing.T) {
	t.Parallel()
	b := readGolden(t, goldenBundle)
	foot := len(b) - 248
	revisions, transactions, frames, fences := 0x559, 0x609, 0x665, 0x6FD
	for _, f := range []struct {
		at   int
		want string
		what string
	}{
		{0, "28b52ffd", "a frame of zstd"},
		{revisions - 8, "5b2a4d18" + "a8000000", "skippable frame of 6 revisions of 28 bytes"},
		{revisions, "0000000000000000" + "03f6ed2440000000" + "00000000" + "0001" + "0000" + "00000075", "object 0: frame, block, flags, length"},
		{revisions + 28, "0000000000000001" + "03f6ed2440000000" + "00000001" + "0001" + "0000" + "000004f8", "object 1"},
		{revisions + 56, "0000000000000001" + "03f6ed2440000001" + "00000002" + "0003" + "0002" + "0000004b", "object 1, with a blob"},
		{revisions + 84, "0000000000000001" + "03f6ed2440000002" + "00000004" + "0003" + "0004" + "0000004b", "object 1, by an undo"},
		{revisions + 112, "0000000000000002" + "03f6ed2440000002" + "00000005" + "0001" + "0001" + "00000048", "object 2, which does not exist any more"},
		{revisions + 140, "0123456789abcdef" + "03f6ed2440000001" + "00000003" + "0001" + "0000" + "000013d0", "an object of its own frame"},
		{transactions - 8, "5b2a4d18" + "54000000", "skippable frame of 3 transactions of 28 bytes"},
		{transactions, "03f6ed2440000000" + "00000002" + "0001" + "0008" + "0000005b" + "00000000" + "0000" + "0000", "the first transaction, packed; it begins the first frame"},
		{transactions + 28, "03f6ed2440000001" + "00000004" + "0001" + "0000" + "0000005b" + "00000002" + "0002" + "0000", "the second one, which begins in block 2 of frame 2"},
		{frames - 8, "5b2a4d18" + "90000000", "skippable frame of 6 frames of 24 bytes"},
		{frames, "0000000000000000" + "00000000000000bd" + "00000002" + "59dfb9a4", "the first frame: offset, size, blocks of tar, sum"},
		{frames + 24, "00000000000000bd" + "00000000000000a6" + "00000004", "the second one"},
		{fences - 8, "5b2a4d18" + "3c000000", "skippable frame of 3 fences of 20 bytes"},
		{fences, "0000000000000000" + "03f6ed2440000000", "the first key of the revisions"},
		{fences + 20, "03f6ed2440000000" + "0000000000000000", "that of the transactions"},
		{fences + 40, "0000000000000000" + "0000000000000000", "that of the frames"},
		{foot - 8, "5b2a4d18" + "f8000000", "skippable frame of the footer"},
		{foot, hex.EncodeToString([]byte("DSbundle")), "magic"},
		{foot + 8, "00000001" + "00000000", "version, reserved"},
		{foot + 16, "a00102030405060708090a0b0c0d0e0f", "identity"},
		{foot + 32, "03f6ed2440000000", "first of the range"},
		{foot + 40, "03f6ed2440000002", "last of the range"},
		{foot + 48, "0000000000000003", "generation"},
		{foot + 56, "0000000000000005", "the transaction before the range"},
		{foot + 64, "0123456789abcdef", "highest oid"},
		{foot + 72, "0000000000000006", "revisions"},
		{foot + 80, "0000000000000003", "transactions"},
		{foot + 88, "0000000000000006", "frames"},
		{foot + 96, "0000000000000001", "blobs"},
		{foot + 104, fmt.Sprintf("%016x", revisions-8), "end of the tar"},
		{foot + 112, fmt.Sprintf("%016x%016x%016x%016x", revisions, transactions, frames, fences), "sections"},
		{foot + 180, strings.Repeat("00", 56), "reserved"},
		{foot + 240, hex.EncodeToString([]byte("elbdnuSD")), "magic"},
	} {
		n := len(f.want) / 2
		if got := hex.EncodeToString(b[f.at:][:n]); got != f.want {
			t.Errorf("%s, at %#x: %s, want %s", f.what, f.at, got, f.want)
		}
	}
}

// TestGoldenGone reads a gone list of the golden bundle, and writes it again.
func TestGoldenGone(t *testing.T) {
	t.Parallel()
	file := readGolden(t, goldenBundle)
	r, err := Open(bytes.NewReader(file), int64(len(file)), goldenBundle)
	if err != nil {
		t.Fatal(err)
	}
	want := readGolden(t, goldenGone)
	g, err := ParseGone(want, goldenGone, &r.Info)
	if err != nil {
		t.Fatal(err)
	}
	var has []int64
	for n := range r.Revisions + r.Transactions {
		if g.Has(n) {
			has = append(has, n)
		}
	}
	if !cmp.Equal(has, []int64{0, 1, 6}) || len(g.Sets) != 2 || g.Sets[0].Stamp != 0 || g.Sets[1].Stamp != 1_700_000_000 {
		t.Errorf("%v are gone, in %d sets", has, len(g.Sets))
	}
	again := (*Gone)(nil).With(r.Sum, 0, roaring.BitmapOf(0)).With(r.Sum, 1_700_000_000, roaring.BitmapOf(1, 6))
	got, err := again.Append(nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("written today (%v):\n%swant\n%s", err, hex.Dump(got), hex.Dump(want))
	}
}

// TestGoldenCarrying reads a bundle that carries a list, compares its fields with docs/format.md, and makes
// it again of the bundle and the list.
func TestGoldenCarrying(t *testing.T) {
	t.Parallel()
	before, file := readGolden(t, goldenBundle), readGolden(t, goldenCarrying)
	r, err := Open(bytes.NewReader(file), int64(len(file)), goldenCarrying)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	var has []int64
	for n := range r.Revisions + r.Transactions {
		if stamp, ok := r.Carried().stampOf(n); ok {
			has = append(has, n, stamp)
		}
	}
	if want := []int64{0, 0, 1, 1_700_000_000, 6, 1_700_000_000}; !cmp.Equal(has, want) || r.Generation != 4 {
		t.Errorf("gone are %v, want %v", has, want)
	}
	list, foot := 0x741, len(file)-248
	for _, f := range []struct {
		at   int
		want string
		what string
	}{
		{0, hex.EncodeToString(before[:list-8]), "all before is as in the bundle without a list"},
		{list - 8, "5b2a4d18" + fmt.Sprintf("%02x000000", foot-8-list), "skippable frame of the list"},
		{list, hex.EncodeToString([]byte("DSgone\r\n")) + "00000001" + "00000002", "magic, version, number of sets"},
		{list + 16, strings.Repeat("00", 32), "no sum"},
		{list + 48, "0000000000000000", "gone for good"},
		{foot + 8, "00000002" + "00000000", "version, reserved"},
		{foot + 48, "0000000000000004", "generation"},
		{foot + 112, hex.EncodeToString(before[len(before)-248+112:][:32]), "sections"},
		{foot + 180, fmt.Sprintf("%08x", foot-8-list), "length of the list"},
		{foot + 184, strings.Repeat("00", 52), "reserved"},
	} {
		n := len(f.want) / 2
		if got := hex.EncodeToString(file[f.at:][:n]); got != f.want {
			t.Errorf("%s, at %#x: %s, want %s", f.what, f.at, got, f.want)
		}
	}
	if made := carryGolden(t); !bytes.Equal(made, file) {
		t.Errorf("it is written otherwise today:\n%s", cmp.Diff(hex.Dump(file), hex.Dump(made)))
	}
}

// carryGolden merges the golden bundle with the golden list.
func carryGolden(t *testing.T) []byte {
	t.Helper()
	file := readGolden(t, goldenBundle)
	r, err := Open(bytes.NewReader(file), int64(len(file)), goldenBundle)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := ParseGone(readGolden(t, goldenGone), goldenGone, &r.Info)
	if err != nil {
		t.Fatal(err)
	}
	o := goldenOptions()
	o.Generation++
	var out bytes.Buffer
	if _, err := Merge(t.Context(), &out, o, []Source{{Reader: r, Gone: gone}}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
