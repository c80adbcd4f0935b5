package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxRetries bounds the repetitions of a read that meets changes all the time.
const maxRetries = 1000

// settled runs a read that looks into the index over the log first and into
// files then. Between the two a transaction may be published, flushed and
// dropped from the index, so that the read finds a file half written, or a
// place in the log used again. Such a read fails its checks; it is repeated
// if the index changed meanwhile, and believed if not.
func (s *Storage) settled(ctx context.Context, read func() error) error {
	if s.o.ReadOnly {
		return s.settledBeside(ctx, read)
	}
	for range maxRetries {
		version := s.state.Version()
		err := read()
		if err == nil || s.state.Version() == version {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return read()
}

// Load returns the current revision of an object. Its data, like those of every
// load, may belong to many who read them, and must not be changed. Errors: *zodb.KeyError if
// there is none, or if its creation was undone; *zodb.CorruptError, with NoObject if
// it is there and the file of its revision is not.
func (s *Storage) Load(ctx context.Context, oid zodb.OID) (zodb.Revision, error) {
	o, err := s.current(ctx, oid)
	if err != nil {
		return zodb.Revision{}, err
	}
	if s.gone(o) {
		return zodb.Revision{}, &zodb.KeyError{OID: oid, TID: o.Serial, Reason: "it was deleted, or its creation was undone"}
	}
	return zodb.Revision{Data: o.Data, Serial: o.Serial}, nil
}

// LoadBefore returns the revision that was current just before a transaction,
// with the serial of the one that replaced it; nil without an error if the
// object had no revision then, or if that one was packed away. Errors:
// *zodb.KeyError if there is no such object at all, or if it did not exist at
// that time because its creation was undone; *zodb.CorruptError, also for a revision
// that is missing and was not packed away.
func (s *Storage) LoadBefore(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	if rev, ok := s.LoadBeforeCached(oid, before); ok {
		return &rev, nil
	}
	var result *zodb.Revision
	err := s.settled(ctx, func() error {
		result = nil
		o, err := s.currentOnce(oid)
		var end zodb.TID
		for err == nil && o.Serial >= before {
			end = o.Serial
			if o, err = s.previousOnce(o); o == nil && err == nil {
				return nil
			}
		}
		if err != nil {
			return err
		}
		if s.gone(o) {
			return &zodb.KeyError{OID: oid, TID: o.Serial, Reason: "it did not exist at that time: deleted, or its creation undone"}
		}
		result = &zodb.Revision{Data: o.Data, Serial: o.Serial, End: end}
		return nil
	})
	return result, err
}

// LoadBeforeCached is [Storage.LoadBefore] for those who must not wait: it answers
// only from memory, and never touches the disk. ok is false if it cannot, and
// also if the answer would be an error or that there is nothing. Revision.Data
// belongs to everybody who reads it and must not be changed.
func (s *Storage) LoadBeforeCached(oid zodb.OID, before zodb.TID) (rev zodb.Revision, ok bool) {
	r, end, previous, ok := s.state.RevisionBefore(oid, before)
	if ok {
		if r.Object == nil || s.gone(r.Object) {
			return zodb.Revision{}, false
		}
		return zodb.Revision{Data: r.Object.Data, Serial: r.TID, End: end}, true
	}
	o := s.cache.Get(oid)
	if o == nil || o.Serial >= before || s.gone(o) || end != 0 && o.Serial != previous {
		return zodb.Revision{}, false
	}
	return zodb.Revision{Data: o.Data, Serial: o.Serial, End: end}, true
}

// LoadSerial returns the data of one revision. Errors as Load.
func (s *Storage) LoadSerial(ctx context.Context, oid zodb.OID, serial zodb.TID) ([]byte, error) {
	o, err := s.revision(ctx, oid, serial)
	if err != nil {
		return nil, err
	}
	if s.gone(o) {
		return nil, &zodb.KeyError{OID: oid, TID: serial, Reason: "that revision says that the object does not exist"}
	}
	return o.Data, nil
}

// LoadRecord returns one revision with all that is known of it. A record that
// says that the object does not exist is no error here. DataTID is 0 if the revision
// that it would name, or its transaction, was packed away: who copies the record finds
// what it names.
func (s *Storage) LoadRecord(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Record, error) {
	o, err := s.revision(ctx, oid, serial)
	if err != nil {
		return zodb.Record{}, err
	}
	rec := zodb.Record{OID: oid, TID: o.Serial, Data: o.Data, Exists: !s.gone(o), HasBlob: o.HasBlob()}
	if o.UndoFrom != 0 {
		there, err := s.listed(ctx, oid, o.UndoFrom)
		if err != nil {
			return zodb.Record{}, err
		}
		if there {
			rec.DataTID = o.UndoFrom
		}
	}
	return rec, nil
}

// listed reports whether the file of a revision, and that of its transaction, are there
// or will be. They are not read.
func (s *Storage) listed(ctx context.Context, oid zodb.OID, tid zodb.TID) (there bool, err error) {
	err = s.settled(ctx, func() error {
		if _, there = s.state.Revision(oid, tid); there {
			return nil
		}
		for _, n := range []layout.Name{layout.Revision(oid, tid), layout.Transaction(tid)} {
			if _, err := s.store.Stat(n); err != nil {
				return err
			}
		}
		there = true
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return there, err
}

// gone reports whether a revision says that the object does not exist. In
// class Minimal an empty record has no such meaning.
func (s *Storage) gone(o *record.Object) bool { return s.full && o.Gone() }

// current returns the current revision, which may be one that says that the
// object does not exist.
func (s *Storage) current(ctx context.Context, oid zodb.OID) (o *record.Object, err error) {
	err = s.settled(ctx, func() error {
		o, err = s.currentOnce(oid)
		return err
	})
	return o, err
}

// revision returns one revision.
func (s *Storage) revision(ctx context.Context, oid zodb.OID, serial zodb.TID) (o *record.Object, err error) {
	err = s.settled(ctx, func() error {
		o, err = s.revisionOnce(oid, serial)
		return err
	})
	return o, err
}

// currentOnce is to be called within settled.
func (s *Storage) currentOnce(oid zodb.OID) (*record.Object, error) {
	r, ok, generation := s.state.CurrentAndGeneration(oid)
	if ok {
		return s.fromLog(r)
	}
	if o := s.cache.Get(oid); o != nil {
		return o, nil
	}
	o, err := s.currentFile(oid)
	if err != nil {
		return nil, err
	}
	o.Data = slices.Clip(o.Data)
	s.cache.Put(o, generation)
	return o, nil
}

// currentFile reads what the store says is the current revision.
func (s *Storage) currentFile(oid zodb.OID) (*record.Object, error) {
	r, err := s.store.Load(oid)
	if err != nil {
		return nil, err
	}
	return record.ParseObjectAs(r.Data, r.Place, oid, r.Serial, s.settings.MD5Policy.Read)
}

// revisionOnce is to be called within settled.
func (s *Storage) revisionOnce(oid zodb.OID, serial zodb.TID) (*record.Object, error) {
	if r, ok := s.state.Revision(oid, serial); ok {
		return s.fromLog(r)
	}
	if o := s.cache.Get(oid); o != nil && o.Serial == serial {
		return o, nil
	}
	if s.full {
		return s.fromFile(layout.Revision(oid, serial), oid, serial)
	}
	o, err := s.fromFile(layout.Object(oid), oid, 0)
	if err == nil && o.Serial != serial {
		return nil, &zodb.KeyError{OID: oid, TID: serial, Reason: "a storage of class Minimal keeps the current revision only"}
	}
	return o, err
}

// previousOnce returns the revision before o; nil if there is none, or if it
// was packed away. The error is a *zodb.CorruptError if it is lost. To be called
// within settled.
func (s *Storage) previousOnce(o *record.Object) (*record.Object, error) {
	if o.Previous == 0 || !s.full {
		return nil, nil
	}
	if o.Previous >= o.Serial {
		return nil, &zodb.CorruptError{Path: s.store.Place(layout.Revision(o.OID, o.Serial)), OID: o.OID, TID: o.Serial,
			Reason: fmt.Sprintf("history does not go backwards: the revision before it is %s", o.Previous)}
	}
	p, err := s.revisionOnce(o.OID, o.Previous)
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, s.whyNoPrevious(o)
	}
	return p, err
}

func (s *Storage) fromLog(r state.Revision) (*record.Object, error) {
	if r.Object != nil {
		return r.Object, nil
	}
	e := r.Entry
	o := &record.Object{OID: e.OID, UndoFrom: e.UndoFrom, BlobMD5: e.BlobMD5, Previous: e.Previous, Serial: r.TID}
	if e.Gone {
		return o, nil
	}
	data, err := s.read.Read(e)
	if err != nil && s.o.ReadOnly {
		return s.flushedMeanwhile(e.OID, r.TID, err)
	}
	o.Data = data
	return o, err
}

func (s *Storage) fromFile(n layout.Name, oid zodb.OID, serial zodb.TID) (*record.Object, error) {
	b, where, err := s.store.Get(n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &zodb.KeyError{OID: oid, TID: serial}
	}
	if err != nil {
		return nil, err
	}
	return record.ParseObjectAs(b, where, oid, serial, s.settings.MD5Policy.Read)
}

// serialOf returns the serial of the current revision; 0 if there is none.
func (s *Storage) serialOf(ctx context.Context, oid zodb.OID) (serial zodb.TID, err error) {
	err = s.settled(ctx, func() error {
		if r, ok := s.state.Current(oid); ok {
			serial = r.TID
			return nil
		}
		if o := s.cache.Get(oid); o != nil {
			serial = o.Serial
			return nil
		}
		serial, err = s.store.Current(oid)
		return err
	})
	if errors.Is(err, zodb.ErrNotFound) {
		return 0, nil
	}
	return serial, err
}

// exists reports whether an object can be loaded, without reading it.
func (s *Storage) exists(ctx context.Context, oid zodb.OID) (found bool, err error) {
	err = s.settled(ctx, func() error {
		found = false
		if r, ok := s.state.Current(oid); ok {
			found = !r.Entry.Gone
			return nil
		}
		if o := s.cache.Get(oid); o != nil {
			found = !s.gone(o)
			return nil
		}
		found, err = s.store.HasData(oid)
		return err
	})
	if errors.Is(err, zodb.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return found, err
}
