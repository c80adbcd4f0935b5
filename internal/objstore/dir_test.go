package objstore

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

func TestDirKeepsObjectsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var s Store = NewDir(f)
	ctx := t.Context()
	put := func(name, content string, fail error) error {
		return s.Put(ctx, name, func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return errors.Join(err, fail)
		})
	}
	get := func(name string) string {
		o, err := s.Get(ctx, name)
		if err != nil {
			return err.Error()
		}
		defer o.Close()
		b, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	broken := errors.New("broken")
	if err := errors.Join(put("a", "one", nil), put("a", "two", nil)); err != nil || get("a") != "two" {
		t.Errorf("a is %q, %v", get("a"), err)
	}
	if err := put("a", "three", broken); !errors.Is(err, broken) || get("a") != "two" {
		t.Errorf("a is %q after a Put that failed, %v", get("a"), err)
	}
	for _, name := range []string{"", ".x", "../x", "x/y", "-x", "a b", "ä"} {
		if err := put(name, "", nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Put(%q): %v", name, err)
		}
	}
	if _, err := s.Get(ctx, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Delete(ctx, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Delete: %v", err)
	}
	// What a crash leaves is no object, and goes.
	if err := errors.Join(f.Mkdir("sub"), vfs.WriteFileAtomic(f, "x", ".tmp-b", []byte("half"), vfs.SyncOptions{})); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	n := 0
	for info, err := range s.List(ctx) {
		if err != nil || info != (Info{"a", 3}) {
			t.Errorf("%+v, %v", info, err)
		}
		n++
	}
	if _, err := f.Stat(".tmp-b"); n != 1 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%d objects, want 1; .tmp-b: %v", n, err)
	}
	lock, err := s.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(ctx); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := errors.Join(lock.Close(), s.Delete(ctx, "a")); err != nil {
		t.Error(err)
	}
}
