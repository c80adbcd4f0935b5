package filestorage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// destination is the file of a Writer: empty, and touched by nobody else. A vfs.File is one.
type destination interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// Writer writes a new Data.fs. It must not be used concurrently. After an
// error of [Writer.Append] the file is unfinished: only [Writer.Abort] is left.
type Writer struct {
	dst     destination
	publish func() error // gives the finished file its name
	discard func() error // removes the unfinished file

	newest  map[zodb.OID]int64 // position of the newest record
	last    zodb.TID
	err     error  // first failure
	flushed int64  // bytes in dst
	buf     []byte // the bytes behind them
}

const (
	// writeAhead is how many bytes are written at once.
	writeAhead = 1 << 20
	// tmpSuffix is appended to the name of an unfinished file.
	tmpSuffix = ".tmp"
)

// Create begins a file that will be called name, which must not exist. Until
// Close it is called name.tmp, which must not exist either.
func Create(fsys vfs.FS, name string) (*Writer, error) {
	free := func() error {
		if _, err := fsys.Stat(name); err == nil {
			return &fs.PathError{Op: "create", Path: fsys.Path(name), Err: fs.ErrExist}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := free(); err != nil {
		return nil, err
	}
	tmp := name + tmpSuffix
	f, err := fsys.Create(tmp)
	if err != nil {
		return nil, err
	}
	w := newWriter(f)
	w.publish = func() error {
		if err := free(); err != nil {
			return err
		}
		if err := fsys.Rename(tmp, name); err != nil {
			return err
		}
		return fsys.SyncDir(path.Dir(name))
	}
	w.discard = func() error {
		if err := fsys.Remove(tmp); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return w, nil
}

// newWriter begins a file in dst, which must be empty.
func newWriter(dst destination) *Writer {
	nothing := func() error { return nil }
	return &Writer{dst: dst, publish: nothing, discard: nothing, newest: make(map[zodb.OID]int64), buf: []byte(magicPython3)}
}

// Python2 makes it a file of Python 2, before the first Append.
func (w *Writer) Python2() { copy(w.buf, magicPython2) }

// Size is the number of bytes written, for progress.
func (w *Writer) Size() int64 { return w.flushed + int64(len(w.buf)) }

// Append writes one transaction: TID, Status and the texts of txn are used. Its
// tid must be later than that of the one before. The records are written in the
// order in which they come; their TID is not looked at. One with DataTID is
// written as a backpointer to the record of the object in that transaction, if
// there is one and it leads to the same data (ZODB's rule for copies), else with
// its data. An error of records is returned wrapped.
func (w *Writer) Append(txn *zodb.Transaction, records iter.Seq2[zodb.Record, error]) error {
	if w.err != nil {
		return w.err
	}
	if err := w.append(txn, records); err != nil {
		w.err = fmt.Errorf("append transaction %s: %w", txn.TID, err)
	}
	return w.err
}

func (w *Writer) append(txn *zodb.Transaction, records iter.Seq2[zodb.Record, error]) error {
	if err := w.check(txn); err != nil {
		return err
	}
	start := w.Size()
	h := txnHeader{
		tid: txn.TID, status: txn.Status,
		user: len(txn.User), description: len(txn.Description), extension: len(txn.Extension),
	}
	w.buf = h.append(w.buf)
	w.buf = append(w.buf, txn.User...)
	w.buf = append(w.buf, txn.Description...)
	w.buf = append(w.buf, txn.Extension...)
	// A second record of an oid in this transaction names the record before the
	// transaction too, so the new positions count only afterwards.
	written := make(map[zodb.OID]int64)
	for rec, err := range records {
		if err != nil {
			return err
		}
		pos := w.Size()
		if err := w.record(start, txn.TID, rec); err != nil {
			return fmt.Errorf("object %s: %w", rec.OID, err)
		}
		written[rec.OID] = pos
	}
	length := binary.BigEndian.AppendUint64(nil, uint64(w.Size()-start))
	w.buf = append(w.buf, length...)
	if err := w.patch(start+8, length); err != nil {
		return err
	}
	maps.Copy(w.newest, written)
	w.last = txn.TID
	return nil
}

func (w *Writer) check(txn *zodb.Transaction) error {
	switch {
	case txn.TID <= w.last:
		return fmt.Errorf("not later than %s, the one before it", w.last)
	case txn.Status != statusDone && txn.Status != statusPacked:
		return fmt.Errorf("status %q can't be written", txn.Status)
	case max(len(txn.User), len(txn.Description), len(txn.Extension)) > zodb.MaxMetaLen:
		return fmt.Errorf("user, description or extension is longer than %d bytes", zodb.MaxMetaLen)
	}
	return nil
}

// record writes one data record of the transaction at start.
func (w *Writer) record(start int64, tid zodb.TID, rec zodb.Record) error {
	if rec.Exists && len(rec.Data) == 0 {
		return errors.New("a record without data would read as one that does not exist")
	}
	var back int64
	if rec.DataTID != 0 {
		var err error
		if back, err = w.find(rec); err != nil {
			return err
		}
	}
	h := dataHeader{oid: rec.OID, tid: tid, prev: uint64(w.newest[rec.OID]), txn: uint64(start)}
	if !rec.Exists || back != 0 {
		w.buf = h.append(w.buf)
		w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(back))
	} else {
		h.length = uint64(len(rec.Data))
		w.buf = h.append(w.buf)
		w.buf = append(w.buf, rec.Data...)
	}
	if len(w.buf) < writeAhead {
		return nil
	}
	return w.flush()
}

// find returns the position of the object's record of DataTID, 0 if there is
// none or it leads to other data. It walks the previous positions.
func (w *Writer) find(rec zodb.Record) (int64, error) {
	for pos := w.newest[rec.OID]; pos != 0; {
		h, _, err := w.headerAt(pos)
		if err != nil {
			return 0, err
		}
		if h.tid > rec.DataTID {
			pos = int64(h.prev)
			continue
		}
		if h.tid < rec.DataTID {
			return 0, nil
		}
		if same, err := w.leadsTo(pos, rec); err != nil || !same {
			return 0, err
		}
		return pos, nil
	}
	return 0, nil
}

// leadsTo reports whether the record at pos, or the one that its backpointers
// lead to, says the same as rec.
func (w *Writer) leadsTo(pos int64, rec zodb.Record) (bool, error) {
	for {
		h, back, err := w.headerAt(pos)
		if err != nil {
			return false, err
		}
		if h.length > 0 || back == 0 {
			return w.holds(pos, h, rec)
		}
		pos = back
	}
}

// holds reports whether the record at pos, which is no backpointer, says the same as rec.
func (w *Writer) holds(pos int64, h dataHeader, rec zodb.Record) (bool, error) {
	if h.length != uint64(len(rec.Data)) {
		return false, nil
	}
	data := make([]byte, h.length)
	err := w.readAt(data, pos+dataHeaderLen)
	return err == nil && bytes.Equal(data, rec.Data), err
}

// headerAt reads back a record that was written, and its backpointer if it has one.
func (w *Writer) headerAt(pos int64) (h dataHeader, back int64, err error) {
	var b [dataHeaderLen + backLen]byte
	if err := w.readAt(b[:], pos); err != nil {
		return h, 0, err
	}
	h = parseDataHeader(b[:])
	if h.length == 0 {
		back = int64(binary.BigEndian.Uint64(b[dataHeaderLen:]))
	}
	return h, back, nil
}

// readAt reads back written bytes. It may lie partly in dst, partly in buf.
func (w *Writer) readAt(b []byte, pos int64) error {
	if pos < w.flushed {
		n := min(int64(len(b)), w.flushed-pos)
		if err := readFull(w.dst, b[:n], pos); err != nil {
			return err
		}
		b, pos = b[n:], pos+n
	}
	if len(b) > 0 {
		copy(b, w.buf[pos-w.flushed:])
	}
	return nil
}

// patch overwrites written bytes.
func (w *Writer) patch(pos int64, b []byte) error {
	if pos >= w.flushed {
		copy(w.buf[pos-w.flushed:], b)
		return nil
	}
	// A write that ends in dst may be cut in two by the border to buf.
	n := min(int64(len(b)), w.flushed-pos)
	if _, err := w.dst.WriteAt(b[:n], pos); err != nil {
		return err
	}
	copy(w.buf, b[n:])
	return nil
}

func (w *Writer) flush() error {
	n, err := w.dst.WriteAt(w.buf, w.flushed)
	w.flushed += int64(n)
	w.buf = append(w.buf[:0], w.buf[n:]...)
	return err
}

// Close writes the rest, makes the file durable and gives it its name. If that
// fails, or Append had failed, the unfinished file is removed. After an error a
// file called name is either whole or not there.
func (w *Writer) Close() error {
	err := w.err
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = w.dst.Sync()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.dst.Close(); err != nil {
		return errors.Join(err, w.discard())
	}
	if err := w.publish(); err != nil {
		return errors.Join(err, w.discard())
	}
	return nil
}

// Abort closes and removes the unfinished file. It must not be called after Close.
func (w *Writer) Abort() error { return errors.Join(w.dst.Close(), w.discard()) }
