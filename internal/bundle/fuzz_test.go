package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzReader puts some sums right in a file before it is read: without that hardly anything that the fuzzer
// makes gets past the checksums.
const (
	asItIs = iota
	withSums
	withSumsAndKeys // the fences have the keys of their blocks, too
	kindsOfFuzz
)

// FuzzReader asserts that a file of anybody that is accepted agrees with itself, and that everything else is
// a CorruptError: see [accepted].
func FuzzReader(f *testing.F) {
	for _, file := range [][]byte{
		bundleOf(f, Options{FrameSize: 1024}, [][]int{{100, 0, 3000}, {}}).file,
		bundleOf(f, Options{Max: firstTID}, nil).file,
		bundleOf(f, Options{FrameSize: 1024}, [][]int{make([]int, placesInBlock+3), {600, 600, 600}}).file,
		carrying(f),
		carryingForGood(f),
		readGolden(f, goldenBundle),
		readGolden(f, goldenCarrying),
		[]byte(magicBegin),
	} {
		for kind := range byte(kindsOfFuzz) {
			f.Add(file, kind)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte, kind byte) {
		if kind %= kindsOfFuzz; kind != asItIs {
			file = resum(bytes.Clone(file), kind == withSumsAndKeys)
		}
		r, err := Open(bytes.NewReader(file), int64(len(file)), "x")
		if err != nil {
			wantCorrupt(t, err)
			return
		}
		accepted(t, r, file)
	})
}

// TestSeedsOfFuzzReaderReachTheLists: some of the bundles that the fuzzer begins with carry lists, and its
// mending of sums leaves a whole bundle as it is.
func TestSeedsOfFuzzReaderReachTheLists(t *testing.T) {
	t.Parallel()
	for name, file := range map[string][]byte{"merged": carrying(t), "gone for good": carryingForGood(t), "golden": readGolden(t, goldenCarrying)} {
		if v := binary.BigEndian.Uint32(file[len(file)-footerContent+footVersion:]); v != listVersion {
			t.Errorf("%s: version %d", name, v)
		}
		if !bytes.Equal(resum(bytes.Clone(file), true), file) {
			t.Errorf("%s: the mended bundle is another one", name)
		}
		r, err := Open(bytes.NewReader(file), int64(len(file)), name)
		if err != nil || r.Carried() == nil || !accepted(t, r, file) {
			t.Errorf("%s: %v, it is not accepted with a list", name, err)
		}
		// With the sums put right the checks behind them are reached.
		list := len(file) - FooterSize - int(r.listSize)
		wrong := bytes.Clone(file)
		binary.BigEndian.PutUint64(wrong[list+goneSets:], 1<<63)
		if _, err := Open(bytes.NewReader(resum(wrong, false)), int64(len(file)), name); err == nil || !strings.Contains(err.Error(), "out of order") {
			t.Errorf("%s: a stamp before 1970: %v", name, err)
		}
	}
}

