package flush

import (
	"context"
	"errors"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
)

const (
	// idleAfter is the time without a flush after which less urgent chores are done.
	idleAfter = time.Minute
	// least and leastIdle are the shares of removed bytes from which on a file is written again.
	least, leastIdle = 0.5, 0.3
	// leastShort is that share while space is short.
	leastShort = 0.1
	// lastRetryShort is the longest wait after an error where space is short, in intervals.
	lastRetryShort = 60
	// lastRetry is the longest wait after an error.
	lastRetry = time.Hour
	// longestRest bounds the rests of a chore that writes much.
	longestRest = 100 * time.Millisecond
)

// tending is the care of the store for its files. The long part of it is done by a goroutine of
// its own, beside everything else; the worker begins it and publishes the result, between its jobs.
// An error is logged, and it is tried again later: nothing depends on it. All is the worker's.
type tending struct {
	chore  store.Chore // under way; nil: none
	side   store.Side  // of which it replaces files
	begun  time.Time
	cancel context.CancelFunc
	ended  chan prepared

	due     bool      // something was changed since there was nothing to do
	idle    bool      // the same for less urgent chores
	changed time.Time // when something was
	wait    time.Duration
	retry   time.Time // not before; zero: at once
	again   time.Time // not before: nothing was changed, and space is short
	later   time.Time // when there may be something to do although nothing was changed; zero: never
	over    time.Time // delay_delete ends for something in A; zero: for nothing
	short   bool      // space was, when the one under way was begun
	less    bool      // the chore under way is a less urgent one
	of      *reclaim  // that it is for; nil: none
}

// prepared is the outcome of the long part.
type prepared struct {
	found bool
	err   error
}

// touch notes that files were changed.
func (w *Worker) touch() {
	t := &w.tending
	t.due, t.idle, t.changed = true, true, w.o.Clock()
}

// touchIfShort has the store looked after now and then while space is short, although nothing was
// changed: files that packs put aside may have had their time.
func (w *Worker) touchIfShort() {
	t, now := &w.tending, w.o.Clock()
	if t.due || t.chore != nil || now.Before(t.again) {
		return
	}
	t.again = now.Add(idleAfter)
	t.due = w.o.Space.Short()
}

// noteOver notes when the store has to be looked after although nothing was changed: when
// delay_delete has passed for members that a pack has put aside inside files.
func (w *Worker) noteOver() {
	t := &w.tending
	t.over = time.Time{}
	removed, _ := w.o.Store.Removed()
	for stamp := range removed.Aside {
		// In the second after it the stamp is an earlier one than the clock less delay_delete.
		at := time.Unix(stamp+1, 0).Add(w.o.Home.Settings.Storage.DelayDelete)
		if t.over.IsZero() || at.Before(t.over) {
			t.over = at
		}
	}
	if now := w.o.Clock(); !t.over.IsZero() && !t.over.After(now) {
		t.over = now.Add(idleAfter) // it is over, and nothing could be done just now
	}
}

// touchIfOver has A looked after when delay_delete has passed for something in it. In snapshot mode
// it waits.
func (w *Worker) touchIfOver(side store.Side) {
	t := &w.tending
	if side == store.A && !t.over.IsZero() && !w.o.Clock().Before(t.over) {
		t.over = time.Time{}
		w.touch()
	}
}

// tend publishes the chore that is ready, ends one that has lost its place, and begins one if it is
// time.
func (w *Worker) tend() {
	t := &w.tending
	side := w.o.State.Tendable()
	if t.chore != nil {
		select {
		case p := <-t.ended:
			// A chore that was cancelled is begun again, although its side is free by now.
			w.endChore(p, side == t.side && !errors.Is(p.err, context.Canceled))
		default:
			if side != t.side || t.isForNobody(w) {
				t.cancel()
			}
			return
		}
	}
	w.touchIfOver(side)
	if side == "" || w.untilTend() > 0 {
		return
	}
	if t.later.IsZero() || w.o.Clock().Before(t.later) {
		t.less = !t.due
	} else {
		t.due, t.less = true, false
	}
	t.later = time.Time{}
	t.of = w.asked(side)
	o := w.tending.terms(w)
	o.Before = w.o.Clock().Add(-w.o.Home.Settings.Storage.DelayDelete).Unix()
	t.begun = w.o.Clock()
	chore, err := w.o.Store.Tend(o)
	if err != nil {
		w.tendFailed(err)
		return
	}
	if chore == nil {
		t.of.end(nil)
		t.due, t.idle = false, false
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan prepared, 1)
	t.chore, t.side, t.cancel, t.ended = chore, side, cancel, ended
	go func() {
		found, err := chore.Prepare(ctx)
		ended <- prepared{found, err}
		w.o.State.Wake()
	}()
}

