package bundled

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// The files of a cut. They go with its end.
const (
	cutLog    = "misc/restore.log"    // of the revisions that are left out
	cutBundle = "misc/restore.bundle" // the bundle in which the transaction lies
)

// cut leaves out everything later than a transaction: bundles that begin later, and the later part
// of the one in which the transaction lies. The revisions left out prove that those that are
// there were the current ones: each names the one before it.
type cut struct {
	o   store.CutOptions
	log *laterLog
	// part is the bundle in which the transaction lies, and list the highest of its gone lists.
	part       bundle.Name
	hasPart    bool
	partSize   int64
	lists      map[bundle.Name]goneFile
	next       zodb.TID // the oldest transaction that is left out; 0: none
	packed     zodb.TID
	hasPacked  bool
	knownPaths []string // that End removes
}

// goneFile is a gone list.
type goneFile struct {
	number  uint64
	content []byte
}

// Cut implements [store.Copies].
func (Copies) Cut(o store.CutOptions) (store.Cut, error) {
	log, err := newLaterLog(o.Home, cutLog)
	if err != nil {
		return nil, err
	}
	return &cut{o: o, log: log, lists: make(map[bundle.Name]goneFile), knownPaths: []string{cutLog}}, nil
}

// Take implements [store.Cut].
func (c *cut) Take(path string, size int64, content io.Reader) (bool, error) {
	to := c.o.Last
	n, number, _, ok := parsePath(path)
	switch {
	case !ok:
		return c.takeOther(path, size, content)
	case n.Max <= to:
		return true, nil
	case number > 0:
		if n.Min > to || number < c.lists[n].number {
			return false, nil
		}
		b, err := io.ReadAll(content)
		c.lists[n] = goneFile{number, b}
		return false, err
	case n.Min > to:
		return false, c.scan(path, content)
	case c.hasPart && !n.Supersedes(c.part):
		return false, nil
	}
	c.part, c.hasPart, c.partSize = n, true, size
	return false, c.keep(content)
}

// takeOther looks at a blob, a mark, or a file that does not belong to the database.
func (c *cut) takeOther(path string, size int64, content io.Reader) (bool, error) {
	switch n := (Copies{}).Describe(path).Name; n.Kind {
	case layout.KindBlob:
		return n.TID <= c.o.Last, nil
	case layout.KindXSerial:
		return false, nil
	case layout.KindXPacked:
		if size > 1<<10 {
			return false, &zodb.CorruptError{Path: path, Reason: fmt.Sprintf("it has %d bytes, which is not a mark", size)}
		}
		b, err := io.ReadAll(content)
		if err != nil {
			return false, err
		}
		v, err := record.ParseX(b, path)
		c.packed, c.hasPacked = zodb.TID(v), true
		return false, err
	}
	return true, nil
}

// keep copies the bundle in which the transaction lies, to be read in another order.
func (c *cut) keep(content io.Reader) error {
	f, err := vfs.CreateAnew(c.o.Home, cutBundle)
	if err != nil {
		return err
	}
	if len(c.knownPaths) == 1 {
		c.knownPaths = append(c.knownPaths, cutBundle)
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// mostInMemory bounds the memory that a frame may ask for.
const mostInMemory = 8 << 30

// scan notes the revisions of a bundle that are left out.
func (c *cut) scan(path string, content io.Reader) error {
	z, err := zstd.NewReader(content, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(mostInMemory))
	if err != nil {
		return err
	}
	defer z.Close()
	in := tar.NewReader(z)
	head := make([]byte, record.ObjectHeaderSize)
	damaged := func(err error) error {
		return &zodb.CorruptError{Path: path, Reason: "the bundle cannot be read as a tar", Err: err}
	}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return damaged(err)
		}
		n, ok := layout.ParseName(h.Name)
		switch {
		case !ok || n.TID <= c.o.Last:
		case n.Kind == layout.KindTransaction:
			if c.next == 0 || n.TID < c.next {
				c.next = n.TID
			}
		case n.Kind == layout.KindRevision:
			if _, err := io.ReadFull(in, head); err != nil {
				return damaged(fmt.Errorf("%s: %w", n, err))
			}
			o, _, err := record.ParseObjectHeader(head, h.Size, path+":"+n.String())
			if err != nil {
				return err
			}
			if err := c.log.add(later{n.OID, n.TID, o.Previous}); err != nil {
				return err
			}
		}
	}
	// To the end, so that the checksums of all frames were compared.
	if _, err := io.Copy(io.Discard, z); err != nil {
		return damaged(err)
	}
	return nil
}

// End implements [store.Cut].
func (c *cut) End(err error) error {
	if err == nil {
		err = c.end()
	}
	err = errors.Join(err, c.log.close())
	for _, name := range c.knownPaths {
		err = errors.Join(err, c.o.Home.Remove(name))
	}
	return err
}

func (c *cut) end() (err error) {
	if c.hasPart {
		if err := c.cutPart(); err != nil {
			return err
		}
	}
	s, err := New(Options{FS: c.o.Home, Still: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	v := s.view()
	defer func() { err = errors.Join(err, v.release()) }()
	last, err := s.OlderTransaction(c.o.Last + 1)
	if err != nil {
		return err
	}
	if last == 0 && c.next != 0 {
		return fmt.Errorf("%w: the first transaction in the backup is %s (%s)", store.ErrBefore, c.next, c.next.Time().Format(time.RFC3339))
	}
	if err := c.prove(v); err != nil {
		return err
	}
	// Files that the copy below has, and that the cut bundle replaces. If the cut is done again, they
	// are put again.
	for _, name := range v.leftovers {
		if err := c.o.Home.Remove(name); err != nil {
			return err
		}
	}
	mark := func(n layout.Name, tid zodb.TID) error {
		return c.o.Put(s.files.Path(store.A, n), bytes.NewReader(record.AppendX(nil, uint64(tid))))
	}
	if c.hasPacked {
		err = mark(layout.XPacked, min(c.packed, last))
	}
	return errors.Join(err, mark(layout.XSerial, last))
}

// prove compares the current revisions of the result with those that the revisions left out
// name. Both are in order of oid.
func (c *cut) prove(v *view) error {
	lost := func(tid zodb.TID, oid zodb.OID) error {
		return fmt.Errorf("transaction %s: %w: revision %s of object %s", c.o.Last, store.ErrPacked, tid, oid)
	}
	var before later
	expected := func(yield func(later, error) bool) {
		for e, err := range c.log.sorted() {
			switch {
			case err != nil:
			case e.oid == before.oid && before.tid != 0:
				if e.previous != before.tid {
					err = lost(e.previous, e.oid)
				}
				if before = e; err == nil {
					continue
				}
			default:
				if before = e; e.previous > c.o.Last {
					err = lost(e.previous, e.oid)
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
	next, stop := pull(v.objects(context.Background()))
	defer stop()
	o, there, err := next()
	for e, eerr := range expected {
		if err = cmp.Or(err, eerr); err != nil {
			return err
		}
		for there && o.oid < e.oid {
			if o, there, err = next(); err != nil {
				return err
			}
		}
		current := zodb.TID(0)
		if there && o.oid == e.oid && o.there {
			current = o.e.TID
		}
		if current != e.previous {
			return lost(e.previous, e.oid)
		}
	}
	return err
}
