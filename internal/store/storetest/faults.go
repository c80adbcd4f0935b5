package storetest

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// work is what Faults does to a store, step by step: a flush into A, one into B, and a
// thaw. Each step may be repeated.
func work(s store.Store, all []store.Transaction) error {
	flush := func(side store.Side, batch []store.Transaction) error {
		last := batch[len(batch)-1].TID()
		if v, err := s.Mark(layout.XSerial); err != nil || zodb.TID(v) >= last {
			return err // it was done before
		}
		if err := s.Put(side, batch, new(store.Progress)); err != nil {
			return err
		}
		return s.SetLast(side, last)
	}
	if err := flush(store.A, all[:2]); err != nil {
		return err
	}
	if err := flush(store.B, all[2:]); err != nil {
		return err
	}
	for {
		if _, empty, err := s.Thaw(3); err != nil || empty {
			return err
		}
	}
}

// Faults does the same work again and again on copies of a disk with an empty store, and lets
// the n-th operation be the last before a power cut, be the last before the process is killed
// and then the power is cut, or fail, with what follows cut off later. Each time the store is
// opened again and the work repeated: then all is there that was put, and at every moment all
// that x.serial claims. With -short it is every fifth operation.
func Faults(t *testing.T, empty *crashfs.FS, open func(t testing.TB, f vfs.FS) store.Store) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{0, 2, 3}, []zodb.OID{3})
	repeat := func(what string, disk *crashfs.FS) *crashfs.FS {
		s := open(t, disk)
		if err := s.SyncFound(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		Check(t, s, all)
		if err := work(s, all); err != nil {
			t.Fatalf("%s: the work cannot be repeated: %v", what, err)
		}
		after := disk.Crashed(crashfs.KeepNone)
		s = open(t, after)
		Check(t, s, all)
		if last, err := s.LastInA(); err != nil || last != all[len(all)-1].TID() {
			t.Errorf("%s: A ends with %s: %v", what, last, err)
		}
		return after
	}
	operations, step := 0, 1
	if testing.Short() {
		step = 5
	}
	for n := 0; n == 0 || n <= operations; n += step {
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll} {
			disk := empty.Crashed(crashfs.KeepAll)
			at := 0
			f := errfs.New(disk, nil)
			s := open(t, f)
			f.Decide(func(errfs.Op) error {
				if at++; n > 0 && at >= n {
					return syscall.EIO // the process is gone
				}
				return nil
			})
			err := work(s, all)
			if n == 0 && err != nil {
				t.Fatal(err)
			}
			operations = max(operations, at)
			what := fmt.Sprintf("crash at operation %d of %d, keeping %d", n, operations, mode)
			repeat(what, disk.Crashed(mode))
			if mode == crashfs.KeepAll {
				repeat(what+", killed, and then the power is cut", disk)
			}
			if t.Failed() {
				t.Fatal(what)
			}
		}
		if n == 0 {
			continue
		}
		// The operation fails, and the process goes on.
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			disk := empty.Crashed(crashfs.KeepAll)
			at := 0
			f := errfs.New(disk, nil)
			s := open(t, f)
			f.Decide(func(errfs.Op) error {
				if at++; at == n {
					return cause
				}
				return nil
			})
			err := work(s, all)
			if err != nil && s.Failure() == nil {
				err = work(s, all)
			}
			what := fmt.Sprintf("error %v at operation %d", cause, n)
			if err != nil && s.Failure() == nil {
				t.Fatalf("%s: the work cannot be repeated, and nothing is lost: %v", what, errors.Join(err))
			}
			if err == nil {
				Check(t, open(t, disk.Crashed(crashfs.KeepNone)), all)
			}
			repeat(what, disk.Crashed(crashfs.KeepNone))
			if t.Failed() {
				t.Fatal(what)
			}
		}
	}
	if operations < 20 {
		t.Errorf("the work has %d operations: not all of them were met", operations)
	}
}
