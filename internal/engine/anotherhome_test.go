package engine_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// anotherHome makes a HOME that is in snapshot mode, with a transaction in B.
func anotherHome(t *testing.T) string {
	t.Helper()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	if err := s.EnterSnapshot(t.Context(), "another"); err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("in B")})
	if err := errors.Join(s.Flush(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	return home
}

// putInPlace moves a HOME away and puts another one in its place.
func putInPlace(home, another string) error {
	return errors.Join(os.Rename(home, home+".old"), os.Rename(another, home))
}

// filesBelow returns all files of A and B, and misc/snapshot, with their content.
func filesBelow(t *testing.T, home string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, dir := range []string{"A", "B", snapfile.Name} {
		err := filepath.WalkDir(filepath.Join(home, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if name, rerr := filepath.Rel(home, path); rerr == nil {
				all[name] = string(b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if all["B/x/serial"] == "" || all[snapfile.Name] != "user/another" {
		t.Fatalf("it is not in snapshot mode")
	}
	return all
}

// putInPlaceFS puts another HOME in the place of this one right after misc/snapshot was
// removed, once it is armed.
type putInPlaceFS struct {
	vfs.FS
	armed atomic.Bool
	do    func() error
}

func (f *putInPlaceFS) Remove(name string) error {
	err := f.FS.Remove(name)
	if err == nil && name == snapfile.Name && f.armed.CompareAndSwap(true, false) {
		err = f.do()
	}
	return err
}

// TestAnotherHomeIsLeftAlone: somebody puts another HOME, in snapshot mode, in the place of the
// one that is open. Nothing that is about snapshot mode changes that one.
func TestAnotherHomeIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]func(t *testing.T, home, another string) *engine.Storage{
		"enters": func(t *testing.T, home, another string) *engine.Storage {
			s := engine.OpenHome(t, home, engine.Options{})
			if err := putInPlace(home, another); err != nil {
				t.Fatal(err)
			}
			if err := s.EnterSnapshot(t.Context(), "x"); !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("enter: %v", err)
			}
			return s
		},
		"leaves": func(t *testing.T, home, another string) *engine.Storage {
			s := engine.OpenHome(t, home, engine.Options{})
			if err := errors.Join(s.EnterSnapshot(t.Context(), "x"), putInPlace(home, another)); err != nil {
				t.Fatal(err)
			}
			if err := s.LeaveSnapshot(t.Context(), "x"); !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("leave: %v", err)
			}
			return s
		},
		"leaves by itself": func(t *testing.T, home, another string) *engine.Storage {
			s := engine.OpenHome(t, home, engine.Options{})
			if err := errors.Join(s.EnterSnapshot(t.Context(), "x"), putInPlace(home, another)); err != nil {
				t.Fatal(err)
			}
			s.AbandonSnapshot("x")
			if err := s.WaitNormal(t.Context()); !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("leave: %v", err)
			}
			return s
		},
		"packs": func(t *testing.T, home, another string) *engine.Storage {
			s := engine.OpenHome(t, home, engine.Options{})
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
			if err := errors.Join(s.Flush(t.Context()), putInPlace(home, another)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, engine.PlanFile+"-new"), []byte("of another pack"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("pack: %v", err)
			}
			if b, err := os.ReadFile(filepath.Join(home, engine.PlanFile+"-new")); err != nil || string(b) != "of another pack" {
				t.Errorf("the plan that another pack writes: %q, %v", b, err)
			}
			return s
		},
		"merges B": func(t *testing.T, home, another string) *engine.Storage {
			dir, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			f := &putInPlaceFS{FS: dir, do: func() error { return putInPlace(home, another) }}
			s := engine.OpenHome(t, home, engine.OnFS(engine.Options{}, f))
			if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			f.armed.Store(true)
			_ = s.LeaveSnapshot(t.Context(), "x") // its durable data may be gone with HOME
			if err := s.WaitNormal(t.Context()); !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("merge: %v", err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, another := engine.NewHome(t, engine.CreateOptions{}), anotherHome(t)
			before := filesBelow(t, another)
			s := try(t, home, another)
			_ = s.Close() // its error may be about the lock, which is not there any more
			after := filesBelow(t, home)
			for name, was := range before {
				if now, ok := after[name]; !ok || now != was {
					t.Errorf("%s: there: %v, the same: %v", name, ok, now == was)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%d files, were %d", len(after), len(before))
			}
		})
	}
}
