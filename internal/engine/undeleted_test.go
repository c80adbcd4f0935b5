package engine_test

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestUndeleteIsNoted: backups have to know of it, also of one that was killed; one that
// brings nothing back makes none of them worse.
func TestUndeleteIsNoted(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{}, "storage.delay_delete=1000")
	noted := func() pack.Undeleted {
		t.Helper()
		u, err := pack.ReadUndeleted(s.Dir().FS)
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
	x := engine.NewOIDs(t, s, 1)[0]
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", x)}, enginetest.Change{OID: x, Data: pickletest.Record("one")})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root without")})
	if undelete(); noted().ID() != "" {
		t.Error("nothing came back, and it is noted")
	}
	engine.DoPack(t, s, zodb.PackOptions{})
	undelete()
	first := noted()
	if !engine.Exists(t, s, x) || first.Running || first.ID() == "" {
		t.Errorf("it came back: %+v", first)
	}
	if undelete(); noted() != first {
		t.Errorf("nothing more came back: %+v", noted())
	}
	killed := pack.Undeleted{Running: true, Time: first.Time}
	if err := killed.Note(s.Dir().FS, s.Dir().Sync()); err != nil {
		t.Fatal(err)
	}
	home := s.Home()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := &engine.TestLog{}
	s = engine.OpenHome(t, home, engine.Options{Logger: log.Logger()})
	if log.Count("an undelete or a salvage was interrupted") != 1 {
		t.Error("the log does not say that it was interrupted")
	}
	if again := noted(); again.Running || again.ID() == first.ID() {
		t.Errorf("after one that was killed: %+v", again)
	}
}