// terms returns the limits of the next chore. Where space is short, or a caller of Reclaim waits, it
// is one that gives space back. The reserve is for a disk on which space is short.
func (t *tending) terms(w *Worker) store.Tending {
	o := store.Tending{Least: least, Rest: w.rest}
	if t.less {
		o.Least = leastIdle
	}
	t.short = w.o.Space.Short()
	if !t.short && t.of == nil {
		o.Room = max(1, w.o.Space.Room().Bytes/2)
		return o
	}
	o.Least, o.Rest, o.Reclaim = leastShort, nil, true
	if t.of != nil {
		o.Least = t.of.least
	}
	o.Room = 1 + w.o.Space.ForReclaim(t.short)
	if t.short {
		o.Claim = w.o.Space.ClaimForReclaim
	}
	return o
}

// untilTend returns how long it is until something may be begun.
func (w *Worker) untilTend() time.Duration {
	t, now := &w.tending, w.o.Clock()
	const never = time.Hour
	wait := never
	switch {
	case t.chore != nil:
		return never // its end wakes the worker
	case w.asked(w.o.State.Tendable()) != nil:
		return 0
	case t.due:
		wait = 0
	case t.idle && w.o.State.IsIdle():
		wait = max(0, t.changed.Add(idleAfter).Sub(now))
	}
	if !t.later.IsZero() {
		wait = min(wait, max(0, t.later.Sub(now)))
	}
	if !t.over.IsZero() && w.o.State.Tendable() == store.A {
		wait = min(wait, max(0, t.over.Sub(now)))
	}
	return max(wait, t.retry.Sub(now))
}

// tendWait is untilTend while the worker has nothing else to do.
func (w *Worker) tendWait() time.Duration {
	if w.o.State.Tendable() == "" {
		return time.Hour
	}
	return w.untilTend()
}

// endChore publishes the prepared files, if they still have their place.
func (w *Worker) endChore(p prepared, publish bool) {
	t := &w.tending
	chore := t.chore
	t.chore = nil
	var n store.Tended
	err := p.err
	if publish && err == nil && p.found {
		if err = w.o.Home.Check(); err == nil {
			n, err = chore.Publish()
		}
	}
	t.cancel()
	again := chore.Again()
	if cerr := chore.Close(); cerr != nil && err == nil {
		err = cerr
	}
	w.gave.add(n, t.of != nil)
	switch {
	case !publish: // another time
		return
	case err != nil:
		w.tendFailed(err)
		return
	case !p.found && t.of != nil:
		t.of.end(nil)
	case !p.found && t.less:
		t.idle = false
	case !p.found:
		t.due = false
	}
	if !p.found && again > 0 {
		t.later = w.o.Clock().Add(again)
	}
	if !p.found && t.side == store.A {
		w.noteOver()
	}
	t.wait, t.retry = 0, time.Time{}
	if n.Note != "" {
		w.o.Log.Info(n.Note)
	}
	if n.GaveBack > 0 && t.short {
		w.o.Space.LookSoon()
	}
	if n.Files > 0 {
		w.o.Log.Info("files gave way to denser ones", "files", n.Files, "bytes", n.Bytes, "given_back", n.GaveBack, "dur", w.o.Clock().Sub(t.begun))
	}
}

// tendFailed notes an error, after which it is tried again later and later.
func (w *Worker) tendFailed(err error) {
	t := &w.tending
	t.wait = min(max(w.o.RetryInterval, 2*t.wait), lastRetry)
	if t.short {
		t.wait = min(t.wait, lastRetryShort*w.o.RetryInterval)
	}
	t.of.end(err)
	t.retry = w.o.Clock().Add(t.wait)
	w.o.Log.Warn("files could not be made denser; nothing is lost, and it is tried again", "after", t.wait, "err", err)
}

// rest lets others have the disk and the processor for as long as a piece of work took, unless nobody
// wants to flush.
func (w *Worker) rest(took time.Duration) {
	if !w.o.State.IsIdle() {
		time.Sleep(min(took, longestRest))
	}
}

// stopTending ends the chore that is under way, and waits for its end.
func (w *Worker) stopTending() {
	t := &w.tending
	if t.chore == nil {
		return
	}
	t.cancel()
	w.endChore(<-t.ended, false)
}
