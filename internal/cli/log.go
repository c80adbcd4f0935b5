package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

type logCommand struct {
	home     string
	n        int
	from, to string
	oids     bool
	json     bool
}

func newLog(e *env) *cobra.Command {
	var o logCommand
	c := &cobra.Command{
		Use:         "log HOME",
		Annotations: interruptible("the list is not complete; run it again"),
		SuggestFor:  []string{"list", "ls", "transactions"},
		Short:       "List transactions, newest first",
		Long: `List transactions, newest first: tid, time, objects, bytes of data, user and
description. It reads beside a running storage. Status 3: objects of some are missing.`,
		Example: "  dirstorage log -n 20 /srv/zodb\n  dirstorage log --from \"2 days ago\" --oids --json /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().IntVarP(&o.n, "number", "n", 0, "at most `N`; 0 = all")
	c.Flags().StringVar(&o.from, "from", "", "none earlier than this `TID` or time")
	c.Flags().StringVar(&o.to, "to", "", "none later than this `TID` or time")
	c.Flags().BoolVar(&o.oids, "oids", false, "list the objects of each")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line")
	return c
}

// logLine is one transaction as log prints it.
type logLine struct {
	TID          zodb.TID   `json:"tid"`
	Time         time.Time  `json:"time"`
	User         string     `json:"user"`
	Description  string     `json:"description"`
	ExtensionHex string     `json:"extension_hex,omitempty"`
	Packed       bool       `json:"packed,omitempty"` // it cannot be undone any more
	Objects      int        `json:"objects"`
	Bytes        int64      `json:"bytes"`
	OIDs         []zodb.OID `json:"oids,omitempty"`
	Damage       string     `json:"damage,omitempty"`
}

func (o *logCommand) run(ctx context.Context, e *env) (err error) {
	from, err := e.parseTID("--from", o.from)
	if err != nil {
		return err
	}
	to, err := e.parseTID("--to", o.to)
	if err != nil {
		return err
	}
	if o.n < 0 {
		return usage("-n %d: want 0 or more", o.n)
	}
	s, err := openReader(ctx, e, o.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	shown := 0
	damaged := false
	defer func() {
		if err == nil && damaged {
			err = damageFound(o.home)
		}
	}()
	for txn, err := range s.TransactionsBackward(ctx, 0) {
		if txn == nil {
			return err
		}
		if txn.TID < from || o.n > 0 && shown == o.n {
			return nil
		}
		if o.to != "" && txn.TID > to {
			continue
		}
		if err != nil { // those before it come all the same
			fmt.Fprintf(e.Stderr, "damage: transaction %s: %v\n", txn.TID, err)
			damaged = true
			if !errors.Is(err, zodb.ErrBrokenLink) {
				if err := o.print(e, txn, 0, err); err != nil {
					return err
				}
				shown++
			}
			continue
		}
		size, err := s.TransactionSize(ctx, txn)
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(e.Stderr, "damage: transaction %s: %v\n", txn.TID, err)
			damaged = true
		}
		if err := o.print(e, txn, size, err); err != nil {
			return err
		}
		shown++
	}
	return nil
}

// print prints one transaction; damage is why its size is not known.
func (o *logCommand) print(e *env, txn *zodb.Transaction, size int64, damage error) error {
	if o.json {
		line := logLine{TID: txn.TID, Time: txn.TID.Time(), User: string(txn.User), Description: string(txn.Description),
			ExtensionHex: hex.EncodeToString(txn.Extension), Objects: len(txn.OIDs), Bytes: size, Packed: txn.Status == zodb.StatusPacked}
		if damage != nil {
			line.Damage = damage.Error()
		}
		if o.oids {
			line.OIDs = txn.OIDs
		}
		return e.printLine(line)
	}
	texts := []string{cut(printable(txn.User)), cut(printable(txn.Description))}
	if damage != nil {
		texts = append(texts, "damaged")
	}
	count, things, _ := strings.Cut(human.Number(int64(len(txn.OIDs)), "object"), " ")
	err := e.printEntry(txn.TID, fmt.Sprintf("%5s %-7s  %10s", count, things, human.Bytes(size)), texts...)
	if o.oids {
		for _, oid := range txn.OIDs {
			_, err = fmt.Fprintf(e.Stdout, "    %s\n", oid)
		}
	}
	return err
}
