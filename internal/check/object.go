package check

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// state is how far a file can be used.
type state int

const (
	sound state = iota
	missing
	unusable // it is there, but can't be relied on; has been reported
)

// errSerial is returned for a revision with another serial than its name.
var errSerial = errors.New("the serial in the header is not that of the name")

// progressEvery is the number of files between calls of Options.Progress: a second of a slow disk.
const progressEvery = 64

// blobBuffer is the size of the pieces in which blobs are read.
const blobBuffer = 256 << 10

// object is a revision as read; its data lie in the worker's buffer.
type object struct {
	record.Object
	noSum bool
	path  string
	size  int64 // of the file, in bytes
}

// readObject reads and parses one revision (Minimal: tid is not known, 0). It
// reports nothing; for an unusable file defect is its fault.
func (c *checker) readObject(w *worker, n layout.Name) (o object, s state, defect Finding) {
	data, where, err := c.v.read(w, n)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return object{path: where}, missing, Finding{}
	case err != nil && !errors.Is(err, errLength):
		return object{path: where}, unusable, c.object(Unreadable, n.OID, n.TID, where, err.Error())
	}
	parsed, parseErr := record.ParseObjectAs(data, where, n.OID, n.TID, true)
	if err == nil {
		err = parseErr
	}
	if err == nil && n.Kind == layout.KindRevision && parsed.Serial != n.TID {
		err = errSerial // a name of all zeros, which stands for any serial
	}
	if err != nil {
		kind, detail := objectDefect(data, n.OID, n.TID, errors.Is(err, errLength))
		return object{path: where, size: int64(len(data))}, unusable, c.object(kind, n.OID, n.TID, where, detail)
	}
	o = object{Object: *parsed, noSum: record.SumKindOf(data) == record.NoSum, path: where, size: int64(len(data))}
	if o.Previous != 0 && o.Previous >= o.Serial {
		defect = c.object(HistoryNotBackwards, n.OID, o.Serial, where, "its previous revision is "+o.Previous.String())
		defect.Class = class(o.Data)
		return o, unusable, defect
	}
	return o, sound, Finding{}
}

// objectDefect names the fault of an object file that can't be parsed,
// in the order in which the format prescribes to look.
func objectDefect(b []byte, oid zodb.OID, tid zodb.TID, wrongLength bool) (Kind, string) {
	switch {
	case len(b) < 4 || !bytes.Equal(b[:4], []byte(record.ObjectMagic)):
		return ObjectMagic, fmt.Sprintf("begins with % X", b[:min(4, len(b))])
	case wrongLength || len(b) < record.ObjectHeaderSize:
		return ObjectLength, errLength.Error()
	case int64(binary.BigEndian.Uint32(b[4:])) != int64(len(b)):
		return ObjectLength, fmt.Sprintf("%d bytes, the header says %d", len(b), binary.BigEndian.Uint32(b[4:]))
	case zodb.OIDFromBytes(b[8:]) != oid:
		return ObjectOID, "the header says " + zodb.OIDFromBytes(b[8:]).String()
	case record.SumFault(b) != "":
		return ObjectChecksum, changed + record.SumFault(b)
	default:
		return ObjectSerial, "the header says " + zodb.TIDFromBytes(b[64:]).String()
	}
}

// changed begins the detail of a finding about a checksum.
const changed = "the content was changed since it was written: "

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// class returns module.name of a data record, or nothing.
func class(data []byte) string {
	module, name, err := pickle.Class(data)
	if err != nil {
		return ""
	}
	return module + "." + name
}

// revision reads one revision, verifies all that belongs to it alone (its blob
// included), counts it and reports its faults. Packable tells that a pack to
// x.packed would remove it, and its blob.
func (c *checker) revision(w *worker, n layout.Name, packable bool) (object, state) {
	o, s, defect := c.readObject(w, n)
	if s == missing {
		return o, s
	}
	c.countRevision(w, o)
	if s == unusable {
		c.out.add(defect)
		if o.Serial == 0 {
			return o, s
		}
	}
	if o.UndoFrom != 0 && !c.minimal {
		c.undoFrom(new(worker), o) // a worker of its own: o lies in the buffer of w
	}
	if o.HasBlob() {
		c.blob(w, o, packable)
	}
	return o, s
}

