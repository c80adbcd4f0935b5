package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// ErrDiffers: a copy differs from its source.
var ErrDiffers = errors.New("the copy differs")

// CompareOptions of [Compare].
type CompareOptions struct {
	From     zodb.TID       // the first transaction that is compared; 0: all
	To       zodb.TID       // the last one; 0: the last of the copy
	Progress func(Progress) // may be nil; called after each transaction
}

// Compared counts the items that were compared and found equal.
type Compared struct {
	Transactions int64 `json:"transactions"`
	Records      int64 `json:"records"`
	Blobs        int64 `json:"blobs"`
	Bytes        int64 `json:"bytes"` // of records and blobs, in one of the two
	// Kept is how many revisions the copy still has which packs took from the source since.
	Kept int64 `json:"kept"`
}

// Compare reads two storages side by side, each in a goroutine of its own, and compares their transactions, records and blobs, every
// byte. The copy may have more only where the source was packed since. The error matches ErrDiffers
// for the first difference.
func Compare(ctx context.Context, source, copied zodb.Storage, o CompareOptions) (Compared, error) {
	if o.To == 0 {
		o.To = copied.LastTransaction()
	}
	c := comparison{o: o, source: source, copied: copied, packed: source.Status().Packed}
	err := c.run(ctx)
	return c.result, err
}

type comparison struct {
	o              CompareOptions
	source, copied zodb.Storage
	packed         zodb.TID // of the source
	result         Compared
}

func (c *comparison) run(ctx context.Context) error {
	if c.o.To == 0 {
		return nil
	}
	theirs := walk{s: c.copied, from: c.o.From, to: c.o.To}
	next, stop := iter.Pull2(transactionsAhead(ctx, theirs.transactions, c.copied))
	defer stop()
	have, err, ok := next()
	ours := walk{s: c.source, from: c.o.From, to: c.o.To}
	for want, werr := range transactionsAhead(ctx, ours.transactions, c.source) {
		if werr != nil {
			return werr
		}
		for ok && err == nil && have.TID < want.TID {
			if err := c.more(have.TID, len(have.OIDs)); err != nil {
				return err
			}
			have, err, ok = next()
		}
		if err != nil {
			return err
		}
		if !ok || have.TID != want.TID {
			return fmt.Errorf("%w: it lacks transaction %s", ErrDiffers, want.TID)
		}
		if err := c.transaction(ctx, want, have); err != nil {
			return err
		}
		have, err, ok = next()
	}
	for ; ok && err == nil; have, err, ok = next() {
		if err := c.more(have.TID, len(have.OIDs)); err != nil {
			return err
		}
	}
	return err
}

// more accounts for revisions that only the copy has.
func (c *comparison) more(tid zodb.TID, revisions int) error {
	if tid > c.packed {
		return fmt.Errorf("%w: it has more in transaction %s", ErrDiffers, tid)
	}
	c.result.Kept += int64(revisions)
	return nil
}

func (c *comparison) transaction(ctx context.Context, want, have aheadTxn) error {
	differs := func(what string) error {
		return fmt.Errorf("%w: transaction %s has another %s", ErrDiffers, want.TID, what)
	}
	switch {
	case !bytes.Equal(want.User, have.User):
		return differs("user")
	case !bytes.Equal(want.Description, have.Description):
		return differs("description")
	case !sameExtension(want.Extension, have.Extension):
		return differs("extension")
	case want.Status != have.Status && (want.Status != 'p' || want.TID > c.packed): // a pack marks them
		return differs("status")
	}
	stored := make(map[zodb.OID]bool)
	theirs := newSought(have)
	defer theirs.stop()
	for rec, err := range want.records {
		if err != nil {
			return err
		}
		stored[rec.OID] = true
		if err := c.record(ctx, rec, theirs); err != nil {
			return err
		}
	}
	only := 0
	for _, oid := range have.OIDs {
		if !stored[oid] {
			only++
		}
	}
	if only > 0 {
		if err := c.more(want.TID, only); err != nil {
			return err
		}
	}
	c.result.Transactions++
	if c.o.Progress != nil {
		c.o.Progress(Progress{Transactions: c.result.Transactions, Records: c.result.Records})
	}
	return nil
}

