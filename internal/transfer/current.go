package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// ErrIncomplete: a server has current revisions that it did not list, so that the copy lacks them.
var ErrIncomplete = errors.New("the copy lacks current revisions of the server")

// Differing is an object whose current revision in a copy is not that of the server, as of the last transaction of the copy.
type Differing struct {
	OID    zodb.OID `json:"oid"`
	Here   zodb.TID `json:"here"`             // the serial in the copy; 0: it has no revision
	There  zodb.TID `json:"there"`            // the serial on the server; 0: not known
	Reason string   `json:"reason,omitempty"` // the error of the server
}

func (d Differing) String() string {
	here, there := "is missing here", fmt.Sprintf("is of transaction %s on the server", d.There)
	if d.Here != 0 {
		here = fmt.Sprintf("is of transaction %s here", d.Here)
	}
	if d.Reason != "" {
		there = "cannot be read there: " + d.Reason
	}
	return fmt.Sprintf("object %s %s, and %s", d.OID, here, there)
}

// maxDiffering is how many of them are listed.
const maxDiffering = 100

// incompleteError names the first objects that differ.
type incompleteError struct {
	n     int64
	first []Differing
}

// maxNamed is how many objects an error names.
const maxNamed = 5

func (e *incompleteError) Error() string {
	named := make([]string, 0, maxNamed+1)
	for _, d := range e.first[:min(len(e.first), maxNamed)] {
		named = append(named, d.String())
	}
	if more := e.n - int64(len(named)); more > 0 {
		named = append(named, fmt.Sprintf("and %s more", human.Count(more)))
	}
	return fmt.Sprintf("%v: of %s: %s", ErrIncomplete, human.Number(e.n, "object"), strings.Join(named, "; "))
}

// Is matches ErrIncomplete.
func (e *incompleteError) Is(target error) bool { return target == ErrIncomplete }

// agreement compares the current revisions of a copy with those of its server. The server may go on: only its revisions up
// to the last transaction of the copy count. Objects that the server does not have any more were packed away.
//
// Python's server ends the records of a transaction at a damaged header, and tells nobody but its log. Its index still has those
// records.
type agreement struct {
	im    *importer
	c     *zeoclient.Client
	last  zodb.TID       // of the copy
	later func(zodb.OID) // takes the objects that have changed since; nil: their revisions before are asked for
	there int64          // objects that the server has
}

// compareWhole compares all objects.
func (a *agreement) compareWhole(ctx context.Context) error {
	a.im.result.Compared, a.im.result.Differing, a.im.result.DifferingList = 0, 0, nil
	want, info, err := a.objectsThere(ctx)
	if err == nil {
		err = a.compare(ctx, a.im.s.OIDs(ctx), info.Length)
	}
	// No object comes back that was packed away, so the server had all of these when it was asked for their number.
	if err == nil && a.there != want {
		err = a.compareOthers(ctx, info)
	}
	if err != nil {
		return err
	}
	return a.verdict()
}

// compareSome compares some objects.
func (a *agreement) compareSome(ctx context.Context, oids *oidset.Set) error {
	if err := a.compare(ctx, errorless(oids.Each()), oids.Len()); err != nil {
		return err
	}
	return a.verdict()
}

