package check

import (
	"cmp"
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options of [Run]. FS is mandatory.
type Options struct {
	// FS is the HOME.
	FS vfs.FS
	// Since, if not 0, limits the check to the transactions later than it: its cost is
	// then proportional to their writes. See [Run].
	Since zodb.TID
	// Workers is the number of files that are looked at at the same time. 0 = the
	// number of processors, or fewer where the memory limit of the process is small.
	Workers int
	// SnapshotOnly looks at config and A alone, as a backup would copy them: for a
	// running storage that is in snapshot mode.
	SnapshotOnly bool
	// Root makes it damage that there are objects and no root object: a ZODB database
	// always has one, other data may not.
	Root bool
	// Now is the clock, for tids in the future; nil = they are not looked for.
	Now func() time.Time
	// Progress, if not nil, is called now and then, by one goroutine at a time.
	Progress func(Progress)
	// Index, if not nil, is told the references of current revisions. Without Since only.
	Index Index
	// MemoryLimit bounds the bytes spent on remembering which objects exist and which are
	// referred to; 0 = 256 MB, enough for a billion objects. Oids for which there is no
	// room are looked up in the tree, which is slower. Not in it: some 2 MB, and for each
	// worker the largest file and 1 MB.
	MemoryLimit int64

	open func(vfs.FS, *settings.Settings, bool) (view, error) // for tests; nil = openView
}

// Index is told the strong references of all current revisions by a check that
// reads these anyway. Add and Skip may be called concurrently.
type Index interface {
	// Begin comes first. Last is the last transaction in the data that are read from then
	// on.
	Begin(last zodb.TID)
	Add(from, to zodb.OID)
	// Skip is for an object whose references can't be seen: it is damaged, or no pickle.
	Skip(damaged bool)
	// End comes last, unless the check ended early. It is not complete if there may
	// be objects that were neither read nor skipped.
	End(ctx context.Context, complete bool)
}

// defaultMemory is the default of Options.MemoryLimit, where the memory limit of the process
// is four times as much or more.
const defaultMemory = 256 << 20

// workerMemory is the most memory of a worker, beside the sets: the file that it reads.
const workerMemory = keptBuffer

// Progress tells how far a check has come.
type Progress struct {
	Files int64
	Bytes int64
}

// Summary describes the items that a check saw. With Since it only covers changed ones.
type Summary struct {
	Class           string        `json:"class"` // Full or Minimal
	Format          string        `json:"format"`
	Since           zodb.TID      `json:"since,omitzero"`
	LastTID         zodb.TID      `json:"last_tid"` // x.serial, after recovery
	MaxOID          zodb.OID      `json:"max_oid"`  // x.oid, after recovery
	Packed          zodb.TID      `json:"packed"`   // x.packed
	Objects         int64         `json:"objects"`  // with a pointer (Minimal: with a file)
	Revisions       int64         `json:"revisions"`
	Transactions    int64         `json:"transactions"`
	Blobs           int64         `json:"blobs"`
	Files           int64         `json:"files"` // that were read
	Bytes           int64         `json:"bytes"` // of these files
	WithoutChecksum int64         `json:"without_checksum"`
	OldPointers     int64         `json:"old_pointers"` // in the 12 byte form
	DeletedFiles    int64         `json:"deleted_files"`
	UndoneObjects   int64         `json:"undone_objects"` // whose current revision says that they do not exist
	PackedAway      int64         `json:"packed_away"`    // objects whose history ends at a packed revision
	Dangling        int64         `json:"dangling"`       // objects that something refers to and that do not exist
	Damage          int64         `json:"damage"`         // findings by severity
	Warnings        int64         `json:"warnings"`       //
	Notes           int64         `json:"notes"`          //
	Duration        time.Duration `json:"duration_ns"`    // 0 without a clock
}

// Run checks a home and calls report for each finding, from one goroutine at a
// time, in no order. The error is about the check itself: the home is not a storage, or
// ctx ended. Faults of the files are in the findings, and damage is not an error. Report
// should return soon: the workers wait for it.
//
// Nothing is written, but by Index, and no lock is taken. On a running storage the caller has
// to keep A still (snapshot mode) and set SnapshotOnly.
//
// With Since, the chain of transactions is followed from x.serial down to it. Each
// transaction in between is checked, with the revisions and blobs that it wrote,
// the pointers of their objects, the revision before each, and the references of current
// revisions. Since does not see files that no transaction in that range leads to.
func Run(ctx context.Context, o Options, report func(Finding)) (Summary, error) {
	c, err := newChecker(o, report)
	if c.log != nil {
		defer c.log.Close()
	}
	if c.v != nil {
		defer c.v.close()
	}
	if err != nil {
		return Summary{}, err
	}
	var begun time.Time
	if o.Now != nil {
		begun = o.Now()
	}
	if o.Since != 0 {
		err = c.since(ctx)
	} else {
		c.whole(ctx)
	}
	s := c.summary()
	if o.Now != nil {
		s.Duration = o.Now().Sub(begun)
	}
	return s, cmp.Or(ctx.Err(), err)
}

// checker is one run.
type checker struct {
	o           Options
	workers     int
	memoryLimit int64 // of each set of oids
	identity    string
	minimal     bool
	keep        map[string]settings.Keep // by class
	v           view
	format      string
	journal     journalState
	log         *journal.Reader // nil without a log

	// serial, maxOID and packed are the x files. Where one can't be read, the comparisons
	// with it are left out.
	serial, packed           zodb.TID
	maxOID                   zodb.OID
	serialPath, maxOIDPath   string
	serialKnown, maxOIDKnown bool
	// base is x.serial without the journal.
	base      zodb.TID
	baseKnown bool

	out    reporter
	counts counts
	newer  newest
	hash   hasher

	// Sets of revisions: of files, less those reached by histories; of files not older than
	// x.packed, less those listed by transactions not older than that.
	histories, lists *fingerprint
	// Sets of revisions with a blob: of blob files; of revisions that have one.
	blobsSeen, blobsWanted *fingerprint
	// Sets of transactions: of files; named as the previous one by another.
	txSeen, txNamed *fingerprint

	// Sets of objects: that exist; that current revisions refer to.
	exists, referenced *oidset.Set
	undoable           *oidset.Set   // that revisions refer to which a pack keeps for undo
	wild               *danglingRefs // references to objects that do not exist, as far as known
	blind              atomic.Bool   // something that may refer to objects could not be read
	ends               chainEnds
	hadRoot            atomic.Bool // a transaction has written the root object, or may have
	damagedTx          tidSet      // transactions whose files are unusable
	missingTx          tidSet      // transactions reported as missing
	listings           listings
}

func newChecker(o Options, report func(Finding)) (*checker, error) {
	c := &checker{o: o, workers: o.Workers, memoryLimit: o.MemoryLimit / 2, hash: hasher{maphash.MakeSeed()}}
	if c.workers <= 0 {
		c.workers = budget.Workers(workerMemory)
	}
	if o.MemoryLimit <= 0 {
		c.memoryLimit = budget.Within(defaultMemory, 4) / 2
	}
	c.exists, c.referenced, c.wild = oidset.New(c.memoryLimit), oidset.New(c.memoryLimit), new(danglingRefs)
	c.undoable = oidset.New(c.memoryLimit / 4)
	c.listings.room = int(budget.Within(listingsRoom, 32))
	for _, f := range []**fingerprint{
		&c.histories, &c.lists, &c.blobsSeen, &c.blobsWanted, &c.txSeen, &c.txNamed,
	} {
		*f = &fingerprint{h: c.hash}
	}
	c.out.report = report
	return c, c.open()
}

// reporter hands findings over, one at a time, and counts them.
type reporter struct {
	mu                      sync.Mutex
	report                  func(Finding) // guarded by mu, as all below
	damage, warnings, notes int64
	dangling                int64
	overlooked              bool // there may be current revisions that the check does not come to
}

func (r *reporter) add(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.overlooked = r.overlooked || f.hidesRevisions()
	if f.Kind == DanglingReference {
		r.dangling++
	}
	switch f.Severity {
	case Damage:
		r.damage++
	case Warning:
		r.warnings++
	default:
		r.notes++
	}
	r.report(f)
}

// overlook notes that there may be current revisions that the check does not come to.
func (r *reporter) overlook() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.overlooked = true
}

// counts are the numbers of a Summary that many workers add to.
type counts struct {
	objects, revisions, transactions, blobs    atomic.Int64
	files, bytes, withoutChecksum, oldPointers atomic.Int64
	deleted, undone, packedAway, filesInB      atomic.Int64
	progress                                   sync.Mutex
}

func (c *checker) summary() Summary {
	n := &c.counts
	return Summary{
		Class: c.class(), Format: c.format, Since: c.o.Since,
		LastTID: c.serial, MaxOID: c.maxOID, Packed: c.packed,
		Objects: n.objects.Load(), Revisions: n.revisions.Load(), Transactions: n.transactions.Load(), Blobs: n.blobs.Load(),
		Files: n.files.Load(), Bytes: n.bytes.Load(), WithoutChecksum: n.withoutChecksum.Load(), OldPointers: n.oldPointers.Load(),
		DeletedFiles: n.deleted.Load(), UndoneObjects: n.undone.Load(), PackedAway: n.packedAway.Load(),
		Dangling: c.out.dangling, Damage: c.out.damage, Warnings: c.out.warnings, Notes: c.out.notes,
	}
}