// undoFrom looks at the revision of which an undo made this one a copy. If it
// is missing and its transaction knows it, that is found there.
func (c *checker) undoFrom(w *worker, o object) {
	detail := "it says that it is a copy of revision " + o.UndoFrom.String()
	if o.UndoFrom < o.Serial {
		if _, _, err := c.v.size(layout.Revision(o.OID, o.UndoFrom)); !errors.Is(err, fs.ErrNotExist) {
			return
		}
		l := c.listing(w, o.UndoFrom)
		if l.state == unusable || l.has(o.OID) || l.state == missing && o.UndoFrom < c.packed {
			return
		}
		detail += ", which is not there"
	}
	c.reportObject(ObjectUndoFrom, o, detail)
}

// references returns the strong references of a revision, in the worker's
// buffer for them. A record that is not a pickle is reported, and not seen.
func (c *checker) references(w *worker, o object) (refs []zodb.OID, seen bool) {
	if len(o.Data) == 0 {
		return nil, true
	}
	refs, err := w.scanner.AppendStrongRefs(w.refs[:0], o.Data)
	w.refs = refs
	if err != nil {
		c.reportObject(ObjectNotPickle, o, err.Error())
		c.blind.Store(true)
		return nil, false
	}
	return refs, true
}

// currentReferences notes the references of the current revision of an object.
func (c *checker) currentReferences(w *worker, oid zodb.OID, o object) {
	refs, seen := c.references(w, o)
	if !seen {
		c.unseen(false)
	}
	for _, to := range refs {
		c.refer(w, oid, o.Serial, to)
		if c.o.Index != nil {
			c.o.Index.Add(oid, to)
		}
	}
}

// unseen notes that there is an object whose references can't be seen: damaged, or no pickle.
func (c *checker) unseen(damaged bool) {
	if c.o.Index != nil {
		c.o.Index.Skip(damaged)
	}
}

// blob verifies the blob that belongs to a revision.
func (c *checker) blob(w *worker, o object, packable bool) {
	f, where, err := c.v.open(layout.Blob(o.OID, o.Serial))
	if errors.Is(err, fs.ErrNotExist) {
		f := c.object(BlobMissing, o.OID, o.Serial, where, "")
		f.Class = class(o.Data)
		if packable {
			f.Severity, f.Detail = Warning, leftByPack
		}
		c.out.add(f)
		return
	}
	if err == nil {
		c.blobsWanted.addRevision(o.OID, o.Serial)
		if w.blob == nil {
			w.blob = make([]byte, blobBuffer)
		}
		hash := o.BlobSum.Hash()
		var n int64
		n, err = io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{f}, w.blob)
		err = errors.Join(err, f.Close())
		c.counts.blobs.Add(1)
		c.countFile(w, n)
		if err == nil && hash.BlobSum() != o.BlobSum {
			c.reportAt(BlobChecksum, o, where, "the content was changed since it was written")
		}
	}
	if err != nil {
		c.reportAt(Unreadable, o, where, err.Error())
	}
}

// history checks an object from its pointer down: the pointer, each revision that it
// leads to, and the references of the current one.
func (c *checker) history(w *worker, oid zodb.OID) {
	p, s, defect := c.v.head(w, oid)
	if s == missing {
		return // it went since it was listed, so A does not stand still: nothing to say
	}
	c.countHead(w, p)
	if s == unusable {
		c.tally(w).exist(oid)
		c.blind.Store(true)
		c.unseen(true)
		c.out.add(defect)
		return
	}
	tid, next, packable, since := p.tid, zodb.TID(0), false, c.packed
	for current := true; ; current = false {
		o, s := c.revision(w, layout.Revision(oid, tid), packable)
		if current {
			since = c.keptSince(o)
			c.current(w, o, oid, s)
		} else if s != missing {
			refs, _ := c.references(w, o)
			c.referUndoable(refs, packable)
		}
		if s != missing {
			c.tally(w).histories.remove(c.hash.revision(oid, tid))
		}
		switch {
		case s == missing && (current || tid >= c.packed):
			c.out.add(c.object(RevisionMissing, oid, tid, o.path, missingDetail(current)))
		case s == missing && c.neverWritten(w, oid, tid):
			c.out.add(c.object(RevisionMissing, oid, tid, o.path, neverWrittenDetail(next)))
		case s == missing:
			c.counts.packedAway.Add(1)
		}
		if s != sound || o.Previous == 0 {
			return
		}
		tid, next, packable = o.Previous, tid, c.packable(tid, o.Previous, since)
	}
}

