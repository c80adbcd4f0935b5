package bundled

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// loadingFile is there while transactions are put that are in no log: then a bundle behind
	// x.serial is not adopted, because it may not be whole, and nothing has its transactions. Its first line is
	// loadingFrom with x.serial of the time before. The others name the blobs of the bundle that is being put:
	// oid and tid.
	loadingFile = "misc/loading"
	loadingFrom = "from"
	// loadedMembers and loadedBytes bound a bundle that is loaded: of members, and of contents.
	loadedMembers = 1 << 18
	loadedBytes   = 512 << 20
	// loadedAhead bounds the tar that waits to be compressed while a transaction is read.
	loadedAhead = 4 << 20
	// memberMemory is about the memory of a member until its bundle is written.
	memberMemory = 128
)

var _ store.Loader = (*Store)(nil)

// loading is a bundle that is being written, in the place of a log.
type loading struct {
	s       *Store
	from    zodb.TID        // last transaction before it
	file    *classic.Beside // nil: none is being written
	out     *bundle.Writer
	redo    *classic.Redo // of its blobs
	blobs   []stagedBlob  // in journal/ until End
	name    bundle.Name   // Max is the last transaction so far
	highest zodb.OID
	members int64
	bytes   int64
	buf     []byte
}

// stagedBlob is a blob on its way into A.
type stagedBlob struct {
	name   layout.Name
	staged string
	size   int64
}

// noteLoading says durably that transactions behind a tid are put that are in no log, with some blobs.
func (s *Store) noteLoading(from zodb.TID, blobs []stagedBlob) error {
	text := fmt.Appendf(nil, "%s %s\n", loadingFrom, from)
	for _, b := range blobs {
		text = fmt.Appendf(text, "%s %s\n", b.name.OID, b.name.TID)
	}
	return vfs.WriteFileAtomic(s.fs, "journal/aside-loading", loadingFile, text, vfs.SyncOptions{File: s.o.Sync, Dir: s.o.Sync && s.o.DirSync})
}

// BeginLoading implements [store.Loader].
func (s *Store) BeginLoading() (store.Loading, error) {
	if err := s.sure(); err != nil {
		return nil, err
	}
	from, known, err := s.marked()
	if err == nil && !known {
		err = fmt.Errorf("%w: A/x.serial is damaged", zodb.ErrCorrupt)
	}
	if err == nil {
		err = s.noteLoading(from, nil)
	}
	if err != nil {
		return nil, err
	}
	return &loading{s: s, from: from}, nil
}

// HighestOID implements [store.Loading]. The bundles say it, whose footers have checksums, unlike x.oid.
func (l *loading) HighestOID() (highest zodb.OID) {
	for _, p := range l.s.now.parts {
		highest = max(highest, p.HighestOID)
	}
	return highest
}

// Add implements [store.Loading].
func (l *loading) Add(t store.Transaction) (durable bool, err error) {
	if l.out == nil {
		if err := l.begin(t.TID()); err != nil {
			return false, err
		}
	}
	for i := range t.Len() {
		if r := t.Revision(i); r.Blob != "" {
			l.blobs = append(l.blobs, stagedBlob{layout.Blob(r.OID, t.TID()), r.Blob, r.BlobSize})
		}
	}
	if l.buf, err = addTransaction(l.out, l.buf, t); err != nil {
		return false, err
	}
	l.name.Max, l.highest = t.TID(), t.HighestOID()
	l.members += 1 + int64(t.Len())
	l.bytes = l.out.Size()
	if l.members < min(loadedMembers, budget.Within(1<<40, 8)/memberMemory) && l.bytes < loadedBytes {
		return false, nil
	}
	return true, l.End()
}

func (l *loading) begin(first zodb.TID) (err error) {
	if l.file, err = l.s.files.CreateBeside(); err != nil {
		return err
	}
	l.name, l.members, l.bytes, l.blobs = bundle.Name{Min: first}, 0, 0, nil
	l.redo = l.s.files.NewRedo(store.A, loadedMembers)
	l.out, err = bundle.NewWriter(l.file, bundle.Options{Identity: l.s.o.Identity, Min: first, Previous: l.s.now.last(), Workers: runtime.GOMAXPROCS(0), Ahead: int(budget.Within(loadedAhead, 16))})
	return err
}

