package bundled_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// packedTwice has five bundles with one transaction each; one pack has put aside object 1, another one
// object 2. No merge was done.
func packedTwice(t *testing.T) (s *bundled.Store, disk *crashfs.FS, txns []store.Transaction) {
	t.Helper()
	s, disk = newStore(t)
	for range 2 {
		if _, _, err := s.Thaw(10); err != nil {
			t.Fatal(err)
		}
	}
	txns = storetest.Chain([]zodb.OID{1, 9}, []zodb.OID{2, 9}, []zodb.OID{3, 9}, []zodb.OID{4, 9}, []zodb.OID{5, 9})
	for _, tx := range txns {
		if err := errors.Join(s.Put(store.A, []store.Transaction{tx}, new(store.Progress)), s.SetLast(store.A, tx.TID())); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		oid, tid := zodb.OID(i+1), txns[i].TID()
		removeNow(t, s, int64(101+i), store.Removal{Objects: []zodb.OID{oid}, Revisions: []store.Revisions{{OID: oid, TIDs: []zodb.TID{tid}}}})
	}
	return s, disk, txns
}

// carrying returns the names of the bundles of A that carry a list, without those that are superseded.
func carrying(t *testing.T, disk vfs.FS) (names []bundle.Name) {
	t.Helper()
	var all []bundle.Name
	for e, err := range disk.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		if n, number, ok := bundle.ParseName(e.Name); ok && number == 0 {
			all = append(all, n)
		}
	}
	live, _, err := bundle.Live(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range live {
		b, err := disk.ReadFile("A/bundles/" + n.String())
		if err != nil {
			t.Fatal(err)
		}
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), n.String())
		if err != nil {
			t.Fatal(err)
		}
		if r.Carried() != nil {
			names = append(names, n)
		}
	}
	return names
}

func tendToEnd(t *testing.T, s *bundled.Store, o store.Tending) {
	t.Helper()
	for range 100 {
		if found, _, err := tendOnce(t, s, o); err != nil {
			t.Fatal(err)
		} else if !found {
			return
		}
	}
	t.Fatal("it does not end")
}

// wantThere wants some objects to be there, and others not.
func wantThere(t *testing.T, what string, s *bundled.Store, there map[zodb.OID]bool) {
	t.Helper()
	for oid, want := range there {
		_, err := s.Load(oid)
		if want && err != nil || !want && !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("%s: object %s: %v, want it: %t", what, oid, err, want)
		}
	}
}

// TestPacksOfMergedBundles: all that packs have put aside of several bundles is aside, each with its own stamp,
// when these are one; then it comes back, or is gone for good, pack by pack, also after an open.
func TestPacksOfMergedBundles(t *testing.T) {
	t.Parallel()
	s, disk, txns := packedTwice(t)
	tendToEnd(t, s, store.Tending{})
	if c := carrying(t, disk); len(c) != 1 {
		t.Fatalf("%v carry lists", c)
	}
	if n := lists(t, disk); n != 0 {
		t.Errorf("there are %d lists beside merged bundles", n)
	}
	again := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, disk)
		if _, _, err := s.Thaw(10); err != nil {
			t.Fatal(err)
		}
	}
	again()
	wantThere(t, "merged", s, map[zodb.OID]bool{1: false, 2: false, 3: true, 9: true})
	bringBackNow(t, s, 102)
	wantThere(t, "the second pack was taken back", s, map[zodb.OID]bool{1: false, 2: true, 3: true})
	again()
	wantThere(t, "and it was opened", s, map[zodb.OID]bool{1: false, 2: true, 3: true})
	removeNow(t, s, 103, store.Removal{Objects: []zodb.OID{3}, Revisions: []store.Revisions{{OID: 3, TIDs: []zodb.TID{txns[2].TID()}}}})
	tendToEnd(t, s, store.Tending{Before: 102, Least: 1e-9})
	again()
	c := carrying(t, disk)
	if len(c) != 1 || c[0].Generation == 0 || lists(t, disk) != 0 {
		t.Errorf("%v carry lists, there are %d beside: a part of one was gone for good", c, lists(t, disk))
	}
	wantThere(t, "the first pack is gone for good", s, map[zodb.OID]bool{1: false, 2: true, 3: false})
	if _, place, err := s.Get(layout.Revision(1, txns[0].TID())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: what is gone for good: %v", place, err)
	}
	bringBackNow(t, s, 0)
	wantThere(t, "all was taken back", s, map[zodb.OID]bool{1: false, 2: true, 3: true})
	again()
	wantThere(t, "at the end", s, map[zodb.OID]bool{1: false, 2: true, 3: true, 4: true, 9: true})
}

