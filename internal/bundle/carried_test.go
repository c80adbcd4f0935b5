package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// namedGone returns the members that a list has, with their stamps.
func namedGone(t *testing.T, r *Reader, g *Gone) map[layout.Name]int64 {
	t.Helper()
	stamps := make(map[layout.Name]int64)
	err := r.EachMember(func(n layout.Name, number int64) {
		if stamp, ok := g.stampOf(number); ok {
			stamps[n] = stamp
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return stamps
}

// randomGone makes a list of some members of a bundle.
func randomGone(rnd *rand.Rand, r *Reader) *Gone {
	var g *Gone
	for range rnd.IntN(4) {
		m := roaring.New()
		for n := range r.Revisions + r.Transactions {
			if rnd.IntN(5) == 0 {
				m.Add(uint32(n))
			}
		}
		g = g.With(r.Sum, int64(rnd.IntN(4)), m)
	}
	return g
}

// mergedCarrying merges some random bundles with lists, without some of the members that are gone for good.
// It returns the file, its members, and those that are gone.
func mergedCarrying(t *testing.T, seed uint64) (file []byte, info Info, want map[layout.Name][]byte, gone map[layout.Name]int64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 11))
	want, gone = make(map[layout.Name][]byte), make(map[layout.Name]int64)
	var sources []Source
	from := firstTID
	for range 1 + rnd.IntN(4) {
		var shape [][]int
		for range rnd.IntN(5) {
			shape = append(shape, make([]int, rnd.IntN(60)))
		}
		m := bundleFrom(t, Options{FrameSize: 4096, Min: from, Max: from + 999_999}, shape)
		from += 1_000_000
		r := m.open(t)
		s := Source{Reader: r, Gone: randomGone(rnd, r)}
		stamps := namedGone(t, r, s.Gone)
		dropped := make(map[int64]bool)
		if err := r.EachMember(func(n layout.Name, number int64) {
			if stamp, ok := stamps[n]; ok && stamp == 0 && rnd.IntN(3) > 0 {
				dropped[number] = true
				delete(m.content, n)
				delete(stamps, n)
			}
		}); err != nil {
			t.Fatal(err)
		}
		s.Drop = func(number int64) bool { return dropped[number] }
		maps.Copy(want, m.content)
		maps.Copy(gone, stamps)
		sources = append(sources, s)
	}
	var out bytes.Buffer
	info, err := Merge(t.Context(), &out, Options{FrameSize: 4096, Min: sources[0].Min, Max: sources[len(sources)-1].Max, Generation: 1}, sources)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	return out.Bytes(), info, want, gone
}

// TestMergedBundlesCarryWhatIsGone: each member that is gone and was not left out is gone from the new bundle
// with the stamp that it had; also after that was merged again, or its index, or that and its footer, were
// made anew.
func TestMergedBundlesCarryWhatIsGone(t *testing.T) {
	t.Parallel()
	some, none := 0, 0
	for seed := range uint64(40) {
		file, info, want, gone := mergedCarrying(t, seed)
		is := func(what string, r *Reader, err error) *Reader {
			t.Helper()
			if err == nil {
				err = r.CheckIndex()
			}
			if err != nil || r.Sum != info.Sum || r.Revisions+r.Transactions != int64(len(want)) || r.ListLost() {
				t.Fatalf("seed %d, %s: %v, %+v, want %+v", seed, what, err, r, info)
			}
			if g := r.Carried(); (g == nil) != (len(gone) == 0) || g != nil && g.Sum != r.Sum {
				t.Fatalf("seed %d, %s: the list is %+v, %d members are gone", seed, what, g, len(gone))
			}
			if diff := cmp.Diff(gone, namedGone(t, r, r.Carried())); diff != "" {
				t.Fatalf("seed %d, %s: (-want +got)\n%s", seed, what, diff)
			}
			return r
		}
		r, err := Open(bytes.NewReader(file), int64(len(file)), "x")
		is("as it is", r, err)
		if err := r.Verify(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(gone) == 0 {
			none++
		} else {
			some++
		}
		var again bytes.Buffer
		if _, err := Merge(t.Context(), &again, Options{FrameSize: 4096, Min: r.Min, Max: r.Max, Generation: 1}, []Source{{Reader: r, Gone: r.Carried()}}); err != nil {
			t.Fatal(err)
		}
		r, err = Open(bytes.NewReader(again.Bytes()), int64(again.Len()), "x")
		if diff := cmp.Diff(gone, namedGone(t, r, r.Carried())); err != nil || diff != "" {
			t.Fatalf("seed %d, merged again: %v\n%s", seed, err, diff)
		}
		flags := func(n layout.Name, content []byte) uint16 {
			if n.Kind == layout.KindRevision && len(content) == 72 {
				return FlagGone
			}
			return 0
		}
		o := RebuildOptions{Flags: flags, Name: Name{info.Min, info.Max, info.Generation}}
		r, footer, err := Rebuild(bytes.NewReader(file), int64(len(file)), "x", o)
		if is("rebuilt", r, err); !footer || r.Info != info {
			t.Fatalf("seed %d: rebuilt %+v, want %+v", seed, r.Info, info)
		}
		cut := file[:len(file)-FooterSize]
		r, _, err = Rebuild(bytes.NewReader(cut), int64(len(cut)), "x", o)
		is("without a footer", r, err)
		var out bytes.Buffer
		if i, err := r.Restore(&out, Options{Min: info.Min, Max: info.Max, Generation: info.Generation}); err != nil || i != info || !bytes.Equal(out.Bytes(), file) {
			t.Fatalf("seed %d: restored %+v, %v; the same bytes: %t", seed, i, err, bytes.Equal(out.Bytes(), file))
		}
	}
	if some < 10 || none == 0 {
		t.Errorf("%d bundles carry a list, %d do not", some, none)
	}
}

// TestNoDamagedListIsCarried changes each byte of the list that a bundle carries, and of the footer: the
// bundle is not opened, or has another sum. Made anew, it says that the list is lost, and has all members.
func TestNoDamagedListIsCarried(t *testing.T) {
	t.Parallel()
	var file []byte
	var info Info
	var members int
	for seed := uint64(0); info.listSize == 0; seed++ {
		var want map[layout.Name][]byte
		file, info, want, _ = mergedCarrying(t, seed)
		members = len(want)
	}
	begin := len(file) - FooterSize - int(info.listSize)
	for at := begin; at < len(file); at++ {
		file[at] ^= 1 << (at % 8)
		_, err := Open(bytes.NewReader(file), int64(len(file)), "x")
		if !errors.Is(err, zodb.ErrCorrupt) {
			t.Fatalf("byte %d is changed: %v", at-begin, err)
		}
		if at < len(file)-FooterSize {
			o := RebuildOptions{Flags: func(layout.Name, []byte) uint16 { return 0 }}
			r, footer, err := Rebuild(bytes.NewReader(file), int64(len(file)), "x", o)
			if err != nil || !footer || !r.ListLost() || r.Carried() != nil || !r.Complete() || r.Revisions+r.Transactions != int64(members) {
				t.Fatalf("byte %d is changed: made anew: %+v, %v", at-begin, r, err)
			}
			var out bytes.Buffer
			i, err := r.Restore(&out, Options{Min: info.Min, Max: info.Max, Generation: info.Generation + 1})
			if err != nil || i.listSize != 0 {
				t.Fatalf("byte %d is changed: restored %+v, %v", at-begin, i, err)
			}
			if _, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), "x"); err != nil {
				t.Fatal(err)
			}
		}
		file[at] ^= 1 << (at % 8)
	}
}

