package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

type historyCommand struct {
	home, oid string
	n         int
	json      bool
}

func newHistory(e *env) *cobra.Command {
	var o historyCommand
	c := &cobra.Command{
		Use:         "history HOME OID",
		Annotations: interruptible("the list is not complete; run it again"),
		SuggestFor:  []string{"revisions"},
		Short:       "List the revisions of an object, newest first",
		Long:        "List the revisions of an object, newest first, back to the oldest that was not packed away.\nStatus 3: some are damaged; the others are listed all the same.",
		Example:     "  dirstorage history /srv/zodb 0x1a",
		Args:        cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.home, o.oid = args[0], args[1]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().IntVarP(&o.n, "number", "n", 0, "at most `N`; 0 = all")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line")
	return c
}

// historyLine is one revision as history prints it.
type historyLine struct {
	TID         zodb.TID  `json:"tid"`
	Time        time.Time `json:"time"`
	User        string    `json:"user"`
	Description string    `json:"description"`
	Size        int       `json:"size"`
	Exists      bool      `json:"exists"`
	Blob        bool      `json:"blob"`
	UndoFrom    zodb.TID  `json:"undo_from,omitzero"`
	PackedAway  bool      `json:"packed_away,omitempty"`
	Damage      string    `json:"damage,omitempty"`
}

func (o *historyCommand) run(ctx context.Context, e *env) (err error) {
	oid, err := e.parseOID(o.oid)
	if err != nil {
		return err
	}
	n := o.n
	switch {
	case n < 0:
		return usage("-n %d: want 0 or more", n)
	case n == 0:
		n = math.MaxInt
	}
	s, err := openReader(ctx, e, o.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	damaged, listed := false, 0
	for h, err := range s.HistoryBackward(ctx, oid) {
		if err != nil {
			return err
		}
		if err := o.print(e, h); err != nil {
			return err
		}
		if h.Damage != nil {
			fmt.Fprintf(e.Stderr, "damage: %v\n", h.Damage)
			damaged = true
		}
		if listed++; listed == n {
			break
		}
	}
	if damaged {
		return damageFound(o.home)
	}
	return nil
}

// damageFound is the error of a command that went on in spite of damage.
func damageFound(home string) error {
	return &status{code: exitDamage, err: hint(errors.New("there is damage"), "dirstorage check %s finds all of it", home)}
}

func (o *historyCommand) print(e *env, h zodb.HistoryEntry) error {
	if o.json {
		damage := ""
		if h.Damage != nil {
			damage = h.Damage.Error()
		}
		return e.printLine(historyLine{Damage: damage, TID: h.TID, Time: h.TID.Time(), User: string(h.Meta.User), Description: string(h.Meta.Description),
			Size: h.Size, Exists: h.Exists, Blob: h.HasBlob, UndoFrom: h.UndoFrom, PackedAway: h.Packed})
	}
	texts := []string{cut(printable(h.Meta.User)), cut(printable(h.Meta.Description))}
	if !h.Exists {
		texts = append(texts, "does not exist from here on")
	}
	if h.HasBlob {
		texts = append(texts, "with a blob")
	}
	if h.UndoFrom != 0 {
		texts = append(texts, "as of "+h.UndoFrom.String())
	}
	if h.Packed {
		texts = append(texts, "transaction packed away")
	}
	if h.Damage != nil {
		texts = append(texts, "damaged")
	}
	return e.printEntry(h.TID, fmt.Sprintf("%10s", human.Bytes(int64(h.Size))), texts...)
}