func (c *comparison) record(ctx context.Context, want zodb.Record, theirs *sought) error {
	differs := func(what string) error {
		return fmt.Errorf("%w: object %s has another %s in transaction %s", ErrDiffers, want.OID, what, want.TID)
	}
	have, found := theirs.find(want.OID)
	var err error
	if !found {
		have, err = c.copied.LoadRecord(ctx, want.OID, want.TID)
	}
	if errors.Is(err, zodb.ErrNotFound) {
		return fmt.Errorf("%w: it lacks object %s in transaction %s", ErrDiffers, want.OID, want.TID)
	}
	if err != nil {
		return err
	}
	switch {
	case want.Exists != have.Exists:
		return differs("existence")
	case !bytes.Equal(want.Data, have.Data):
		return differs("record")
	case want.HasBlob != have.HasBlob:
		return fmt.Errorf("%w: object %s in transaction %s has a blob in one of them", ErrDiffers, want.OID, want.TID)
	}
	c.result.Records++
	c.result.Bytes += int64(len(want.Data))
	if !want.HasBlob {
		return nil
	}
	same, err := c.blob(ctx, want)
	if err == nil && !same {
		err = differs("blob")
	}
	return err
}

// sought are the records of a transaction of the copy, looked for in the order of the source, which
// nearly always is that of the copy.
type sought struct {
	next   func() (zodb.Record, error, bool)
	stop   func()
	oids   []zodb.OID
	rec    zodb.Record      // not found yet
	there  bool             // there is such
	ended  bool             // there are no more, or one cannot be read
	places map[zodb.OID]int // in oids; nil: they were not needed
}

func newSought(t aheadTxn) *sought {
	s := &sought{oids: t.OIDs}
	s.next, s.stop = iter.Pull2(t.records)
	return s
}

// find returns the record of an object. false: it is behind one that was found, or not there, or
// cannot be read; a load of it alone tells.
func (s *sought) find(oid zodb.OID) (zodb.Record, bool) {
	for {
		if !s.there && !s.ended {
			rec, err, ok := s.next()
			s.rec, s.there, s.ended = rec, ok && err == nil, !ok || err != nil
		}
		if !s.there {
			return zodb.Record{}, false
		}
		if s.rec.OID == oid {
			s.there = false
			return s.rec, true
		}
		if s.places == nil {
			s.places = make(map[zodb.OID]int, len(s.oids))
			for i, oid := range s.oids {
				s.places[oid] = i
			}
		}
		if at, is := s.places[oid]; !is || at < s.places[s.rec.OID] {
			return zodb.Record{}, false
		}
		s.there = false // it is before that one
	}
}

// blob compares two blobs.
func (c *comparison) blob(ctx context.Context, rec zodb.Record) (same bool, err error) {
	want, err := c.source.OpenBlob(ctx, rec.OID, rec.TID)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, want.Close()) }()
	have, err := c.copied.OpenBlob(ctx, rec.OID, rec.TID)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, have.Close()) }()
	if want.Size() != have.Size() {
		return false, nil
	}
	piece := int(min(256<<10, want.Size()+1)) // one more than there is shows the end
	a, b := make([]byte, piece), make([]byte, piece)
	for {
		n, aerr := io.ReadFull(want, a)
		m, berr := io.ReadFull(have, b)
		ended := func(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
		switch {
		case aerr != nil && !ended(aerr):
			return false, aerr
		case berr != nil && !ended(berr):
			return false, berr
		case !bytes.Equal(a[:n], b[:m]):
			return false, nil
		}
		c.result.Bytes += int64(n)
		if n < piece {
			c.result.Blobs++
			return true, nil
		}
	}
}
