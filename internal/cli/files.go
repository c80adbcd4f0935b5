package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
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
TID wrote: what an incremental copy needs that knows the last transaction of the
copy before. It costs what changed. What is not in A yet, because a snapshot is
on, is left out. Use it within dirstorage snapshot run, so that A stands still.`,
		Example: "  dirstorage snapshot run /srv/zodb -- sh -c 'dirstorage files -0 --since 03F6ED2440000000 /srv/zodb | tar -C /srv/zodb -cf /backup/incr.tar --null -T -'",
		Args:    cobra.ExactArgs(1),
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
		return usage("--since TID is needed")
	}
	if o.zero && o.json {
		return usage("--null and --json exclude each other")
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
	st := s.Status()
	if since != 0 {
		if _, err := s.Transaction(ctx, since); err != nil {
			return hint(fmt.Errorf("--since: %w", err), "copy everything")
		}
	}
	marks := []layout.Name{layout.XOID, layout.XSerial}
	if since != 0 || st.Packed != 0 {
		if err := leadsTo(ctx, s, since); err != nil {
			return err
		}
	}
	if st.Packed != 0 && since <= st.Packed {
		marks = append(marks, layout.XPacked) // it explains what later transactions lost
	}
	out := bufio.NewWriter(e.Stdout)
	end := byte('\n')
	if o.zero {
		end = 0
	}
	print := func(name string) error {
		_, err := home.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && o.json {
			return json.NewEncoder(out).Encode(filesLine{name})
		}
		if err == nil {
			_, err = out.WriteString(name)
		}
		if err == nil {
			err = out.WriteByte(end)
		}
		return err
	}
	pointers := make(map[string]bool)
	any := false
	for txn, err := range s.TransactionsBackward(ctx, 0) {
		if err != nil {
			return err
		}
		if txn.TID <= since {
			break
		}
		any = true
		blob := func(zodb.OID) bool { return true } // the names of those that are not there are left out
		for _, name := range s.FilesOf(txn, blob) {
			n, _ := layout.Format(st.Format).Parse(name[len("A/"):])
			if n.Kind == layout.KindPointer {
				if pointers[name] {
					continue
				}
				pointers[name] = true
			}
			if err := print(name); err != nil {
				return err
			}
		}
	}
	if any {
		for _, n := range marks {
			if err := print("A/" + layout.Format(st.Format).Path(n)); err != nil {
				return err
			}
		}
	}
	return out.Flush()
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
	return hint(fmt.Errorf("--since: the storage was packed to %s: what transactions after %s wrote is not known any more", s.Status().Packed, tid), "copy everything")
}
