package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/zodb"
)

// diffText is the size in bytes of a state as text of which --diff compares eight times as much.
const diffText = 1 << 20

// showDiff prints how a revision of an object differs from the one before it.
func (o *showCommand) showDiff(ctx context.Context, e *env, s *engine.Storage, oid zodb.OID) error {
	at := zodb.TID(0)
	if len(o.args) == 3 {
		var err error
		if at, err = e.parseTID("TID", o.args[2]); err != nil {
			return err
		}
	}
	c, err := inspect.NewBrowser(s, inspect.Options{Text: diffText}).Compare(ctx, oid, 0, at)
	switch {
	case err != nil:
		return err
	case c.New.Serial == 0:
		return &zodb.KeyError{OID: oid, TID: at, Reason: c.New.Reason}
	case c.Problem != "":
		return &status{code: exitDamage, err: errors.New(c.Problem)}
	}
	f := fields{e: e}
	for i, r := range []*inspect.Object{c.Old, c.New} {
		name := []string{"from", "to"}[i]
		switch {
		case r.Serial == 0:
			f.line(name, "nothing: %s", r.Reason)
		case !r.Exists:
			f.line(name, "%s (%s), where it does not exist", r.Serial, formatTID(r.Serial))
		default:
			f.line(name, "%s (%s)", r.Serial, formatTID(r.Serial))
		}
	}
	if c.New.Class != "" {
		f.line("class", "%s", printable([]byte(c.New.Class)))
	}
	if c.Cut != "" {
		f.line("note", "%s", c.Cut)
	}
	if c.Same {
		f.line("changes", "none: the records are equal")
	}
	for _, l := range c.Lines {
		text := fmt.Sprintf("%c %s\n", l.Op, l.Text)
		if l.Op == inspect.Gap {
			text = "…\n"
		}
		if _, err := fmt.Fprint(e.Stdout, text); err != nil {
			return err
		}
	}
	return f.err
}
