package classic_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBatchThatFailedIsFollowedByItsFirstPart: on a disk that is nearly full the next attempt is
// smaller than the one whose sync failed. x.serial names a transaction that was written anew, and
// nothing later.
func TestBatchThatFailedIsFollowedByItsFirstPart(t *testing.T) {
	t.Parallel()
	var oids []zodb.OID
	for i := range 30 {
		oids = append(oids, zodb.OID(i))
	}
	all := storetest.Chain(oids, oids[:20], oids[10:])
	for _, minimal := range []bool{false, true} {
		disk := crashfs.New(1)
		if err := makeEmpty(disk, layout.Chunky); err != nil {
			t.Fatal(err)
		}
		f := errfs.New(disk, nil)
		s, err := open(f, classic.Options{Format: layout.Chunky, Minimal: minimal})
		if err != nil {
			t.Fatal(err)
		}
		var p store.Progress
		put := func(batch []store.Transaction) error {
			err := s.Put(store.A, batch, &p)
			if err == nil {
				err = s.SetLast(store.A, batch[len(batch)-1].TID())
			}
			return err
		}
		failed := false
		f.Decide(func(op errfs.Op) error {
			if op.Kind == "syncall" && !failed {
				failed = true
				return syscall.ENOSPC
			}
			return nil
		})
		if err := put(all); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the sync: %v", err)
		}
		if err := put(all[:1]); err != nil {
			t.Fatalf("the first part of the batch: %v", err)
		}
		// In class Minimal the files of the first one took the places of those that are lost.
		if err := s.SetLast(store.A, all[1].TID()); err == nil && !minimal {
			t.Error("x.serial names a transaction whose files may be lost")
		}
		if err := put(all[1:]); err != nil {
			t.Fatalf("the rest of the batch: %v", err)
		}
		if minimal {
			continue // whose contents are those of the last transaction alone
		}
		after := disk.Crashed(crashfs.KeepNone)
		if s, err = open(after, classic.Options{Format: layout.Chunky}); err != nil {
			t.Fatal(err)
		}
		storetest.Check(t, s, all)
	}
}
