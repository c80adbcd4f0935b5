package zeo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// lastPackTime is the end of the year 9999 in seconds since 1970; a later time is a mistake.
const lastPackTime = 253402300799

// packTime is the time that a client wants to pack to, which it gives in seconds
// since 1970. One that is still to come is for the engine to see to.
func packTime(seconds float64) (time.Time, error) {
	if !(seconds >= 0 && seconds <= lastPackTime) { // not a number either
		return time.Time{}, fmt.Errorf("pack: the time %v is not one in seconds since 1970", seconds)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

// pack packs the storage. The pack is the server's own: the client that asked for it may
// go away, and its connection never waits for it when it ends; a pack waits for
// transactions that were voted for, which may be those of that very connection.
func (c *conn) pack(r *request, a *arguments) error {
	seconds := a.float(0)
	wait := len(a.list) < 2 || a.truth(1)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	at, err := packTime(seconds)
	if err != nil {
		return r.fail(&pythonError{"builtins.ValueError", wire.Tuple{err.Error()}})
	}
	h, log := c.hub, c.log()
	if !h.packing.CompareAndSwap(false, true) {
		err := &pythonError{classStorage, wire.Tuple{"Already packing"}}
		if wait {
			return r.fail(err)
		}
		log.Warn("pack refused: a client asked for one before, and it has not ended")
		return r.answer(nil)
	}
	if !wait {
		err = r.answer(nil) // before anything that the pack says
	}
	done := make(chan error, 1)
	c.srv.packs.Go(func() { done <- h.pack(c.srv.ctx, at, log) })
	if !wait || err != nil {
		return err
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		select {
		case err := <-done:
			if err != nil {
				return r.fail(err)
			}
			return r.answer(nil)
		case <-ctx.Done():
			return nil
		}
	})
	return nil
}

// pack packs for the client of the given log. The caller has set packing.
func (h *hub) pack(ctx context.Context, at time.Time, log *slog.Logger) (err error) {
	defer h.packing.Store(false)
	defer func() {
		if r := recover(); r != nil {
			log.Error("bug in the server: the pack is given up", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	log.Info("pack for a client", "storage", h.name, "time", at)
	if _, err := h.storage.Pack(ctx, zodb.PackOptions{Time: at, NoGC: h.noGC}); err != nil {
		if ctx.Err() != nil {
			log.Info("pack stopped with the server", "storage", h.name)
		} else {
			log.Error("pack failed", "storage", h.name, "err", err)
		}
		if errors.Is(err, zodb.ErrReadOnly) {
			return err
		}
		// A missing or damaged object is not an answer to a load here.
		return &pythonError{classStorage, wire.Tuple{err.Error()}}
	}
	return nil
}

// packed is called by the engine at the end of each pack, a client's or another one: the
// shared links of removed blobs go, and everybody is told the new size.
func (h *hub) packed(ctx context.Context, log *slog.Logger) {
	if h.blobs != nil {
		n, err := h.blobs.prune(ctx)
		if err != nil {
			log.Warn("blobs that were packed away stay in the shared directory; the next pack removes them", "storage", h.name, "err", err)
		} else if n > 0 {
			log.Info("removed packed blobs from the shared directory", "storage", h.name, "files", n)
		}
	}
	h.tellAll("info", h.size())
}

// packsUndo reports whether packs remove transactions although some of their revisions are
// left, so that the changes before the pack time cannot be seen any more.
func (h *hub) packsUndo() bool {
	return h.storage.PacksUndo()
}

// tellAll makes a call to every client of the storage.
func (h *hub) tellAll(name string, args ...any) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var encoded [256][]byte // by encoding
	for c := range h.conns {
		b := encoded[c.encoding]
		if b == nil {
			var err error
			if b, err = wire.AppendCall(nil, c.encoding, name, args...); err != nil {
				panic(name + " cannot be encoded: " + err.Error())
			}
			encoded[c.encoding] = b
		}
		c.out.putRaw(b)
		c.out.kick()
	}
}
