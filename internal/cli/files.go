package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

type filesCommand struct {
	home  string
	since string
	zero  bool
	json  bool
}

func newFiles(e *env) *cobra.Command {
	var o filesCommand
	c := &cobra.Command{
		Use:         "files --since TID HOME",
		Annotations: interruptible("the list is not complete: do not use it; run it again"),
		Short:       "Print the names of the files that changed since a transaction",
		Long: `Print the names, relative to HOME, of the files of A that transactions later than
TID wrote: those that an incremental copy needs, if TID is the last transaction of
the copy before. The cost grows with the changes only. Transactions that are not in
A yet, because a snapshot is on, are left out. Use it within dirstorage snapshot
run, so that A stands still.`,
		Example: `  dirstorage snapshot run /srv/zodb -- sh -c 'dirstorage files -0 \
    --since 03F6ED2440000000 /srv/zodb | tar -C /srv/zodb -cf /backup/incr.tar --null -T -'`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.since, "since", "", "a `TID` of the storage, or 0000000000000000 for all")
	c.Flags().BoolVarP(&o.zero, "null", "0", false, "end each name with a zero byte instead of a line break")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line, for each name")
	return c
}

func (o *filesCommand) run(ctx context.Context, e *env) (err error) {
	if o.since == "" {
		return usage("--since is missing; give the TID of the last transaction that you have")
	}
	if o.zero && o.json {
		return usage("--null cannot be combined with --json; leave one out")
	}
	since, err := wantTID("--since", o.since)
	if err != nil {
		return err
	}
	s, err := openReader(ctx, e, o.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	home, err := openHome(o.home)
	if err != nil {
		return err
	}
	a, err := stillOf(home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if since != 0 {
		if _, err := s.Transaction(ctx, since); err != nil {
			return hint(fmt.Errorf("--since: %w", err), "copy everything")
		}
	}
	if since != 0 || s.Status().Packed != 0 {
		if err := leadsTo(ctx, s, since); err != nil {
			return err
		}
	}
	for _, err := range s.TransactionsBackward(ctx, 0) {
		if err != nil {
			return err
		}
		break // class Minimal has none
	}
	if last, err := a.Mark(layout.XSerial); err != nil || zodb.TID(last) <= since {
		return err
	}
	out := bufio.NewWriter(e.Stdout)
	end := byte('\n')
	if o.zero {
		end = 0
	}
	for name, err := range a.FilesSince(ctx, since, nil, nil) {
		switch {
		case err != nil:
			return err
		case o.json:
			err = json.NewEncoder(out).Encode(filesLine{name})
		default:
			_, err = out.WriteString(name)
			err = errors.Join(err, out.WriteByte(end))
		}
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// stillOf opens A alone, which is to stand still.
func stillOf(home vfs.FS) (formats.Snapshot, error) {
	const name = "config/settings"
	text, err := home.ReadFile(name)
	if err != nil {
		return nil, err
	}
	set, _, err := settings.Parse(text, name)
	if err != nil {
		return nil, err
	}
	return formats.Still(home, set)
}

// leadsTo returns an error unless the transactions lead back to one, past those that
// packs removed. Where they do not, a pack has removed transactions of which
// revisions stay, and nothing tells which revisions these are.
func leadsTo(ctx context.Context, s *engine.Storage, tid zodb.TID) error {
	if tid != 0 {
		for txn, err := range s.TransactionsBackward(ctx, 0) {
			if err != nil {
				return err
			}
			if txn.TID == tid {
				return nil
			}
			if txn.TID < tid {
				break
			}
		}
	}
	if packed := s.Status().Packed; tid > packed {
		return hint(fmt.Errorf("--since: transaction %s is not one of this storage's history: the storage was put back to an earlier state since", tid), "copy everything")
	}
	return hint(fmt.Errorf("--since: the storage was packed to %s: the files written after transaction %s are not known any more", s.Status().Packed, tid), "copy everything")
}
