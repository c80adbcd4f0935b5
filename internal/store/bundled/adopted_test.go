package bundled_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBundlesWithoutTheirContent: a power cut leaves names of bundles of which sectors are missing,
// as on a disk without syncs. Bundles that x.serial does not cover are put aside, and put again.
func TestBundlesWithoutTheirContent(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{4}, []zodb.OID{2, 4})
	told, whole := 0, 0
	for seed := range hometest.Rounds(t, 60) {
		disk := crashfs.New(int64(seed))
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		put := func(s *bundled.Store, from, to int) error {
			return s.Put(store.A, all[from:to], new(store.Progress))
		}
		s := reopen(t, disk)
		if err := errors.Join(put(s, 0, 2), s.SetLast(store.A, all[1].TID()), s.Close()); err != nil {
			t.Fatal(err)
		}
		s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now})
		if err == nil {
			err = errors.Join(put(s, 2, 3), put(s, 2, 4))
		}
		if err != nil {
			t.Fatal(err)
		}
		after := disk.Crashed(crashfs.Random(uint32(seed)))
		warned := 0
		s, err = bundled.New(bundled.Options{FS: after, Sync: true, DirSync: true, Clock: time.Now, Warn: func(_ string, err error) {
			if warned++; !errors.Is(err, zodb.ErrCorrupt) {
				t.Errorf("seed %d: warned of %v", seed, err)
			}
		}})
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		if warned > 0 {
			told++
		} else {
			whole++
		}
		if err := errors.Join(put(s, 2, 5), s.SetLast(store.A, all[4].TID()), s.Close()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		s = reopen(t, after.Crashed(crashfs.KeepNone))
		for _, x := range all {
			x := x.(*storetest.Txn)
			for i, oid := range x.OIDs {
				want, err := x.AppendRevision(nil, i)
				if err != nil {
					t.Fatal(err)
				}
				if got, place, err := s.Get(layout.Revision(oid, x.Tid)); string(got) != string(want) || err != nil {
					t.Errorf("seed %d: revision %s of %s, in %s: %q, %v; want %q", seed, x.Tid, oid, place, got, err, want)
				}
			}
			if _, _, err := s.Get(layout.Transaction(x.Tid)); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
	}
	if told == 0 || whole == 0 {
		t.Errorf("bundles were put aside in %d cuts, and none was in %d; want both", told, whole)
	}
}

// TestDamageOfWhatIsInTheLog: each byte of a bundle that x.serial does not cover is changed. The
// store opens, and the bundle counts as if it was not there.
func TestDamageOfWhatIsInTheLog(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3})
	s, disk := newStore(t)
	err := errors.Join(s.Put(store.A, all[:1], new(store.Progress)), s.SetLast(store.A, all[0].TID()), s.Put(store.A, all[1:], new(store.Progress)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := "A/bundles/" + all[1].TID().String() + "-" + all[1].TID().String() + ".0.tar.zst"
	whole, err := disk.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	same := 0 // the size of the window of the frame that ends the tar: it decodes to the same
	step := hometest.OneOf(1, 3, 1)
	for at := hometest.Phase(t) % step; at < len(whole); at += step {
		after := disk.Crashed(crashfs.KeepAll)
		f, err := after.OpenWrite(name)
		if err == nil {
			_, err = f.WriteAt([]byte{whole[at] ^ 0x40}, int64(at))
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := bundled.New(bundled.Options{FS: after, Sync: true, DirSync: true, Clock: time.Now})
		if err != nil {
			t.Fatalf("byte %d of %d: %v", at, len(whole), err)
		}
		want := all[0].TID()
		if tid, err := s.Current(3); err == nil {
			if same++; same > 1 {
				t.Errorf("byte %d of %d: object 3 is there, of transaction %s", at, len(whole), tid)
			}
			want = all[1].TID()
		}
		if tid, err := s.Current(2); err != nil || tid != want {
			t.Errorf("byte %d of %d: the current revision of object 2 is %s, %v; want %s", at, len(whole), tid, err, want)
		}
		if err := errors.Join(s.Put(store.A, all, new(store.Progress)), s.SetLast(store.A, all[1].TID())); err != nil {
			t.Errorf("byte %d of %d: %v", at, len(whole), err)
		}
		if tid, err := s.Current(3); err != nil || tid != all[1].TID() {
			t.Errorf("byte %d of %d: put again, the current revision of object 3 is %s, %v", at, len(whole), tid, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBundlesOfAnotherLog: a transaction that is acknowledged is not passed over because there is a
// bundle behind x.serial that is later, or has another one in its place.
func TestBundlesOfAnotherLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		next func(all []store.Transaction) store.Transaction
		ok   bool
	}{
		{"the same", func(all []store.Transaction) store.Transaction { return all[1] }, true},
		{"another one", func([]store.Transaction) store.Transaction {
			return storetest.Chain([]zodb.OID{1}, []zodb.OID{7})[1]
		}, false},
		{"one between", func(all []store.Transaction) store.Transaction {
			return &storetest.Txn{Tid: all[1].TID() - 5, Previous: all[0].TID(), OIDs: []zodb.OID{5}}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3})
			s, disk := newStore(t)
			err := errors.Join(s.Put(store.A, all[:1], new(store.Progress)), s.SetLast(store.A, all[0].TID()), s.Put(store.A, all[1:], new(store.Progress)), s.Close())
			if err != nil {
				t.Fatal(err)
			}
			s = reopen(t, disk)
			x := c.next(all)
			err = s.Put(store.A, []store.Transaction{x}, new(store.Progress))
			if c.ok && err != nil || !c.ok && !errors.Is(err, zodb.ErrCorrupt) {
				t.Errorf("put: %v", err)
			}
			if _, _, gerr := s.Get(layout.Transaction(x.TID())); err == nil && gerr != nil {
				t.Errorf("it was put, and is not there: %v", gerr)
			}
		})
	}
}
