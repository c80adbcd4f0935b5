package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// golden unpacks a golden home.
func golden(tb testing.TB, name string) (vfs.FS, string) {
	tb.Helper()
	dir := hometest.Unpack(tb, name)
	fsys, err := vfs.OS(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return fsys, dir
}

// kindOf gives our kind for the words of the golden data.
var kindOf = map[string]Kind{
	"object bad magic":                                 ObjectMagic,
	"object length mismatch":                           ObjectLength,
	"object md5 mismatch":                              ObjectChecksum,
	"object oid mismatch":                              ObjectOID,
	"object data is not a pickle":                      ObjectNotPickle,
	"object history does not go backwards":             HistoryNotBackwards,
	"missing current revision":                         RevisionMissing,
	"missing revision newer than x.packed":             RevisionMissing,
	"dangling reference":                               DanglingReference,
	"pointer bad magic":                                PointerMagic,
	"pointer is not the newest revision":               PointerNotNewest,
	"transaction bad magic":                            TransactionMagic,
	"transaction md5 mismatch":                         TransactionChecksum,
	"missing transaction newer than x.packed":          TransactionMissing,
	"transaction lists a revision that does not exist": TransactionListsMissingRevision,
	"x.oid lower than an existing oid":                 XOIDLow,
	"revisions newer than x.serial":                    XSerialOld,
	"journal entry not newer than x.serial":            JournalOlder,
}

func TestEachCorruptHomeGivesItsDefectAndNoOther(t *testing.T) {
	t.Parallel()
	for _, name := range hometest.CorruptNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var defects []want
			for _, d := range hometest.ExpectedCorrupt(t, name).Defects {
				defects = append(defects, want{Kind: kindOf[d.Kind], Path: d.File, OID: d.OID, TID: d.TID, From: d.From})
			}
			fsys, _ := golden(t, name)
			for _, o := range []Options{
				{},
				{Workers: 1, MemoryLimit: 1}, // nearly every oid has to be looked up
			} {
				o.FS, o.Now = fsys, time.Now
				all, s := findings(t, o)
				var got []want
				for _, f := range all {
					got = append(got, want{Kind: f.Kind, Path: f.Path, OID: f.OID, TID: f.TID, From: f.From})
					if f.Severity != Damage {
						t.Errorf("severity %s: %v", f.Severity, f)
					}
				}
				if d := cmp.Diff(defects, got); d != "" {
					t.Errorf("findings (-want +got):\n%s", d)
				}
				if s.Damage != int64(len(got)) {
					t.Errorf("summary counts %d, found %d", s.Damage, len(got))
				}
			}
		})
	}
}

func TestSoundHomesGiveNoFinding(t *testing.T) {
	t.Parallel()
	for _, name := range hometest.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expected := hometest.Expected(t, name)
			var want []Kind
			if len(expected.Before.Journal) > 0 {
				want = []Kind{NeedsRecovery}
			}
			fsys, _ := golden(t, name)
			all, s := findings(t, Options{FS: fsys, Now: time.Now})
			var kinds []Kind
			for _, f := range all {
				kinds = append(kinds, f.Kind)
				if f.Severity != Note {
					t.Errorf("%v", f)
				}
			}
			if !slices.Equal(kinds, want) {
				t.Errorf("found %v, want %v", kinds, want)
			}
			if name != "replica_pending" { // the content of the replica is expected there
				compareWithGolden(t, expected, s)
			}
		})
	}
}

// compareWithGolden compares the counts with those that the original reads.
func compareWithGolden(t *testing.T, h *hometest.Home, s Summary) {
	t.Helper()
	want := Summary{Class: h.Class, Format: h.Format, LastTID: h.XSerial, MaxOID: h.XOID, Packed: h.XPacked,
		Objects: int64(len(h.Current)), Revisions: int64(len(h.Objects)), Transactions: int64(len(h.Transactions)),
		DeletedFiles: int64(len(h.OtherFilesInA))}
	got := Summary{Class: s.Class, Format: s.Format, LastTID: s.LastTID, MaxOID: s.MaxOID, Packed: s.Packed,
		Objects: s.Objects, Revisions: s.Revisions, Transactions: s.Transactions, DeletedFiles: s.DeletedFiles}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("summary (-golden +got):\n%s", d)
	}
}

func TestPlainCopyOfConfigAndAIsSound(t *testing.T) {
	t.Parallel()
	fsys, dir := golden(t, "bushy")
	for _, name := range []string{"B", "journal", "misc"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if all, s := findings(t, Options{FS: fsys}); len(all) > 0 || s.Objects != 28 {
		t.Errorf("found %v; %d objects", all, s.Objects)
	}
}

func TestSnapshotOnlyLooksAtA(t *testing.T) {
	t.Parallel()
	fsys, _ := golden(t, "killed_in_snapshot")
	all, s := findings(t, Options{FS: fsys, SnapshotOnly: true})
	if want := zodb.TID(0x03f6ed1d1aaaaaaa); len(all) > 0 || s.LastTID != want || s.Transactions != 6 {
		t.Errorf("found %v; last transaction %s, want %s; %d transactions, want 6", all, s.LastTID, want, s.Transactions)
	}
}

// A byte that is changed anywhere must be found, in the file where it is.
func TestEachChangedByteIsFound(t *testing.T) {
	t.Parallel()
	fsys, dir := golden(t, "chunky")
	files := 0
	err := filepath.WalkDir(filepath.Join(dir, "A"), func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(name, "/A/x/") {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		good, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		at := (files*31 + 7) % len(good)
		if at >= 16 && at < 24 && !strings.Contains(name, "/t03F") {
			at += 8 // that of which it is a copy can be any older revision
		}
		if files++; files%2 == 0 && testing.Short() {
			return nil
		}
		bad := slices.Clone(good)
		bad[at] ^= 0x11
		if err := os.WriteFile(name, bad, 0o640); err != nil {
			return err
		}
		all, _ := findings(t, Options{FS: fsys})
		if !slices.ContainsFunc(all, func(f Finding) bool { return f.Severity == Damage }) {
			t.Errorf("%s: nothing found after byte %d was changed", rel, at)
		}
		return os.WriteFile(name, good, 0o640)
	})
	if err != nil || files < 90 {
		t.Fatalf("%d files: %v", files, err)
	}
}
