package bundled_test

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestALostTableIsTold: errors in files of the table fail neither an open nor a flush, and lose
// nothing, but reads are slower from then on. The log says so once, with the error.
func TestALostTableIsTold(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3})
	for _, tc := range []struct {
		name  string
		after int // transactions before the disk fails
	}{{"at the open", 0}, {"at a flush", 1}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, disk := newStore(t)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := disk.Remove("misc/current"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			failing := func(o errfs.Op) error {
				if o.Changes() && strings.Contains(o.Name, "current") {
					return &fs.PathError{Op: o.Kind, Path: o.Name, Err: syscall.EIO}
				}
				return nil
			}
			faulty := errfs.New(disk, nil)
			if tc.after == 0 {
				faulty.Decide(failing)
			}
			warned := 0
			s, err := bundled.New(bundled.Options{FS: faulty, Sync: true, DirSync: true, Clock: time.Now, CommitEvery: 1, Warn: func(text string, err error) {
				if warned++; !strings.Contains(text, "table of current revisions") || !errors.Is(err, syscall.EIO) {
					t.Errorf("warned of %q, %v", text, err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			for i := range all {
				if i == tc.after {
					faulty.Decide(failing)
				}
				if err := errors.Join(s.Put(store.A, all[i:i+1], new(store.Progress)), s.SetLast(store.A, all[i].TID())); err != nil {
					t.Fatal(err)
				}
			}
			for oid, want := range map[zodb.OID]zodb.TID{1: all[2].TID(), 2: all[1].TID(), 3: all[2].TID()} {
				if tid, err := s.Current(oid); tid != want || err != nil {
					t.Errorf("object %s is of %s, %v; want %s", oid, tid, err, want)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if warned != 1 {
				t.Errorf("warned %d times, want once", warned)
			}
		})
	}
}
