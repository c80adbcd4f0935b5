package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// state is the content of a storage: each transaction with its records, and the current revisions.
func state(ctx context.Context, s *engine.Storage) (map[string]string, error) {
	all := make(map[string]string)
	for x, err := range s.Transactions(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		all[x.TID.String()] = fmt.Sprint(x)
	}
	for oid, err := range s.OIDs(ctx) {
		if err != nil {
			return nil, err
		}
		r, err := s.Load(ctx, oid)
		if errors.Is(err, zodb.ErrNotFound) {
			all["current "+oid.String()] = err.Error()
			continue
		}
		if err != nil {
			return nil, err
		}
		all["current "+oid.String()] = r.Serial.String() + string(r.Data)
		for before := r.Serial; before != 0; {
			old, err := s.LoadBefore(ctx, oid, before)
			if errors.Is(err, zodb.ErrNotFound) || err == nil && old == nil {
				break
			}
			if err != nil {
				return nil, err
			}
			all[oid.String()+" "+old.Serial.String()] = string(old.Data)
			before = old.Serial
		}
	}
	return all, nil
}

// TestHeapsOfRealTools: copies of A that record no deletions are laid over each other by the tools
// that people use, with packs, merges and an undelete between. Each heap is the newest
// state, and sound.
func TestHeapsOfRealTools(t *testing.T) {
	t.Parallel()
	if !have("tar", "rsync", "cp", "touch", "stat") {
		t.Skip("tar and rsync are not on this machine")
	}
	l := loadtest.New(t, 60, engine.CreateOptions{Format: "bundled", Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "3600",
	}})
	l.Start(t, 2)
	work := t.TempDir()
	const copyAll = `
		cd "$1"; mkdir -p rsync rsync-delete cp tar; home=$2
		touch -r "$home/misc/snapshot" stamp.new
		rsync -a "$home/config" "$home/A" rsync/
		rsync -a --delete "$home/config" "$home/A" rsync-delete/
		cp -a "$home/config" cp/; cp -alf "$home/A" cp/
		newer=; if [ -e stamp ]; then newer=--newer-mtime=@$(stat -c %.9Y stamp); fi
		tar -C "$home" $newer -cf new.tar config A; tar -C tar -xf new.tar
		mv stamp.new stamp`
	rounds := 8
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		l.Write(t, 30)
		l.Pause()
		var err error
		switch round {
		case 1, 5:
			_, err = l.Storage.Pack(t.Context(), zodb.PackOptions{NoGC: true})
		case 3:
			_, err = l.Storage.(*engine.Storage).Undelete(t.Context(), 0)
		}
		if err == nil {
			err = l.Storage.EnterSnapshot(t.Context(), "heaps")
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", copyAll, "sh", work, l.Home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := l.Storage.LeaveSnapshot(t.Context(), "heaps"); err != nil {
			t.Fatal(err)
		}
		want, err := state(t.Context(), l.Storage.(*engine.Storage))
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range []string{"rsync", "rsync-delete", "cp", "tar"} {
			if err := isHeapOf(t.Context(), filepath.Join(work, tool), want); err != nil {
				t.Fatalf("round %d, %s: %v", round, tool, err)
			}
		}
	}
	bundles, err := filepath.Glob(filepath.Join(work, "rsync", "A", "bundles", "*.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(work, "rsync-delete", "A", "bundles", "*.tar.zst"))
	if err != nil || len(bundles) <= len(kept) {
		t.Errorf("the heap has %d bundles, and a copy without deleted ones %d: %v", len(bundles), len(kept), err)
	}
}

// isHeapOf opens a heap and compares it with a storage.
func isHeapOf(ctx context.Context, dir string, want map[string]string) error {
	for _, name := range []string{"B", "journal", "misc"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			return err
		}
	}
	s, err := engine.Open(ctx, dir, engine.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	got, err := state(ctx, s)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	for name, text := range want {
		if got[name] != text {
			return fmt.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("it has %d things, want %d", len(got), len(want))
	}
	f, err := vfs.OS(dir)
	if err == nil {
		_, err = checktest.Sound(ctx, f)
	}
	return err
}
