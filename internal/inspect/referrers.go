package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/zodb"
)

// indexFile is where the index of references is.
const indexFile = "misc/" + refindex.FileName

// Referrers are the objects that refer to one.
type Referrers struct {
	List []Referrer // by oid; at most maxReferences
	// More: there are more of them than in the list.
	More bool
	// Index is the last transaction of the index that was used; 0: none was.
	Index zodb.TID
	// Why says why there was no index to use.
	Why string
	// Looked of Total objects were read. Total is about right.
	Looked, Total int64
	// Complete: all that could refer to the object were looked at, by strong references.
	Complete bool
	// Unseen objects could not be read, or decoded.
	Unseen int64
}

// Referrer is an object that refers to another one.
type Referrer struct {
	OID    zodb.OID
	Class  string
	Serial zodb.TID
}

// ErrBusy is matched by the error of a search that another one is in the way of.
var ErrBusy = errors.New("another search through all objects is under way; try again when it is over")

// Referrers returns the objects whose current revisions refer to one by strong references: by the
// index of references, if there is one that is of use, and the changes since. Else nothing is looked
// for, but with scan all objects are read until ctx ends, in one search at a time: ErrBusy.
func (b *Browser) Referrers(ctx context.Context, oid zodb.OID, scan bool) (*Referrers, error) {
	r := &Referrers{}
	memory := b.o.Bounds.takeSet()
	defer b.o.Bounds.giveSet(memory)
	set, err := b.candidates(ctx, r, oid, memory)
	if err != nil {
		return nil, err
	}
	if set != nil {
		r.Total = set.Len()
		return r, b.collect(ctx, r, oid, withoutErrors(set.Each()))
	}
	r.Total = b.s.Counts().Objects
	if !scan {
		return r, nil
	}
	select {
	case b.o.Bounds.seeking <- struct{}{}:
		defer func() { <-b.o.Bounds.seeking }()
	default:
		return nil, ErrBusy
	}
	return r, b.collect(ctx, r, oid, b.s.OIDs(ctx))
}

func withoutErrors(oids iter.Seq[zodb.OID]) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		for oid := range oids {
			if !yield(oid, nil) {
				return
			}
		}
	}
}

// Of candidates: the memory that the sets of all searches may take, and how many transactions since that
// of the index are looked at.
const (
	candidatesMemory = 16 << 20
	candidatesTxns   = 100_000
)

// candidates returns the objects that may refer to one now; nil, with Referrers.Why, if the index
// cannot tell.
func (b *Browser) candidates(ctx context.Context, r *Referrers, oid zodb.OID, memory int64) (_ *oidset.Set, err error) {
	if b.o.Home == nil {
		r.Why = "there is no " + indexFile
		return nil, nil
	}
	index, err := refindex.Open(b.o.Home, indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		r.Why = "there is no " + indexFile
		return nil, nil
	}
	if err != nil {
		r.Why = err.Error()
		return nil, nil
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	set := oidset.New(memory)
	why, err := Candidates(ctx, b.s, index, oid, set, candidatesTxns)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		why = err.Error()
	}
	if why != "" {
		r.Why = why
		return nil, nil
	}
	r.Index, r.Unseen = index.TID(), index.Stats().Skipped
	return set, nil
}

// Candidates adds to a set the objects that may refer to one now: those that the index of references
// names, and all that were written since, unless these are more than most transactions (0: no limit).
// why says why the index is of no use.
func Candidates(ctx context.Context, s Storage, index *refindex.Reader, oid zodb.OID, set *oidset.Set, most int) (why string, err error) {
	const tooMany = "too much is to be looked at"
	for from, err := range index.Referrers(oid) {
		if errors.Is(err, zodb.ErrCorrupt) {
			return err.Error(), nil
		}
		if err != nil {
			return "", err
		}
		if room, _ := set.Add(from); !room {
			return tooMany, nil
		}
	}
	since, last := index.TID(), s.LastTransaction()
	if last == since {
		return "", nil
	}
	if s.Status().Class == zodb.ClassMinimal {
		return indexFile + " is of an earlier transaction, and a storage of class Minimal does not know the changes since", nil
	}
	n := 0
	// The transactions lead back to that of the index, or it is not of this history.
	for txn, err := range s.TransactionsBackward(ctx, last) {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			return "the changes since " + indexFile + " are not known: " + err.Error(), nil
		}
		if txn.TID <= since {
			break
		}
		if n++; most > 0 && n > most {
			return fmt.Sprintf("%s is of transaction %s, and more than %d came since", indexFile, since, most), nil
		}
		for _, changed := range txn.OIDs {
			if room, _ := set.Add(changed); !room {
				return tooMany, nil
			}
		}
		if txn.Previous == since {
			return "", nil
		}
	}
	return fmt.Sprintf("%s is of transaction %s, which the storage does not have or has packed away", indexFile, since), nil
}

// collect looks which of some objects refer to one. The end of ctx ends it without an error.
func (b *Browser) collect(ctx context.Context, r *Referrers, oid zodb.OID, oids iter.Seq2[zodb.OID, error]) error {
	var scanner pickle.Scanner
	var refs []zodb.OID
	for from, err := range oids {
		switch {
		case ctx.Err() != nil:
			return r.end(false)
		case err != nil:
			return err
		case r.More:
			return r.end(false)
		}
		r.Looked++
		rev, reason, err := b.current(ctx, from)
		switch {
		case ctx.Err() != nil:
			return r.end(false)
		case errors.Is(err, zodb.ErrClosed):
			return err
		case err != nil:
			r.Unseen++
			continue
		case reason != "" || len(rev.Data) == 0:
			continue
		}
		if int64(len(rev.Data)) > b.o.Record {
			r.Unseen++
			continue
		}
		if refs, err = scanner.AppendStrongRefs(refs[:0], rev.Data); err != nil {
			r.Unseen++
			continue
		}
		if _, found := slices.BinarySearch(refs, oid); !found {
			continue
		}
		if len(r.List) == maxReferences {
			r.More = true
			continue
		}
		r.List = append(r.List, Referrer{OID: from, Class: b.class(rev.Data), Serial: rev.Serial})
	}
	return r.end(ctx.Err() == nil)
}

func (r *Referrers) end(complete bool) error {
	r.Complete = complete
	slices.SortFunc(r.List, func(a, b Referrer) int { return cmp.Compare(a.OID, b.OID) })
	r.List = slices.CompactFunc(r.List, func(a, b Referrer) bool { return a.OID == b.OID })
	return nil
}
