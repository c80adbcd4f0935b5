package zeo

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

func (c *conn) registerAgain(*request, *arguments) error {
	return protocolError("register on a connection that is registered")
}

// The interfaces that a client expects of its server; a client looks for pairs in a tuple
// of tuples.
var (
	fullInterfaces = []string{"IStorageRestoreable", "IStorageIteration", "IStorageUndoable",
		"IStorageCurrentRecordIteration", "IExternalGC", "IStorage"}
	blobInterfaces    = []string{"IBlobStorageRestoreable", "IBlobStorage"}
	minimalInterfaces = []string{"IStorageCurrentRecordIteration", "IStorage"}
)

func interfacePairs(lists ...[]string) wire.Tuple {
	var pairs wire.Tuple
	for _, list := range lists {
		for _, name := range list {
			pairs = append(pairs, wire.Tuple{"ZODB.interfaces", name})
		}
	}
	return append(pairs, wire.Tuple{"zope.interface", "Interface"})
}

// size is the source of length and size in a client; it may be called by the committer.
func (h *hub) size() wire.Dict {
	n := h.storage.Counts()
	return wire.Dict{{Key: "length", Value: n.Objects}, {Key: "size", Value: n.Bytes}}
}

func (c *conn) getInfo(r *request, _ *arguments) error {
	h := c.hub
	interfaces := interfacePairs(blobInterfaces, fullInterfaces)
	if !h.full {
		interfaces = interfacePairs(minimalInterfaces)
	}
	return r.answer(append(h.size(),
		wire.Pair{Key: "name", Value: valid(h.storage.Home())},
		wire.Pair{Key: "supportsUndo", Value: h.full},
		wire.Pair{Key: "supports_record_iternext", Value: true},
		wire.Pair{Key: "interfaces", Value: interfaces}))
}

func (c *conn) lastTransaction(r *request, _ *arguments) (err error) {
	c.hub.withLast(func(last zodb.TID) { err = r.answer(last) })
	return err
}

// getInvalidations answers with the changes after a tid up to the last announced one.
func (c *conn) getInvalidations(r *request, a *arguments) error {
	since := a.tid(0)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		var sent error
		err := c.hub.missedSince(ctx, since, c.srv.o.InvalidationAge, func(last zodb.TID, oids []zodb.OID, known bool) {
			if !known {
				sent = r.answer(nil)
				return
			}
			list := make(wire.List, len(oids))
			for i, oid := range oids {
				list[i] = oid
			}
			sent = r.answer(wire.Tuple{last, list})
		})
		if err != nil && ctx.Err() != nil {
			return r.fail(err)
		}
		if err != nil {
			// The client drops its cache, and reads everything readable.
			c.srv.log.Warn("changes that a client missed cannot be read from the storage", "client", c.address, "tid", since, "err", err)
			return r.answer(nil)
		}
		return sent
	})
	return nil
}

// ping is how clients make sure that they were told of everything that was
// finished before: the announcements are in the outbox already.
func (c *conn) ping(r *request, _ *arguments) error { return r.answer(nil) }

// maxLabel is the length in bytes up to which a client's label is kept.
const maxLabel = 200

func (c *conn) setClientLabel(r *request, a *arguments) error {
	var label string
	switch v := a.get(0).(type) {
	case string:
		label = strings.Clone(v[:min(len(v), maxLabel)])
	case []byte:
		label = string(v[:min(len(v), maxLabel)])
	default:
		label = textOf(v)
	}
	label = strings.ToValidUTF8(label[:min(len(label), maxLabel)], "")
	c.label.Store(&label)
	return r.answer(nil)
}

func (c *conn) serverStatus(r *request, _ *arguments) error {
	var d wire.Dict
	for _, e := range c.srv.statusOf(c.hub) {
		d = append(d, wire.Pair{Key: e.key, Value: e.value})
	}
	return r.answer(d)
}

func (c *conn) newOID(r *request, _ *arguments) error {
	return r.fail(&pythonError{"builtins.AttributeError", wire.Tuple{"new_oid"}})
}

// maxNewOIDs is the most that one call gets.
const maxNewOIDs = 100

func (c *conn) newOIDs(r *request, a *arguments) error {
	n := a.integer(0, maxNewOIDs)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	oids, err := c.hub.storage.NewOIDs(max(1, min(n, maxNewOIDs)))
	if err != nil {
		return r.fail(err)
	}
	list := make(wire.List, len(oids))
	for i, oid := range oids {
		list[i] = oid
	}
	return r.answer(list)
}

// The methods of snapshot mode, as the original's server offered them.

func (c *conn) enterSnapshot(r *request, a *arguments) error {
	code, err := snapshotCode(a)
	if err != nil {
		return r.fail(err)
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		if err := c.hub.storage.EnterSnapshot(ctx, code); err != nil {
			return r.fail(err)
		}
		c.log().Info("entered snapshot mode for a client", "code", code)
		return r.answer(nil)
	})
	return nil
}

func (c *conn) leaveSnapshot(r *request, a *arguments) error {
	code, err := snapshotCode(a)
	if err != nil {
		return r.fail(err)
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		if err := c.hub.storage.LeaveSnapshot(ctx, code); err != nil {
			return r.fail(err)
		}
		return r.answer(nil)
	})
	return nil
}

// maxCode is the length in bytes of the longest snapshot code, as storages take it.
const maxCode = 200

func snapshotCode(a *arguments) (string, error) {
	code := a.meta(0)
	if a.err != nil || len(code) == 0 || len(code) > maxCode || !utf8.Valid(code) {
		return "", &typeError{fmt.Sprintf("a snapshot code is text, or UTF-8, of up to %d bytes, and not empty: %s", maxCode, textOf(a.get(0)))}
	}
	return string(code), nil
}

// getSnapshotCode answers None when the storage is not in snapshot mode.
func (c *conn) getSnapshotCode(r *request, _ *arguments) error {
	state := c.hub.storage.Status().Snapshot
	if code, ok := strings.CutPrefix(state, "user/"); ok {
		return r.answer(valid(code))
	}
	return r.answer(nil)
}

func (c *conn) isDirectoryStorage(r *request, _ *arguments) error { return r.answer(int64(1)) }
