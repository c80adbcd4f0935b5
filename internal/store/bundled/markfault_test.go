package bundled_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAnOpenNeedsTheMark: x.serial says which bundles an open verifies and which it removes. While
// it cannot be read, because the process has no descriptor left, the open fails. It does not go on
// with bundles that nothing has verified.
func TestAnOpenNeedsTheMark(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3})
	for _, tc := range []struct {
		name   string
		beside bool
		fails  func(o errfs.Op) bool
	}{
		{"for writing", false, func(o errfs.Op) bool { return o.Name == "A/x.serial" }},
		{"beside another process", true, func(o errfs.Op) bool { return o.Name == "A/x.serial" }},
		{"the mark of an import", false, func(o errfs.Op) bool { return o.Name == "misc/loading" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, disk := newStore(t)
			err := errors.Join(s.Put(store.A, all[:1], new(store.Progress)), s.SetLast(store.A, all[0].TID()), s.Put(store.A, all[1:], new(store.Progress)), s.Close())
			if err != nil {
				t.Fatal(err)
			}
			name := "A/bundles/" + all[1].TID().String() + "-" + all[1].TID().String() + ".0.tar.zst"
			content, err := disk.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)/4] ^= 1
			if err := disk.Remove(name); err != nil {
				t.Fatal(err)
			}
			if _, err := vfs.Put(disk, name, content, true); err != nil {
				t.Fatal(err)
			}
			faulty := errfs.New(disk, nil)
			o := bundled.Options{FS: faulty, Sync: true, DirSync: true, Clock: time.Now, Beside: tc.beside}
			failed := false
			faulty.Decide(func(o errfs.Op) error {
				// Later reads succeed: the first one is the one that counts.
				if !failed && tc.fails(o) {
					failed = true
					return &fs.PathError{Op: o.Kind, Path: o.Name, Err: syscall.EMFILE}
				}
				return nil
			})
			if s, err := bundled.New(o); !errors.Is(err, syscall.EMFILE) {
				t.Errorf("open: %v, want EMFILE", err)
				if err == nil {
					_ = s.Close()
				}
			}
			if !failed {
				t.Error("nothing asked for it")
			}
			if _, err := disk.Stat(name); err != nil {
				t.Errorf("the bundle: %v", err)
			}
		})
	}
}
