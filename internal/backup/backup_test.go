package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

func store(t testing.TB, dir string) objstore.Store {
	t.Helper()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return objstore.NewDir(f)
}

func options(home string, s objstore.Store, kind backup.Kind) backup.Options {
	return backup.Options{Store: s, Kind: kind, Now: time.Now, Snapshot: snapshot.Options{Home: home, Now: time.Now}}
}

func run(t testing.TB, o backup.Options) *backup.Result {
	t.Helper()
	r, err := backup.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTwoBackupsAtOnceAndOneDuringASnapshot lets others hold the locks that a backup
// needs, and looks at the storage right after one.
func TestTwoBackupsAtOnceAndOneDuringASnapshot(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 2)
	l.Write(t, 20)
	s := store(t, t.TempDir())
	lock, err := s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Run(t.Context(), options(l.Home, s, backup.Full)); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("while another one changes the repository: %v", err)
	}
	lock.Close()
	if err := l.Storage.EnterSnapshot(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(l.Home)
	if err != nil {
		t.Fatal(err)
	}
	held, err := f.Lock("misc/sublock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Run(t.Context(), options(l.Home, s, backup.Full)); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("while another tool copies: %v", err)
	}
	held.Close()
	if err := l.Storage.LeaveSnapshot(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	run(t, options(l.Home, s, backup.Full))
	if st := l.Storage.Status(); strings.HasPrefix(st.Snapshot, "user") {
		t.Errorf("after the backup the storage is in state %q", st.Snapshot)
	}
}

// TestIncrementalCostsWhatChanged counts bytes that are read.
func TestIncrementalCostsWhatChanged(t *testing.T) {
	enginetest.EachFormat(t, testIncrementalCostsWhatChanged)
}

func testIncrementalCostsWhatChanged(t *testing.T, format string) {
	l := loadtest.New(t, 400, engine.CreateOptions{Format: format})
	l.Start(t, 2)
	l.Write(t, 800)
	s := store(t, t.TempDir())
	full := run(t, options(l.Home, s, backup.Full))
	l.Write(t, 4)
	inc := run(t, options(l.Home, s, backup.Incremental))
	// Of bundles the incremental one has whole ones, which older transactions are merged into.
	if n := inc.Backup.Counts.Transactions; n < 4 || format != "bundled" && (n > 4 || inc.BytesRead*20 > full.BytesRead) {
		t.Errorf("full read %d bytes, the incremental one %d for %d transactions", full.BytesRead, inc.BytesRead, inc.Backup.Counts.Transactions)
	}
}

// TestReferenceIsChosenByAge keeps two incremental backups that overlap.
func TestReferenceIsChosenByAge(t *testing.T) { enginetest.EachFormat(t, testReferenceIsChosenByAge) }

func testReferenceIsChosenByAge(t *testing.T, format string) {
	l := loadtest.New(t, 20, engine.CreateOptions{Format: format})
	l.Start(t, 1)
	s := store(t, t.TempDir())
	var made []*backup.Manifest
	for i := range 3 {
		l.Write(t, 3)
		o := options(l.Home, s, "")
		made = append(made, run(t, o).Backup)
		time.Sleep(2 * time.Millisecond)
		if i == 0 && made[0].Kind != backup.Full || i > 0 && made[i].Kind != backup.Incremental {
			t.Fatalf("backup %d is %s", i, made[i].Kind)
		}
	}
	l.Write(t, 3)
	o := options(l.Home, s, backup.Incremental)
	o.Before = made[1].SnapshotAt.Add(time.Nanosecond)
	if got := run(t, o).Backup; got.Reference.Name != made[1].Name || got.Counts.Transactions != 6 {
		t.Errorf("reference %+v with %d transactions, want %s", got.Reference, got.Counts.Transactions, made[1].Name)
	}
	o = options(l.Home, s, "")
	o.FullBefore = time.Now()
	l.Write(t, 1)
	if got := run(t, o).Backup; got.Kind != backup.Full {
		t.Errorf("a chain that is due was continued by %s", got.Kind)
	}
	o.FullBefore, o.MaxChain = time.Time{}, 1
	l.Write(t, 1)
	if got := run(t, o).Backup; got.Kind != backup.Full {
		t.Errorf("a chain of full length was continued by %s", got.Kind)
	}
}

// TestStoragePutBackIsNoReference restores an older state by hand, under the
// same identity, and goes on: nothing may build upon its later part.
func TestStoragePutBackIsNoReference(t *testing.T) {
	enginetest.EachFormat(t, testStoragePutBackIsNoReference)
}

func testStoragePutBackIsNoReference(t *testing.T, format string) {
	l := loadtest.New(t, 20, engine.CreateOptions{Format: format})
	l.Start(t, 1)
	l.Write(t, 5)
	l.End()
	if err := l.Storage.Close(); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(l.Home)); err != nil {
		t.Fatal(err)
	}
	again := loadtest.NewOf(t, l.Home, 20)
	again.Start(t, 1)
	again.Write(t, 5)
	s := store(t, t.TempDir())
	run(t, options(l.Home, s, backup.Full))
	again.End()
	other := loadtest.NewOf(t, older, 20)
	other.Start(t, 1)
	if _, err := backup.Run(t.Context(), options(older, s, backup.Incremental)); !errors.Is(err, backup.ErrNoReference) {
		t.Errorf("put back: %v", err)
	}
	other.Write(t, 10)
	if _, err := backup.Run(t.Context(), options(older, s, backup.Incremental)); !errors.Is(err, backup.ErrNoReference) {
		t.Errorf("put back and gone on: %v", err)
	}
	if got := run(t, options(older, s, "")).Backup; got.Kind != backup.Full {
		t.Errorf("run made %s", got.Kind)
	}
}

