package zeo

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// undoID names a transaction in the undo log.
func undoID(tid zodb.TID) []byte { return []byte(base64.StdEncoding.EncodeToString(tid.Bytes())) }

func parseUndoID(id []byte) (zodb.TID, bool) {
	b, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(id)))
	if err != nil || len(b) != 8 {
		return 0, false
	}
	return zodb.TIDFromBytes(b), true
}

// maxUndoEntries bounds one answer.
const maxUndoEntries = 100_000

func (c *conn) undoLog(r *request, a *arguments) error {
	return c.undoEntries(r, a, a.integer(0, 0), a.integer(1, -20), nil, true)
}

func (c *conn) undoInfo(r *request, a *arguments) error {
	return c.undoEntries(r, a, a.integer(0, 0), a.integer(1, -20), a.dict(2), false)
}

// undoEntries lists the transactions that can be undone, newest first: those
// with first <= index < last, or, if last is negative, -last ones from first on. Those
// that cannot because of damage are listed too, and say so. Damage that hides older ones
// is an error only if there is nothing newer.
func (c *conn) undoEntries(r *request, a *arguments, first, last int, filter wire.Dict, extensionWins bool) error {
	if last < 0 {
		last = first - last
	}
	last = min(last, max(first, 0)+maxUndoEntries)
	filter = kept(filter)
	if a.err == nil && !shortFilter(filter) {
		a.err = fmt.Errorf("the filter has more than %d keys, or more than %d bytes", maxFilter, maxFilterBytes)
	}
	return c.readLong(r, a, func(ctx context.Context, b *bill) (any, error) {
		s := c.hub.storage
		if !c.hub.full {
			return wire.Tuple{}, nil
		}
		list := wire.List{}
		i := 0
		for e, err := range s.UndoLog(ctx) {
			if err != nil && i > 0 && errors.Is(err, zodb.ErrCorrupt) {
				c.log().Error("damage: the undo log that a client asked for ends here", "err", err)
				break
			}
			if err != nil {
				return nil, err
			}
			if i >= last {
				break
			}
			if !e.Undoable && e.Damage == nil {
				continue
			}
			d := wire.Dict{
				{Key: "id", Value: undoID(e.TID)}, {Key: "time", Value: unixTime(e.TID)},
				{Key: "user_name", Value: nonNil(e.User)}, {Key: "description", Value: nonNil(e.Description)},
			}
			d = merged(d, c.extension(e.Extension), extensionWins)
			if e.Damage != nil {
				c.log().Error("damage: a transaction in the undo log cannot be undone", "tid", e.TID, "err", e.Damage)
			}
			if !matches(d, filter) {
				continue
			}
			if i++; i <= first {
				continue
			}
			if err := b.charge(len(e.User) + len(e.Description) + len(e.Extension)); err != nil {
				return nil, err
			}
			var size int64
			if e.Damage == nil {
				if size, err = s.TransactionSize(ctx, e.Transaction); err != nil {
					return nil, err
				}
			} else {
				noteDamage(d, "cannot be undone: "+e.Reason)
			}
			list = append(list, merged(d, wire.Dict{{Key: "size", Value: size}}, false))
		}
		return list, nil
	})
}

// noteDamage tells the fault of an entry in its description.
func noteDamage(entry wire.Dict, what string) {
	note := " [" + what + "]"
	for i, p := range entry {
		if p.Key != "description" {
			continue
		}
		switch text := p.Value.(type) {
		case []byte:
			entry[i].Value = append(bytes.Clone(text), note...)
		case string:
			entry[i].Value = text + note
		}
	}
}

// Limits of the filter of an undo log: the keys of an entry, with room.
const (
	maxFilter      = 32
	maxFilterBytes = 8 << 10
)

// shortFilter reports whether a filter is one that is worth keeping.
func shortFilter(filter wire.Dict) bool {
	n := 0
	for _, p := range filter {
		switch v := p.Value.(type) {
		case []byte:
			n += len(v)
		case string:
			n += len(v)
		case wire.Prefix:
			for _, part := range v.Path {
				n += 16 + len(part)
			}
		}
		if key, ok := p.Key.(string); ok {
			n += len(key)
		}
	}
	return len(filter) <= maxFilter && n <= maxFilterBytes
}

// nothing is in the place of values of a filter that no entry has.
type nothing struct{}

// kept returns a filter that is independent of the frame that it came in.
func kept(filter wire.Dict) wire.Dict {
	own := slices.Clone(filter)
	for i := range own {
		switch v := own[i].Value.(type) {
		case []byte:
			own[i].Value = bytes.Clone(v)
		case string, wire.Prefix, bool, int64, float64, nil:
		default:
			own[i].Value = nothing{}
		}
	}
	return own
}

// matches reports whether an entry has all values that a filter asks for.
func matches(entry, filter wire.Dict) bool {
	for _, want := range filter {
		key, ok := want.Key.(string)
		if !ok || !equal(entry.Get(key), want.Value) {
			return false
		}
	}
	return true
}

// equal compares a value with that of a filter. Text never equals bytes; a
// Prefix is a path that the value lies at or below.
func equal(have, want any) bool {
	switch w := want.(type) {
	case wire.Prefix:
		switch h := have.(type) {
		case string:
			return below(h, w)
		case []byte:
			return below(string(h), w)
		}
		return false
	case []byte:
		h, ok := have.([]byte)
		return ok && bytes.Equal(h, w)
	case string, bool, int64, float64, nil:
		return have == want
	}
	return false
}

// below reports whether the parts of a path begin with those of a prefix. The text after
// the last blank of the last compared part, such as a user's name, does not count.
func below(path string, p wire.Prefix) bool {
	parts := strings.Split(path, "/")
	if len(parts) < len(p.Path) {
		return false
	}
	parts = parts[:len(p.Path)]
	if n := len(parts); n > 0 {
		if i := strings.LastIndexByte(parts[n-1], ' '); i >= 0 {
			parts[n-1] = parts[n-1][:i]
		}
	}
	for i, part := range parts {
		if part != p.Path[i] {
			return false
		}
	}
	return true
}
