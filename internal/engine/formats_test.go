package engine

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// allFormats are bundled, which the tests with a few cases have to reach, and the classic ones.
func allFormats() []layout.Format {
	return append([]layout.Format{layout.Bundled}, layout.Formats()...)
}

// testFormat is the format of homes for which a test does not choose one: the value of
// $DIRSTORAGE_TEST_FORMAT, or bundled. Tests about files of the classic formats have bushy.
func testFormat(t testing.TB) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	if _, ok := classicTests()[name]; ok {
		return string(layout.Bushy)
	}
	return cmp.Or(os.Getenv("DIRSTORAGE_TEST_FORMAT"), string(layout.Bundled))
}

// membersOf returns the members of the bundles of a HOME, and its blobs, as paths below A.
func membersOf(f vfs.FS) (names []string) {
	s, err := bundled.New(bundled.Options{FS: f, Beside: true, Clock: time.Now})
	if err != nil {
		return []string{err.Error()}
	}
	for n, err := range s.Names(context.Background(), layout.KindObject, layout.KindRevision, layout.KindTransaction, layout.KindBlob) {
		if err != nil {
			return []string{err.Error()}
		}
		if n.Kind == layout.KindObject {
			n = layout.Pointer(n.OID) // which it is in the classic formats
		}
		names = append(names, layout.Bundled.Path(n))
	}
	if err := s.Close(); err != nil {
		return []string{err.Error()}
	}
	slices.Sort(names)
	return names
}

// isFlushed reports whether an operation makes a file of a flush, in any format.
func isFlushed(op errfs.Op) bool {
	return op.Kind == "create" && (strings.HasPrefix(op.Name, "A/") || op.Name == "journal/aside-beside")
}

// classicTests are the tests that need a classic format, and why.
func classicTests() map[string]string {
	const (
		damage = "damages, removes or looks at the file of one revision, pointer or transaction"
		hook   = "does something when a file of one of them is read, removed or renamed"
		class  = "has homes of class Minimal"
		words  = "is about the words of a setting"
		table  = "counts syncs of directories; the table of current revisions syncs misc/ in any case"
		moved  = "puts homes in each other's place, and names their files"
	)
	return map[string]string{
		"TestDamagedRevisionStaysAloneInTheUndoLog":               damage,
		"TestCopyOfAClosedStorageCanBeFollowedByAnIncrementalOne": damage,
		"TestDiskFullAtFlushKeepsTransactionsInTheJournal":        damage,
		"TestFlushComesByItself":                                  damage,
		"TestSnapshotThatEndsIsJoinedByNobody":                    damage,
		"TestChecksumsFollowTheSettings":                          damage,
		"TestReplicaWithForeignNamesIsRefused":                    damage,
		"TestLostCurrentRevisionIsDamage":                         damage,
		"TestLostRevisionIsNamed":                                 damage,
		"TestLostTransactionIsNamed":                              damage,
		"TestUnreadableDirectoryEndsNoChain":                      damage,
		"TestBlobOfALostRevisionStays":                            damage,
		"TestBlobOfALostRevisionThatIsKeptStays":                  damage,
		"TestBrokenObjectStopsThePack":                            damage,
		"TestPackPassesALinkThatDoesNotGoBackwards":               damage,
		"TestPackRemovesWhatAnInterruptedOneLeft":                 damage,
		"TestPackRemovesBlobsWithoutRevision":                     damage,
		"TestTransactionThatAPackCouldNotReadLeadsOn":             damage,
		"TestReferencesOfADamagedRevisionCountAsNew":              damage,
		"TestWhatWasPutAsideGoesAfterDelayDelete":                 damage,
		"TestFailedFsyncMakesReadOnlyAndKeepsTheFirstCause":       damage,
		"TestUndoAcrossAPackIsRefused":                            damage,
		"TestIterationInWhatIsRemovedFindsWhatStays":              hook,
		"TestPackCanBeStopped":                                    hook,
		"TestPackOutlastsWhatPasses":                              hook,
		"TestPassingErrorEndsAWalk":                               hook,
		"TestFirstStepOfAWalkReadsEachTransactionOnce":            hook,
		"TestPlanIsForItsOwnA":                                    hook,
		"TestPlanIsNotForWhatAnotherMadeOfA":                      hook,
		"TestPurgeNamesItsError":                                  hook,
		"TestSnapshotsGoThroughAPack":                             hook,
		"TestWhatWasReadBeforeAFlushIsNotKeptAfterIt":             hook,
		"TestAHistoryBeginsWhereAStorageWasBroughtBack":           class,
		"TestWrongSettingsAreRefusedAndNothingChanges":            words,
		"TestPackSaysWhatItLacks":                                 hook,
		"TestDiskUseIsWhatTheFilesTakeUp":                         damage,
		"TestDirSyncIsHonoured":                                   table,
		"TestAnotherHomeIsLeftAlone":                              moved,
	}
}

// TestClassicTestsExist: the list names tests that there are.
func TestClassicTestsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = slices.Concat(all, b)
	}
	for name := range classicTests() {
		if !strings.Contains(string(all), "func "+name+"(t *testing.T)") {
			t.Errorf("there is no test %s", name)
		}
	}
}

// TestBundledIsNeverMinimal: asking for both is refused with a reason, and no home is made or
// opened.
func TestBundledIsNeverMinimal(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	err := Create(home, CreateOptions{Format: "bundled", Class: zodb.ClassMinimal})
	if o, ok := errors.AsType[*zodb.OptionError](err); !ok || o.Option != "class" || !strings.Contains(err.Error(), "bundled") {
		t.Errorf("create: %v", err)
	}
	if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a home was made: %v", err)
	}
	home = newHome(t, CreateOptions{Class: zodb.ClassMinimal})
	name := filepath.Join(home, "config/settings")
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(strings.Replace(string(b), "format: bushy", "format: bundled", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), home, Options{})
	if e, ok := errors.AsType[*settings.Error](err); !ok || e.Option != "classname" || !strings.Contains(err.Error(), "bundled") {
		t.Errorf("open: %v", err)
	}
}
