package classic

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// cutFile keeps the links of the revisions of a cut, 24 bytes each: oid, tid, and the tid
// of the one before. It goes when it was evaluated.
const cutFile = "misc/restore.log"

// cut leaves out everything later than a transaction. It takes the other revisions, blobs and
// transactions; then the pointers of the objects concerned are set to the newest revision that is
// there. The revisions left out prove that this one was current: each names the one before it.
type cut struct {
	o    store.CutOptions
	c    Copies
	last zodb.TID // the newest transaction that is not left out
	next zodb.TID // the oldest that is left out; 0 = none
	file vfs.File
	log  *bufio.Writer
	seed maphash.Seed
	// Sums of hashes of revisions that are left out: of those that are there; of
	// those that a pointer or another one of them leads to. They are equal unless
	// pack took some.
	there, reached uint64
	packed         zodb.TID
	hasPacked      bool
}

type revision struct {
	oid zodb.OID
	tid zodb.TID
}

// Cut implements [store.Copies].
func (c Copies) Cut(o store.CutOptions) (store.Cut, error) {
	f, err := vfs.CreateAnew(o.Home, cutFile)
	if err != nil {
		return nil, err
	}
	return &cut{o: o, c: c, last: o.Base, file: f, log: bufio.NewWriter(f), seed: maphash.MakeSeed()}, nil
}

// Take implements [store.Cut].
func (c *cut) Take(path string, size int64, content io.Reader) (bool, error) {
	to := c.o.Last
	switch n, _ := c.c.parse(path); n.Kind {
	case layout.KindRevision:
		head := make([]byte, record.ObjectHeaderSize)
		if n.TID > to {
			// Files that are left out are read only here.
			if _, err := io.ReadFull(content, head); err != nil {
				return false, fmt.Errorf("%s: %w", path, err)
			}
		}
		return n.TID <= to, c.note(n, head, size, path)
	case layout.KindTransaction:
		if n.TID <= to {
			c.last = max(c.last, n.TID)
		} else if c.next == 0 || n.TID < c.next {
			c.next = n.TID
		}
		return n.TID <= to, nil
	case layout.KindBlob:
		return n.TID <= to, nil
	case layout.KindPointer:
		b, err := readSmall(size, content)
		if err != nil {
			return false, err
		}
		tid, err := record.ParsePointer(b, path, n.OID)
		if tid > to {
			c.reached += maphash.Comparable(c.seed, revision{n.OID, tid})
		}
		return false, err
	case layout.KindXSerial:
		return false, nil
	case layout.KindXPacked:
		b, err := readSmall(size, content)
		if err != nil {
			return false, err
		}
		v, err := record.ParseX(b, path)
		c.packed, c.hasPacked = zodb.TID(v), true
		return false, err
	}
	return true, nil
}

// readSmall reads a pointer or a mark; if it is too long for one, nothing.
func readSmall(size int64, content io.Reader) ([]byte, error) {
	if size > 1<<10 {
		return nil, nil
	}
	return io.ReadAll(content)
}

// note logs a revision; of one that is left out, also which one is before it.
func (c *cut) note(n layout.Name, head []byte, size int64, path string) error {
	previous := zodb.TID(0)
	if n.TID > c.o.Last {
		o, _, err := record.ParseObjectHeader(head, size, path)
		if err != nil {
			return err
		}
		previous = o.Previous
		c.there += maphash.Comparable(c.seed, revision{n.OID, n.TID})
		if previous > c.o.Last {
			c.reached += maphash.Comparable(c.seed, revision{n.OID, previous})
			return nil
		}
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(n.OID))
	b = binary.BigEndian.AppendUint64(b, uint64(n.TID))
	b = binary.BigEndian.AppendUint64(b, uint64(previous))
	_, err := c.log.Write(b)
	return err
}

// End implements [store.Cut]. It gives the log back in any case.
func (c *cut) End(err error) error {
	err = errors.Join(err, c.log.Flush(), c.file.Close())
	if err == nil {
		err = c.prove()
	}
	return errors.Join(err, c.o.Home.Remove(cutFile))
}

// prove sets the pointers and the marks, once everything is there, and proves them.
func (c *cut) prove() error {
	to := c.o.Last
	if c.last == 0 && c.next != 0 {
		return fmt.Errorf("%w: the first transaction in the backup is %s (%s)", store.ErrBefore, c.next, c.next.Time().Format(time.RFC3339))
	}
	if c.there != c.reached {
		return fmt.Errorf("transaction %s: %w: revisions are missing between those that the backup has", to, store.ErrPacked)
	}
	err := c.each(func(r revision, _ zodb.TID) error {
		if r.tid > to {
			return nil
		}
		current, err := c.pointer(r.oid)
		// A pointer set by an interrupted restore may be in memory only: if its sync
		// failed, the next one does not write it.
		if err == nil && (current < r.tid || current == r.tid && c.o.Resumed) {
			err = c.replace(layout.Pointer(r.oid), record.AppendPointer(nil, r.tid))
		}
		return err
	})
	if err == nil {
		err = c.each(func(r revision, previous zodb.TID) error {
			if r.tid <= to {
				return nil
			}
			current, err := c.pointer(r.oid)
			if err == nil && current != previous {
				err = fmt.Errorf("transaction %s: %w: revision %s of object %s", to, store.ErrPacked, previous, r.oid)
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	if c.hasPacked {
		err = c.replace(layout.XPacked, record.AppendX(nil, uint64(min(c.packed, c.last))))
	}
	return errors.Join(err, c.replace(layout.XSerial, record.AppendX(nil, uint64(c.last))))
}

// each reads the log.
func (c *cut) each(f func(r revision, previous zodb.TID) error) error {
	in, err := c.o.Home.Open(cutFile)
	if err != nil {
		return err
	}
	buffered := bufio.NewReader(in)
	var b [24]byte
	for err == nil {
		if _, err = io.ReadFull(buffered, b[:]); err == nil {
			err = f(revision{zodb.OIDFromBytes(b[:]), zodb.TIDFromBytes(b[8:])}, zodb.TIDFromBytes(b[16:]))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, in.Close())
}

// pointer returns the current revision of an object; 0 = there is none.
func (c *cut) pointer(oid zodb.OID) (zodb.TID, error) {
	name := string(store.A) + "/" + c.c.Format.Path(layout.Pointer(oid))
	b, err := c.o.Home.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	tid, err := record.ParsePointer(b, c.o.Home.Path(name), oid)
	if err != nil && c.o.Resumed {
		// It was being set when the restore was interrupted, and will be again: to a
		// revision of this backup, which is later than those of all before.
		return 0, nil
	}
	return tid, err
}

func (c *cut) replace(n layout.Name, data []byte) error {
	return c.o.Put(string(store.A)+"/"+c.c.Format.Path(n), bytes.NewReader(data))
}