// TestAMemberOutsideOfTheRangeIsNamed: the footer says of a bundle that it begins later, or ends earlier, than its
// members.
func TestAMemberOutsideOfTheRangeIsNamed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(foot []byte, last zodb.TID){
		"begins later": func(foot []byte, _ zodb.TID) { binary.BigEndian.PutUint64(foot[footMin:], uint64(firstTID+1)) },
		"ends earlier": func(foot []byte, last zodb.TID) { binary.BigEndian.PutUint64(foot[footMax:], uint64(last-1)) },
	} {
		m := bundleOf(t, Options{}, [][]int{{100}, {200}})
		change(m.file[len(m.file)-footerContent:], m.info.Max)
		resum(m.file, false)
		r := m.open(t)
		var list, listTransactions, find error
		for _, err := range r.RevisionsFrom(0) {
			list = errors.Join(list, err)
		}
		for _, err := range r.TransactionsFrom(0) {
			listTransactions = errors.Join(listTransactions, err)
		}
		for n := range m.content {
			if n.Kind == layout.KindRevision {
				_, _, err := r.Find(n.OID, n.TID)
				find = errors.Join(find, err)
			} else {
				_, _, err := r.LatestTransaction(n.TID)
				find = errors.Join(find, err)
			}
		}
		for what, err := range map[string]error{"list of revisions": list, "list of transactions": listTransactions, "finding": find} {
			if !errors.Is(err, zodb.ErrCorrupt) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// accepted looks at all of a bundle that was opened. Its footer is the one that would be written. Its index is
// in order, and finds each entry that it lists. A list that it carries is as [agreesWithItself] says. If all is
// whole, a bundle that is made of this one, by a merge or of the tar alone, has the same members with the same
// content, and carries the same list. It reports whether all is whole.
func accepted(t *testing.T, r *Reader, file []byte) bool {
	t.Helper()
	if got := r.append(nil); !bytes.Equal(got, file[len(file)-FooterSize:]) {
		t.Errorf("the footer is\n%x, and would be written as\n%x", file[len(file)-FooterSize:], got)
	}
	if g := r.Carried(); (g != nil) != (r.listSize > 0) {
		t.Errorf("a list of %d bytes, and %+v is carried", r.listSize, g)
	} else if g != nil {
		agreesWithItself(t, g, &r.Info)
	}
	members, whole := indexed(t, r)
	err := r.Verify()
	wantCorrupt(t, err)
	if err != nil || !whole || t.Failed() {
		return false
	}
	for m, err := range Scan(bytes.NewReader(file), r.dataEnd, "x") {
		if err != nil || members[m.Name] == nil || members[m.Name].scanned {
			return false // it is in the tar twice, or is not in the index: that is nobody's promise
		}
		members[m.Name].scanned = true
	}
	for n, m := range members {
		if !m.scanned {
			t.Errorf("%s is in the index, and not in the tar", n)
		}
	}
	var out bytes.Buffer
	o := Options{Identity: r.Identity, Min: r.Min, Max: r.Max, Generation: r.Generation, Previous: r.Previous, HighestOID: r.HighestOID}
	if _, err := Merge(t.Context(), &out, o, []Source{{Reader: r, Gone: r.Carried()}}); err != nil {
		t.Errorf("it is whole, and cannot be merged: %v", err)
		return false
	}
	merged, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), "merged")
	if err == nil {
		err = merged.Verify()
	}
	if err != nil {
		t.Fatalf("what it was merged into: %v", err)
	}
	isCopy(t, merged, members, r)
	flags := func(n layout.Name, _ []byte) uint16 { return members[n].flags }
	rebuilt, footer, err := Rebuild(bytes.NewReader(file), int64(len(file)), "x", RebuildOptions{Flags: flags})
	if err != nil || !footer || rebuilt.ListLost() || rebuilt.ListUnknown() || !rebuilt.Complete() {
		t.Fatalf("made of the tar: %+v, %v", rebuilt, err)
	}
	isCopy(t, rebuilt, members, r)
	return true
}

// indexedMember is a member by the index.
type indexedMember struct {
	flags   uint16
	content []byte
	scanned bool
}

// indexed returns the members of the index. whole is false if the index or a member is damaged.
func indexed(t *testing.T, r *Reader) (members map[layout.Name]*indexedMember, whole bool) {
	t.Helper()
	members, whole = make(map[layout.Name]*indexedMember), true
	number := int64(0)
	add := func(n layout.Name, p Place, found bool, err error) {
		if err != nil || !found {
			t.Errorf("%s is entry %d of the index, and is not found: %v", n, number, err)
		}
		if !r.contains(n.TID) || members[n] != nil {
			t.Errorf("%s is not in the range %s to %s, or twice in the index", n, r.Min, r.Max)
		}
		number++
		b, err := r.Read(p, n)
		wantCorrupt(t, err)
		if err == nil && len(b) != int(p.Length) {
			t.Errorf("%s has %d bytes, and its entry says %d", n, len(b), p.Length)
		}
		whole = whole && err == nil
		members[n] = &indexedMember{flags: p.Flags, content: b}
	}
	var revisions []Revision
	for e, err := range r.RevisionsFrom(0) {
		if err != nil { // of an index that is out of order nobody promises that it finds anything
			wantCorrupt(t, err)
			return nil, false
		}
		revisions = append(revisions, e)
	}
	var transactions []Transaction
	for e, err := range r.TransactionsFrom(0) {
		if err != nil {
			wantCorrupt(t, err)
			return nil, false
		}
		transactions = append(transactions, e)
	}
	for _, e := range revisions {
		got, at, err := r.Find(e.OID, e.TID)
		add(e.Name(), e.Place, got == e && at == number, err)
	}
	if number != r.Revisions {
		t.Errorf("%d revisions are listed, %d counted", number, r.Revisions)
	}
	for _, e := range transactions {
		got, at, err := r.LatestTransaction(e.TID)
		add(e.Name(), e.Place, got == e && at == number-r.Revisions, err)
	}
	if number != r.Revisions+r.Transactions {
		t.Errorf("%d transactions are listed, %d counted", number-r.Revisions, r.Transactions)
	}
	for _, err := range r.FramesFrom(0) {
		if err != nil {
			wantCorrupt(t, err)
			return members, false
		}
	}
	return members, whole && r.CheckIndex() == nil
}

