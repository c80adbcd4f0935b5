package engine

import (
	"errors"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAPackBetweenTwoUndeletesLosesNothing: an undelete of one pack is killed, and the next pack puts aside
// again a part of the files that are back, with its own stamp. The undelete is repeated: nothing that it brings
// back is damaged, and that of all packs has everything.
func TestAPackBetweenTwoUndeletesLosesNothing(t *testing.T) {
	t.Parallel()
	crashedUndeletes(t, 700, hometest.OneOf(1, 91, 361), packCase.undeleteAround)
}

// undeleteAround kills the first undelete before an operation, the n-th one of another run (0: not at all), and returns the
// operations that it had, and whether that one came.
func (c packCase) undeleteAround(t *testing.T, at faulttest.Nth, n int) (log []string, came bool) {
	t.Helper()
	f := crashfs.New(int64(c.seed))
	if err := c.home(f); err != nil {
		t.Fatal(err)
	}
	s, m, err := c.filled(t.Context(), c.options(f), 24)
	if err != nil {
		t.Fatal(err)
	}
	before, list := filesOf(f, c.format), tids(t, s)
	stamp := doPack(t, s, zodb.PackOptions{Time: m.txns[18].tid.Time()}).Stamp
	begun := f.Ops()
	if n > 0 {
		f.CrashBefore(at.Is())
	}
	_, err = s.Undelete(t.Context(), stamp)
	log, came = f.Log()[begun:], errors.Is(err, crashfs.ErrCrashed)
	if err = errors.Join(err, s.Close()); n == 0 && err != nil {
		t.Fatal(err)
	}
	f = f.Crashed(crashfs.KeepAll)
	if s, err = Open(t.Context(), "", c.options(f)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	doPack(t, s, zodb.PackOptions{Time: m.txns[18].tid.Time()})
	if _, err := s.Undelete(t.Context(), stamp); err != nil {
		t.Fatalf("killed before %v: again: %v", at, err)
	}
	if err := damaged(t.Context(), f); err != nil {
		t.Errorf("killed before %v, after it was repeated: %v", at, err)
	}
	if _, err := s.Undelete(t.Context(), 0); err != nil {
		t.Fatalf("killed before %v: all: %v", at, err)
	}
	if d := difference(before, filesOf(f, c.format)); d != "" {
		t.Errorf("killed before %v: files in A:\n%s", at, d)
	}
	if got := tids(t, s); !slices.Equal(got, list) {
		t.Errorf("killed before %v: transactions %v\nwant %v", at, got, list)
	}
	if err := errors.Join(m.verify(t.Context(), s), s.Close(), sound(t.Context(), f, false)); err != nil {
		t.Errorf("killed before %v: %v", at, err)
	}
	return log, came
}
