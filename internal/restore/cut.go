package restore

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

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// logFile keeps what the cut of a backup has to know of its revisions, 24 bytes
// each: oid, tid, and the tid of the one before. It goes when it was evaluated.
const logFile = "misc/restore.log"

// cut leaves out what is later than a transaction.
type cut struct {
	r    *run
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

func newCut(r *run, after zodb.TID) (*cut, error) {
	f, err := r.home.Create(logFile)
	if errors.Is(err, fs.ErrExist) {
		if err = r.home.Remove(logFile); err == nil {
			f, err = r.home.Create(logFile)
		}
	}
	if err != nil {
		return nil, err
	}
	return &cut{r: r, last: after, file: f, log: bufio.NewWriter(f), seed: maphash.MakeSeed()}, nil
}

// look takes note of an entry, and reports whether it is to be unpacked as it is.
func (c *cut) look(n layout.Name, i *backup.Item) (bool, error) {
	to := c.r.state.To
	switch n.Kind {
	case layout.KindRevision:
		head := make([]byte, record.ObjectHeaderSize)
		if n.TID > to {
			// What is left out is read here only.
			if _, err := io.ReadFull(i.Content(), head); err != nil {
				return false, fmt.Errorf("%s: %w", i.Name, err)
			}
		}
		return n.TID <= to, c.note(n, head, i)
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
		tid, err := record.ParsePointer(i.Data, i.Name, n.OID)
		if tid > to {
			c.reached += maphash.Comparable(c.seed, revision{n.OID, tid})
		}
		return false, err
	case layout.KindXSerial:
		return false, nil
	case layout.KindXPacked:
		v, err := record.ParseX(i.Data, i.Name)
		c.packed, c.hasPacked = zodb.TID(v), true
		return false, err
	}
	return true, nil
}

// note logs a revision; of one that is left out, also which one is before it.
func (c *cut) note(n layout.Name, head []byte, i *backup.Item) error {
	previous := zodb.TID(0)
	if n.TID > c.r.state.To {
		o, _, err := record.ParseObjectHeader(head, i.Size, i.Name)
		if err != nil {
			return err
		}
		previous = o.Previous
		c.there += maphash.Comparable(c.seed, revision{n.OID, n.TID})
		if previous > c.r.state.To {
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

// end sets the pointers, once everything is unpacked, and proves them. It gives
// the log back in any case.
func (c *cut) end(err error) error {
	err = errors.Join(err, c.log.Flush(), c.file.Close())
	if err == nil {
		err = c.settle()
	}
	return errors.Join(err, c.r.home.Remove(logFile))
}

func (c *cut) settle() error {
	to := c.r.state.To
	if c.last == 0 && c.next != 0 {
		return fmt.Errorf("%w: the first transaction in the backup is %s (%s)", ErrBefore, c.next, c.next.Time().Format(time.RFC3339))
	}
	if c.there != c.reached {
		return fmt.Errorf("transaction %s: %w: revisions are missing between those that the backup has", to, ErrPacked)
	}
	err := c.each(func(r revision, _ zodb.TID) error {
		if r.tid > to {
			return nil
		}
		current, err := c.pointer(r.oid)
		// What an interrupted restore has set may be in memory only: if its sync failed,
		// the next one does not write it.
		if err == nil && (current < r.tid || current == r.tid && c.r.result.Resumed) {
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
				err = fmt.Errorf("transaction %s: %w: revision %s of object %s", to, ErrPacked, previous, r.oid)
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
	in, err := c.r.home.Open(logFile)
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
	name := "A/" + c.r.format.Path(layout.Pointer(oid))
	b, err := c.r.home.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	tid, err := record.ParsePointer(b, c.r.home.Path(name), oid)
	if err != nil && c.r.result.Resumed {
		// It was being set when the restore was interrupted, and will be again: to a
		// revision of this backup, which is later than those of all before.
		return 0, nil
	}
	return tid, err
}

func (c *cut) replace(n layout.Name, data []byte) error {
	t := target{c.r.home, c.r.syncEach}
	return t.write(file{name: "A/" + c.r.format.Path(n)}, bytes.NewReader(data))
}
