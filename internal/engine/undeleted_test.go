package engine

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestUndeleteIsNoted: backups have to know of it, also of one that was killed; one that
// brings nothing back makes none of them worse.
func TestUndeleteIsNoted(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "storage.delay_delete=1000")
	noted := func() pack.Undeleted {
		t.Helper()
		u, err := pack.ReadUndeleted(s.home.FS)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	undelete := func() {
		t.Helper()
		if _, err := s.Undelete(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	x := newOIDs(t, s, 1)[0]
	commit(t, s, change{oid: 0, data: rec("root", x)}, change{oid: x, data: rec("one")})
	commit(t, s, change{oid: 0, data: rec("root without")})
	if undelete(); noted().ID() != "" {
		t.Error("nothing came back, and it is noted")
	}
	doPack(t, s, zodb.PackOptions{})
	undelete()
	first := noted()
	if !exists(t, s, x) || first.Running || first.ID() == "" {
		t.Errorf("it came back: %+v", first)
	}
	if undelete(); noted() != first {
		t.Errorf("nothing more came back: %+v", noted())
	}
	killed := pack.Undeleted{Running: true, Time: first.Time}
	if err := killed.Note(s.home.FS, s.home.Sync()); err != nil {
		t.Fatal(err)
	}
	home := s.home.FS.Path(".")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := &testLog{}
	s = open(t, home, Options{Logger: log.logger()})
	if log.count("an undelete or a salvage was interrupted") != 1 {
		t.Error("the log does not say that it was interrupted")
	}
	if again := noted(); again.Running || again.ID() == first.ID() {
		t.Errorf("after one that was killed: %+v", again)
	}
}