// TestMergeOfWhatIsChangedMeanwhile: a merge of bundles of which something is aside is not put after a pack,
// an undelete or the end of a delay_delete has changed that, and it is put beside a flush.
func TestMergeOfWhatIsChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, s *bundled.Store, txns []store.Transaction)
		put       bool
		there     map[zodb.OID]bool
	}{
		"a flush": {func(t *testing.T, s *bundled.Store, txns []store.Transaction) {
			t.Helper()
			last := txns[len(txns)-1].TID()
			x := &storetest.Txn{Tid: last + 1<<20, Previous: last, OIDs: []zodb.OID{6}, Before: map[zodb.OID]zodb.TID{}}
			if err := errors.Join(s.Put(store.A, []store.Transaction{x}, new(store.Progress)), s.SetLast(store.A, x.Tid)); err != nil {
				t.Fatal(err)
			}
		}, true, map[zodb.OID]bool{1: false, 2: false, 6: true}},
		"a pack": {func(t *testing.T, s *bundled.Store, txns []store.Transaction) {
			t.Helper()
			removeNow(t, s, 103, store.Removal{Revisions: []store.Revisions{{OID: 9, TIDs: []zodb.TID{txns[0].TID()}}}})
		}, false, map[zodb.OID]bool{1: false, 2: false, 3: true, 9: true}},
		"an undelete": {func(t *testing.T, s *bundled.Store, _ []store.Transaction) {
			t.Helper()
			bringBackNow(t, s, 101)
		}, false, map[zodb.OID]bool{1: true, 2: false, 3: true}},
		"a purge": {func(t *testing.T, s *bundled.Store, _ []store.Transaction) {
			t.Helper()
			p := s.Purge(102)
			defer p.Close()
			for done := false; !done; {
				var err error
				if _, done, err = p.Step(10); err != nil {
					t.Fatal(err)
				}
			}
			bringBackNow(t, s, 0)
		}, false, map[zodb.OID]bool{1: false, 2: true, 3: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, disk, txns := packedTwice(t)
			chore, err := s.Tend(store.Tending{})
			if err != nil {
				t.Fatal(err)
			}
			if found, err := chore.Prepare(t.Context()); err != nil || !found {
				t.Fatal(found, err)
			}
			c.meanwhile(t, s, txns)
			n, err := chore.Publish()
			if err = errors.Join(err, chore.Close()); err != nil || (n.Files > 0) != c.put {
				t.Errorf("it is put: %+v, %v", n, err)
			}
			wantThere(t, "after that", s, c.there)
			tendToEnd(t, s, store.Tending{})
			wantThere(t, "after all merges", s, c.there)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wantThere(t, "opened anew", reopen(t, disk), c.there)
		})
	}
}

// TestListBesideABundleThatCarriesOne: if the list that lies beside it is damaged, the storage is not opened
// for writing; a reader goes by the one that the bundle carries, and says so.
func TestListBesideABundleThatCarriesOne(t *testing.T) {
	t.Parallel()
	s, disk, _ := packedTwice(t)
	tendToEnd(t, s, store.Tending{})
	bringBackNow(t, s, 102)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list := "A/bundles/" + carrying(t, disk)[0].Gone(1)
	content, err := disk.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := disk.Remove(list); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Put(disk, list, content, true); err != nil {
		t.Fatal(err)
	}
	o := bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now}
	if s, err := bundled.New(o); !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("it is opened for writing: %v, %v", s, err)
	}
	warned := ""
	o.Beside, o.Warn = true, func(text string, err error) { warned += fmt.Sprint(text, err) }
	beside, err := bundled.New(o)
	if err != nil {
		t.Fatal(err)
	}
	wantThere(t, "beside", beside, map[zodb.OID]bool{1: false, 2: false, 3: true})
	if warned == "" {
		t.Error("nobody is warned")
	}
	if err := beside.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamagedListThatABundleCarries: the storage is not opened for writing; a reader gets at all members, and
// is told that those that were aside are there again.
func TestDamagedListThatABundleCarries(t *testing.T) {
	t.Parallel()
	s, disk, _ := packedTwice(t)
	tendToEnd(t, s, store.Tending{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := "A/bundles/" + carrying(t, disk)[0].String()
	content, err := disk.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-bundle.FooterSize-20] ^= 1
	if err := disk.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Put(disk, name, content, true); err != nil {
		t.Fatal(err)
	}
	o := bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now}
	if s, err := bundled.New(o); !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("it is opened for writing: %v, %v", s, err)
	}
	warned := ""
	o.Beside, o.Warn = true, func(text string, err error) { warned += fmt.Sprint(text, err) }
	beside, err := bundled.New(o)
	if err != nil {
		t.Fatal(err)
	}
	wantThere(t, "beside", beside, map[zodb.OID]bool{1: true, 2: true, 3: true, 9: true})
	if !bytes.Contains([]byte(warned), []byte("can be read again")) {
		t.Errorf("the warning is %q", warned)
	}
	if err := beside.Close(); err != nil {
		t.Error(err)
	}
}
