package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// FormatOf is the format of homes for which a test does not choose one.
func FormatOf(t testing.TB) string { return testFormat(t) }

// OnFS makes a storage work on another file system, in tests of package engine_test.
func OnFS(o Options, f vfs.FS) Options {
	o.fs = f
	return o
}

// CreateOn makes an empty storage on a file system that is empty.
func CreateOn(f vfs.FS, format layout.Format, set map[string]string) error {
	text, err := newSettings(format, CreateOptions{Set: set}.withDefaults())
	if err != nil {
		return err
	}
	c := creator{fs: f, base: "."}
	c.populate(format, text, strings.Repeat("0123456789abcdef", 2))
	return errors.Join(c.err, f.SyncDir("."))
}

// CreateOnFS makes a HOME on another file system.
func CreateOnFS(o CreateOptions, f vfs.FS) CreateOptions {
	o.fs = f
	return o
}

// OnStore makes a storage use a store instead of the one that the settings say.
func OnStore(o Options, st store.Store) Options {
	o.store = st
	return o
}

// LastInA is the last transaction in A.
func (s *Storage) LastInA() (zodb.TID, error) { return s.store.LastInA() }

// NoteMark writes a mark of the history.
func (s *Storage) NoteMark(m histfile.Mark) bool { return s.lineage.Note(m) }

// JournalSegments is how many segments the journal has.
func (s *Storage) JournalSegments() int { return s.journal.Stats().Segments }

// HeldLocks is the number of locks of objects.
func (s *Storage) HeldLocks() int { return s.txns.HeldLocks() }

// TxnReport is the report of the open transactions.
func (s *Storage) TxnReport() txn.Report { return s.txns.Report() }

// Dir is the HOME that is open.
func (s *Storage) Dir() *home.Home { return s.home }

// Files of a pack in misc/.
const (
	PlanFile   = planFile
	SparedFile = sparedFile
)

// Names beside those of a HOME.
const (
	LostAndFound = lostAndFound
	Unborn       = unborn
)

// TestLog keeps the lines of the log.
type TestLog = testLog

// Ways in which the tests of both packages make storages, and look at them.
var (
	AllFormats          = allFormats
	ContentOf           = contentOf
	FileOfA             = fileOfA
	InEveryPlace        = inEveryPlace
	Load                = load
	NewBenchStorageWith = newBenchStorageWith
	NewErrStorage       = newErrStorage
	NewHome             = newHome
	NewStorage          = newStorage
	OpenHome            = open
	PopulateHome        = populateHome
	ReadBlob            = readBlob
	ScriptOptions       = scriptOptions
	SnapshotContent     = snapshotContent
	Sound               = sound
	TIDs                = tids
)

// Things that they do to storages, and how often.
var (
	DoPack      = doPack
	Exists      = exists
	NewOIDs     = newOIDs
	PackStorage = packStorage
	Stride      = stride
	Undo        = undo
)

// ParseTime is the time that a text of [time.RFC3339] names.
func ParseTime(s string) time.Time { return at(s) }
