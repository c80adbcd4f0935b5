package estimate

import (
	"context"
	"errors"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options of [Of].
type Options struct {
	Directory string // an existing directory on the target's file system
	Scratch   string // an empty directory there that may be written to; "": nothing is measured
	// Unwritable is why there is no Scratch; nil if there is one, or the reason is not known.
	Unwritable error
	Format     layout.Format // the wanted one
	Have       zodb.TID      // the last transaction that the target has already; 0: none
	NoBlobs    bool          // blobs are left out
	Limit      time.Duration // how long the source is read; 0: to its end
	Clock      func() time.Time
	Progress   func(transfer.Progress) // of the reading; may be nil
	// Sampling is told the records of the sample that were copied into a format; may be nil.
	Sampling func(f layout.Format, records int64)
	// ReadBlob reads a blob of a source that does not tell sizes; nil: there is none.
	ReadBlob func(ctx context.Context, oid zodb.OID, tid zodb.TID) (int64, error)
	// More are findings of the caller; called once, when the source was read.
	More func(Content) ([]Oddity, error)
}

// Report is the result of [Of].
type Report struct {
	Source   Content  `json:"source"`
	Target   Place    `json:"target"`
	Format   string   `json:"format"`
	Fits     bool     `json:"fits"` // in that format
	Formats  []Format `json:"formats"`
	Sample   *Sample  `json:"sample"`              // nil: nothing was measured
	NoSample string   `json:"no_sample,omitempty"` // why
	Complete bool     `json:"complete"`
	Odd      []Oddity `json:"odd"`

	Dangling []transfer.Dangling `json:"dangling_list,omitempty"` // the first of them
}

// Of returns the estimate for a format.
func (r *Report) Of(format string) Format {
	for _, f := range r.Formats {
		if f.Format == format {
			return f
		}
	}
	return Format{}
}

// Content counts the parts of a source.
type Content struct {
	Transactions int64    `json:"transactions"`
	Present      int64    `json:"present"` // of these the target has already
	Revisions    int64    `json:"revisions"`
	Objects      int64    `json:"objects"`
	RecordBytes  int64    `json:"record_bytes"`
	Blobs        int64    `json:"blobs"`
	BlobBytes    int64    `json:"blob_bytes"` // -1: not known
	BlobSample   int64    `json:"blob_sample,omitempty"`
	Largest      int64    `json:"largest_transaction"` // objects
	FirstTID     zodb.TID `json:"first_tid"`
	LastTID      zodb.TID `json:"last_tid"`
	ReadSeconds  float64  `json:"read_seconds"`
}

// Format is the estimate for one format.
type Format struct {
	Format string `json:"format"`
	// Bytes and Inodes are those of HOME after the import.
	Bytes  int64 `json:"bytes"`
	Inodes int64 `json:"inodes"`
	// NeedBytes and NeedInodes are without the files that are there already, and with the log of the import.
	NeedBytes  int64 `json:"need_bytes"`
	NeedInodes int64 `json:"need_inodes"`
	// MemoryBytes is the memory of the import at most, about.
	MemoryBytes int64    `json:"memory_bytes"`
	Seconds     *float64 `json:"seconds"` // nil: nothing was measured
	Fits        bool     `json:"fits"`
}

// survey is one pass over a source.
type survey struct {
	o        Options
	src      *transfer.Source
	place    Place
	tally    *tally
	sampler  sampler
	refs     *transfer.References
	found    findings
	report   Report
	present  *tally // numbers at Have
	sizes    map[layout.Format]size
	blobs    reservoir
	fraction float64 // that was read
}

// Of reads a source and estimates an import.
func Of(ctx context.Context, src *transfer.Source, o Options) (*Report, error) {
	place, err := placeOf(o.Directory, o.Scratch)
	if err != nil {
		return nil, err
	}
	s := &survey{o: o, found: findings{now: o.Clock()}, src: src, place: place, refs: transfer.NewReferences(), sizes: make(map[layout.Format]size), fraction: 1}
	s.tally = newTally(&s.place)
	begun := o.Clock()
	if err := src.Begin(ctx); err != nil {
		return nil, err
	}
	if err := s.read(ctx, begun); err != nil {
		return nil, err
	}
	r := &s.report
	r.Source.ReadSeconds = o.Clock().Sub(begun).Seconds()
	if err := s.unknownBlobs(ctx); err != nil {
		return nil, err
	}
	s.content()
	var more []Oddity
	if o.More != nil {
		if more, err = o.More(r.Source); err != nil {
			return nil, err
		}
	}
	if r.Complete {
		if s.found.dangling, r.Dangling, err = src.Dangling(ctx, s.refs); err != nil {
			return nil, err
		}
		s.found.missingRoot = s.tally.transactions > 0 && !s.refs.Exists(0)
	}
	r.Target, r.Format = s.place, o.Format.String()
	if err := s.formats(ctx); err != nil {
		return nil, err
	}
	r.Odd = append(more, s.found.list()...)
	return r, nil
}

// read goes through the source once.
func (s *survey) read(ctx context.Context, begun time.Time) error {
	reached := s.o.Have == 0
	for txn, err := range s.src.Transactions(ctx) {
		if err != nil {
			return err
		}
		if !reached && txn.TID > s.o.Have {
			reached = true
			s.remember()
		}
		if err := s.transaction(ctx, txn); err != nil {
			return err
		}
		if done, total := s.src.Progress(); s.o.Limit > 0 && s.o.Clock().Sub(begun) >= s.o.Limit && done < total {
			s.fraction = max(float64(done)/float64(total), 1e-6)
			return nil
		}
	}
	if !reached {
		s.remember()
	}
	s.report.Complete = true
	return nil
}

// remember keeps the sizes of the part that the target has already.
func (s *survey) remember() {
	for _, f := range layout.Formats() {
		s.sizes[f] = s.tally.classic(f)
	}
	kept := *s.tally
	s.present = &kept
	s.sizes[layout.Bundled] = size{inodes: s.tally.bundled(0).inodes}
	s.report.Source.Present = s.tally.transactions
}

func (s *survey) transaction(ctx context.Context, txn *transfer.SourceTxn) error {
	c := &s.report.Source
	if c.FirstTID == 0 {
		c.FirstTID = txn.TID
	}
	c.LastTID = txn.TID
	done, total := s.src.Progress()
	s.sampler.begin(txn.Transaction, done, total)
	records := int64(0)
	for rec, err := range txn.Records {
		if err != nil {
			if s.found.unreadable(err) {
				continue
			}
			return err
		}
		records++
		s.tally.record(rec)
		s.refs.Note(rec)
		s.found.record(rec)
		s.sampler.record(rec)
		if s.src.HasBlob(rec) && !s.o.NoBlobs {
			if err := s.blob(ctx, rec); err != nil {
				return err
			}
		}
	}
	s.sampler.end()
	s.tally.transaction(txn.TID, txn.TxnMeta, records)
	s.found.transaction(txn)
	c.Largest = max(c.Largest, records)
	if s.o.Progress != nil {
		done, total = s.src.Progress()
		s.o.Progress(transfer.Progress{Transactions: s.tally.transactions, Records: s.tally.revisions, Done: done, Total: total})
	}
	return nil
}

func (s *survey) blob(ctx context.Context, rec zodb.Record) error {
	size, err := s.src.BlobSize(ctx, rec)
	switch {
	case err == nil:
		s.tally.blob(rec.OID, size)
	case errors.Is(err, transfer.ErrUnknownSize):
		s.tally.blob(rec.OID, 0)
		s.blobs.add(rec.OID, rec.TID)
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		s.found.blob(err)
	}
	return nil
}

// unknownBlobs reads some blobs of a server.
func (s *survey) unknownBlobs(ctx context.Context) error {
	if s.blobs.seen == 0 {
		return nil
	}
	c := &s.report.Source
	read, total := int64(0), int64(0)
	for _, b := range s.blobs.kept {
		if s.o.ReadBlob == nil || total > blobSampleBytes {
			break
		}
		size, err := s.o.ReadBlob(ctx, b.oid, b.tid)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.found.blob(err)
			continue
		}
		read++
		total += size
	}
	c.BlobSample = read
	if read > 0 {
		mean := total / read
		s.tally.blobBytes += mean * s.blobs.seen
		s.tally.blobDisk += s.place.file(mean) * s.blobs.seen
	}
	return nil
}

// content fills in the counts.
func (s *survey) content() {
	c, t := &s.report.Source, s.tally
	by := func(n int64) int64 { return int64(float64(n) / s.fraction) }
	c.Transactions, c.Revisions, c.Objects = by(t.transactions), by(t.revisions), by(t.objects)
	c.RecordBytes, c.Blobs, c.BlobBytes = by(t.dataBytes), by(t.counts.blobs), by(t.blobBytes)
	if s.blobs.seen > 0 && c.BlobSample == 0 {
		c.BlobBytes = -1
	}
}
