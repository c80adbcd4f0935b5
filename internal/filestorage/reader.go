package filestorage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Reader reads a Data.fs as it was when it was opened; later appends are not seen. Its methods may
// be called concurrently.
type Reader struct {
	// Warn, if set before the first use, is called for oddities that make nothing unreadable. It
	// may be called concurrently.
	Warn func(Warning)
	// Salvage, if set before the first use, is called for each damage in place of ending with an
	// error: the sound transactions behind it are read too. So is a transaction with one wrong
	// length, if its records confirm the other. It may be called concurrently, and again for the
	// same damage when that is read again.
	Salvage func(Skipped)
	// Renumber, if set before the first use, gives a transaction whose tid is not later
	// than that of the one before it, or is none that a transaction can have, the next tid
	// after that one. Pointers to it are changed with it, the tids of blobs' files are not.
	Renumber bool

	src    io.ReaderAt
	closer io.Closer
	size   int64
	path   string
	offset atomic.Int64

	python2 bool

	warnings atomic.Int64

	mu         sync.Mutex
	truncated  *Truncation        // guarded by mu
	renumbered map[int64]zodb.TID // by position of the transaction; guarded by mu
}

// Warning is something in a file that is not as it should be, but harmless.
type Warning struct {
	Offset int64
	TID    zodb.TID
	OID    zodb.OID // 0 if it is about the transaction
	Reason string
}

// Truncation tells where the good part of a file ends.
type Truncation struct {
	Offset int64  `json:"offset"` // length of the good part in bytes
	Reason string `json:"reason"`
}

// Position is a place between two transactions: after the transaction TID, at
// Offset bytes from the start. The zero Position is the start of the file. It is
// good for one file as long as that is not packed.
type Position struct {
	Offset int64
	TID    zodb.TID
}

const (
	bodyAhead   = 1 << 20  // bytes read at once where everything is read in order
	headerAhead = 4 << 10  // … where bodies are skipped
	backAhead   = 64 << 10 // … where pointers are followed
)

