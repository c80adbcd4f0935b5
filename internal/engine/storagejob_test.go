package engine

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// storageJob is a job that opens a storage and does something with it. It stays open until the next
// attempt. check looks at the storage that is opened after the fault.
func storageJob(t *testing.T, o Options, do func(f vfs.FS, s *Storage) error, check func(s *Storage, after *crashfs.FS, done bool) error) *faulttest.Job {
	var s *Storage
	end := func() {
		if s != nil {
			_ = s.Close() // it may be closed
		}
		s = nil
	}
	return &faulttest.Job{
		Run: func(f vfs.FS) error {
			end()
			opened, err := Open(t.Context(), "", OnFS(o, f))
			if err != nil {
				return err
			}
			s = opened
			return do(f, s)
		},
		Check: func(after *crashfs.FS, done bool) error {
			s, err := Open(t.Context(), "", OnFS(o, after))
			if err != nil {
				return err
			}
			defer s.Close() // check may have closed it
			return check(s, after, done)
		},
		End: end,
	}
}

// withinPacks runs jobs about packs of bundles: each is killed, or has an operation that fails once and is
// repeated; then the power is cut.
func withinPacks(t *testing.T, seed uint64, set string, fails bool, job func(c packCase, t *testing.T) func(disk *crashfs.FS) (*faulttest.Job, error)) {
	for i := range hometest.Rounds(t, 1) {
		c := packCase{format: "bundled", seed: uint64(i) + seed, set: set}
		o := faulttest.Options{Every: stride(3), Seed: c.seed, Phase: hometest.Phase(t)}
		if !fails {
			t.Run(fmt.Sprint("seed ", c.seed), func(t *testing.T) {
				t.Parallel()
				faulttest.Killed(t, o, job(c, t))
			})
			continue
		}
		o.Retries, o.Fails = 2, func(op errfs.Op) bool { return op.Changes() }
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			t.Run(fmt.Sprintf("seed %d %v", c.seed, cause), func(t *testing.T) {
				t.Parallel()
				faulttest.Failed(t, o, cause, job(c, t))
			})
		}
	}
}
