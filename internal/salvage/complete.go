package salvage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// seen holds the facts in the files of the home and in those that will be placed.
type seen struct {
	maxOID  zodb.OID
	lastTID zodb.TID                         // the last transaction (Minimal: the highest serial)
	newest  map[zodb.OID]zodb.TID            // of objects without a pointer: their newest revision
	blobs   map[record.BlobSum][]layout.Name // that revisions want and that are not there
}

// complete plans the files that follow from the database as it will be: missing pointers and x
// files, and blobs.
func (p *planner) complete(ctx context.Context) error {
	s := seen{newest: make(map[zodb.OID]zodb.TID), blobs: make(map[record.BlobSum][]layout.Name)}
	for n, i := range p.placed {
		if err := p.see(&s, n, p.lost, p.actions[i].From); err != nil {
			return err
		}
	}
	err := eachFile(ctx, p.home, "A", func(name string) error {
		n, ok := p.format.Parse(strings.TrimPrefix(name, "A/"))
		if !ok {
			return nil
		}
		return p.see(&s, n, p.home, name)
	})
	if err != nil {
		return err
	}
	later, err := p.laterThan(ctx, s.newest)
	if err != nil {
		return err
	}
	for _, oid := range slices.Sorted(maps.Keys(s.newest)) {
		n := layout.Pointer(oid)
		a := Action{Verb: Make, To: p.place(n), Name: n, Data: record.AppendPointer(nil, s.newest[oid]),
			Detail: "its newest revision is " + s.newest[oid].String()}
		if tid, ok := later[oid]; ok {
			a.Older = true
			a.Detail = fmt.Sprintf("its newest revision that is there is %s, and becomes current; transaction %s wrote a later one, which is missing", s.newest[oid], tid)
		}
		p.actions = append(p.actions, a)
	}
	if err := p.makeX(layout.XOID, uint64(s.maxOID)); err != nil {
		return err
	}
	if p.serial != zodb.MaxTID {
		s.lastTID = p.serial // as x.serial says, or the log
	}
	if err := p.makeX(layout.XSerial, uint64(s.lastTID)); err != nil {
		return err
	}
	return p.blobs(ctx, &s, false)
}

// laterThan returns the last transactions that say that they wrote later revisions of objects than the newest ones that
// are there. Of those up to the last pack it is no loss.
func (p *planner) laterThan(ctx context.Context, newest map[zodb.OID]zodb.TID) (map[zodb.OID]zodb.TID, error) {
	later := make(map[zodb.OID]zodb.TID)
	if len(newest) == 0 {
		return later, nil
	}
	packed, err := p.packed()
	if err != nil {
		return nil, err
	}
	look := func(t *record.Transaction) {
		for _, oid := range t.OIDs {
			if tid, ok := newest[oid]; ok && t.TID > tid && t.TID > packed && t.TID <= p.serial {
				later[oid] = max(later[oid], t.TID)
			}
		}
	}
	for _, t := range p.listed {
		look(t)
	}
	return later, eachFile(ctx, p.home, "A", func(name string) error {
		n, ok := p.format.Parse(strings.TrimPrefix(name, "A/"))
		if !ok || n.Kind != layout.KindTransaction || n.TID <= packed {
			return nil
		}
		b, err := p.home.ReadFile(name)
		if err != nil {
			return err
		}
		if t, err := record.ParseTransactionAs(b, name, n.TID, true); err == nil { // else check reports it
			look(t)
		}
		return nil
	})
}

// packed returns x.packed; 0: there was no pack, or that file is lost.
func (p *planner) packed() (zodb.TID, error) {
	name := p.place(layout.XPacked)
	b, err := p.home.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	v, err := record.ParseX(b, name)
	if err != nil {
		return 0, nil
	}
	return zodb.TID(v), nil
}

