package restore_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestEveryTransactionIsRestoredPastPacks: packs, merges of bundles and a merge of backups come
// between incremental backups, and each restored transaction is complete:
// each object as it was then, and a sound HOME.
func TestEveryTransactionIsRestoredPastPacks(t *testing.T) {
	enginetest.EachFormat(t, testEveryTransactionIsRestoredPastPacks)
}

func testEveryTransactionIsRestoredPastPacks(t *testing.T, format string) {
	rounds, each := 6, 8
	if testing.Short() {
		rounds, each = 4, 4
	}
	home := enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "0",
	}})
	s := enginetest.Open(t, home, engine.Options{})
	repository := objstore.NewDir(directory(t, t.TempDir()))
	w := writer{t, s, make(map[zodb.OID]zodb.TID)}
	rnd := rand.New(rand.NewPCG(17, 3))
	var tids []zodb.TID
	states := make(map[zodb.TID]map[zodb.OID]zodb.TID)
	commit := func(oid zodb.OID, text string) {
		w.store(oid, text)
		tids = append(tids, w.serials[oid])
		states[w.serials[oid]] = maps.Clone(w.serials)
	}
	for oid := range zodb.OID(6) {
		commit(oid, "N.")
	}
	for round := range rounds {
		for range each {
			commit(zodb.OID(rnd.IntN(6+round)), "N.")
		}
		if round%3 == 1 { // to the middle of the transactions that no backup has yet
			if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: tids[len(tids)-each/2].Time(), NoGC: true}); err != nil {
				t.Fatal(err)
			}
		}
		if m := backUp(t, home, repository, "").Backup; m == nil || m.ProblemCount != 0 || (m.Kind == backup.Full) != (round == 0) {
			t.Fatalf("round %d: %+v", round, m)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	repo := openRepository(t, repository)
	restoreAll := func() (restored int) {
		dir := t.TempDir()
		for i, tid := range tids {
			p, err := repo.At(repo.Identities()[0], tid)
			if errors.Is(err, backup.ErrNoBackup) {
				continue
			}
			name := fmt.Sprint("r", i)
			var done *restore.Result
			if err == nil {
				done, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, name))
			}
			if errors.Is(err, restore.ErrPacked) {
				continue
			}
			if err != nil || done.TID != tid {
				t.Fatalf("to %s: %+v, %v", tid, done, err)
			}
			isState(t, filepath.Join(dir, name), states[tid])
			os.RemoveAll(filepath.Join(dir, name))
			restored++
		}
		return restored
	}
	if n := restoreAll(); n < len(tids)/2 {
		t.Errorf("%d of %d transactions could be restored", n, len(tids))
	}
	last := repo.Backups[len(repo.Backups)-2]
	if _, err := backup.Merge(t.Context(), repository, backup.MergeOptions{Name: last.Name, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Prune(t.Context(), repository, backup.PruneOptions{Chains: 1}); err != nil {
		t.Fatal(err)
	}
	repo = openRepository(t, repository)
	if n := restoreAll(); n < each/2 {
		t.Errorf("%d transactions could be restored of a merged backup and what follows", n)
	}
}

// isState compares the objects of a HOME with those that were there.
func isState(t *testing.T, home string, want map[zodb.OID]zodb.TID) {
	t.Helper()
	s, err := engine.Open(t.Context(), home, engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for oid, err := range s.OIDs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if r, err := s.Load(t.Context(), oid); err != nil || r.Serial != want[oid] {
			t.Errorf("%s: object %s is at %s, want %s: %v", home, oid, r.Serial, want[oid], err)
		}
	}
	if n != len(want) {
		t.Errorf("%s has %d objects, want %d", home, n, len(want))
	}
}
