package journal_test

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// TestASegmentWithHolesIsNotUsedAgain: the log is that of a HOME that was copied by a tool that leaves holes where there are
// zeros. On a full disk such a segment, given back, has no room for a commit, which Append has promised.
func TestASegmentWithHolesIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	full := 0
	for seed := range uint64(30) {
		before := crashHome(t, 1)
		o := options(before)
		m, rnd := newModel(), rand.New(rand.NewPCG(seed, 1))
		l, _, err := journal.Open(o)
		if err == nil {
			err = errors.Join(l.Append(m.next(rnd, 100).pending()), l.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		copied := before.Crashed(crashfs.KeepNone) // and no blocks but those that were written
		o.FS = copied
		if l, _, err = journal.Open(o); err != nil {
			t.Fatal(err)
		}
		if err := m.commit(rnd, l, 100); err != nil {
			t.Fatal(err)
		}
		copied.SetSpace(copied.Used())
		for range 100 {
			if err = m.commit(rnd, l, 100); err != nil {
				break
			}
		}
		if !errors.Is(err, syscall.ENOSPC) || m.doubtful != nil || l.Failure() != nil {
			t.Errorf("seed %d: on a full disk: %v, %v", seed, err, l.Failure())
		} else {
			full++
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if full == 0 {
		t.Error("no disk was full")
	}
}
