package bundled_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

func openEvery(disk vfs.FS, every int) (*bundled.Store, error) {
	return bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2, CommitEvery: every})
}

// TestTableIsCaughtUp cuts the power before every operation of puts, merges and packs, while the
// table is committed again and again. Once there was one, it is caught up and never made
// anew, and is right.
func TestTableIsCaughtUp(t *testing.T) {
	t.Parallel()
	for seed := range hometest.Rounds(t, 2) {
		made := crashfs.New(int64(seed))
		if err := makeEmpty(made); err != nil {
			t.Fatal(err)
		}
		s, err := openEvery(made, 1)
		if err != nil {
			t.Fatal(err)
		}
		before := newHistory(s, uint64(seed))
		if err := errors.Join(before.put(store.A), before.put(store.A), s.Close()); err != nil {
			t.Fatal(err)
		}
		faulttest.Sampled(t, hometest.OneOf(1, 5, 29), hometest.Phase(t)+3*seed, func(at faulttest.Nth, n int) (log []string, came bool) {
			disk := made.Crashed(crashfs.KeepNone)
			begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
			whole := crashedHistory(disk, uint64(seed), 1+seed%3)
			if log, came = disk.Log()[begun:], cut.Load(); !came && !whole {
				t.Fatalf("seed %d, before %v, which did not come, it was not whole", seed, at)
			}
			for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))} {
				say := fmt.Sprintf("seed %d, before %v, %s", seed, at, mode)
				after := disk.Crashed(mode)
				s, err := openEvery(after, 2)
				if err != nil {
					t.Fatalf("%s: %v", say, err)
				}
				if has, rebuilt := s.HasTable(); !has || rebuilt {
					t.Errorf("%s: there is a table: %t; it was made anew: %t", say, has, rebuilt)
				}
				compareWithout(t, s, after, say)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			return log, came
		})
	}
}

// crashedHistory goes on with a history until the file system crashes; whole: it did not.
func crashedHistory(disk *crashfs.FS, seed uint64, every int) (whole bool) {
	s, err := openEvery(disk, every)
	if err != nil {
		return false
	}
	h := newHistory(s, seed)
	h.last = 100 << 20
	for range 3 {
		err = errors.Join(h.put(store.A), h.put(store.A), h.pack(), h.put(store.A), h.tend(func() error { return nil }))
		if err != nil {
			return errors.Join(err, s.Close()) == nil
		}
	}
	return s.Close() == nil
}

// compareWithout compares the answers of a store with those of one without a table.
func compareWithout(t *testing.T, s *bundled.Store, disk vfs.FS, say string) {
	t.Helper()
	without, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now, Beside: true})
	if err != nil {
		t.Fatalf("%s: %v", say, err)
	}
	for oid := range zodb.OID(13) {
		got, err := s.Current(oid)
		want, werr := without.Current(oid)
		if got != want || (err == nil) != (werr == nil) {
			t.Errorf("%s: the current revision of %s is %s, %v; want %s, %v", say, oid, got, err, want, werr)
		}
		rec, err := s.Load(oid)
		wrec, werr := without.Load(oid)
		if rec.Serial != wrec.Serial || string(rec.Data) != string(wrec.Data) || (err == nil) != (werr == nil) {
			t.Errorf("%s: object %s is of %s, %v; want %s, %v", say, oid, rec.Serial, err, wrec.Serial, werr)
		}
	}
	if err := without.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTableOfOIDsFarApart: the table does not explode, and objects that it does not know are found.