// TestPruneNeverBreaksAChain makes three chains, and prunes by each rule.
func TestPruneNeverBreaksAChain(t *testing.T) { enginetest.EachFormat(t, testPruneNeverBreaksAChain) }

func testPruneNeverBreaksAChain(t *testing.T, format string) {
	l := loadtest.New(t, 20, engine.CreateOptions{Format: format})
	l.Start(t, 1)
	dir := t.TempDir()
	s := store(t, dir)
	var made []*backup.Manifest
	for i := range 9 {
		l.Write(t, 2)
		kind := backup.Incremental
		if i%3 == 0 {
			kind = backup.Full
		}
		made = append(made, run(t, options(l.Home, s, kind)).Backup)
		time.Sleep(2 * time.Millisecond)
	}
	for name, tc := range map[string]struct {
		o    backup.PruneOptions
		kept int
	}{
		"one chain":               {backup.PruneOptions{Chains: 1}, 3},
		"two chains":              {backup.PruneOptions{Chains: 2}, 6},
		"any moment since then":   {backup.PruneOptions{Since: made[4].SnapshotAt}, 6},
		"before the second chain": {backup.PruneOptions{Since: made[3].SnapshotAt.Add(-time.Millisecond)}, 9},
		"both rules":              {backup.PruneOptions{Chains: 1, Since: made[4].SnapshotAt}, 6},
		"everything is older":     {backup.PruneOptions{Since: time.Now().Add(time.Hour)}, 3},
	} {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		tc.o.DryRun = true
		plan, err := backup.Prune(t.Context(), store(t, copied), tc.o)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := backup.Open(t.Context(), store(t, copied)); err != nil || len(r.Backups) != 9 {
			t.Fatalf("%s: the dry run removed something: %v", name, err)
		}
		tc.o.DryRun = false
		if _, err := backup.Prune(t.Context(), store(t, copied), tc.o); err != nil {
			t.Fatal(err)
		}
		r, err := backup.Open(t.Context(), store(t, copied))
		if err != nil || len(r.Backups) != tc.kept || len(plan.Kept) != tc.kept {
			t.Errorf("%s: %d are kept, %d planned, want %d (%v)", name, len(r.Backups), len(plan.Kept), tc.kept, err)
		}
		for _, m := range r.Backups {
			if _, err := r.Exactly(m); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !slices.ContainsFunc(made, func(b *backup.Manifest) bool { return b.Name == m.Name }) {
				t.Errorf("%s: %s appeared", name, m.Name)
			}
		}
	}
}

