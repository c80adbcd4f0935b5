package transfer

import (
	"context"
	"errors"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// FollowOptions of [Follow].
type FollowOptions struct {
	ServerOptions
	// Up is called, if not nil, when everything that is on the server has been copied:
	// first after the copy, then after each transaction, or several.
	Up func(Imported)
	// Lost is called, if not nil, when the connection was lost or could not be made, with
	// the time until the next try.
	Lost func(err error, again time.Duration)
	// Again is the first time between two tries; it doubles up to 30 times itself. Default 1 s.
	Again time.Duration
}

// Follow copies a storage on a server and then each transaction when the
// server announces it, until ctx ends, which is no error. A connection that is lost
// is made again, and the last transaction is compared each time; only the
// first one must succeed at once. onInvalidate is to be called by the
// connection that dial makes.
func Follow(ctx context.Context, s Target, dial func(ctx context.Context, onInvalidate func(zodb.TID, []zodb.OID)) (*zeoclient.Client, error), o FollowOptions) (Imported, error) {
	if o.Again <= 0 {
		o.Again = time.Second
	}
	f := &follower{o: o, dial: dial, im: newImporter(s, nil, o.Policy, o.Progress)}
	f.im.salvage = o.Salvage
	err := f.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return f.im.result, err
}

type follower struct {
	o     FollowOptions
	dial  func(context.Context, func(zodb.TID, []zodb.OID)) (*zeoclient.Client, error)
	im    *importer
	wasUp bool // the server was reached at least once
	whole bool // dangling references were looked for in everything
	pause time.Duration
}

func (f *follower) run(ctx context.Context) error {
	for {
		err := f.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !f.wasUp || !isLost(err) {
			return err
		}
		f.pause = min(max(2*f.pause, f.o.Again), 30*f.o.Again)
		if f.o.Lost != nil {
			f.o.Lost(err, f.pause)
		}
		select {
		case <-time.After(f.pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lostError marks the failures of connecting, which pass.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// isLost reports whether it is worth trying again with a new connection.
func isLost(err error) bool {
	if _, ok := errors.AsType[lostError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*packedMeanwhileError](err); ok {
		return true
	}
	_, ok := errors.AsType[*zeoclient.LostError](err)
	return ok
}

// dangling looks for references that dangle: after the first copy in every object that refers to a
// missing one, then in the objects copied since.
func (f *follower) dangling(ctx context.Context) error {
	look := f.im.danglingInNew
	if !f.whole {
		look = f.im.dangling
	}
	if err := look(ctx); err != nil {
		return err
	}
	f.whole, f.im.refs = true, newReferences()
	return nil
}

// session is one connection.
func (f *follower) session(ctx context.Context) error {
	news := make(chan struct{}, 1)
	c, err := f.dial(ctx, func(zodb.TID, []zodb.OID) {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return lostError{err}
	}
	defer c.Close()
	f.wasUp = true
	f.im.src = &server{c: c, skip: f.im.skipsTransaction}
	if err := f.again(ctx, f.im.run(ctx)); err != nil {
		return err
	}
	for {
		if err := f.dangling(ctx); err != nil {
			return err
		}
		f.pause = 0
		if f.o.Up != nil {
			f.o.Up(f.im.result)
		}
		select {
		case <-news:
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.again(ctx, f.im.copyFrom(ctx, f.im.result.LastTID+1)); err != nil {
			return err
		}
	}
}

// triesBesidePacks bounds how often in a row a pack may take revisions that are being copied.
const triesBesidePacks = 5

// again goes on with a copy that ended with an error, if a pack on the server took revisions that
// were being copied. It does so on the same connection: the last transaction that was copied may be
// packed away by now, so that a new one could not tell that this is a copy.
func (f *follower) again(ctx context.Context, err error) error {
	for range triesBesidePacks {
		if _, ok := errors.AsType[*packedMeanwhileError](err); !ok {
			return err
		}
		err = f.im.copyFrom(ctx, f.im.result.LastTID+1)
	}
	return err
}
