package bundled_test

import (
	"errors"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// newStore returns an empty store with two neighbours to a merge.
func newStore(t *testing.T) (*bundled.Store, *crashfs.FS) {
	t.Helper()
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	return reopen(t, disk), disk
}

func reopen(t *testing.T, disk vfs.FS) *bundled.Store {
	t.Helper()
	s, err := bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests have closed it
	return s
}

// copyTo copies files of one disk to another one.
func copyTo(to, from vfs.FS, names iter.Seq2[string, error]) error {
	for name, err := range names {
		var b []byte
		if err == nil {
			b, err = from.ReadFile(name)
		}
		if err == nil {
			_, err = vfs.MkdirAll(to, path.Dir(name))
		}
		if err == nil {
			err = vfs.WriteFileAtomic(to, "aside", name, b, vfs.SyncOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestCopies: the files of A are a copy, and those since a transaction make it the newest state,
// although merges came between.
func TestCopies(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	h := newHistory(s, 3)
	over := crashfs.New(2)
	if err := errors.Join(h.thaw(), h.put(store.A), h.put(store.A), h.pack(), copyTo(over, disk, s.Files(t.Context())), h.checkStill(over)); err != nil {
		t.Fatal(err)
	}
	last := h.last
	nothing := func() error { return nil }
	if err := errors.Join(h.put(store.A), h.tend(nothing), h.put(store.A), h.put(store.A), h.tend(nothing), h.put(store.A)); err != nil {
		t.Fatal(err)
	}
	lost := func(text string) { t.Error(text) }
	if err := errors.Join(copyTo(over, disk, s.FilesSince(t.Context(), last, nil, lost)), h.checkStill(over)); err != nil {
		t.Error(err)
	}
	marks := 0
	for name, err := range s.FilesSince(t.Context(), h.last, nil, lost) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".tar.zst") {
			t.Errorf("%s has nothing new", name)
		}
		marks++
	}
	if marks < 2 {
		t.Errorf("%d marks, want two at least", marks)
	}
	if err := copyTo(crashfs.New(3), disk, s.FilesSince(t.Context(), h.last-1, nil, nil)); err == nil {
		t.Error("a transaction of another history is none")
	}
}

// TestDamageIsTold: of each byte of a bundle that is another one, either nobody reads it or the
// reader gets an error or the content as written. So it is for a gone list.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	h := newHistory(s, 4)
	if err := errors.Join(h.put(store.A), h.put(store.A), h.pack()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for e, err := range disk.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		name := "A/bundles/" + e.Name
		good, err := disk.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		step := 1
		if testing.Short() {
			step = 17
		}
		for at := 0; at < len(good); at += step {
			bad := append([]byte(nil), good...)
			bad[at] ^= 0x10
			if err := vfs.WriteFileAtomic(disk, "aside", name, bad, vfs.SyncOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := h.neverWrong(disk); err != nil {
				t.Fatalf("%s, byte %d of %d: %v", name, at, len(good), err)
			}
		}
		if err := vfs.WriteFileAtomic(disk, "aside", name, good, vfs.SyncOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.check(reopen(t, disk)); err != nil {
		t.Error(err)
	}
}

// neverWrong wants right contents or damage, of everything.
func (h *history) neverWrong(disk vfs.FS) error {
	s, err := bundled.New(bundled.Options{FS: disk, Still: true, Clock: time.Now})
	if err != nil {
		return onlyDamage(err)
	}
	defer s.Close()
	for tid, x := range h.txns {
		for _, oid := range x.OIDs {
			n := layout.Revision(oid, tid)
			b, place, err := s.Get(n)
			if err == nil {
				err = isWritten(b, place, oid, tid)
			} else if h.there(n) {
				err = onlyDamage(err)
			} else {
				err = nil
			}
			if err != nil {
				return err
			}
		}
	}
	for oid := range zodb.OID(h.oids) {
		r, err := s.Load(oid)
		switch want := h.current(oid); {
		case err == nil && r.Serial != want:
			return errors.New(oid.String() + " is at another revision")
		case err == nil:
			err = isWritten(r.Data, r.Place, oid, r.Serial)
		case want == 0:
			err = nil
		default:
			err = onlyDamage(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// onlyDamage returns an error that is none about damage.
func onlyDamage(err error) error {
	if _, ok := errors.AsType[*zodb.CorruptError](err); ok {
		return nil
	}
	return err
}

// TestLostBundlesAreTold: no older revision is taken for the current one where a bundle is missing,
// with the table of current revisions and without.
func TestLostBundlesAreTold(t *testing.T) {
	t.Parallel()
	for lost := range 3 {
		disk := crashfs.New(1)
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		s := reopen(t, disk)
		h := newHistory(s, 5)
		if err := errors.Join(h.put(store.A), h.put(store.A), h.put(store.A), s.Close()); err != nil {
			t.Fatal(err)
		}
		names := make(map[string]bool)
		for e := range disk.List("A/bundles") {
			names["A/bundles/"+e.Name] = true
		}
		if err := disk.Remove(slices.Sorted(maps.Keys(names))[lost]); err != nil {
			t.Fatal(err)
		}
		if err := h.neverWrong(disk); err != nil {
			t.Errorf("bundle %d is missing, A alone: %v", lost, err)
		}
		damaged := 0
		again := reopen(t, disk)
		for oid := range zodb.OID(h.oids) {
			tid, err := again.Current(oid)
			if _, ok := errors.AsType[*zodb.CorruptError](err); ok {
				damaged++
			} else if tid != h.current(oid) {
				t.Errorf("bundle %d is missing: object %s is at %s, want %s: %v", lost, oid, tid, h.current(oid), err)
			}
		}
		if damaged == 0 {
			t.Errorf("bundle %d is missing, and nobody says so", lost)
		}
	}
}
