package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Read returns the data of a revision, owned by the caller. It works from
// Append to Release. Errors: **zodb.CorruptError if the bytes there do not match e; else that of
// reading, or one that says that the segment was given up.
func (l *Log) Read(e *Entry) ([]byte, error) {
	l.segMu.RLock()
	s := l.bySeq[e.Pos.Segment]
	if s != nil {
		s.use.RLock() // never waits long: it is taken out of bySeq before it is closed
	}
	l.segMu.RUnlock()
	if s == nil {
		return nil, notThere(e)
	}
	defer s.use.RUnlock()
	return readEntry(s.f, s.seal, s.path, e)
}

func notThere(e *Entry) error {
	return fmt.Errorf("object %s at tid %s: segment %016X of the log is not in use any more", e.OID, e.TID, e.Pos.Segment)
}

// readEntry reads and checks a data frame.
func readEntry(f io.ReaderAt, sl seal, path string, e *Entry) ([]byte, error) {
	corrupt := func(reason string) error {
		return &zodb.CorruptError{Path: path, OID: e.OID, TID: e.TID, Offset: e.Pos.Offset, Reason: reason}
	}
	b := make([]byte, frameHead+e.payload())
	n, err := f.ReadAt(b, e.Pos.Offset)
	if n < len(b) {
		if errors.Is(err, io.EOF) {
			return nil, corrupt("the segment ends within the frame")
		}
		return nil, fmt.Errorf("object %s at tid %s: %w", e.OID, e.TID, err)
	}
	h, ok := sl.parseHead(b, e.Pos.Offset)
	payload := b[frameHead:]
	if !ok || h.t != frameData || int64(h.length) != int64(len(payload)) {
		return nil, corrupt("there is no such data frame")
	}
	if crc32.Checksum(payload, castagnoli) != h.sum {
		return nil, corrupt("the checksum does not fit the data")
	}
	got, err := parseEntry(payload, int64(len(payload)))
	if err != nil {
		return nil, corrupt(err.Error())
	}
	got.TID, got.Pos = e.TID, e.Pos
	if got != *e {
		return nil, corrupt("the data frame is that of another revision")
	}
	return payload[int64(len(payload))-e.Len:], nil
}

// Reader reads a log that it does not own and writes nothing.
type Reader struct {
	seals map[uint64]seal
	files map[uint64]vfs.File
	paths map[uint64]string
}

// maxAttempts bounds how often a log that changes while it is read is read.
const maxAttempts = 20

// OpenReadOnly reads a log that another process may be writing to. It finds the
// transactions that were committed at some moment of the call. Apparent damage is read again, and
// believed only if it is the same twice: a running log may look damaged in passing. Errors as Open;
// fs.ErrNotExist if there is no directory.
func OpenReadOnly(o Options) (*Reader, *Recovered, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	var before error
	for attempt := 1; ; attempt++ {
		r, err := readLog(&o, o.FS.Open, true)
		if err == nil {
			return r.reader(), &r.found, nil
		}
		if attempt == maxAttempts || before != nil && before.Error() == err.Error() {
			return nil, nil, err
		}
		before = err
	}
}

func (r *recovery) reader() *Reader {
	rd := &Reader{make(map[uint64]seal), make(map[uint64]vfs.File), make(map[uint64]string)}
	for _, s := range r.sources {
		rd.seals[s.seq], rd.files[s.seq], rd.paths[s.seq] = newSeal(r.o.Identity, s.seq), s.f, s.path
	}
	return rd
}

// Read is [Log.Read]. If the process that owns the log gave the place back and
// used it again, that is a *zodb.CorruptError too: the revision is in A or B then.
func (r *Reader) Read(e *Entry) ([]byte, error) {
	f := r.files[e.Pos.Segment]
	if f == nil {
		return nil, notThere(e)
	}
	return readEntry(f, r.seals[e.Pos.Segment], r.paths[e.Pos.Segment], e)
}

// Close closes the files. Nobody may read any more.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
