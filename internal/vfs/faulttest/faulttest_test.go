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

func (r *recorder) Helper()      {}
func (r *recorder) Failed() bool { return len(r.failed) > 0 }
func (r *recorder) Error(args ...any) {
	r.failed = append(r.failed, fmt.Sprint(args...))
}
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

// shifted is a job that does other work first each time, so that no operation has the number that it had. faults counts the
// operations that were prevented.
func shifted(faults map[string]int, vanishes bool) func(*crashfs.FS) (*faulttest.Job, error) {
	runs := 0
	return func(*crashfs.FS) (*faulttest.Job, error) {
		runs++
		others := runs % 7
		if vanishes {
			others = 0
		}
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				for i := range others {
					if err := f.Mkdir(fmt.Sprintf("other-%c", 'p'+i)); err != nil && !errors.Is(err, fs.ErrExist) {
						return err
					}
				}
				if vanishes && runs > 1 {
					return nil
				}
				for _, name := range []string{"a", "b"} {
					if err := f.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
						if errors.Is(err, crashfs.ErrCrashed) || errors.Is(err, syscall.EIO) {
							faults[name]++
						}
						return err
					}
				}
				return nil
			},
			Check: func(*crashfs.FS, bool) error { return nil },
		}, nil
	}
}

// TestAFaultComesAtTheOperationOfItsName: other operations come before it in each run. Where none comes any more,
// the suite fails, because it has tried nothing.
func TestAFaultComesAtTheOperationOfItsName(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]func(t testing.TB, begin func(*crashfs.FS) (*faulttest.Job, error)){
		"cut": func(t testing.TB, begin func(*crashfs.FS) (*faulttest.Job, error)) {
			faulttest.Cut(t, faulttest.Options{}, begin)
		},
		"failed": func(t testing.TB, begin func(*crashfs.FS) (*faulttest.Job, error)) {
			faulttest.Failed(t, faulttest.Options{}, syscall.EIO, begin)
		},
	} {
		for _, vanishes := range []bool{false, true} {
			faults := make(map[string]int)
			r := &recorder{TB: t}
			suite(r, shifted(faults, vanishes))
			if failed := len(r.failed) > 0; failed != vanishes || !vanishes && (faults["a"] == 0 || faults["b"] == 0) {
				t.Errorf("%s: the operations vanish: %t; faults were at %v; %q", name, vanishes, faults, r.failed)
			}
		}
	}
}
