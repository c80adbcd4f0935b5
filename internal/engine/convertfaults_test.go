package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// conversion is a storage at two moments, and the format into which it is converted: as it was
// first, and then the later ones.
type conversion struct {
	format        layout.Format
	first, second *engine.Storage
	turned        atomic.Int64 // loaders for a storage with transactions
}

// newConversion makes a storage with blobs and undos, which is open for reading.
func newConversion(t *testing.T, from, to layout.Format) *conversion {
	t.Helper()
	c := &conversion{format: to}
	disk := newSwept(t.Context(), t, from, true)
	open := func() *engine.Storage {
		s, err := engine.Open(t.Context(), "", readOnly(disk.Killed()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	fillSwept(t.Context(), t, disk, 0, 9)
	undoLast(t, disk)
	fillSwept(t.Context(), t, disk, 9, 15)
	c.first = open()
	fillSwept(t.Context(), t, disk, 15, 20)
	undoLast(t, disk)
	fillSwept(t.Context(), t, disk, 20, 24)
	c.second = open()
	return c
}

func readOnly(f vfs.FS) engine.Options {
	o := sweepOptions(f)
	o.ReadOnly = true
	return o
}

func undoLast(t *testing.T, disk *crashfs.FS) {
	t.Helper()
	err := within(t.Context(), disk, func(s *engine.Storage) error {
		txn, err := s.Begin(t.Context(), zodb.TxnMeta{Description: []byte("undo")}, zodb.BeginOptions{})
		if err == nil {
			_, err = txn.Undo(t.Context(), s.LastTransaction())
		}
		if err == nil {
			err = txn.Vote(t.Context())
		}
		if err == nil {
			_, err = txn.Finish(t.Context(), nil)
		}
		return errors.Join(err, s.Flush(t.Context()))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// convert brings the news of a storage into the one of a file system, as the command does: around
// the log, if it has a loader.
func (c *conversion) convert(ctx context.Context, f vfs.FS, from *engine.Storage) error {
	o := sweepOptions(f)
	o.History = engine.HistoryCopied
	var s *engine.Storage
	open := func() (transfer.Target, error) {
		var err error
		s, err = engine.Open(ctx, "", o)
		return s, err
	}
	loader, err := engine.OpenLoader(ctx, "", 0, o)
	switch {
	case err == nil:
		_, err = transfer.Convert(ctx, nil, from, transfer.ConvertOptions{Load: &transfer.Load{Loader: loader, Open: open}})
	case errors.Is(err, errors.ErrUnsupported):
		if _, err = open(); err != nil {
			break
		}
		var load *transfer.Load
		if s.Loads() {
			load = &transfer.Load{Open: open, Turn: func(last zodb.TID) (transfer.Loader, error) {
				err := s.Close()
				s = nil
				if err != nil {
					return nil, err
				}
				l, err := engine.OpenLoader(ctx, "", last, o)
				if err != nil {
					return nil, err
				}
				c.turned.Add(1)
				return l, nil
			}}
		}
		_, err = transfer.Convert(ctx, s, from, transfer.ConvertOptions{Load: load})
	}
	if s != nil {
		err = errors.Join(err, s.Close())
	}
	return err
}

// job converts twice. After a fault it is run again.
func (c *conversion) job(t *testing.T) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := errors.Join(engine.CreateOn(disk, c.format, nil), disk.SyncAll()); err != nil {
			return nil, err
		}
		var told zodb.TID // is there for good
		run := func(f vfs.FS) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for _, from := range []*engine.Storage{c.first, c.second} {
				if told >= from.LastTransaction() {
					continue
				}
				if err := c.convert(ctx, f, from); err != nil {
					return err
				}
				told = from.LastTransaction()
			}
			return nil
		}
		return &faulttest.Job{
			Run: run,
			Check: func(after *crashfs.FS, _ bool) error {
				least := told
				if err := c.same(t.Context(), after.Killed(), least); err != nil {
					return err
				}
				defer func() { told = least }()
				if err := run(after); err != nil {
					return fmt.Errorf("run again: %w", err)
				}
				return c.same(t.Context(), after.Crashed(crashfs.KeepNone), c.second.LastTransaction())
			},
		}, nil
	}
}

// same looks whether a copy has all up to a transaction, and nothing that is wrong.
func (c *conversion) same(ctx context.Context, f vfs.FS, least zodb.TID) error {
	o := sweepOptions(f)
	o.History = engine.HistoryCopied
	s, err := engine.Open(ctx, "", o)
	if err != nil {
		return err
	}
	if last := s.LastTransaction(); last < least {
		err = fmt.Errorf("it ends with %s, and %s was said to be there", last, least)
	}
	if err == nil {
		_, err = transfer.Compare(ctx, c.second, s, transfer.CompareOptions{})
	}
	if err = errors.Join(err, s.WaitNormal(ctx), s.Close()); err != nil || least == 0 {
		return err // an empty storage has no root object, which check tells
	}
	return checked(ctx, f)
}

// TestFaultsOfAConversion cuts the power, kills, or fails at operations of a conversion into a new
// home, and of the one that brings the news. Reported transactions are there, all else there is a
// part of the source, and the next run completes it.
func TestFaultsOfAConversion(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	every := hometest.OneOf(3, 29, 211)
	for _, formats := range [][2]layout.Format{{layout.Chunky, layout.Bundled}, {layout.Bundled, layout.Chunky}} {
		c := newConversion(t, formats[0], formats[1])
		t.Cleanup(func() {
			if loads := c.turned.Load() > 0; loads != (formats[1] == layout.Bundled) {
				t.Errorf("into %s: later conversions went around the log: %t", formats[1], loads)
			}
		})
		for seed := range uint64(hometest.Rounds(t, 1)) {
			o := faulttest.Options{Every: every, Seed: seed, Phase: hometest.Phase(t), Retries: 2}
			if formats[1] != layout.Bundled {
				o.Every *= 8 // a file for each revision: there are more operations, and their classes are the flush's
			}
			name := fmt.Sprintf("%s into %s seed %d", formats[0], formats[1], seed)
			t.Run(name+" cut", func(t *testing.T) {
				t.Parallel()
				faulttest.Cut(t, o, c.job(t))
			})
			t.Run(name+" killed", func(t *testing.T) {
				t.Parallel()
				faulttest.Killed(t, o, c.job(t))
			})
			for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
				t.Run(fmt.Sprint(name, " ", cause), func(t *testing.T) {
					t.Parallel()
					o := o
					o.Fails = func(op errfs.Op) bool { return op.Changes() }
					faulttest.Failed(t, o, cause, c.job(t))
				})
			}
		}
	}
}

// TestAHomeOpensAfterALoadThatWasKilled: the blobs on their way into A keep nobody out.
func TestAHomeOpensAfterALoadThatWasKilled(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := engine.CreateOn(disk, layout.Bundled, nil); err != nil {
		t.Fatal(err)
	}
	loader, err := engine.OpenLoader(t.Context(), "", 0, sweepOptions(disk))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = loader.Close() }() // its disk is not the one that is looked at
	txn, err := loader.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: 1000})
	if err == nil {
		err = txn.Restore(t.Context(), zodb.Record{OID: 2, Data: sweptData(2, 1), Exists: true}, &zodb.BlobSource{Reader: strings.NewReader("blob")})
	}
	if err != nil {
		t.Fatal(err)
	}
	killed := disk.Killed()
	if err := within(t.Context(), killed, func(*engine.Storage) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for name, err := range vfs.Walk(killed, "journal") {
		t.Errorf("%s is left (%v)", name, err)
	}
}
