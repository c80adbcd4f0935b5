package transfer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// FollowOptions of [Follow].
type FollowOptions struct {
	ServerOptions
	// Report is called, if not nil, after each copied transaction, whenever everything that the
	// source has was copied, and then again and again until there is more, see Every.
	Report func(Lag)
	// Lost is called, if not nil, when the connection was lost or could not be made, with
	// the time until the next try.
	Lost func(err error, again time.Duration)
	// Again is the first time between two tries; it doubles up to 30 times itself. Default 1 s.
	Again time.Duration
	// Silence is how long the server may leave a question without an answer while there is nothing to copy; then the
	// connection counts as lost. A server that hangs, or a machine that was cut off, closes none. Default 1 min.
	Silence time.Duration
	// Every is the time between two reports while there is nothing to copy. Default 1 s.
	Every time.Duration
}

// Lag tells how far a copy is behind its source.
type Lag struct {
	// Up: everything that the source is known to have was copied.
	Up bool
	// Transactions and Bytes are known to the source and not copied yet; -1 = not known. Bytes are
	// those of the source's file, about, without blobs.
	Transactions, Bytes int64
	// Source is the last transaction that the source is known to have; 0 = not known. The last one
	// that was copied is in Imported.
	Source zodb.TID
	Imported
}

// Behind is the time between the last transaction that was copied and the last one of the source.
func (l Lag) Behind() time.Duration {
	if l.Up || l.Source <= l.LastTID || l.LastTID == 0 {
		return 0
	}
	return l.Source.Time().Sub(l.LastTID.Time())
}

// Follow copies a storage on a server and then each transaction when the
// server announces it, until ctx ends, which is no error. A connection that is lost
// is made again, and the last transaction is compared each time; only the
// first one must succeed at once. onInvalidate is to be called by the
// connection that dial makes. When everything was copied, current revisions are compared as ImportServer does, first
// all of them, and then those of each further transaction.
func Follow(ctx context.Context, s Target, dial func(ctx context.Context, onInvalidate func(zodb.TID, []zodb.OID)) (*zeoclient.Client, error), o FollowOptions) (Imported, error) {
	if o.Again <= 0 {
		o.Again = time.Second
	}
	if o.Silence <= 0 {
		o.Silence = time.Minute
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	f := &follower{o: o, dial: dial}
	f.im = newImporter(s, nil, o.Policy, f.progress)
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
	lag   announced
	// changed are to be compared: all of them at first.
	changed changedObjects
}

// progress is called after each transaction.
func (f *follower) progress(p Progress) {
	if f.o.Progress != nil {
		f.o.Progress(p)
	}
	f.report(false)
}

func (f *follower) report(up bool) {
	if f.o.Report == nil {
		return
	}
	f.o.Report(f.lag.lag(up, f.im.result, f.im.src.(*server)))
}

// announced counts the transactions that a server has announced and that are not copied yet.
type announced struct {
	mu     sync.Mutex
	first  zodb.TID   // the last one when the connection was made: how many came before is not known
	queue  []zodb.TID // guarded by mu
	size   int64      // of the source when everything had been copied; 0: not known
	target int64      // of the source now
	read   int64      // by then
}

// more notes a transaction.
func (a *announced) more(tid zodb.TID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 || tid > a.queue[len(a.queue)-1] {
		a.queue = append(a.queue, tid)
	}
}

// lag takes off the transactions that were copied.
func (a *announced) lag(up bool, done Imported, v *server) Lag {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for n < len(a.queue) && a.queue[n] <= done.LastTID {
		n++
	}
	if a.queue = a.queue[n:]; len(a.queue) == 0 {
		a.queue = nil
	}
	l := Lag{Transactions: int64(len(a.queue)), Bytes: -1, Source: max(a.first, done.LastTID), Imported: done}
	l.Up = up && len(a.queue) == 0
	if n := len(a.queue); n > 0 {
		l.Source = a.queue[n-1]
	}
	if done.LastTID < a.first {
		l.Transactions = -1
	}
	switch {
	case l.Up:
		l.Bytes = 0
	case a.size > 0:
		l.Bytes = max(a.target-a.size-(v.read-a.read), 0)
	case v.whole && v.info != nil:
		l.Bytes = max(v.info.Size-v.read, 0)
	}
	return l
}

// measure asks for the size of the source. all: everything was copied.
func (f *follower) measure(ctx context.Context, c *zeoclient.Client, all bool) error {
	info, err := c.GetInfo(ctx)
	if err != nil {
		return err
	}
	if f.lag.target = info.Size; all {
		f.lag.size, f.lag.read = info.Size, f.im.src.(*server).read
	}
	return nil
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
	c, err := f.dial(ctx, func(tid zodb.TID, oids []zodb.OID) {
		f.lag.more(tid)
		f.changed.add(oids...)
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
	f.lag.first, f.lag.size = c.LastTID(), 0
	if err := f.missed(ctx, c); err != nil {
		return err
	}
	if err := f.again(ctx, f.im.run(ctx)); err != nil {
		return err
	}
	for {
		if err := f.compare(ctx, c); err != nil {
			return err
		}
		if err := f.dangling(ctx); err != nil {
			return err
		}
		f.pause = 0
		if err := f.measure(ctx, c, true); err != nil {
			return err
		}
		if err := f.idle(ctx, c, news); err != nil {
			return err
		}
		if err := f.measure(ctx, c, false); err != nil {
			return err
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
