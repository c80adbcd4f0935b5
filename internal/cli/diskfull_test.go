package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// fullStorage is a running storage whose disk is full.
type fullStorage struct{ err error }

func (s fullStorage) EnterSnapshot(context.Context, string) error { return s.err }
func (s fullStorage) LeaveSnapshot(context.Context, string) error { return s.err }
func (s fullStorage) EndSnapshot(context.Context, string) error   { return s.err }
func (s fullStorage) AbandonSnapshot(string)                      {}
func (s fullStorage) Flush(context.Context) error                 { return s.err }
func (s fullStorage) StatusJSON() ([]byte, error)                 { return json.Marshal(zodb.Status{}) }
func (s fullStorage) Maintenance(context.Context, string, []byte) ([]byte, error) {
	return nil, s.err
}

// TestFullDiskOfARunningStorageIsNamed asks a storage for work that its full disk does not
// allow, while its process holds the lock: that somebody holds it is not the reason.
func TestFullDiskOfARunningStorageIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock("misc/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	server, err := control.Serve(f, fullStorage{fmt.Errorf("%w: flush: no space left on device", zodb.ErrDiskFull)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, args := range [][]string{
		{"backup", "run", home, filepath.Join(dir, "repo")},
		{"backup", "full", home, filepath.Join(dir, "repo")},
		{"snapshot", "enter", home},
		{"snapshot", "run", home, "--", "true"},
		{"check", home},
		{"pack", home},
	} {
		e, _, stderr := testEnv()
		got := run(t.Context(), e, args)
		text := stderr.String()
		if got != exitFailed || !strings.Contains(text, "disk full") || !strings.Contains(text, "\nhint: nothing that was acknowledged is lost; make room") || strings.Contains(text, "wait until") || strings.Contains(text, "another process") {
			t.Errorf("%v: status %d, says %q", args, got, text)
		}
	}
}