// TestAListIsOfThisVersion: the version of the footer and the size of the list have to agree, so no
// program that does not know such lists reads the bundle as if nothing were gone.
func TestAListIsOfThisVersion(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 60} {
		i := Info{Min: 1, Max: 2, listSize: size}
		at := int64(0)
		for k := range i.sections {
			at += skippableHead
			i.sections[k] = at
		}
		if size > 0 {
			at += skippableHead + size
		}
		b := i.append(nil)
		if got, err := parseFooter(b, at+FooterSize); err != nil || got != i || b[skippableHead+footVersion+3] != byte(1+min(size, 1)) {
			t.Errorf("size %d: %+v, %v", size, got, err)
		}
		b[skippableHead+footVersion+3] ^= 3
		sum := checksum(b[skippableHead:][:footSum])
		copy(b[skippableHead+footSum:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
		if _, err := parseFooter(b, at+FooterSize); err == nil {
			t.Errorf("size %d: another version is read", size)
		}
	}
}

// TestMergeOfAMemberThatIsGoneTwice: a member that is gone by a list and left out is not in the list.
func TestMergeOfAMemberThatIsGoneTwice(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{}, [][]int{{5, 6, 7}})
	r := m.open(t)
	all := roaring.New()
	all.AddRange(0, 4)
	for _, stamp := range []int64{0, 7} {
		var out bytes.Buffer
		info, err := Merge(t.Context(), &out, Options{Min: r.Min, Max: r.Max, Generation: 1}, []Source{{
			Reader: r, Gone: (*Gone)(nil).With(r.Sum, stamp, all), Drop: func(int64) bool { return true },
		}})
		if err != nil || info.Revisions+info.Transactions != 0 || info.listSize != 0 {
			t.Error(fmt.Sprintf("stamp %d: %+v, ", stamp, info), err)
		}
	}
}