// TestStorageThatDiesMeanwhileIsBackedUp closes the storage without leaving
// snapshot mode while its files are read.
func TestStorageThatDiesMeanwhileIsBackedUp(t *testing.T) {
	enginetest.EachFormat(t, testStorageThatDiesMeanwhileIsBackedUp)
}

func testStorageThatDiesMeanwhileIsBackedUp(t *testing.T, format string) {
	l := loadtest.New(t, 50, engine.CreateOptions{Format: format})
	l.Start(t, 2)
	l.Write(t, 100)
	l.End()
	s := store(t, t.TempDir())
	o := options(l.Home, s, backup.Full)
	var warnings []string
	o.Warn = func(text string) { warnings = append(warnings, text) }
	died := false
	o.Progress = func(backup.Progress) {
		if !died {
			died = true
			if err := l.Storage.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	m := run(t, o).Backup
	if m.Counts.Transactions != 100 || m.ProblemCount != 0 {
		t.Errorf("%+v", m.Counts)
	}
	if len(warnings) == 0 {
		t.Error("nobody was told that the storage is gone")
	}
	if _, err := engine.Open(t.Context(), l.Home, engine.Options{ReadOnly: true}); err != nil {
		t.Error(err)
	}
}

// TestIncrementalOfADamagedStorageTakesWhatIsLeft removes files of the newest
// transactions.
func TestIncrementalOfADamagedStorageTakesWhatIsLeft(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{Format: "flat"})
	l.Start(t, 1)
	l.Write(t, 5)
	s := store(t, t.TempDir())
	run(t, options(l.Home, s, backup.Full))
	l.Write(t, 5)
	l.End()
	if err := l.Storage.Close(); err != nil {
		t.Fatal(err)
	}
	last := l.TIDs[len(l.TIDs)-1].String()
	revisions, err := filepath.Glob(filepath.Join(l.Home, "A", "o*."+last))
	if err != nil || len(revisions) == 0 {
		t.Fatal(revisions, err)
	}
	pointer := strings.TrimSuffix(revisions[0], last) + "c"
	if err := errors.Join(os.Remove(revisions[0]), os.WriteFile(pointer, []byte("short"), 0o644)); err != nil {
		t.Fatal(err)
	}
	o := options(l.Home, s, backup.Incremental)
	warned := 0
	o.Warn = func(string) { warned++ }
	m := run(t, o).Backup
	if m.ProblemCount == 0 || int64(len(m.Problems)) != m.ProblemCount || warned < len(m.Problems) || !strings.Contains(strings.Join(m.Problems, " "), "is missing") {
		t.Errorf("%d problems were told, %d warnings: %q", m.ProblemCount, warned, m.Problems)
	}
	if m.Counts.Transactions != 5 {
		t.Errorf("%d transactions, want 5", m.Counts.Transactions)
	}
}

// TestABlobWithoutARevisionIsNoDamage: a pack that was interrupted leaves such, and so does an undelete.
func TestABlobWithoutARevisionIsNoDamage(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{Format: "flat"})
	l.Start(t, 1)
	l.Write(t, 20)
	l.End()
	if err := l.Storage.Close(); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(l.Home, "A", "o*.blob"))
	if err != nil || len(blobs) < 2 {
		t.Fatal(blobs, err)
	}
	backup := func() (problems int64, warned string) {
		o := options(l.Home, store(t, t.TempDir()), backup.Full)
		o.Warn = func(text string) { warned += text }
		return run(t, o).Backup.ProblemCount, warned
	}
	other := strings.Replace(blobs[0], ".0", ".1", 1) // of a time at which there was nothing
	if err := os.Link(blobs[0], other); err != nil {
		t.Fatal(err)
	}
	if n, warned := backup(); n != 0 || !strings.Contains(warned, "1 blob has no revision") {
		t.Errorf("a blob more: %d problems, %q", n, warned)
	}
	if err := errors.Join(os.Remove(other), os.Remove(blobs[1])); err != nil {
		t.Fatal(err)
	}
	if n, warned := backup(); n != 1 || !strings.Contains(warned, "of blobs there") {
		t.Errorf("a blob less: %d problems, %q", n, warned)
	}
}
