package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// view is the database as it would be after recovery, by database names: the journal, over B,
// over A. It is not built on stores, so that their faults do not hide from it. [trees] is that of the
// formats of one file for each revision; a second family of formats is another one. The
// head of an object names its current revision: a pointer, in class Minimal the object
// itself. It has the name KindObject.
//
// All methods may be called concurrently, once the overlay is complete. A name that is not there
// is an error that matches fs.ErrNotExist. where is the place in a finding: a path
// relative to HOME; of a missing item, the one in which it should be.
type view interface {
	// place returns where something belongs once everything is recovered.
	place(n layout.Name) string
	// read returns a content, in w's buffer. The error is errLength for one that is so large, or
	// differs so much from its header, that it is not worth reading; then data are its first 8
	// bytes.
	read(w *worker, n layout.Name) (data []byte, where string, err error)
	// open opens a content for reading as a stream.
	open(n layout.Name) (f vfs.File, where string, err error)
	size(n layout.Name) (size int64, where string, err error)
	// head reads the head of an object of class Full. It reports nothing; for an unusable one
	// defect is its fault, without a Kind if there is a finding about that already.
	head(w *worker, oid zodb.OID) (h head, s state, defect Finding)
	// walk visits each thing of the database that counts once, and other files of A and B.
	walk(ctx context.Context, workers int, visit visitor)
	// recent prepares a check of the transactions later than one without a walk: the containers that
	// have some of them are verified as to what they hold, and, from then on, an error of another one
	// that keeps something from being looked up is a finding, once for each.
	recent(ctx context.Context, workers int, since zodb.TID, damage func(f Finding))
	// older returns the newest transaction before one, linked or not; 0 if there is none.
	older(before zodb.TID) (zodb.TID, error)
	// olderIsCheap reports whether that takes about as long as reading a transaction.
	olderIsCheap() bool
	// opened returns the findings of the open of the view.
	opened() []Finding
	// close gives open files back.
	close()
	overlay
}

// overlay holds the files that recovery would put over B and A. It is made by one goroutine,
// before anything that it hides is looked at.
type overlay interface {
	// pend puts a content, or the file at p.path, in the place of an existing one.
	pend(n layout.Name, p pendingFile)
	// pendHead makes a revision the current one.
	pendHead(oid zodb.OID, tid zodb.TID, where string)
	// pended yields all of it, in no order.
	pended() iter.Seq2[layout.Name, pendingFile]
}

// pendingFile is where a content is that recovery would put into A: in a file of
// its own or, if path is a segment of the log, in a part of that.
type pendingFile struct {
	path string
	data func() ([]byte, error) // nil = the whole file at path
}

// head says which revision of an object is the current one.
type head struct {
	tid  zodb.TID
	path string
	size int64
	old  bool // in a form that is not written any more
}

// found is something of the database that counts: nothing newer hides it.
type found struct {
	name  layout.Name // KindObject for a head
	path  string      // relative to HOME
	head  bool
	waits bool // it is in B, and is moved into A
}

// stranger is a file in A or B that is nothing of the database.
type stranger struct {
	path  string      // relative to HOME
	below string      // relative to A or B
	kind  fs.FileMode // 0 for a regular file
	aside bool        // a pack has put it aside
}

// visitor holds the functions that a walk calls. Its functions may be called
// concurrently; entries is valid only during the call.
type visitor struct {
	// files gets things of the database, some at a time.
	files func(ctx context.Context, w *worker, entries []found)
	// other gets everything else except directories, and directories too deep
	// to be part of any format. It may be nil.
	other func(s stranger)
	// failed gets the error of a directory that can't be listed. It may be nil.
	failed func(dir string, err error)
	// damage, if not nil, asks for the containers of contents to be verified as well, and gets their
	// findings.
	damage func(f Finding)
}

// openView chooses by the settings. With snapshotOnly A alone counts.
func openView(f vfs.FS, set *settings.Settings, snapshotOnly bool) (view, error) {
	info, err := f.Stat(sideA)
	if err != nil {
		return nil, fmt.Errorf("not a storage: %w", err)
	}
	if !info.IsDir() && info.Mode&fs.ModeSymlink == 0 { // where a link leads is seen when it is read
		return nil, errors.New("not a storage: A is not a directory")
	}
	t := &trees{fs: f, format: set.Structure.Format, minimal: set.Storage.ClassName == settings.ClassMinimal, roots: []string{sideA}, pending: make(map[layout.Name]pendingFile)}
	if !snapshotOnly {
		none, err := empty(f, sideB)
		if err != nil {
			return nil, err
		}
		if !none {
			t.roots = []string{sideB, sideA}
		}
	}
	if t.format != layout.Bundled {
		return t, nil
	}
	if t.minimal {
		return nil, errors.New("config/settings: there is no class Minimal in the format bundled")
	}
	v, err := openBundles(t, snapshotOnly)
	if err != nil {
		return nil, err // a nil *bundles would be a view
	}
	return v, nil
}

// empty reports whether a directory has nothing in it or does not exist.
func empty(fsys vfs.FS, dir string) (bool, error) {
	for _, err := range fsys.List(dir) {
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("look into %s: %w", dir, err)
		}
		return false, nil
	}
	return true, nil
}
