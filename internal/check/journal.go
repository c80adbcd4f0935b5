package check

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// working matches the names of the original's transaction directories. A suffix is
// accepted, as the original does.
var working = regexp.MustCompile(`^working_([0-9A-F]{16})_(done|temp)`)

// journalState is the content of journal/.
type journalState struct {
	transactions int // committed, not yet in A or B
	files        int // that they will make in A
	uncommitted  int
	replica      bool
}

// readJournal finds the files that recovery would put into A, and reports
// entries that it would refuse or that must not be replayed.
func (c *checker) readJournal() error {
	done := make(map[zodb.TID]string) // directories of committed transactions
	var staged []string
	log := false
	for e, err := range c.o.FS.List("journal") {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a plain copy of A
		}
		if err != nil {
			return fmt.Errorf("list the journal: %w", err)
		}
		name := "journal/" + e.Name
		switch m := working.FindStringSubmatch(e.Name); {
		case m != nil && m[2] == "done":
			tid, err := zodb.ParseTID(m[1])
			if err != nil {
				return err
			}
			done[tid] = name
		case m != nil:
			c.journal.uncommitted++
		case e.Name == journal.ReplicaFile:
			c.journal.replica = true
		case journal.IsSegment(e.Name):
			log = true
		case journal.IsStaged(e.Name):
			staged = append(staged, name)
		default:
			c.out.add(Finding{Kind: JournalStray, Severity: Damage, Path: name, Detail: "nothing that belongs there; the storage will not open beside it"})
		}
	}
	for _, tid := range slices.Sorted(maps.Keys(done)) {
		if err := c.readWorking(done[tid], tid); err != nil {
			return err
		}
	}
	if log {
		if err := c.readLog(); err != nil {
			return err
		}
	}
	c.leftovers(staged)
	return nil
}

// abandoned reports files outside of A that interrupted tools left.
func (c *checker) abandoned() {
	for _, in := range []struct{ dir, prefix, of string }{
		{"misc", ".replica.incoming", "a replication"},
		{"misc", "salvage-", "a salvage"},
		{"backups", ".tmp-", "a backup"},
		{".", layout.ProbeDir, "doctor, or a start of the server,"},
	} {
		for e, err := range c.o.FS.List(in.dir) {
			if err != nil {
				break // most homes have no backups, and a plain copy has no misc
			}
			if strings.HasPrefix(e.Name, in.prefix) {
				c.out.add(Finding{Kind: Leftover, Severity: Note, Path: path.Join(in.dir, e.Name), Detail: "of " + in.of + " that was interrupted"})
			}
		}
	}
}

// leftovers reports files in journal/ that nothing refers to: those staged for
// transactions that were never committed. The next open removes them.
func (c *checker) leftovers(staged []string) {
	wanted := make(map[string]bool)
	for _, f := range c.v.pended() {
		wanted[f.path] = true
	}
	for _, name := range staged {
		if !wanted[name] {
			c.out.add(Finding{Kind: Leftover, Severity: Note, Path: name, Detail: "of an operation that was interrupted"})
		}
	}
}

// readWorking reads one directory of the original that holds a committed
// transaction. Its flush moves the files of the older ones first and those of
// the newest, x.serial among them, last, and then removes the empty directories;
// so one that is older than x.serial and is not empty does not belong to this A.
func (c *checker) readWorking(dir string, tid zodb.TID) error {
	var names []string
	for e, err := range c.o.FS.List(dir) {
		if err != nil {
			return fmt.Errorf("list a transaction of the journal: %w", err)
		}
		names = append(names, e.Name)
	}
	if len(names) == 0 {
		return nil
	}
	if c.baseKnown && tid < c.base {
		c.journalOlder(dir, tid, "not later than x.serial, "+c.base.String())
		return nil
	}
	c.journal.transactions++
	for _, name := range names {
		n, ok := layout.Flat.Parse(name)
		if !ok {
			c.out.add(Finding{Kind: JournalStray, Severity: Damage, TID: tid, Path: dir + "/" + name, Detail: "no database name"})
			continue
		}
		c.journal.files++
		c.v.pend(n, pendingFile{path: dir + "/" + name})
	}
	return nil
}

func (c *checker) journalOlder(path string, tid zodb.TID, why string) {
	c.out.add(Finding{Kind: JournalOlder, Severity: Damage, TID: tid, Path: path,
		Detail: why + "; the journal does not belong to this A, and to replay it would move the database back"})
}

// needsRecovery says so, if it does.
func (c *checker) needsRecovery() {
	var parts []string
	if j := c.journal; j.transactions > 0 {
		parts = append(parts, fmt.Sprintf("in the journal: %s (%s)", human.Number(int64(j.transactions), "transaction"), human.Number(int64(j.files), "file")))
	}
	if c.journal.uncommitted > 0 {
		parts = append(parts, fmt.Sprintf("%d were never committed", c.journal.uncommitted))
	}
	if c.journal.replica {
		parts = append(parts, "a replica.tar waits to be unpacked")
	}
	if n := c.counts.filesInB.Load(); n > 0 {
		parts = append(parts, fmt.Sprintf("%s in B to be moved to A", human.Plural(int64(n), "file waits", "files wait")))
	}
	if len(parts) > 0 {
		c.out.add(Finding{Kind: NeedsRecovery, Severity: Note, Detail: strings.Join(parts, "; ")})
	}
}
