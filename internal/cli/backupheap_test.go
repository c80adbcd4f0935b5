package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
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
// that people use, with a pack a day, merges and an undelete between. Each heap is the newest
// state, and sound, also where bundles carry the lists of members put aside by packs.
func TestHeapsOfRealTools(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	if !have("tar", "rsync", "cp", "touch", "stat") {
		t.Skip("tar and rsync are not on this machine")
	}
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{Format: "bundled", Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "172800", "journal.flush_transaction_threshold": "10",
	}}); err != nil {
		t.Fatal(err)
	}
	var past atomic.Int64 // that is left; files have the time of the system
	past.Store(int64(30 * 24 * time.Hour))
	s, err := engine.Open(t.Context(), home, engine.Options{SegmentSize: 64 << 10, RetryInterval: 5 * time.Millisecond,
		Clock: func() time.Time { return time.Now().Add(-time.Duration(past.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	l := loadtest.Over(t, s, 60)
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
	rounds := 9
	if testing.Short() {
		rounds = 6 // too few for lists that are carried in each run
	}
	carrying := 0
	for round := range rounds {
		past.Add(-int64(24 * time.Hour))
		l.Write(t, 30)
		l.Pause()
		if round == 3 {
			_, err = s.Undelete(t.Context(), 0)
		} else {
			_, err = s.Pack(t.Context(), zodb.PackOptions{NoGC: true})
		}
		if err == nil && round >= 2 {
			_, err = s.Reclaim(t.Context(), engine.ReclaimOptions{})
		}
		if err == nil {
			err = s.EnterSnapshot(t.Context(), "heaps")
		}
		if err != nil {
			t.Fatal(err)
		}
		carrying += len(carryingBundles(t, home))
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", copyAll, "sh", work, home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := s.LeaveSnapshot(t.Context(), "heaps"); err != nil {
			t.Fatal(err)
		}
		want, err := state(t.Context(), s)
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
	for _, tool := range []string{"rsync", "cp", "tar"} {
		n := carryingBundles(t, filepath.Join(work, tool))
		later := 0 // of these have a list that counts in the place of theirs
		for _, name := range n {
			lists, err := filepath.Glob(filepath.Join(work, tool, "A", "bundles", strings.TrimSuffix(name, ".tar.zst")+".*.gone"))
			if err != nil {
				t.Fatal(err)
			}
			later += min(1, len(lists))
		}
		if !testing.Short() && (len(n) < 3 || later == 0 || carrying < 3) {
			t.Errorf("%s: %d bundles carry a list, %d of them have a later one; %d were copied: too few to show anything", tool, len(n), later, carrying)
		}
	}
}

// carryingBundles returns the names of the bundles of a directory that carry a list of members to bring back.
func carryingBundles(t *testing.T, home string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
		if err != nil {
			t.Fatal(err)
		}
		if r.Carried() != nil {
			names = append(names, filepath.Base(path))
		}
	}
	return names
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