// Open opens the file called name. The caller must call Close.
func Open(fsys vfs.FS, name string) (*Reader, error) {
	if err := ordinary(fsys, name); err != nil { // before open, which may wait for ever
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r, err := NewReader(f, info.Size, fsys.Path(name))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.closer = f
	return r, nil
}

// NewReader returns a Reader of the first size bytes of src; path is for
// messages. If src does not begin like a Data.fs, the error is a
// *zodb.CorruptError.
func NewReader(src io.ReaderAt, size int64, path string) (*Reader, error) {
	r := &Reader{src: src, size: size, path: path}
	if size == 0 {
		return r, nil
	}
	magic := make([]byte, min(size, magicLen))
	if err := readFull(src, magic, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m := string(magic); m != magicPython3 && m != magicPython2 {
		return nil, &NotAFileStorageError{Path: path, Begins: magic}
	}
	r.python2 = string(magic) == magicPython2
	return r, nil
}

// ordinary refuses files without a size to read to: directories, pipes and devices.
func ordinary(fsys vfs.FS, name string) error {
	info, err := fsys.Stat(name)
	if err != nil || info.Mode.IsRegular() {
		return err
	}
	kind := "not an ordinary file: copy its contents into one first"
	if info.IsDir() {
		kind = "a directory, and a Data.fs is a file"
	}
	return fmt.Errorf("%s is %s", fsys.Path(name), kind)
}

// NotAFileStorageError tells that a file does not begin like a Data.fs.
type NotAFileStorageError struct {
	Path   string
	Begins []byte // at most 4 bytes
}

func (e *NotAFileStorageError) Error() string {
	return fmt.Sprintf("%s is no Data.fs: it begins with %q, a Data.fs with %q or %q", e.Path, e.Begins, magicPython3, magicPython2)
}

// Is matches zodb.ErrCorrupt.
func (e *NotAFileStorageError) Is(target error) bool { return target == zodb.ErrCorrupt }

// Unpack names the program that unpacks the file, if it is compressed; else it is empty.
func (e *NotAFileStorageError) Unpack() string {
	for _, c := range []struct{ magic, program string }{
		{"\x1f\x8b", "gunzip"}, {"BZh", "bunzip2"}, {"\xfd7zX", "unxz"}, {"\x28\xb5\x2f\xfd", "unzstd"}, {"PK\x03\x04", "unzip"},
	} {
		if bytes.HasPrefix(e.Begins, []byte(c.magic)) {
			return c.program
		}
	}
	return ""
}

// Python2 reports whether the file was written under Python 2, so that its records are
// pickles of Python 2.
func (r *Reader) Python2() bool { return r.python2 }

// Close closes the file if the Reader was made by [Open].
func (r *Reader) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

// Size is the length of the file in bytes.
func (r *Reader) Size() int64 { return r.size }

// Offset is how far the latest iteration has come, in bytes, for progress.
func (r *Reader) Offset() int64 { return r.offset.Load() }

// Truncated tells where and why an iteration stopped before the end of the file;
// nil if none did.
func (r *Reader) Truncated() *Truncation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.truncated
}

func (r *Reader) setTruncated(offset int64, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.truncated = &Truncation{Offset: offset, Reason: reason}
}

// Txn is one transaction in the file. Its Previous is the tid of the
// transaction before it in the iteration, its OIDs are not filled in. It shares
// a buffer with the iteration that it comes from: not to be used concurrently.
type Txn struct {
	zodb.Transaction
	FileTID zodb.TID // its tid in the file, which is another one if it was renumbered
	Pos     int64    // of the transaction in the file
	Len     int64    // of the whole transaction in bytes, so that the next one is at Pos + Len

	r    *Reader
	body int64 // position of the first data record
	win  *window
}

// End is the position after the transaction, to go on from.
func (t *Txn) End() Position { return Position{Offset: t.Pos + t.Len, TID: t.TID} }

// Transactions yields the committed transactions behind from, in the order of
// the file. It stops without an error at a torn end, see [Reader.Truncated]. Damage
// is a *zodb.CorruptError, after which nothing comes. A tid that is not later
// than the one before it is a [Warning]. A Txn is good as long as the Reader is,
// and its records may be read or not.
func (r *Reader) Transactions(ctx context.Context, from Position) iter.Seq2[*Txn, error] {
	return r.transactions(ctx, from, bodyAhead)
}

func (r *Reader) transactions(ctx context.Context, from Position, ahead int) iter.Seq2[*Txn, error] {
	return func(yield func(*Txn, error) bool) {
		win := newWindow(r.src, r.size, ahead)
		if from.Offset < 0 || from.Offset > r.size {
			yield(nil, fmt.Errorf("%s: position %d is not within the file of %d bytes", r.path, from.Offset, r.size))
			return
		}
		start := from
		if r.Renumber {
			start = Position{} // renumbered tids depend on the transactions before
		}
		pos := max(start.Offset, magicLen)
		last, previous := start.TID, start.TID
		for pos < r.size {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			r.offset.Store(pos)
			t, end, err := r.transaction(win, pos)
			if t == nil {
				// Where the good part ends, or seems to.
				if pos, err = r.goOn(ctx, pos, end, err); err != nil {
					yield(nil, err)
					return
				}
				if pos == r.size {
					return
				}
				continue
			}
			r.number(t, last)
			pos, last = pos+t.Len, t.TID
			if t.Status == statusUndone {
				continue
			}
			t.Previous, previous = previous, t.TID
			if t.Pos < from.Offset {
				continue
			}
			if !yield(t, nil) {
				return
			}
		}
		r.offset.Store(r.size)
	}
}

// transaction reads the header at pos, which is before the end of the file. Without a
// transaction it returns why: an end that is that of the file, if nothing sound is
// behind it, or an error.
func (r *Reader) transaction(win *window, pos int64) (t *Txn, end string, err error) {
	left := r.size - pos
	if left < txnHeaderLen {
		return nil, fmt.Sprintf("%d bytes are left, too few for a transaction", left), nil
	}
	b, err := win.at(pos, txnHeaderLen)
	if err != nil {
		return nil, "", r.wrap(err)
	}
	h := parseTxnHeader(b)
	length, end, err := r.length(pos, h)
	if length == 0 {
		return nil, end, err
	}
	t = &Txn{FileTID: h.tid, Pos: pos, Len: length + lengthLen, r: r, body: pos + h.size(), win: win}
	t.TID, t.Status = h.tid, h.status
	if h.status == statusUndone {
		return t, "", nil // nothing of it is looked at, only its lengths are believed
	}
	texts, err := win.copy(pos+txnHeaderLen, h.size()-txnHeaderLen)
	if err != nil {
		return nil, "", r.wrap(err)
	}
	t.User = texts[:h.user:h.user]
	t.Description = texts[h.user : h.user+h.description : h.user+h.description]
	t.Extension = texts[h.user+h.description:]
	return t, "", nil
}

// number gives a transaction its tid: that in the file, or another one, see
// [Reader.Renumber].
func (r *Reader) number(t *Txn, last zodb.TID) {
	if t.TID > last && (!r.Renumber || t.TID < endOfTIDs) {
		return
	}
	if !r.Renumber || t.Status == statusUndone {
		r.warn(Warning{Offset: t.Pos, TID: t.TID, Reason: "tid is not later than " + last.String() + ", the one before it"})
		return
	}
	t.TID = last + 1
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.renumbered == nil {
		r.renumbered = make(map[int64]zodb.TID)
	}
	r.renumbered[t.Pos] = t.TID
}

// Renumbered is the number of transactions that got other tids so far.
func (r *Reader) Renumbered() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.renumbered))
}

// tidOf returns the tid of the transaction that a data record is in.
func (r *Reader) tidOf(h dataHeader) zodb.TID {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tid, ok := r.renumbered[int64(h.txn)]; ok {
		return tid
	}
	return h.tid
}

// FindTID returns the position behind the last transaction that is not later
// than tid, and whether tid itself is there. It reads headers only.
func (r *Reader) FindTID(ctx context.Context, tid zodb.TID) (p Position, found bool, err error) {
	for t, err := range r.transactions(ctx, Position{}, headerAhead) {
		if err != nil {
			return Position{}, false, err
		}
		if t.TID > tid {
			break
		}
		p = t.End()
	}
	return p, p.Offset != 0 && p.TID == tid, nil
}

// Warnings is the number of warnings so far.
func (r *Reader) Warnings() int64 { return r.warnings.Load() }

func (r *Reader) warn(w Warning) {
	r.warnings.Add(1)
	if r.Warn != nil {
		r.Warn(w)
	}
}

func (r *Reader) wrap(err error) error { return fmt.Errorf("%s: %w", r.path, err) }

func (r *Reader) corrupt(offset int64, oid zodb.OID, tid zodb.TID, reason string) error {
	return &zodb.CorruptError{Path: r.path, OID: oid, TID: tid, Offset: offset, Reason: reason}
}