// isCopy wants a bundle to have the members of another one, and its list.
func isCopy(t *testing.T, r *Reader, members map[layout.Name]*indexedMember, of *Reader) {
	t.Helper()
	if r.Revisions != of.Revisions || r.Transactions != of.Transactions {
		t.Errorf("%s has %d revisions and %d transactions, want %d and %d", r.path, r.Revisions, r.Transactions, of.Revisions, of.Transactions)
	}
	got, whole := indexed(t, r)
	for n, m := range members {
		if g := got[n]; !whole || g == nil || g.flags != m.flags || !bytes.Equal(g.content, m.content) {
			t.Errorf("%s: %s is %+v, want %+v", r.path, n, g, m)
		}
	}
	if diff := cmp.Diff(namedGone(t, of, of.Carried()), namedGone(t, r, r.Carried())); diff != "" {
		t.Errorf("%s carries another list: (-want +got)\n%s", r.path, diff)
	}
}

// resum puts the sums of a bundle right, as far as its footer leads to the covered parts: of the list, of the
// frames, of the blocks of the index, of the fences, of the index and of the footer.
func resum(file []byte, keys bool) []byte {
	end := int64(len(file)) - FooterSize
	if end < 0 {
		return file
	}
	foot := file[end+skippableHead:]
	n := func(at int) int64 { return int64(binary.BigEndian.Uint64(foot[at:])) }
	part := func(at, size int64) []byte {
		if at < 0 || size < 0 || at > end || size > end-at {
			return nil
		}
		return file[at : at+size]
	}
	put := func(dst []byte, sum uint32) { binary.BigEndian.PutUint32(dst, sum) }
	size := int64(binary.BigEndian.Uint32(foot[footListSize:]))
	if b := part(end-size, size); len(b) >= goneTail {
		put(b[len(b)-goneTail:], checksum(b[:len(b)-goneTail]))
	}
	for at := n(footSections + 8*sectionFrames); ; at += frameSize {
		e := part(at, frameSize)
		if e == nil || at-n(footSections+8*sectionFrames) >= n(footFrames)*frameSize {
			break
		}
		f := parseFrame(e)
		put(e[frameSize-4:], checksum(part(f.Offset, f.Size)))
	}
	begin := n(footSections + 8*sectionFences)
	at := begin
	for section, count := range []int64{n(footRevisions), n(footTransactions), n(footFrames)} {
		for k := int64(0); k < count; k += inBlock(section) {
			e, b := part(at, fenceSize), part(n(footSections+8*section)+k*entrySize(section), min(inBlock(section), count-k)*entrySize(section))
			if e == nil || b == nil {
				break
			}
			if put(e[fenceSize-4:], checksum(b)); keys {
				copy(e, (&fence{key: keyOf(section, b)}).append(nil)[:fenceSize-4])
			}
			at += fenceSize
		}
	}
	put(foot[footFencesSum:], checksum(part(begin, at-begin)))
	if b := part(n(footDataEnd), end-n(footDataEnd)); b != nil {
		sum := sha256.Sum256(b)
		copy(foot[footIndexSum:], sum[:])
	}
	put(foot[footSum:], checksum(foot[:footSum]))
	return file
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

// carryingForGood is a bundle of two, with a list of some members that are gone for good and some that two
// packs have put aside.
func carryingForGood(tb testing.TB) []byte {
	tb.Helper()
	a := bundleOf(tb, Options{FrameSize: 1024, Max: firstTID + 9_999}, [][]int{{100, 0, 3000}, {20, 20}, {}}).open(tb)
	b := bundleFrom(tb, Options{FrameSize: 2048, Min: firstTID + 10_000, Previous: firstTID + 2000}, [][]int{{400, 7}, {900}}).open(tb)
	goneA := (*Gone)(nil).With(a.Sum, 0, roaring.BitmapOf(1, 3)).With(a.Sum, 7, roaring.BitmapOf(0))
	goneB := (*Gone)(nil).With(b.Sum, 7, roaring.BitmapOf(0, 3)).With(b.Sum, 9, roaring.BitmapOf(1))
	var out bytes.Buffer
	o := Options{FrameSize: 1024, Min: a.Min, Max: b.Max, Generation: 2}
	if _, err := Merge(tb.Context(), &out, o, []Source{{Reader: a, Gone: goneA}, {Reader: b, Gone: goneB}}); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}
