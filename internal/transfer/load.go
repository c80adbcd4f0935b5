package transfer

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/zodb"
)

// Load is the fast way into a new storage.
type Load struct {
	Loader Loader
	// Open opens the storage when the Loader is closed. It is called in any case.
	Open func() (Target, error)
}

// Loader takes the first transactions of a storage that is not open. Transactions are durable when
// it is closed, or before. Anything out of the ordinary is refused, with an error that matches
// errors.ErrUnsupported: the rest is for the Target.
type Loader interface {
	Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error)
	Close() error
}

// loadFirst copies with the Loader, as far as that goes, and opens the storage. all: that was
// everything. err is an earlier error.
func (im *importer) loadFirst(ctx context.Context, err error) (all bool, _ error) {
	load := im.load
	im.load, im.loader = nil, load.Loader
	if err == nil {
		err = im.copyFrom(ctx, 0)
	}
	all = err == nil
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	im.loader = nil
	if cerr := load.Loader.Close(); cerr != nil {
		all, err = false, errors.Join(err, cerr)
	}
	s, oerr := load.Open()
	if oerr != nil {
		return false, errors.Join(err, oerr)
	}
	im.s, im.result.LastTID = s, s.LastTransaction()
	return all && err == nil, err
}

func (im *importer) begin() func(context.Context, zodb.TxnMeta, zodb.BeginOptions) (zodb.Txn, error) {
	if im.loader != nil {
		return im.loader.Begin
	}
	return im.s.Begin
}