// errorless is a sequence that has no errors.
func errorless[T any](list iter.Seq[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// verdict remembers that the copy is none, if it is none.
func (a *agreement) verdict() error {
	r := &a.im.result
	if r.Differing == 0 {
		return nil
	}
	if err := a.im.s.DiffersFromSource(); err != nil || a.im.salvage {
		return err
	}
	return &incompleteError{r.Differing, r.DifferingList}
}

// triesOfLength is how often the number of objects is asked for between two transactions.
const triesOfLength = 5

// objectsThere returns the number of objects on the server that it had at the last transaction of the copy, those
// included that were packed since. -1: not known.
func (a *agreement) objectsThere(ctx context.Context) (n int64, info *zeoclient.Info, err error) {
	for range triesOfLength {
		var before, after zodb.TID
		if before, err = a.c.LastTransaction(ctx); err != nil {
			return 0, nil, err
		}
		if info, err = a.c.GetInfo(ctx); err != nil {
			return 0, nil, err
		}
		if after, err = a.c.LastTransaction(ctx); err != nil {
			return 0, nil, err
		}
		if before != after {
			continue
		}
		fresh, known, err := a.createdSince(ctx, after)
		if err != nil {
			return 0, nil, err
		}
		if !known {
			break
		}
		return info.Length - fresh, info, nil
	}
	return -1, info, nil
}

// createdSince counts the objects that the transactions behind the last one of the copy have created.
func (a *agreement) createdSince(ctx context.Context, to zodb.TID) (n int64, known bool, err error) {
	if to <= a.last {
		return 0, true, nil
	}
	fresh := oidset.New(refMemory())
	for txn, err := range a.c.Iterate(ctx, a.last+1, to) {
		if _, lost := errors.AsType[*zeoclient.LostError](err); err != nil {
			if lost || ctx.Err() != nil {
				return 0, false, err
			}
			return 0, false, nil // there is damage
		}
		for rec, err := range txn.Records() {
			if _, told := errors.AsType[*zeoclient.ServerError](err); told {
				return 0, false, nil
			}
			var here zodb.TID
			if err == nil {
				here, err = a.im.s.Serial(ctx, rec.OID)
			}
			if err != nil {
				return 0, false, err
			}
			if here != 0 {
				continue
			}
			was, err := a.before(ctx, rec.OID)
			if _, told := errors.AsType[*zeoclient.ServerError](err); told || was != 0 {
				return 0, false, nil // the copy lacks it
			}
			if err != nil {
				return 0, false, err
			}
			if room, _ := fresh.Add(rec.OID); !room {
				return 0, false, nil
			}
		}
	}
	return fresh.Len(), true, nil
}

// compare compares some objects; total is about how many they are.
func (a *agreement) compare(ctx context.Context, oids iter.Seq2[zodb.OID, error], total int64) error {
	done := int64(0)
	for got, err := range a.c.GetTids(ctx, oids) {
		if err == nil {
			err = a.object(ctx, got)
		}
		if err != nil {
			return err
		}
		a.im.result.Compared++
		if done++; a.im.progress != nil {
			a.im.progress(Progress{Transactions: a.im.result.Transactions, Records: a.im.result.Records, Done: done, Total: max(done, total)})
		}
	}
	return nil
}

// compareOthers compares the objects that the server has and the copy does not. A copy that was packed lacks garbage, and
// not every server lists its objects; then those are compared that others refer to.
func (a *agreement) compareOthers(ctx context.Context, info *zeoclient.Info) error {
	if a.im.s.Status().Packed != 0 || !info.SupportsRecordIternext {
		return a.compareMissing(ctx)
	}
	for got, err := range a.c.Currents(ctx) {
		if a.im.skipsPart(filestorage.Skipped{Whole: true}, err) {
			return a.compareMissing(ctx)
		}
		var here zodb.TID
		if err == nil {
			here, err = a.im.s.Serial(ctx, got.OID)
		}
		if err == nil && here == 0 {
			err = a.object(ctx, got)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compareMissing compares the objects that records of this import refer to, and that the copy does not have.
func (a *agreement) compareMissing(ctx context.Context) error {
	missing, some, err := a.im.missing(ctx)
	if err != nil || !some {
		return err
	}
	return a.compare(ctx, errorless(missing.Each()), missing.Len())
}

// object compares an object with the answer of the server.
func (a *agreement) object(ctx context.Context, got zeoclient.Current) error {
	here, err := a.im.s.Serial(ctx, got.OID)
	if err != nil {
		return err
	}
	there, has, err := a.serialThere(ctx, got)
	if has && here != 0 {
		a.there++
	}
	e, told := errors.AsType[*zeoclient.ServerError](err)
	switch {
	case told && TellsDamage(e):
		a.differs(Differing{OID: got.OID, Here: here, Reason: e.Error()})
		return nil
	case err != nil:
		return fmt.Errorf("object %s: %w", got.OID, err)
	case there != 0 && there != here:
		a.differs(Differing{OID: got.OID, Here: here, There: there})
	}
	return nil
}

// serialThere returns the serial of an object on the server at the last transaction of the copy; 0: it had none, or that revision
// was packed away since, or it is left for later. It reports whether the server has the object now.
func (a *agreement) serialThere(ctx context.Context, got zeoclient.Current) (serial zodb.TID, has bool, err error) {
	switch {
	case got.Err != nil && errors.Is(got.Err, zodb.ErrNotFound):
		serial, err = a.deletion(ctx, got.OID)
		return serial, serial != 0 || err != nil, err
	case got.Err != nil:
		return 0, true, got.Err
	case got.TID <= a.last:
		return got.TID, true, nil
	case a.later != nil:
		a.later(got.OID)
		return 0, true, nil
	}
	serial, err = a.before(ctx, got.OID)
	return serial, true, err
}

// before returns the serial of an object at the last transaction of the copy; 0: it had none, or it was packed away since.
func (a *agreement) before(ctx context.Context, oid zodb.OID) (zodb.TID, error) {
	rev, err := a.c.LoadBefore(ctx, oid, a.last+1)
	switch {
	case errors.Is(err, zodb.ErrNotFound):
		return a.deletion(ctx, oid)
	case err != nil || rev == nil:
		return 0, err
	}
	return rev.Serial, nil
}

// deletionsBack is how many revisions of an object that was deleted are asked for.
const deletionsBack = 100

// deletion returns the serial of the newest revision of an object up to the last transaction of the copy, which a load does
// not find; 0: there is none.
func (a *agreement) deletion(ctx context.Context, oid zodb.OID) (zodb.TID, error) {
	list, err := a.c.History(ctx, oid, deletionsBack)
	if errors.Is(err, zodb.ErrNotFound) {
		return 0, nil
	}
	for _, e := range list {
		if e.TID <= a.last {
			return e.TID, err
		}
	}
	return 0, err
}

func (a *agreement) differs(d Differing) {
	r := &a.im.result
	if r.Differing++; len(r.DifferingList) < maxDiffering {
		r.DifferingList = append(r.DifferingList, d)
	}
}
