package journal

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// ReplicaFile is the file that the original's replica tool leaves in the journal until it is
// unpacked.
const ReplicaFile = "replica.tar"

// Original lists the files that the Python original left in the journal directory.
type Original struct {
	Done    []OriginalDir // committed transactions, oldest first
	Temps   []string      // directories of transactions that were not committed, sorted; relative to the journal
	Replica string        // ReplicaFile if it is there
}

// OriginalDir is the directory of one committed transaction. An interrupted
// flush may have moved some or all of its files away.
type OriginalDir struct {
	TID   zodb.TID
	Dir   string        // relative to the journal
	Names []layout.Name // of its files, in the order of their names; a file is Dir/Name
}

// Empty reports whether there is nothing of the original.
func (o *Original) Empty() bool {
	return len(o.Done) == 0 && len(o.Temps) == 0 && o.Replica == ""
}

// IsStaged reports whether a name in the journal directory is that of a file
// on its way somewhere else: a blob, the spooled data of an open transaction, or a file about to be
// renamed over another. Such files may be removed after a crash, unless a committed transaction
// refers to them.
func IsStaged(name string) bool {
	return strings.HasPrefix(name, "blob-") || strings.HasPrefix(name, "spool-") || strings.HasPrefix(name, "aside-")
}

// ReadOriginal finds the files that the original left in the journal directory, and writes nothing.
// Our own files there are passed over. Anything else is an error that names it: the original
// refuses to start then, and it may be the only copy of some data.
func ReadOriginal(f vfs.FS, dir string) (*Original, error) {
	o := new(Original)
	for e, err := range f.List(dir) {
		if err != nil {
			return nil, fmt.Errorf("list the journal: %w", err)
		}
		tid, state, working := parseWorking(e.Name)
		regular := e.Type.IsRegular()
		switch {
		case regular && (IsSegment(e.Name) || IsStaged(e.Name)):
		case regular && e.Name == ReplicaFile:
			o.Replica = e.Name
		case e.IsDir() && working && state == "temp":
			o.Temps = append(o.Temps, e.Name)
		case e.IsDir() && working:
			o.Done = append(o.Done, OriginalDir{TID: tid, Dir: e.Name})
		default:
			return nil, fmt.Errorf("%s is nothing that belongs into the journal: move it away", path.Join(dir, e.Name))
		}
	}
	slices.Sort(o.Temps)
	slices.SortFunc(o.Done, func(a, b OriginalDir) int { return cmp.Compare(a.TID, b.TID) })
	for i := range o.Done {
		if err := o.Done[i].list(f, dir); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// list finds the files of the transaction.
func (d *OriginalDir) list(f vfs.FS, dir string) error {
	for e, err := range f.List(path.Join(dir, d.Dir)) {
		if err != nil {
			return fmt.Errorf("list a transaction of the journal: %w", err)
		}
		n, ok := layout.ParseName(e.Name)
		if !ok || !e.Type.IsRegular() {
			return fmt.Errorf("%s is not a file of a database: move it away", path.Join(dir, d.Dir, e.Name))
		}
		d.Names = append(d.Names, n)
	}
	slices.SortFunc(d.Names, func(a, b layout.Name) int { return cmp.Compare(a.String(), b.String()) })
	return nil
}

// parseWorking reads working_TID_done and working_TID_temp. The original
// accepts anything behind that; here it is refused, as nothing writes it, and a
// copy that somebody made must not be replayed.
func parseWorking(name string) (tid zodb.TID, state string, ok bool) {
	rest, ok := strings.CutPrefix(name, "working_")
	digits, state, found := strings.Cut(rest, "_")
	if !ok || !found || state != "done" && state != "temp" {
		return 0, "", false
	}
	tid, err := zodb.ParseTID(digits)
	return tid, state, err == nil && digits == tid.String()
}