func TestTableOfOIDsFarApart(t *testing.T) {
	t.Parallel()
	disk, err := vfs.OS(t.TempDir())
	if err == nil {
		err = makeEmpty(disk)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	var oids []zodb.OID
	put := func(n int) {
		x := &storetest.Txn{Tid: zodb.TID(len(oids)+1) << 20, Before: make(map[zodb.OID]zodb.TID)}
		for range n {
			x.OIDs = append(x.OIDs, zodb.OID(rnd.Uint64()|1<<63))
		}
		oids = append(oids, x.OIDs...)
		if err := errors.Join(s.Put(store.A, []store.Transaction{x}, new(store.Progress)), s.SetLast(store.A, x.Tid)); err != nil {
			t.Fatal(err)
		}
	}
	look := func(say string, table bool) {
		t.Helper()
		if has, _ := s.HasTable(); has != table {
			t.Errorf("%s: there is a table: %t; want %t", say, has, table)
		}
		for i := 0; i < len(oids); i += 97 {
			if tid, err := s.Current(oids[i]); err != nil || tid == 0 {
				t.Fatalf("%s: object %s: %s, %v", say, oids[i], tid, err)
			}
		}
		if _, err := s.Current(12345); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("%s: an object that is not there: %v", say, err)
		}
	}
	put(1000)
	look("a thousand", true)
	put(40000)
	look("too many", false)
	for range 2 { // made anew, and not tried again
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = bundled.New(bundled.Options{FS: disk, Clock: time.Now}); err != nil {
			t.Fatal(err)
		}
		look("opened again", false)
	}
	if _, rebuilt := s.HasTable(); rebuilt {
		t.Error("the table was made anew once more")
	}
	if info, err := disk.Stat("misc/current"); err != nil || info.Size > 65<<20 {
		t.Errorf("misc/current has %d bytes, %v", info.Size, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLostPagesOfTheTable: the disk has lost pages of the table. Nobody is told that an object
// does not exist, nor gets an older revision, also after merges and packs.
func TestLostPagesOfTheTable(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{1, 2, 3})
	s, disk := newStore(t)
	for i := range all {
		if err := errors.Join(s.Put(store.A, all[i:i+1], new(store.Progress)), s.SetLast(store.A, all[i].TID())); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := disk.OpenWrite("misc/current")
	if err == nil {
		_, err = f.WriteAt(make([]byte, 2048), 4096)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err = bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 3})
	if err != nil {
		t.Fatal(err)
	}
	if has, rebuilt := s.HasTable(); !has || rebuilt {
		t.Fatalf("there is a table: %t; it was made anew: %t", has, rebuilt)
	}
	look := func(say string) {
		t.Helper()
		for oid := zodb.OID(1); oid <= 3; oid++ {
			r, err := s.Load(oid)
			if tid, cerr := s.Current(oid); r.Serial != all[3].TID() || tid != r.Serial || err != nil || cerr != nil {
				t.Errorf("%s: object %s is of %s, or of %s: %v, %v; want %s", say, oid, r.Serial, tid, err, cerr, all[3].TID())
			}
		}
	}
	look("opened")
	for range 10 { // a merge of the first three, and their places
		if _, _, err := tendOnce(t, s, store.Tending{}); err != nil {
			t.Fatal(err)
		}
		look("merged")
	}
	if _, err := s.Remove(9, store.Removal{Revisions: []store.Revisions{{OID: 2, TIDs: []zodb.TID{all[0].TID(), all[1].TID()}}}}); err != nil {
		t.Fatal(err)
	}
	look("packed")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLostWritesOfTheTable: the disk has kept the table as it was before the last revisions were put, all
// of it or parts, and has lost all that was synced since, but for the header. Nobody gets the older revisions.
func TestLostWritesOfTheTable(t *testing.T) {
	t.Parallel()
	var each [][]zodb.OID
	for range 4 {
		each = append(each, []zodb.OID{1, 2, 40}) // in two pages
	}
	all := storetest.Chain(each...)
	made := crashfs.New(1)
	if err := makeEmpty(made); err != nil {
		t.Fatal(err)
	}
	var tables [][]byte // as of each close
	for i := range all {
		s, err := openEvery(made, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Put(store.A, all[i:i+1], new(store.Progress)), s.SetLast(store.A, all[i].TID()), s.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := made.ReadFile("misc/current")
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, b)
	}
	newest := tables[len(tables)-1]
	for i, old := range tables[:len(tables)-1] {
		for _, from := range []int{4096, 4096 + 512} { // the first page, or the second one
			disk := made.Crashed(crashfs.KeepAll)
			f, err := disk.OpenWrite("misc/current")
			if err != nil {
				t.Fatal(err)
			}
			if string(old[from:from+512]) == string(newest[from:from+512]) {
				t.Fatal("the page is the same")
			}
			_, err = f.WriteAt(old[from:from+512], int64(from))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			s, err := openEvery(disk, 1)
			if err != nil {
				t.Fatal(err)
			}
			if has, rebuilt := s.HasTable(); !has || rebuilt {
				t.Errorf("there is a table: %t; it was made anew: %t", has, rebuilt)
			}
			for _, oid := range each[0] {
				r, err := s.Load(oid)
				tid, cerr := s.Current(oid)
				if r.Serial != all[3].TID() || tid != r.Serial || err != nil || cerr != nil {
					t.Errorf("table of %d, page at %d: object %s is of %s, or of %s: %v, %v; want %s", i, from, oid, r.Serial, tid, err, cerr, all[3].TID())
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestListsOfAnotherCopy: two copies of one storage are packed, and the lists of one are put over those
// of the other, with misc/ left. They have the same numbers. Their contents count.
func TestListsOfAnotherCopy(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	all := storetest.Chain([]zodb.OID{1, 2, 3})
	if err := errors.Join(s.Put(store.A, all, new(store.Progress)), s.SetLast(store.A, all[0].TID()), s.Close()); err != nil {
		t.Fatal(err)
	}
	packed := func(oid zodb.OID) *crashfs.FS {
		f := disk.Crashed(crashfs.KeepAll)
		s, err := openEvery(f, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Remove(100, store.Removal{Objects: []zodb.OID{oid}})
		if err := errors.Join(err, s.Sync(), s.Close()); err != nil {
			t.Fatal(err)
		}
		return f
	}
	here, there := packed(1), packed(2)
	lists := 0
	for e, err := range there.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := there.ReadFile("A/bundles/" + e.Name)
		if err == nil && strings.HasSuffix(e.Name, ".gone") {
			lists++
			if _, err = here.ReadFile("A/bundles/" + e.Name); err != nil {
				t.Fatalf("the lists have different names: %v", err)
			}
			err = vfs.WriteFileAtomic(here, "journal/aside", "A/bundles/"+e.Name, b, vfs.SyncOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if lists != 1 {
		t.Fatalf("%d lists", lists)
	}
	s, err := openEvery(here, 1)
	if err != nil {
		t.Fatal(err)
	}
	if has, rebuilt := s.HasTable(); !has || rebuilt {
		t.Errorf("there is a table: %t; it was made anew: %t", has, rebuilt)
	}
	for oid := zodb.OID(1); oid <= 3; oid++ {
		_, err := s.Load(oid)
		tid, cerr := s.Current(oid)
		if gone := oid == 2; errors.Is(err, zodb.ErrNotFound) != gone || errors.Is(cerr, zodb.ErrNotFound) != gone || !gone && tid != all[0].TID() {
			t.Errorf("object %s: %v; %s, %v; gone: %t", oid, err, tid, cerr, gone)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