func missingDetail(current bool) string {
	if current {
		return "it is the current revision"
	}
	return "it was never packed, and the revision after it is there"
}

func neverWrittenDetail(next zodb.TID) string {
	return "revision " + next.String() + " names it as the one before, but its transaction did not write the object"
}

// refer notes a reference.
func (c *checker) refer(w *worker, from zodb.OID, fromTID zodb.TID, to zodb.OID) {
	r := reference{to: to, from: from, fromTID: fromTID}
	if to <= c.maxOID {
		c.tally(w).refer(r)
	} else {
		c.referWild(r)
	}
}

// referWild notes a reference to a damaged or foreign oid far outside, or to one without room in
// the sets.
func (c *checker) referWild(r reference) {
	if !c.loads(r.to) {
		c.wild.add(r)
	}
}

// referUndoable notes the references of a revision that is not current, if a pack keeps
// it. Only objects that a pack may have removed are looked up there.
func (c *checker) referUndoable(refs []zodb.OID, packable bool) {
	if packable || !c.everPacked() {
		return
	}
	for _, to := range refs {
		if to > c.maxOID {
			continue
		}
		if ok, _ := c.undoable.Add(to); !ok {
			c.blind.Store(true)
		}
	}
}

// loads reports whether the current revision of an object exists and has data,
// without memory and without verifying it. A pointer or revision that is
// damaged counts as existing: it is reported itself.
func (c *checker) loads(oid zodb.OID) bool {
	if c.minimal {
		_, _, err := c.v.size(layout.Object(oid))
		return !errors.Is(err, fs.ErrNotExist)
	}
	h, s, _ := c.v.head(new(worker), oid)
	if s != sound {
		return s != missing
	}
	return c.hasData(oid, h.tid)
}

// hasData reports whether a revision is more than the note that the object does not exist.
func (c *checker) hasData(oid zodb.OID, tid zodb.TID) bool {
	size, _, err := c.v.size(layout.Revision(oid, tid))
	return err != nil || size != record.ObjectHeaderSize
}

// object makes a finding of damage to an object.
func (c *checker) object(kind Kind, oid zodb.OID, tid zodb.TID, path, detail string) Finding {
	return objectFinding(kind, oid, tid, path, detail)
}

func objectFinding(kind Kind, oid zodb.OID, tid zodb.TID, path, detail string) Finding {
	return Finding{Kind: kind, Severity: Damage, OID: oid, HasOID: true, TID: tid, Path: path, Detail: detail}
}

// reportObject reports damage in the file of a revision.
func (c *checker) reportObject(kind Kind, o object, detail string) {
	c.reportAt(kind, o, o.path, detail)
}

// reportAt reports damage in a file that belongs to a revision.
func (c *checker) reportAt(kind Kind, o object, path, detail string) {
	f := c.object(kind, o.OID, o.Serial, path, detail)
	f.Class = class(o.Data)
	c.out.add(f)
}

// countRevision counts a revision whose file was read.
func (c *checker) countRevision(w *worker, o object) {
	t := c.tally(w)
	t.revisions++
	t.files++
	t.bytes += o.size
	if o.noSum {
		t.withoutChecksum++
	}
}

// countFile counts a file that was read.
func (c *checker) countFile(w *worker, size int64) {
	t := c.tally(w)
	t.files++
	t.bytes += size
}

// countFiles counts files for all to see.
func (c *checker) countFiles(n, size int64) {
	c.counts.bytes.Add(size)
	files := c.counts.files.Add(n)
	if c.o.Progress == nil || files/progressEvery == (files-n)/progressEvery {
		return
	}
	c.counts.progress.Lock()
	defer c.counts.progress.Unlock()
	c.o.Progress(Progress{Files: files, Bytes: c.counts.bytes.Load()})
}
