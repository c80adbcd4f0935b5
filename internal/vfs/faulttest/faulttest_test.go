package faulttest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// begin is a job that puts a file below a directory. A careless one takes what it
// finds for durable, and asks a second time what could not be synced.
func begin(careless bool) func(*crashfs.FS) (*faulttest.Job, error) {
	return func(*crashfs.FS) (*faulttest.Job, error) {
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				err := f.Mkdir("d")
				if made := err == nil; made || !careless && errors.Is(err, fs.ErrExist) {
					err = f.SyncDir(".")
				} else if errors.Is(err, fs.ErrExist) {
					err = nil
				}
				if err != nil {
					return err
				}
				if careless {
					if file, err := f.Open("d/a"); err == nil {
						return errors.Join(file.Sync(), file.Close(), f.SyncDir("d"))
					}
				}
				return vfs.WriteFileAtomic(f, "aside", "d/a", []byte("content"), vfs.SyncOptions{File: true, Dir: true})
			},
			Check: func(after *crashfs.FS, done bool) error {
				b, err := after.ReadFile("d/a")
				if err == nil && string(b) != "content" || done && err != nil {
					return fmt.Errorf("%q, %w", b, err)
				}
				return nil
			},
		}, nil
	}
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	failed []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func TestSuitesFindWhatIsTakenForDurableAndIsNot(t *testing.T) {
	t.Parallel()
	for _, careless := range []bool{false, true} {
		r := &recorder{TB: t}
		faulttest.Cut(r, faulttest.Options{}, begin(careless))
		if len(r.failed) > 0 {
			t.Errorf("careless %t, cut: %v", careless, r.failed)
		}
		r = &recorder{TB: t}
		faulttest.Killed(r, faulttest.Options{}, begin(careless))
		if (len(r.failed) > 0) != careless {
			t.Errorf("careless %t, killed: %v", careless, r.failed)
		}
		r = &recorder{TB: t}
		faulttest.Failed(r, faulttest.Options{}, syscall.ENOSPC, begin(careless))
		if (len(r.failed) > 0) != careless {
			t.Errorf("careless %t, failed: %v", careless, r.failed)
		}
	}
}
