package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/zodb"
)

func newRecover(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:         "recover HOME",
		Annotations: interruptible("nothing is lost: run it again, or start the storage, which does the same"),
		Short:       "Roll a storage forward that was not closed cleanly",
		Long: `Roll forward the transactions that a crash, quick_shutdown or a close during a
snapshot left in HOME/journal and HOME/B, go on with a pack that was killed while it
removed, and leave a clean snapshot: everything is in HOME/A. On a storage that was
closed cleanly it changes nothing that matters.`,
		Example: "  dirstorage recover /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return recoverHome(c.Context(), e, args[0], asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// recoverHome opens the storage, which rolls it forward, and closes it cleanly.
func recoverHome(ctx context.Context, e *env, home string, asJSON bool) error {
	s, err := engine.Open(ctx, home, engine.Options{Logger: e.logger(), NoControlSocket: true, CleanShutdown: true, History: engine.HistoryKept})
	if err != nil {
		return err
	}
	st := s.Status()
	if err := s.WhyStill(); err != nil {
		if errors.Is(err, zodb.ErrLocked) {
			err = hint(err, "wait until the copy of A is done, then run it again")
		}
		return errors.Join(err, s.Close())
	}
	err = showFlush(e, s, func() error { return s.WaitNormal(ctx) }, func() error { return s.Flush(ctx) }, func() error { return s.WaitPack(ctx) }, s.Close)
	if err != nil {
		return err
	}
	if err := packLeft(home); err != nil {
		return err
	}
	if asJSON {
		return e.printJSON(recoverReport{st.RolledForward, st.LastTID})
	}
	_, err = fmt.Fprintf(e.Stdout, "%s: %s rolled forward; the last one is %s\n", home, human.Number(int64(st.RolledForward), "transaction"), st.LastTID)
	return err
}

// packLeft returns an error if there is still the plan of a pack: the storage has
// logged why that could not be ended.
func packLeft(home string) error {
	dir, err := openHome(home)
	if err != nil {
		return err
	}
	if left, err := pack.Pending(dir); err != nil || !left {
		return err
	}
	return errors.New("rolled forward, but a pack that was interrupted could not be ended; the warning above says why")
}
