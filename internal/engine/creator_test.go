package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// overtakenFS has another process make the HOME right after a step of a create.
type overtakenFS struct {
	vfs.FS
	step     string
	overtake func()
}

func (f *overtakenFS) Mkdir(name string) error {
	err := f.FS.Mkdir(name)
	if f.step == "mkdir "+name {
		f.overtake()
	}
	return err
}

// Lock opens the file before the other process has ended, and locks it behind that.
func (f *overtakenFS) Lock(name string) (vfs.Lock, error) {
	if f.step == "open "+name {
		f.overtake()
		name = "home/misc/lock" // which has got this name
	}
	return f.FS.Lock(name)
}

// TestCreateThatIsOvertaken says so, wherever it is, and leaves the other one's HOME alone.
func TestCreateThatIsOvertaken(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"mkdir .home.new", "mkdir .home.new/misc", "open .home.new/misc/lock"} {
		dir := t.TempDir()
		home := filepath.Join(dir, "home")
		disk, err := vfs.OS(dir)
		if err != nil {
			t.Fatal(err)
		}
		overtaken := false
		f := &overtakenFS{disk, step, func() {
			overtaken = true
			if err := Create(home, CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}}
		if err := Create(home, CreateOptions{fs: f}); !overtaken || !errors.Is(err, zodb.ErrLocked) {
			t.Errorf("after %s: overtaken is %t, %v", step, overtaken, err)
		}
		s, err := Open(t.Context(), home, Options{})
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Errorf("after %s: %v", step, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("after %s: %v, %v", step, entries, err)
		}
	}
}
