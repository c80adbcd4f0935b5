package estimate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// A sample is taken in windows at even distances.
const (
	windows       = 48
	windowBytes   = 128 << 10
	windowRecords = 256
	// classicRecords and classicTime bound the part of the sample that goes into each classic format,
	// where a record is two files or more; fewRecords are copied in any case.
	classicRecords = 800
	classicTime    = 2 * time.Second
	fewRecords     = 100
)

// sampled is a transaction of the sample, perhaps without some of its records.
type sampled struct {
	zodb.Transaction
	records []zodb.Record
}

// sampler picks the sample while a source is read.
type sampler struct {
	taken         []sampled
	next          int   // window
	bytes         int64 // in this window
	records       int
	within        bool // a window
	full, partial bool // this transaction: nothing more of it; something was left out of any
}

// begin is called before the records of a transaction; done and total are as of the source.
func (s *sampler) begin(txn zodb.Transaction, done, total int64) {
	s.full = false
	reached := total <= 0 || done*windows >= total*int64(s.next)
	if !s.within && s.next < windows && reached {
		s.within, s.bytes, s.records = true, 0, 0
		s.next++
		for total > 0 && s.next < windows && done*windows >= total*int64(s.next) {
			s.next++
		}
	}
	if !s.within {
		s.partial = true
		return
	}
	s.taken = append(s.taken, sampled{Transaction: txn})
}

func (s *sampler) record(rec zodb.Record) {
	if !s.within || s.full {
		s.partial = true
		return
	}
	rec.DataTID, rec.HasBlob = 0, false // the sample may lack that revision
	rec.Data = append([]byte(nil), rec.Data...)
	last := &s.taken[len(s.taken)-1]
	last.records = append(last.records, rec)
	s.bytes += int64(len(rec.Data))
	s.records++
	s.full = s.bytes >= windowBytes || s.records >= windowRecords
}

func (s *sampler) end() { s.within = s.within && !s.full }

// Sample is the basis of the times and of the size of bundles.
type Sample struct {
	Transactions int64   `json:"transactions"`
	Records      int64   `json:"records"`
	Bytes        int64   `json:"bytes"`   // of records
	Seconds      float64 `json:"seconds"` // for all formats together
	Whole        bool    `json:"whole"`   // it is the whole source
}

// measured is the result of a sample in one format.
type measured struct {
	work    counts // that was copied
	seconds float64
	rest    size  // of HOME without the parts that grow with the content
	bundles int64 // bytes of bundles
}

// measure copies the beginning of the sample into a new storage, and removes that.
func (s *sampler) measure(ctx context.Context, o Options, f layout.Format, p *Place) (m measured, err error) {
	home := filepath.Join(o.Scratch, f.String())
	if err := engine.Create(home, engine.CreateOptions{Class: zodb.ClassFull, Format: f.String()}); err != nil {
		return m, err
	}
	fsys, err := vfs.OS(o.Scratch)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, vfs.RemoveAll(fsys, f.String())) }()
	t := newTally(p)
	begun := o.Clock()
	enough := func() bool {
		if o.Sampling != nil {
			o.Sampling(f, t.revisions)
		}
		return f != layout.Bundled && (t.revisions >= classicRecords || t.revisions >= fewRecords && o.Clock().Sub(begun) >= classicTime)
	}
	if err := s.fill(ctx, home, enough, t); err != nil {
		return m, fmt.Errorf("sample in format %s: %w", f, err)
	}
	m.seconds, m.work = o.Clock().Sub(begun).Seconds(), t.counts
	return m, m.look(vfs.Sub(fsys, f.String()))
}

// fill is an import of the sample, until that is enough.
func (s *sampler) fill(ctx context.Context, home string, enough func() bool, t *tally) error {
	o := engine.Options{History: engine.HistoryCopied, NoControlSocket: true}
	if loader, lerr := engine.OpenLoader(ctx, home, 0, o); lerr == nil {
		if err := errors.Join(s.copy(ctx, loader.Begin, enough, t), loader.Close()); err != nil {
			return err
		}
		opened, err := engine.Open(ctx, home, o)
		if err != nil {
			return err
		}
		return opened.Close()
	}
	opened, err := engine.Open(ctx, home, o)
	if err != nil {
		return err
	}
	return errors.Join(s.copy(ctx, opened.Begin, enough, t), opened.Close())
}

func (s *sampler) copy(ctx context.Context, begin func(context.Context, zodb.TxnMeta, zodb.BeginOptions) (zodb.Txn, error), enough func() bool, t *tally) error {
	for _, txn := range s.taken {
		if enough() {
			return nil
		}
		out, err := begin(ctx, txn.TxnMeta, zodb.BeginOptions{TID: txn.TID, Status: txn.Status})
		if err != nil {
			return err
		}
		for _, rec := range txn.records {
			if err := out.Restore(ctx, rec, nil); err != nil {
				return errors.Join(err, out.Abort())
			}
			t.record(rec)
		}
		if err := out.Vote(ctx); err != nil {
			return errors.Join(err, out.Abort())
		}
		if _, err := out.Finish(ctx, nil); err != nil {
			return err
		}
		t.transaction(txn.TID, txn.TxnMeta, int64(len(txn.records)))
	}
	return nil
}

// look measures the storage that was made.
func (m *measured) look(home vfs.FS) error {
	return vfs.Measure(home, ".", false, func(name string, bytes int64, dir bool) error {
		below, inA := strings.CutPrefix(name, "A/")
		switch {
		case inA && strings.HasPrefix(below, "bundles/"):
			m.bundles += bytes
		case name == "misc/current" || name == "misc/current.versions":
			m.rest.inodes++
		case inA && (below[0] == 'o' || below[0] == 't'):
			if dir {
				return nil
			}
		case name == "A": // its size follows from its entries
			m.rest.inodes++
		default:
			m.rest.inodes++
			m.rest.bytes += bytes
		}
		return nil
	})
}
