package engine

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// reclaimFaults makes a job that gives back what a pack has removed.
func (c packCase) reclaimFaults(t *testing.T) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := c.home(disk); err != nil {
			return nil, err
		}
		o := c.options(disk)
		s, m, err := c.filled(t.Context(), o, 24)
		if err != nil {
			return nil, err
		}
		po := zodb.PackOptions{Time: m.txns[16].tid.Time()}
		if r := doPack(t, s, po); r.Revisions == 0 {
			return nil, errors.New("the pack has removed nothing")
		}
		m.pack(zodb.TIDFromTime(po.Time), true)
		if err := errors.Join(s.Close(), disk.SyncAll()); err != nil {
			return nil, err
		}
		s = nil
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				if s != nil {
					_ = s.Close() // that of the attempt before
				}
				o := o
				o.fs = f
				var err error
				if s, err = Open(t.Context(), "", o); err != nil {
					s = nil
					return err
				}
				_, err = s.Reclaim(t.Context(), ReclaimOptions{})
				return err
			},
			Check: func(after *crashfs.FS, done bool) error {
				o := o
				o.fs = after
				s, err := Open(t.Context(), "", o)
				if err != nil {
					return err
				}
				defer s.Close()
				r, err := s.Reclaim(t.Context(), ReclaimOptions{})
				if err != nil || r.GoneBytes != 0 || done && r.Rewritten > 0 {
					return fmt.Errorf("another one gives %+v, done %t: %w", r, done, err)
				}
				return errors.Join(m.verify(t.Context(), s), s.Close(), sound(t.Context(), after, false))
			},
			End: func() {
				if s != nil {
					_ = s.Close() // it may be closed
				}
			},
		}, nil
	}
}

// TestKilledWhileSpaceIsGivenBackThenPowerCut: nothing that is read changes, and another one goes on.
func TestKilledWhileSpaceIsGivenBackThenPowerCut(t *testing.T) {
	t.Parallel()
	for i := range rounds(t, 1) {
		c := packCase{format: "bundled", seed: uint64(i) + 900, set: "storage.min_pack_time=0 storage.delay_delete=0"}
		t.Run(fmt.Sprint("seed ", c.seed), func(t *testing.T) {
			t.Parallel()
			faulttest.Killed(t, faulttest.Options{Every: stride(3), Seed: c.seed}, c.reclaimFaults(t))
		})
	}
}

// TestErrorWhileSpaceIsGivenBackThenPowerCut lets each operation fail once; it is repeated.
func TestErrorWhileSpaceIsGivenBackThenPowerCut(t *testing.T) {
	t.Parallel()
	for i := range rounds(t, 1) {
		c := packCase{format: "bundled", seed: uint64(i) + 950, set: "storage.min_pack_time=0 storage.delay_delete=0"}
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			t.Run(fmt.Sprintf("seed %d %v", c.seed, cause), func(t *testing.T) {
				t.Parallel()
				o := faulttest.Options{Every: stride(3), Seed: c.seed, Retries: 2, Fails: func(op errfs.Op) bool { return op.Changes() }}
				faulttest.Failed(t, o, cause, c.reclaimFaults(t))
			})
		}
	}
}
