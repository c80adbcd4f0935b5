package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// indexWritten is the report on an index of references that was written.
type indexWritten struct {
	TID zodb.TID `json:"tid"`
	refindex.Stats
}

func (i *indexWritten) String() string {
	return fmt.Sprintf("%s: %s to %s, up to %s; %s", indexFile,
		human.Number(i.References, "reference"), human.Number(i.Targets, "object"), formatLast(i.TID), human.Bytes(i.Bytes))
}

// checkIndex is the index of references that a check writes by the way. It never
// stops the check: when it fails, the index that was there before stays.
type checkIndex struct {
	home    vfs.FS
	tid     zodb.TID
	w       *refindex.Writer // nil: none is written
	err     error            // why not
	written *indexWritten    // nil: it was not, or not yet
}

var errOverlooked = errors.New("there may be objects that were not read")

// Begin implements [check.Index], as all below.
func (i *checkIndex) Begin(last zodb.TID) {
	i.tid = last
	i.w, i.err = newIndex(i.home, last)
}

func (i *checkIndex) Add(from, to zodb.OID) {
	if i.w != nil {
		_ = i.w.Add(from, to) // Finish says it again
	}
}

func (i *checkIndex) Skip(damaged bool) {
	if i.w != nil {
		i.w.Skip(damaged)
	}
}

func (i *checkIndex) End(ctx context.Context, complete bool) {
	if i.w == nil {
		return
	}
	if !complete {
		i.err = errOverlooked
		return
	}
	stats, err := i.w.Finish(ctx, vfs.SyncOptions{File: true, Dir: true})
	if err != nil {
		i.err = err
		return
	}
	i.written = &indexWritten{i.tid, stats}
}

// close removes the files of an unfinished index, and says why it is unfinished.
func (i *checkIndex) close(e *env) {
	if i.w != nil {
		i.err = errors.Join(i.err, i.w.Abort())
	}
	if i.err != nil {
		fmt.Fprintf(e.Stderr, "dirstorage: %s is not written: %v\n", indexFile, i.err)
	}
	if i.written != nil && i.written.Skipped > 0 {
		fmt.Fprintf(e.Stderr, "dirstorage: objects whose references could not be seen: %s\n", human.Count(i.written.Skipped))
	}
}

// newIndex begins an index of references.
func newIndex(home vfs.FS, last zodb.TID) (*refindex.Writer, error) {
	if err := home.Mkdir("misc"); err != nil && !errors.Is(err, fs.ErrExist) { // a copy of config and A
		return nil, err
	}
	w, err := refindex.New(home, "misc", last, indexMemory())
	if errors.Is(err, vfs.ErrLocked) {
		err = hint(err, "somebody else writes it just now: wait for that")
	}
	return w, err
}
