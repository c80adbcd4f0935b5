package settings

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// homeVersion is the only value of structure/version that a home may have.
const homeVersion = "0.11"

// The values of storage/classname.
const (
	ClassFull    = "Full"
	ClassMinimal = "Minimal"
)

// The values of storage/keep_policy.
const (
	keepDetailed = "detailed" // pack keeps the transaction files of all revisions that it keeps
	KeepUndoable = "undoable" // pack keeps those of transactions that are not older than the pack time
)

// Settings is config/settings. The fields have the names of its options.
type Settings struct {
	Structure  Structure
	MD5Policy  MD5Policy
	Journal    Journal
	Storage    Storage
	Filesystem Filesystem
	POSIX      POSIX
	Windows    Windows
	// KeepClass is section keepclass: classes, as module.Class, each with a rule as ParseKeep
	// accepts it.
	KeepClass map[string]string
}

// Structure is the section of options that can't be changed.
type Structure struct {
	Format  layout.Format
	Version string // always Version
}

// MD5Policy says when checksums of revisions and transactions are made and when they are compared. It
// has the name of the section of the Python original, and is for checksums of every kind.
type MD5Policy struct {
	Write     bool // make them for what is written
	Read      bool // compare those of revisions at each load
	Overwrite bool // class Minimal: compare that of a file that is about to be replaced
	UndoLog   bool // compare while the undo log is read
	Undo      bool // compare during undo
	History   bool // compare while a history is read
	Pack      bool // compare while pack marks the objects in use
}

// Journal says when committed transactions are flushed.
type Journal struct {
	FlushInterval             time.Duration // none waits longer than that
	FlushFileThreshold        int           // so many files start a flush; at least 1
	FlushTransactionThreshold int           // so many transactions start a flush; at least 1
	Backlog                   int           // so many batches may wait before commits do
}

// Storage has the options of the storage itself.
type Storage struct {
	ClassName               string        // ClassFull or ClassMinimal
	HistoryTimeout          time.Duration // undo log and history stop then; 0 = never
	DelayDelete             time.Duration // time that pack keeps files put aside; 0 = it puts nothing aside
	MinPackTime             time.Duration // pack leaves younger revisions alone
	CheckDanglingReferences bool          // vote refuses those that a change adds
	CheckKeptReferences     bool          // and those that its object held before, too
	KeepPolicy              string        // keepDetailed or KeepUndoable
	Python                  int           // 2 or 3: whose pickles the records are; an export says so
}

// Filesystem has the options about durability.
type Filesystem struct {
	Sync          bool // false = no fsync at all
	QuickShutdown bool // close does not flush
}

// POSIX has options for Unix.
type POSIX struct {
	Mark    string // how the original's pack marks files; kept, not used
	DirSync bool   // fsync directories too; without Filesystem.Sync it means nothing
}

// Windows has options for Windows.
type Windows struct {
	Mark string // as POSIX.Mark
}

// Default returns the settings of a new home of a class and a format.
func Default(class string, format layout.Format) *Settings {
	s := optional()
	s.Structure = Structure{Format: format, Version: homeVersion}
	s.MD5Policy = MD5Policy{Write: true, Read: true, UndoLog: true, Undo: true, History: true, Pack: true}
	s.Journal = Journal{FlushInterval: time.Hour, FlushFileThreshold: 40000, FlushTransactionThreshold: 4000, Backlog: 3}
	s.Storage.ClassName = class
	s.Storage.HistoryTimeout = 10 * time.Second
	s.Storage.DelayDelete = 10 * 24 * time.Hour
	s.Filesystem = Filesystem{Sync: true}
	return s
}

// optional returns the values of options that a file may leave out.
func optional() *Settings {
	return &Settings{
		Storage: Storage{MinPackTime: 10 * time.Minute, CheckDanglingReferences: true, KeepPolicy: keepDetailed, Python: 3},
		POSIX:   POSIX{Mark: "permissions", DirSync: true},
		Windows: Windows{Mark: "attributes"},
	}
}

// field is one option of the file.
type field struct {
	section, option string
	// optional: an older file may be without it.
	optional bool
	comment  string // meaning of the option, lines of the file
	// at returns where its value is kept: a *layout.Format, *string, *bool, *int, or a
	// *time.Duration, which are seconds in the file.
	at func(*Settings) any
}

