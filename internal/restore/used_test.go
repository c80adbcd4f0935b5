package restore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAnyUseOfARestoredHomeCounts: a restore was killed when the HOME had its name. Its last transaction is still that
// of the backup, and no log is there; somebody has packed it, though, brought things back, reclaimed space,
// salvaged files into it, or only opened it for writing. The next restore of the plan does not take that for its own
// result: without Delta it refuses, and with Delta the HOME is as it was restored. Readers are no use.
func TestAnyUseOfARestoredHomeCounts(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	opened := func(do func(ctx context.Context, s *engine.Storage) error) func(t *testing.T, home string) error {
		return func(t *testing.T, home string) error {
			// As a command does it, which begins no history of its own.
			s := enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
			return errors.Join(do(t.Context(), s), s.Close())
		}
	}
	for _, tc := range []struct {
		name string
		use  func(t *testing.T, home string) error
		used bool
	}{
		{"nothing", func(*testing.T, string) error { return nil }, false},
		{"a reader", func(t *testing.T, home string) error {
			return enginetest.Open(t, home, engine.Options{ReadOnly: true}).Close()
		}, false},
		{"a check", func(t *testing.T, home string) error {
			_, err := check.Run(t.Context(), check.Options{FS: directory(t, home)}, func(check.Finding) {})
			return err
		}, false},
		{"an open", opened(func(context.Context, *engine.Storage) error { return nil }), true},
		{"a pack", opened(func(ctx context.Context, s *engine.Storage) error {
			_, err := s.Pack(ctx, zodb.PackOptions{Time: time.Now()})
			return err
		}), true},
		{"an undelete", opened(func(ctx context.Context, s *engine.Storage) error {
			_, err := s.Pack(ctx, zodb.PackOptions{Time: time.Now()})
			if err == nil {
				_, err = s.Undelete(ctx, 0)
			}
			return err
		}), true},
		{"a reclaim", opened(func(ctx context.Context, s *engine.Storage) error {
			_, err := s.Reclaim(ctx, engine.ReclaimOptions{})
			return err
		}), true},
		{"a kill", func(t *testing.T, home string) error { return os.Remove(filepath.Join(home, "misc", "snapshot")) }, true},
		{"a salvage", func(t *testing.T, home string) error {
			return pack.Undeleted{Time: time.Now()}.Note(directory(t, home), vfs.SyncOptions{})
		}, true},
	} {
		for _, format := range []layout.Format{"", layout.Flat} {
			name := tc.name
			if format != "" {
				name += ", made of a backup of another format"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l, repo, tids := closedChain(t, "bundled")
				start := t.TempDir()
				home := filepath.Join(start, "home")
				o := restoreOptions(t, repo, planTo(t, repo, tids[2]), start, "home")
				if o.Format = format; format != "" {
					o.Convert = into(format.String())
				}
				killed, named := errors.New("killed"), false
				o.Parent = errfs.New(o.Parent, func(op errfs.Op) error {
					if !named { // the state goes after the name
						_, err := os.Stat(filepath.Join(home, "misc", "restore.json"))
						named = err == nil
					}
					if named {
						return killed
					}
					return nil
				})
				if _, err := restore.Run(t.Context(), o); !errors.Is(err, killed) {
					t.Fatalf("%v", err)
				}
				if err := tc.use(t, home); err != nil {
					t.Fatal(err)
				}
				o.Parent = directory(t, start)
				done, err := restore.Run(t.Context(), o)
				if tc.used != errors.Is(err, restore.ErrExists) || !tc.used && (err != nil || done.TID != tids[2]) {
					t.Errorf("the next restore: %+v, %v; used: %t", done, err, tc.used)
				}
				if !tc.used {
					if err := l.Compare(home, tids[2]); err != nil {
						t.Error(err)
					}
					return
				}
				if format != "" {
					return // Delta needs the format of the backup
				}
				o.Delta = true
				if done, err = restore.Run(t.Context(), o); err != nil || done.TID != tids[2] {
					t.Fatalf("with Delta: %+v, %v", done, err)
				}
				if err := l.Compare(home, tids[2]); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
