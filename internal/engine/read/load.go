package read

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

// validated runs a read that looks into the index over the log first and into
// files then. Between the two a transaction may be published, flushed and
// dropped from the index, so that the read finds a file half written, or a
// place in the log used again. Such a read fails its checks; it is repeated
// if the index changed meanwhile, and believed if not.
func (r *Reader) validated(ctx context.Context, read func() error) error {
	if r.o.ReadOnly {
		return r.validatedBeside(ctx, read)
	}
	for range maxRetries {
		version := r.o.State.Version()
		err := read()
		if err == nil || r.o.State.Version() == version {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return read()
}

// Load returns the current revision of an object. Its data, like those of every
// load, may be shared by many readers, and must not be changed. Errors: *zodb.KeyError if
// there is none, or if its creation was undone; *zodb.CorruptError, with NoObject if
// it is there and the file of its revision is not.
func (r *Reader) Load(ctx context.Context, oid zodb.OID) (zodb.Revision, error) {
	o, err := r.Current(ctx, oid)
	if err != nil {
		return zodb.Revision{}, err
	}
	if r.gone(o) {
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
func (r *Reader) LoadBefore(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	if rev, ok := r.LoadBeforeCached(oid, before); ok {
		return &rev, nil
	}
	var result *zodb.Revision
	err := r.validated(ctx, func() error {
		result = nil
		o, err := r.currentOnce(oid)
		var end zodb.TID
		for err == nil && o.Serial >= before {
			end = o.Serial
			if o, err = r.previousOnce(o); o == nil && err == nil {
				return nil
			}
		}
		if err != nil {
			return err
		}
		if r.gone(o) {
			return &zodb.KeyError{OID: oid, TID: o.Serial, Reason: "it did not exist at that time: deleted, or its creation undone"}
		}
		result = &zodb.Revision{Data: o.Data, Serial: o.Serial, End: end}
		return nil
	})
	return result, err
}

// LoadBeforeCached is [Reader.LoadBefore] for callers that must not wait: it answers
// only from memory, and never touches the disk. ok is false if it cannot, and
// also if the answer would be an error or that there is nothing. Revision.Data
// is shared by all readers and must not be changed.
func (r *Reader) LoadBeforeCached(oid zodb.OID, before zodb.TID) (rev zodb.Revision, ok bool) {
	unflushed, end, previous, ok := r.o.State.RevisionBefore(oid, before)
	if ok {
		if unflushed.Object == nil || r.gone(unflushed.Object) {
			return zodb.Revision{}, false
		}
		return zodb.Revision{Data: unflushed.Object.Data, Serial: unflushed.TID, End: end}, true
	}
	o := r.o.Cache.Get(oid)
	if o == nil || o.Serial >= before || r.gone(o) || end != 0 && o.Serial != previous {
		return zodb.Revision{}, false
	}
	return zodb.Revision{Data: o.Data, Serial: o.Serial, End: end}, true
}

// LoadSerial returns the data of one revision. Errors as Load.
func (r *Reader) LoadSerial(ctx context.Context, oid zodb.OID, serial zodb.TID) ([]byte, error) {
	o, err := r.Revision(ctx, oid, serial)
	if err != nil {
		return nil, err
	}
	if r.gone(o) {
		return nil, &zodb.KeyError{OID: oid, TID: serial, Reason: "that revision says that the object does not exist"}
	}
	return o.Data, nil
}

// LoadRecord returns one revision with all that is known of it. A record that
// says that the object does not exist is not an error here. DataTID is 0 if the revision
// that it would name, or its transaction, was packed away: so a DataTID that is set leads a
// copier of the record to that revision.
func (r *Reader) LoadRecord(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Record, error) {
	o, err := r.Revision(ctx, oid, serial)
	if err != nil {
		return zodb.Record{}, err
	}
	return r.recordOf(ctx, o)
}

// recordOf returns a revision with all that is known of it.
func (r *Reader) recordOf(ctx context.Context, o *record.Object) (zodb.Record, error) {
	oid := o.OID
	rec := zodb.Record{OID: oid, TID: o.Serial, Data: o.Data, Exists: !r.gone(o), HasBlob: o.HasBlob()}
	if o.UndoFrom != 0 {
		there, err := r.hasRevision(ctx, oid, o.UndoFrom)
		if err != nil {
			return zodb.Record{}, err
		}
		if there {
			rec.DataTID = o.UndoFrom
		}
	}
	return rec, nil
}

// hasRevision reports whether the file of a revision, and that of its transaction, are there
// or will be. They are not read.
func (r *Reader) hasRevision(ctx context.Context, oid zodb.OID, tid zodb.TID) (there bool, err error) {
	err = r.validated(ctx, func() error {
		if _, there = r.o.State.Revision(oid, tid); there {
			return nil
		}
		for _, n := range []layout.Name{layout.Revision(oid, tid), layout.Transaction(tid)} {
			if _, err := r.o.Store.Stat(n); err != nil {
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
func (r *Reader) gone(o *record.Object) bool { return r.o.Home.Full && o.Gone() }

// Current returns the current revision, which may be one that says that the
// object does not exist.
func (r *Reader) Current(ctx context.Context, oid zodb.OID) (o *record.Object, err error) {
	err = r.validated(ctx, func() error {
		o, err = r.currentOnce(oid)
		return err
	})
	return o, err
}

// Revision returns one revision.
func (r *Reader) Revision(ctx context.Context, oid zodb.OID, serial zodb.TID) (o *record.Object, err error) {
	err = r.validated(ctx, func() error {
		o, err = r.revisionOnce(oid, serial)
		return err
	})
	return o, err
}

// currentOnce is to be called within validated.
func (r *Reader) currentOnce(oid zodb.OID) (*record.Object, error) {
	rev, ok, generation := r.o.State.CurrentAndGeneration(oid)
	if ok {
		return r.FromLog(rev)
	}
	if o := r.o.Cache.Get(oid); o != nil {
		return o, nil
	}
	o, err := r.currentFile(oid)
	if err != nil {
		return nil, err
	}
	o.Data = slices.Clip(o.Data)
	r.o.Cache.Put(o, generation)
	return o, nil
}

// currentFile reads the current revision of the store.
func (r *Reader) currentFile(oid zodb.OID) (*record.Object, error) {
	rev, err := r.o.Store.Load(oid)
	if err != nil {
		return nil, err
	}
	return record.ParseObjectAs(rev.Data, rev.Place, oid, rev.Serial, r.o.Home.Settings.MD5Policy.Read)
}

// revisionOnce is to be called within validated.
func (r *Reader) revisionOnce(oid zodb.OID, serial zodb.TID) (*record.Object, error) {
	if rev, ok := r.o.State.Revision(oid, serial); ok {
		return r.FromLog(rev)
	}
	if o := r.o.Cache.Get(oid); o != nil && o.Serial == serial {
		return o, nil
	}
	if r.o.Home.Full {
		return r.FromFile(layout.Revision(oid, serial), oid, serial)
	}
	o, err := r.FromFile(layout.Object(oid), oid, 0)
	if err == nil && o.Serial != serial {
		return nil, &zodb.KeyError{OID: oid, TID: serial, Reason: "a storage of class Minimal keeps the current revision only"}
	}
	return o, err
}

// previousOnce returns the revision before o; nil if there is none, or if it
// was packed away. The error is a *zodb.CorruptError if it is lost. To be called
// within validated.
func (r *Reader) previousOnce(o *record.Object) (*record.Object, error) {
	if o.Previous == 0 || !r.o.Home.Full {
		return nil, nil
	}
	if o.Previous >= o.Serial {
		return nil, &zodb.CorruptError{Path: r.o.Store.Place(layout.Revision(o.OID, o.Serial)), OID: o.OID, TID: o.Serial,
			Reason: fmt.Sprintf("history does not go backwards: the revision before it is %s", o.Previous)}
	}
	p, err := r.revisionOnce(o.OID, o.Previous)
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, r.WhyNoPrevious(o)
	}
	return p, err
}

// FromLog returns an unflushed revision: its record in memory, or read from the journal. A
// read-only storage finds it in the store if another process has flushed it since.
func (r *Reader) FromLog(rev state.Revision) (*record.Object, error) {
	if rev.Object != nil {
		return rev.Object, nil
	}
	e := rev.Entry
	o := &record.Object{OID: e.OID, UndoFrom: e.UndoFrom, BlobSum: e.BlobSum, Previous: e.Previous, Serial: rev.TID}
	if e.Gone {
		return o, nil
	}
	data, err := r.journal.Read(e)
	if err != nil && r.o.ReadOnly {
		return r.flushedMeanwhile(e.OID, rev.TID, err)
	}
	o.Data = data
	return o, err
}

// FromFile returns the content of a database name of the store; serial 0: any. The error
// matches zodb.ErrNotFound if it is not there.
func (r *Reader) FromFile(n layout.Name, oid zodb.OID, serial zodb.TID) (*record.Object, error) {
	b, where, err := r.o.Store.Get(n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &zodb.KeyError{OID: oid, TID: serial}
	}
	if err != nil {
		return nil, err
	}
	return record.ParseObjectAs(b, where, oid, serial, r.o.Home.Settings.MD5Policy.Read)
}

// Serial returns the serial of the current revision; 0 if there is none.
func (r *Reader) Serial(ctx context.Context, oid zodb.OID) (serial zodb.TID, err error) {
	err = r.validated(ctx, func() error {
		if rev, ok := r.o.State.Current(oid); ok {
			serial = rev.TID
			return nil
		}
		if o := r.o.Cache.Get(oid); o != nil {
			serial = o.Serial
			return nil
		}
		serial, err = r.o.Store.Current(oid)
		return err
	})
	if errors.Is(err, zodb.ErrNotFound) {
		return 0, nil
	}
	return serial, err
}

// Exists reports whether an object can be loaded, without reading its record.
func (r *Reader) Exists(ctx context.Context, oid zodb.OID) (found bool, err error) {
	err = r.validated(ctx, func() error {
		found = false
		if rev, ok := r.o.State.Current(oid); ok {
			found = !rev.Entry.Gone
			return nil
		}
		if o := r.o.Cache.Get(oid); o != nil {
			found = !r.gone(o)
			return nil
		}
		found, err = r.o.Store.HasData(oid)
		return err
	})
	if errors.Is(err, zodb.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return found, err
}
