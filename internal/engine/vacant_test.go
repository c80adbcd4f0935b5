package engine_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// createIn makes a HOME in the directory home of a file system.
func createIn(f vfs.FS) error {
	return engine.Create("/home", engine.CreateOnFS(engine.CreateOptions{Rand: rand.NewChaCha8([32]byte{})}, f))
}

// newVolume is a file system with an empty directory home, as a volume has it that is
// mounted for the first time.
func newVolume(t testing.TB) *crashfs.FS {
	t.Helper()
	f := crashfs.New(1)
	if err := errors.Join(f.Mkdir("home"), f.SyncDir("."), f.Mkdir("home/"+engine.LostAndFound), f.SyncDir("home")); err != nil {
		t.Fatal(err)
	}
	return f
}

// wholeOrVacant opens the leftovers of a create. It is a storage, or none at all that the next
// create does not fill.
func wholeOrVacant(t *testing.T, f vfs.FS, created bool, when string, args ...any) {
	t.Helper()
	s, err := engine.Open(t.Context(), "", engine.OnFS(engine.Options{NoControlSocket: true}, vfs.Sub(f, "home")))
	if errors.Is(err, zodb.ErrNotAStorage) && !created {
		if err := createIn(f); err != nil {
			t.Fatalf(when+": the next create: %v", append(args, err)...)
		}
		s, err = engine.Open(t.Context(), "", engine.OnFS(engine.Options{NoControlSocket: true}, vfs.Sub(f, "home")))
	}
	if err != nil {
		t.Fatalf(when+": %v", append(args, err)...)
	}
	if err := s.Close(); err != nil {
		t.Fatalf(when+": %v", append(args, err)...)
	}
	if _, err := f.Stat("home/" + engine.Unborn); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf(when+": %s is left", append(args, engine.Unborn)...)
	}
}

func TestCreateInAnEmptyDirectoryIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	every := hometest.OneOf(1, 2, 6)
	faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		f := newVolume(t)
		begun, cut := f.Ops(), faulttest.CutBefore(f, at)
		err := createIn(f)
		if came = cut.Load(); (err == nil) == came {
			t.Fatalf("crash before %v, which came %t: %v", at, came, err)
		}
		wholeOrVacant(t, f.Killed(), err == nil, "killed before %v", at)
		for i := range uint32(4) {
			mode := crashfs.Random(uint32(n) + 1000*i)
			wholeOrVacant(t, f.Crashed(mode), err == nil, "crash before %v, %v", at, mode)
		}
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll} {
			wholeOrVacant(t, f.Crashed(mode), err == nil, "crash before %v, %v", at, mode)
		}
		return f.Log()[begun:], came
	})
	faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, _ int) (log []string, came bool) {
		f := errfs.New(newVolume(t), nil)
		failing := faulttest.ErrorAt(f, at, syscall.ENOSPC)
		err := createIn(f)
		log, came = failing()
		f.Decide(nil)
		wholeOrVacant(t, f, err == nil, "error at %v", at)
		return log, came
	})
}

// TestCreateFillsNothingElse: a directory with content is refused, and nothing of it changes.
func TestCreateFillsNothingElse(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]map[string]string{
		"a file":                  {"a": ""},
		"a directory":             {"a/b": ""},
		"A without config":        {"A/x/serial": "12345678"},
		"lost+found that is none": {"lost+found": ""},
		"a lock and more":         {"misc/lock": "", "misc/snapshot": ""},
		"the mark and data":       {"config.new/settings": "", "A/x/serial": "", "A/o000/000/000/000/0000.c": ""},
		"the mark and a journal":  {"config.new/settings": "", "journal/log": ""},
		"more config":             {"config.new/more": ""},
	} {
		home := t.TempDir()
		for file, data := range content {
			if err := os.MkdirAll(filepath.Join(home, filepath.Dir(file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if vacant, err := engine.Vacant(home); vacant || err != nil {
			t.Errorf("%s: vacant is %t, %v", name, vacant, err)
		}
		if err := engine.Create(home, engine.CreateOptions{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		for file, data := range content {
			if b, err := os.ReadFile(filepath.Join(home, file)); err != nil || string(b) != data {
				t.Errorf("%s: %s is %q, %v", name, file, b, err)
			}
		}
	}
}

func TestCreateThroughALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	volume, home := filepath.Join(dir, "volume"), filepath.Join(dir, "home")
	if err := errors.Join(os.Mkdir(volume, 0o755), os.Symlink(volume, home)); err != nil {
		t.Fatal(err)
	}
	if vacant, err := engine.Vacant(home); !vacant || err != nil {
		t.Errorf("vacant is %t, %v", vacant, err)
	}
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	engine.OpenHome(t, volume, engine.Options{})
}

// TestCreatesOfOneHome: of those at the same time one makes it, and the others do not disturb.
func TestCreatesOfOneHome(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{false, true} {
		for range 20 {
			home := filepath.Join(t.TempDir(), "home")
			if there {
				if err := os.Mkdir(home, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var wait sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				wait.Go(func() { errs[i] = engine.Create(home, engine.CreateOptions{}) })
			}
			wait.Wait()
			made := 0
			for _, err := range errs {
				switch {
				case err == nil:
					made++
				case !errors.Is(err, fs.ErrExist) && !errors.Is(err, zodb.ErrLocked):
					t.Errorf("in an empty directory: %t: %v", there, err)
				}
			}
			if made != 1 {
				t.Errorf("%d of them made it: %v", made, errs)
			}
			s, err := engine.Open(t.Context(), home, engine.Options{})
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}