// End implements [store.Loading]. The bundle is durable before x.serial names its last transaction, and its
// blobs are named before they are in A.
func (l *loading) End() error {
	if l.out == nil {
		return nil
	}
	l.out.SetHighestOID(l.highest)
	if _, err := l.out.Close(); err != nil {
		return err
	}
	if len(l.blobs) > 0 {
		if err := l.s.noteLoading(l.from, l.blobs); err != nil {
			return err
		}
	}
	for _, b := range l.blobs {
		if err := l.redo.Adopt(b.name, b.staged, b.size); err != nil {
			return err
		}
	}
	file := l.file
	l.file, l.out = nil, nil
	l.s.unsure = true
	if err := file.Name(dirOf(store.A) + "/" + l.name.String()); err != nil {
		return err
	}
	if err := l.redo.HighestOID(record.AppendX(nil, uint64(l.highest))); err != nil {
		return err
	}
	if err := l.redo.Sync(); err != nil {
		return err
	}
	if err := l.s.reload(); err != nil {
		return err
	}
	return l.s.files.SetLast(store.A, l.name.Max)
}

// Close implements [store.Loading].
func (l *loading) Close() error {
	var err error
	if l.out != nil {
		l.out.Abort()
	}
	if l.file != nil {
		err = l.file.Drop()
	}
	l.file, l.out = nil, nil
	return errors.Join(err, l.s.forgetLoading())
}

// endLoading is forgetLoading for an open. The process before may have been killed behind the rename of
// x.serial: its name has to be durable before misc/loading goes, or a power cut could leave a bundle behind
// x.serial that nothing tells from those of the log.
func (s *Store) endLoading() error {
	_, err := s.fs.Stat(loadingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.refuseNewer()
	}
	if err == nil {
		err = s.files.SyncFound()
	}
	if err == nil {
		err = s.forgetLoading()
	}
	return err
}

// refuseNewer returns a *layout.NewerError if a newer release has written a bundle, or the list of one, which
// is refused before anything is changed. Neither need be whole.
func (s *Store) refuseNewer() error {
	bundles, gone, err := s.list()
	if err != nil {
		return err
	}
	for n, l := range bundles {
		if err := s.refuseNewerList(n, gone[n]); err != nil {
			return err
		}
		p, err := s.open(n, l.side, 0)
		if newer, ok := errors.AsType[*layout.NewerError](err); ok {
			return newer
		}
		if vfs.Passes(err) {
			return err
		}
		if err != nil {
			continue // reload says that, if it is still there then
		}
		if err := s.pool.close(p.opened); err != nil {
			return err
		}
	}
	return nil
}

// refuseNewerList is refuseNewer for the last of the lists of a bundle.
func (s *Store) refuseNewerList(n bundle.Name, l listed) error {
	if len(l.numbers) == 0 {
		return nil
	}
	path := dirOf(l.side) + "/" + n.Gone(slices.Max(l.numbers))
	b, err := s.fs.ReadFile(path)
	if err == nil {
		err = bundle.CheckGone(b, path)
	}
	if newer, ok := errors.AsType[*layout.NewerError](err); ok {
		return newer
	}
	if vfs.Passes(err) {
		return err
	}
	return nil // reload says the rest, if it is still there then
}

// forgetLoading removes bundles behind x.serial that are in no log, and their blobs, if there may be such. With an
// x.serial from before the loading, which an older copy has, nobody knows which of them were acknowledged: they stay,
// and the open is refused for them.
func (s *Store) forgetLoading() error {
	note, err := s.fs.ReadFile(loadingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mark, known, err := s.marked()
	if err != nil || !known {
		return err
	}
	bundles, _, err := s.list()
	if err != nil {
		return err
	}
	from := loadedFrom(note)
	for n, l := range bundles {
		if n.Max > mark {
			if mark < from {
				return nil
			}
			if err := s.files.RemoveBeside(dirOf(l.side) + "/" + n.String()); err != nil {
				return err
			}
		}
	}
	for line := range strings.Lines(string(note)) {
		words := strings.Fields(line)
		if len(words) != 2 {
			continue
		}
		oid, oerr := zodb.ParseOID(words[0])
		tid, terr := zodb.ParseTID(words[1])
		if oerr != nil || terr != nil || tid <= mark {
			continue
		}
		if err := s.files.RemoveBeside(s.files.Path(store.A, layout.Blob(oid, tid))); err != nil {
			return err
		}
	}
	if err := s.files.Sync(); err != nil {
		return err
	}
	if err := s.fs.Remove(loadingFile); err != nil {
		return err
	}
	if !s.o.Sync || !s.o.DirSync {
		return nil
	}
	return s.fs.SyncDir("misc")
}

// loadedFrom returns x.serial of the time before the loading; 0 if nothing says it.
func loadedFrom(note []byte) zodb.TID {
	first, _, _ := strings.Cut(string(note), "\n")
	text, ok := strings.CutPrefix(first, loadingFrom+" ")
	if !ok {
		return 0
	}
	tid, err := zodb.ParseTID(text)
	if err != nil {
		return 0
	}
	return tid
}