// see takes note of one file that is or will be there; it lies at name in fsys.
func (p *planner) see(s *seen, n layout.Name, fsys vfs.FS, name string) error {
	switch n.Kind {
	case layout.KindPointer, layout.KindRevision, layout.KindObject:
		s.maxOID = max(s.maxOID, n.OID)
	case layout.KindTransaction:
		s.lastTID = max(s.lastTID, n.TID)
	}
	if n.Kind == layout.KindRevision {
		there, err := exists(p.home, p.place(layout.Pointer(n.OID)))
		if err != nil {
			return err
		}
		if !there && n.TID <= p.serial { // a later one was not committed, or comes with its pointer
			s.newest[n.OID] = max(s.newest[n.OID], n.TID)
		}
		return p.wantBlob(s, n, fsys, name)
	}
	if n.Kind == layout.KindObject && p.noSerial { // else nobody asks for it
		head, _, err := head(fsys, name, record.ObjectHeaderSize)
		if err == nil && len(head) == record.ObjectHeaderSize {
			s.lastTID = max(s.lastTID, zodb.TIDFromBytes(head[64:]))
		}
		return err
	}
	return nil
}

// wantBlob notes a revision whose blob is not there, if a lost file may be it.
func (p *planner) wantBlob(s *seen, n layout.Name, fsys vfs.FS, name string) error {
	if len(p.unknown) == 0 {
		return nil
	}
	head, _, err := head(fsys, name, record.ObjectHeaderSize)
	if err != nil || len(head) < record.ObjectHeaderSize {
		return err
	}
	sum := record.BlobSum(head[24:40])
	if sum.IsZero() {
		return nil
	}
	blob := layout.Blob(n.OID, n.TID)
	there, err := exists(p.home, p.place(blob))
	if err == nil && !there {
		s.blobs[sum] = append(s.blobs[sum], blob)
	}
	return err
}

// makeX plans an x file that is missing.
func (p *planner) makeX(n layout.Name, v uint64) error {
	to := p.place(n)
	there, err := exists(p.home, to)
	if err == nil && !there {
		p.actions = append(p.actions, Action{Verb: Make, To: to, Name: n, Data: record.AppendX(nil, v), Detail: "the highest in use"})
	}
	return err
}

// blobs tells which of the files that are nothing else are blobs that are missed. newer: there are
// revisions that were not read.
func (p *planner) blobs(ctx context.Context, s *seen, newer bool) error {
	for _, name := range p.unknown {
		if err := ctx.Err(); err != nil {
			return err
		}
		var sums [2]record.BlobSum
		if len(s.blobs) > 0 {
			var err error
			if sums, err = p.sums(name); err != nil {
				return err
			}
		}
		placed := false
		for _, sum := range sums {
			// Several revisions may have had the same blob; each gets a copy.
			for _, n := range s.blobs[sum] {
				p.actions = append(p.actions, Action{Verb: Place, From: name, To: p.place(n), Name: n})
				placed = true
			}
			delete(s.blobs, sum)
		}
		if !placed {
			a := Action{Verb: Unknown, From: name}
			if newer {
				a.Detail = "it may be a blob of a bundle of a newer release"
			}
			p.actions = append(p.actions, a)
		}
	}
	return nil
}

func (p *planner) sums(name string) (sums [2]record.BlobSum, err error) {
	f, err := p.lost.Open(name)
	if err != nil {
		return sums, err
	}
	sums, _, err = record.BlobSums(f)
	return sums, errors.Join(err, f.Close())
}

func exists(fsys vfs.FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// eachFile calls f with the name of each regular file below a directory.
func eachFile(ctx context.Context, fsys vfs.FS, dir string, f func(name string) error) error {
	for e, err := range fsys.List(dir) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		name := path.Join(dir, e.Name)
		switch {
		case e.IsDir():
			err = eachFile(ctx, fsys, name, f)
		case e.Type == 0:
			err = f(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// head reads the first n bytes of a file, fewer if it is shorter, and its size.
func head(fsys vfs.FS, name string, n int) (head []byte, size int64, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	head = make([]byte, min(int64(n), info.Size))
	if _, err := f.ReadAt(head, 0); err != nil && len(head) > 0 {
		return nil, 0, fmt.Errorf("read the header of %s: %w", name, err)
	}
	return head, info.Size, nil
}
