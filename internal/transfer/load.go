package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/zodb"
)

// Load is the fast way into a storage.
type Load struct {
	// Loader is that of a storage without transactions; nil: it is open.
	Loader Loader
	// Turn closes the open storage, which ends with a transaction, and returns its Loader. An error
	// that matches errors.ErrUnsupported says that there is none.
	Turn func(last zodb.TID) (Loader, error)
	// Open opens the storage when the Loader is closed, or there is none. It is called in any case.
	Open func() (Target, error)
}

// Loader takes transactions for a storage that is not open. They are durable when
// it is closed, or before. Anything out of the ordinary is refused, with an error that matches
// errors.ErrUnsupported: the rest is for the Target.
type Loader interface {
	Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error)
	Close() error
}

// loading runs a copy, with the Loader if there is one, and opens the storage again behind it. The rest
// of a copy that the Loader did not take, it runs once more, without.
// err is an earlier error, with which nothing is copied.
func (im *importer) loading(err error, copy func() error) error {
	if im.load != nil && im.load.Loader != nil {
		im.loader = im.load.Loader
	}
	if err == nil {
		err = copy()
	}
	if im.loader == nil {
		return err
	}
	rest := errors.Is(err, errors.ErrUnsupported)
	if rest {
		err = nil
	}
	cerr := im.loader.Close()
	im.loader = nil
	oerr := im.open()
	if cerr != nil && errors.Is(oerr, ErrOther) {
		oerr = nil // it lacks transactions that the Loader could not make durable
	}
	if err = errors.Join(err, cerr, oerr); err != nil || !rest {
		return err
	}
	return copy()
}

// open opens the storage, which ends with the last transaction that was copied. The rest is for it. It was
// not locked for a moment, so another process may have committed: nothing is copied behind that.
func (im *importer) open() error {
	s, err := im.load.Open()
	im.load = nil
	if err != nil {
		return err
	}
	copied, last := im.result.LastTID, s.LastTransaction()
	if im.s, im.result.LastTID = s, last; last != copied {
		return &otherError{im.src.name(), fmt.Sprintf("another process wrote to it meanwhile: it ends with transaction %s, and %s was the last one that was copied", last, copied)}
	}
	return nil
}

// turn gives the storage up for its Loader, if it has one.
func (im *importer) turn() (err error) {
	if im.load == nil || im.loader != nil {
		return nil
	}
	im.loader, err = im.load.Turn(im.s.LastTransaction())
	if errors.Is(err, errors.ErrUnsupported) {
		return im.open()
	}
	return err
}

func (im *importer) begin() func(context.Context, zodb.TxnMeta, zodb.BeginOptions) (zodb.Txn, error) {
	if im.loader != nil {
		return im.loader.Begin
	}
	return im.s.Begin
}
