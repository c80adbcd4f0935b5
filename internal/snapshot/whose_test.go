package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func write(t *testing.T, s *engine.Storage) zodb.TID {
	t.Helper()
	oids, err := s.NewOIDs(1)
	if err != nil {
		t.Fatal(err)
	}
	return enginetest.Commit(t, s, enginetest.Change{OID: oids[0], Data: enginetest.Record("")})
}

// TestWhoeverJoinsGetsTheMomentOfTheSnapshot takes part, at a later moment, in what
// somebody else entered: over the control socket, with a server that is asked over
// HTTP, and in a storage that was closed.
func TestWhoeverJoinsGetsTheMomentOfTheSnapshot(t *testing.T) {
	t.Parallel()
	late := func() time.Time { return time.Now().Add(time.Hour) }
	for _, socket := range []bool{true, false} {
		h := enginetest.Home(t, engine.CreateOptions{})
		s := enginetest.Open(t, h, engine.Options{NoControlSocket: !socket})
		if err := s.WaitNormal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !socket {
			srv, _ := server(t, s, goodAnswer)
			conf := "http " + srv.URL + " access\nnodirect\n"
			if err := errors.Join(os.WriteFile(filepath.Join(h, confFile), []byte(conf), 0o644),
				os.WriteFile(filepath.Join(h, "config", "access"), []byte("admin:secret:1\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		tid := write(t, s)
		r, err := Start(t.Context(), Options{Home: h, Now: time.Now}, "nightly")
		if err != nil || r.TID != tid || r.Code != "user/nightly" {
			t.Fatalf("socket %t: entered %+v, %v", socket, r, err)
		}
		held, err := Enter(t.Context(), Options{Home: h, Now: late, Join: Any})
		if err != nil || !held.Timestamp.Equal(r.Moment) || held.TID != tid || held.Code != r.Code {
			t.Fatalf("socket %t: joined %+v, %v, want %+v", socket, held, err, r)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if socket { // which tells that nothing is missing
			if held, err = Enter(t.Context(), Options{Home: h, Now: time.Now}); err != nil || held.Joined || !held.CompleteTo.After(r.Moment) {
				t.Fatalf("complete: %+v, %v", held, err)
			}
			if err := held.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		later := write(t, s)
		var warned []string
		for join, want := range map[Join]bool{Complete: false, Recent: socket, Any: true} {
			o := Options{Home: h, Now: late, Join: join, Warn: func(text string) { warned = append(warned, text) }}
			if !socket {
				o.Now = func() time.Time { return time.Now().Add(7 * time.Hour) } // nobody else knows how long it lasts
			}
			held, err := Enter(t.Context(), o)
			if want {
				if err != nil || !held.Timestamp.Equal(r.Moment) || held.TID != tid || !held.Joined {
					t.Fatalf("socket %t, join %d: %+v, %v", socket, join, held, err)
				}
				if err := held.Release(t.Context()); err != nil {
					t.Error(err)
				}
				continue
			}
			if !errors.Is(err, ErrForeign) || !errors.Is(err, zodb.ErrSnapshotMode) || !strings.Contains(err.Error(), `"nightly"`) {
				t.Errorf("socket %t, join %d: %v", socket, join, err)
			}
		}
		if text := strings.Join(warned, "\n"); !strings.Contains(text, "nightly") || socket && !strings.Contains(text, later.String()) {
			t.Errorf("warned of %q", text)
		}
		if _, err := Start(t.Context(), Options{Home: h, Now: time.Now}, "other"); !errors.Is(err, zodb.ErrSnapshotMode) {
			t.Errorf("entered twice: %v", err)
		}
		if left, err := Stop(t.Context(), Options{Home: h, Now: time.Now}, ""); !left || err != nil {
			t.Errorf("left %t, %v", left, err)
		}
		if err := errors.Join(s.WaitNormal(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
		closed, err := snapfile.Read(directory(t, h))
		if err != nil {
			t.Fatal(err)
		}
		if held, err = Enter(t.Context(), Options{Home: h, Now: late}); err != nil || !held.Timestamp.Equal(closed.Moment) || held.TID != later || held.Joined {
			t.Fatalf("closed: %+v, %v, want %+v", held, err, closed)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestSnapshotOfUnknownMomentIsNotJoined takes the record away, spoils it, and
// gives misc/snapshot another time: nobody is told a moment that may be wrong.
func TestSnapshotOfUnknownMomentIsNotJoined(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(h string) error{
		"no record":  func(h string) error { return os.Remove(filepath.Join(h, snapfile.Taken)) },
		"half":       func(h string) error { return os.WriteFile(filepath.Join(h, snapfile.Taken), []byte(`{"code":`), 0o644) },
		"of another": func(h string) error { return os.WriteFile(filepath.Join(h, snapfile.Name), []byte("user/x"), 0o644) },
		"of old time": func(h string) error {
			return os.Chtimes(filepath.Join(h, snapfile.Name), time.Time{}, time.Now().Add(time.Hour))
		},
	} {
		h := enginetest.Home(t, engine.CreateOptions{})
		s := enginetest.Open(t, h, engine.Options{})
		if err := s.EnterSnapshot(t.Context(), "nightly"); err != nil {
			t.Fatal(err)
		}
		if err := spoil(h); err != nil {
			t.Fatal(err)
		}
		if held, err := Enter(t.Context(), Options{Home: h, Now: time.Now, Join: Any}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %+v, %v", name, held, err)
		}
	}
}

// TestStorageClosedByAnOlderReleaseIsOpenedOnce: nothing tells when it was closed.
func TestStorageClosedByAnOlderReleaseIsOpenedOnce(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	if err := errors.Join(enginetest.Open(t, h, engine.Options{}).Close(), os.Remove(filepath.Join(h, snapfile.Taken))); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	held, err := Enter(t.Context(), Options{Home: h, Now: time.Now})
	if err != nil || held.Timestamp.Before(before) {
		t.Fatalf("%+v, %v", held, err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWhoTakesPartByItsEnvironmentSeesThatAWasChanged: the one that holds the lock is
// killed, and the storage, which was closed, is opened, changed, and closed again.
func TestWhoTakesPartByItsEnvironmentSeesThatAWasChanged(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, h, engine.Options{})
	write(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	outer, err := Enter(t.Context(), Options{Home: h, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Home: h, Now: time.Now, Getenv: func(name string) string {
		for _, v := range outer.Environment(h) {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}}
	inner, err := Enter(t.Context(), o)
	if err != nil || inner.TID != outer.TID {
		t.Fatal(inner, err)
	}
	if err := errors.Join(inner.Check(), outer.Release(t.Context())); err != nil {
		t.Fatal(err)
	}
	s = enginetest.Open(t, h, engine.Options{})
	write(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := inner.Check(); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("after a change: %v", err)
	}
	if _, err := Enter(t.Context(), o); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("entered after a change: %v", err)
	}
}

func directory(t *testing.T, h string) vfs.FS {
	t.Helper()
	f, err := vfs.OS(h)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
