package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestServeWarnsOnceOfAFileSystemWithoutAJournal, or not at all where there is one. A user who does without fsync
// hears of it, too.
func TestServeWarnsOnceOfAFileSystemWithoutAJournal(t *testing.T) {
	t.Parallel()
	for name, sync := range map[string]string{"with fsync": "sync: 1\n", "without fsync": "sync: 0\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := importedHome(t)
			file := filepath.Join(home, "config", "settings")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), "\nsync: 1\n", "\n"+sync, 1)
			if err := os.WriteFile(file, []byte(changed), 0o600); err != nil || !strings.Contains(changed, "\n"+sync) {
				t.Fatal(err, changed)
			}
			want := 0
			if vfs.WithoutJournal(home) {
				want = 1
			}
			s := startWeb(t, home)
			s.end()
			if n := strings.Count(s.log.String(), "no journal"); n != want {
				t.Errorf("%d warnings of the journal, want %d\n%s", n, want, s.log.String())
			}
		})
	}
}

// TestServeWarnsThatNoRoomIsKeptForRecords, once, and status and the page tell it until the room is there.
func TestServeWarnsThatNoRoomIsKeptForRecords(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	home := importedHome(t)
	reserve := filepath.Join(home, "misc", "runs", "reserve")
	if err := os.RemoveAll(reserve); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(reserve, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := startWeb(t, home)
	const warning = "no room is kept for records of damage"
	s.await(&s.log, warning)
	if codes, _, text := toldBy2(t, home); !slices.Contains(codes, "record_room") || !strings.Contains(text, "no room is kept for records of damage (") {
		t.Errorf("status: %q\n%s", codes, text)
	}
	hometest.Eventually(t, "the page tells it", func() bool {
		_, page := s.ask("/web/", nil)
		return strings.Contains(page, "no room is kept for records of damage (")
	})
	if err := os.RemoveAll(reserve); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "0 damaged", "check", home)
	if codes, _, _ := toldBy2(t, home); slices.Contains(codes, "record_room") {
		t.Errorf("after a check has kept the room: %q", codes)
	}
	s.end()
	if n := strings.Count(s.log.String(), warning); n != 1 {
		t.Errorf("%d warnings, want one\n%s", n, s.log.String())
	}
}

// TestServeAndStatusTellAClockThatIsBehind: the storage was written by a machine whose clock was ahead.
func TestServeAndStatusTellAClockThatIsBehind(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{})
	ahead := func() time.Time { return time.Now().Add(72 * time.Hour) }
	w := enginetest.Open(t, home, engine.Options{NoControlSocket: true, Clock: ahead})
	enginetest.Commit(t, w, enginetest.Change{Data: emptyRoot})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := startWeb(t, home)
	if codes, _, text := toldBy2(t, home); !slices.Contains(codes, "clock_behind") {
		t.Errorf("status: %q\n%s", codes, text)
	}
	s.end()
	if n := strings.Count(s.log.String(), "the clock is behind the last transaction"); n != 1 {
		t.Errorf("%d warnings, want one\n%s", n, s.log.String())
	}
}
