package check

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// logPath stands for a file that exists only as records of the log.
const logPath = "journal"

// readLog adds the transactions of the log that are not in A or B yet, as the
// files that a flush would make of them. Files of an interrupted flush under their names
// do not count: they are written again.
func (c *checker) readLog() error {
	o := journal.Options{FS: c.o.FS, Dir: logPath}
	if id, err := hex.DecodeString(c.identity); err == nil {
		copy(o.Identity[:], id)
	}
	log, recovered, err := journal.OpenReadOnly(o)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, newer := errors.AsType[*layout.NewerError](err); newer {
		return err
	}
	if err != nil {
		f := Finding{Kind: JournalDamaged, Severity: Damage, Path: logPath, Detail: err.Error()}
		if bad, ok := errors.AsType[*zodb.CorruptError](err); ok {
			f.Path, f.TID = bad.Path, bad.TID
		}
		c.out.add(f)
		return nil
	}
	c.log = log
	if cut := recovered.Cut; cut != nil {
		c.out.add(Finding{Kind: JournalTorn, Severity: Note, Path: cut.Path,
			Detail: fmt.Sprintf("the log ends at offset %d: %s; %s never acknowledged", cut.Offset, cut.Reason, human.Plural(int64(cut.Commits), "commit frame behind it was", "commit frames behind it were"))})
	}
	if c.baseKnown && recovered.Freed > c.base {
		c.journalOlder(logPath, recovered.Freed, "the log says that this transaction was flushed, but the last one here is "+c.base.String())
		return nil
	}
	last := c.base
	for _, t := range recovered.Transactions {
		if !c.baseKnown {
			last = t.Previous
		}
		switch {
		case c.baseKnown && t.TID <= c.base:
			if t.TID >= c.packed && !c.flushed(t) {
				c.journalOlder(logPath, t.TID, "the log holds this transaction, and A, whose last one is later, does not")
			}
		case t.Previous != last:
			c.journalOlder(logPath, t.TID, "the log's transaction follows "+t.Previous.String()+", but the last one before it here is "+last.String())
			return nil
		default:
			c.pend(t)
			last = t.TID
		}
	}
	return nil
}

// flushed reports whether A or B holds a transaction of the log.
func (c *checker) flushed(t *journal.Committed) bool {
	var w worker
	if c.minimal {
		for i := range t.Records {
			o, s, _ := c.readObject(&w, layout.Object(t.Records[i].OID))
			if s == missing || s == sound && o.Serial < t.TID {
				return false
			}
		}
		return true
	}
	data, where, err := c.v.read(&w, layout.Transaction(t.TID))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	there, err := record.ParseTransactionAs(data, where, t.TID, true)
	if err != nil {
		return true // that it is damaged is found elsewhere
	}
	want := transactionFile(t)
	want.Previous = there.Previous // a pack may have linked it to another one
	a, errA := want.Append(nil, record.NoSum)
	b, errB := there.Append(nil, record.NoSum)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func transactionFile(t *journal.Committed) *record.Transaction {
	r := &record.Transaction{TID: t.TID, Previous: t.Previous, Packed: t.Packed, User: t.Meta.User, Description: t.Meta.Description, Extension: t.Meta.Extension}
	for i := range t.Records {
		r.OIDs = append(r.OIDs, t.Records[i].OID)
	}
	return r
}

// pend adds the files that the flush of one transaction makes.
func (c *checker) pend(t *journal.Committed) {
	c.journal.transactions++
	segment := logPath // where the data are, as far as there are any
	put := func(n layout.Name, data func() ([]byte, error)) {
		c.journal.files++
		c.v.pend(n, pendingFile{segment, data})
	}
	is := func(b []byte) func() ([]byte, error) { return func() ([]byte, error) { return b, nil } }
	for i := range t.Records {
		e := &t.Records[i]
		segment = fmt.Sprintf("%s/log-%016X", logPath, e.Pos.Segment)
		if c.minimal {
			put(layout.Object(e.OID), c.logged(t.TID, e))
			continue
		}
		put(layout.Revision(e.OID, t.TID), c.logged(t.TID, e))
		c.journal.files++
		c.v.pendHead(e.OID, t.TID, segment)
		if !e.Blob {
			continue
		}
		// An interrupted flush may have moved it to its place.
		if _, err := c.o.FS.Stat(e.BlobFile); !errors.Is(err, fs.ErrNotExist) {
			c.journal.files++
			c.v.pend(layout.Blob(e.OID, t.TID), pendingFile{path: e.BlobFile})
		}
	}
	if !c.minimal {
		put(layout.Transaction(t.TID), func() ([]byte, error) { return transactionFile(t).Append(nil, record.XXH64) })
	}
	put(layout.XOID, is(record.AppendX(nil, uint64(t.MaxOID))))
	put(layout.XSerial, is(record.AppendX(nil, uint64(t.TID))))
}

// logged returns a function that makes the file of a revision in the log.
func (c *checker) logged(tid zodb.TID, e *journal.Entry) func() ([]byte, error) {
	return func() ([]byte, error) {
		data, err := c.log.Read(e)
		if err != nil {
			return nil, err
		}
		o := &record.Object{OID: e.OID, UndoFrom: e.UndoFrom, BlobSum: e.BlobSum, Previous: e.Previous, Serial: tid, Data: data}
		return o.Append(nil, record.XXH64)
	}
}