// fields lists all options but those of keepclass, in the order of a new file.
func fields() []field {
	return []field{
		{"structure", "format", false, "How files are spread over directories: bundled, bushy, chunky, lawn or flat.\nIt can't be changed once there is data.",
			func(s *Settings) any { return &s.Structure.Format }},
		{"structure", "version", false, "Version of the structure of this directory. Do not change it.",
			func(s *Settings) any { return &s.Structure.Version }},

		{"md5policy", "write", false, "1: write a checksum into each new revision and transaction: an MD5, and in format bundled an XXH64.",
			func(s *Settings) any { return &s.MD5Policy.Write }},
		{"md5policy", "read", false, "1: compare checksums of revisions, of either kind, whenever they are read: by a load, an undo, a history, a pack.\nThose of transactions are always compared.",
			func(s *Settings) any { return &s.MD5Policy.Read }},
		{"md5policy", "overwrite", false, "Kept for the Python original, not used here.",
			func(s *Settings) any { return &s.MD5Policy.Overwrite }},
		{"md5policy", "undolog", false, "Kept for the Python original, not used here: see read.",
			func(s *Settings) any { return &s.MD5Policy.UndoLog }},
		{"md5policy", "undo", false, "Kept for the Python original, not used here: see read.",
			func(s *Settings) any { return &s.MD5Policy.Undo }},
		{"md5policy", "history", false, "Kept for the Python original, not used here: see read.",
			func(s *Settings) any { return &s.MD5Policy.History }},
		{"md5policy", "pack", false, "Kept for the Python original, not used here: see read.",
			func(s *Settings) any { return &s.MD5Policy.Pack }},

		{"journal", "flush_interval", false, "A committed transaction is moved into A after this many seconds at the latest,",
			func(s *Settings) any { return &s.Journal.FlushInterval }},
		{"journal", "flush_file_threshold", false, "or when this many files wait,",
			func(s *Settings) any { return &s.Journal.FlushFileThreshold }},
		{"journal", "flush_transaction_threshold", false, "or when this many transactions wait. 64 MiB of data that wait start a flush, too.",
			func(s *Settings) any { return &s.Journal.FlushTransactionThreshold }},
		{"journal", "backlog", false, "This many full batches, and one more, may wait for A. Votes are slowed down from half of that on,\nand wait when it is used up.",
			func(s *Settings) any { return &s.Journal.Backlog }},

		{"storage", "classname", false, "Full keeps history and can undo; Minimal keeps current revisions only.\nIt can't be changed.",
			func(s *Settings) any { return &s.Storage.ClassName }},
		{"storage", "history_timeout", false, "An undo log or a history ends early after this many seconds, with the entries found until then;\n0: never.",
			func(s *Settings) any { return &s.Storage.HistoryTimeout }},
		{"storage", "delay_delete", false, "Files that pack removes stay under other names for this many seconds, and until the first pack\nafter that; 0: they are removed at once.",
			func(s *Settings) any { return &s.Storage.DelayDelete }},
		{"storage", "min_pack_time", true, "Pack leaves everything alone that is younger than this many seconds, and the last transaction;\n0: it packs up to the time asked for, the last transaction too.",
			func(s *Settings) any { return &s.Storage.MinPackTime }},
		{"storage", "check_dangling_references", true, "1: refuse transactions that add references to objects which do not exist.",
			func(s *Settings) any { return &s.Storage.CheckDanglingReferences }},
		{"storage", "check_kept_references", true, "1: refuse also those with such references that the object had before.",
			func(s *Settings) any { return &s.Storage.CheckKeptReferences }},
		{"storage", "keep_policy", true, "Which transactions pack keeps: detailed, those of all revisions that it keeps;\nundoable, only those that are younger than the pack time.",
			func(s *Settings) any { return &s.Storage.KeepPolicy }},
		{"storage", "python", true, "Whose pickles the records are, of Python 2 or 3. The first bytes of an exported Data.fs say it.",
			func(s *Settings) any { return &s.Storage.Python }},

		{"filesystem", "sync", false, "0: never wait for the disk. A crash of the machine may then destroy the database.",
			func(s *Settings) any { return &s.Filesystem.Sync }},
		{"filesystem", "quick_shutdown", false, "1: closing leaves the work of moving files into A to the next start.",
			func(s *Settings) any { return &s.Filesystem.QuickShutdown }},

		{"windows", "mark", true, "Not used any more.",
			func(s *Settings) any { return &s.Windows.Mark }},
		{"posix", "mark", true, "Not used any more.",
			func(s *Settings) any { return &s.POSIX.Mark }},
		{"posix", "dirsync", true, "0: do not sync directories, for file systems that can't.",
			func(s *Settings) any { return &s.POSIX.DirSync }},
	}
}