// TestTheListOfANewerReleaseIsKnownBehindDamage: the footer, the fences or the frames of a bundle are damaged, or its
// end is cut off, and the list that it carries is whole, and of a newer release. Where the list is damaged, too, its
// version is nobody's word, and the same bytes in the content of a record are not a list.
func TestTheListOfANewerReleaseIsKnownBehindDamage(t *testing.T) {
	t.Parallel()
	var whole []byte
	var info Info
	for seed := uint64(0); info.listSize == 0 || info.Frames < 2; seed++ {
		whole, info, _, _ = mergedCarrying(t, seed)
	}
	begin := len(whole) - FooterSize - int(info.listSize)
	end := begin + int(info.listSize)
	newerList := func(b []byte) {
		list := b[begin:end]
		binary.BigEndian.PutUint32(list[goneVersion:], 9)
		binary.BigEndian.PutUint32(list[len(list)-goneTail:], checksum(list[:len(list)-goneTail]))
	}
	for _, tc := range []struct {
		name   string
		damage func(b []byte) []byte
		newer  bool
	}{
		{"the footer", func(b []byte) []byte { b[len(b)-100] ^= 1; return b }, true},
		{"the frame of the footer", func(b []byte) []byte { b[end] ^= 1; return b }, true},
		{"the footer is cut off", func(b []byte) []byte { return b[:end] }, true},
		{"a half of the footer is cut off", func(b []byte) []byte { return b[:end+100] }, true},
		{"the fences", func(b []byte) []byte { b[info.sections[sectionFences]] ^= 1; return b }, true},
		{"the fences and the footer", func(b []byte) []byte { b[info.sections[sectionFences]] ^= 1; b[len(b)-100] ^= 1; return b }, true},
		{"a frame and the fences", func(b []byte) []byte { b[40] ^= 1; b[info.sections[sectionFences]] ^= 1; return b }, true},
		{"a frame and the footer", func(b []byte) []byte { b[40] ^= 1; b[len(b)-100] ^= 1; return b }, true},
		{"a frame, the index, and the footer", func(b []byte) []byte { b[40] ^= 1; clear(b[info.dataEnd : begin-8]); return b[:end] }, true},
		{"the list", func(b []byte) []byte { b[begin+20] ^= 1; b[len(b)-100] ^= 1; return b }, false},
		{"the list, a frame and the footer", func(b []byte) []byte { b[40] ^= 1; b[begin+20] ^= 1; b[len(b)-100] ^= 1; return b }, false},
		{"a part of the list is cut off", func(b []byte) []byte { return b[:end-1] }, false},
		{"the version of the footer", func(b []byte) []byte {
			copy(b, whole)
			b[len(b)-FooterSize+skippableHead+footVersion+3] = 9
			return b
		}, false},
		{"a list in the content", func(b []byte) []byte {
			list := slices.Clone(b[begin-skippableHead : end])
			return append(list, whole[:len(whole)-100]...)
		}, false},
	} {
		b := slices.Clone(whole)
		newerList(b)
		b = tc.damage(b)
		r, _, err := Rebuild(bytes.NewReader(b), int64(len(b)), "x", RebuildOptions{Flags: func(layout.Name, []byte) uint16 { return 0 }})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		n, ok := errors.AsType[*layout.NewerError](r.ListNewer())
		if ok != tc.newer || ok && (n.Path != "x" || n.Version != "9") {
			t.Errorf("%s: %v, want newer %t", tc.name, r.ListNewer(), tc.newer)
		}
		if tc.newer && r.Carried() != nil {
			t.Errorf("%s: it has the list %+v", tc.name, r.Carried())
		}
	}
}
