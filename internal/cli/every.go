package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type everyCommand struct {
	interval time.Duration
	at       string
	times    int
}

func newEvery(e *env) *cobra.Command {
	var o everyCommand
	c := &cobra.Command{
		Use:         "every INTERVAL COMMAND [ARGUMENT...]",
		Annotations: map[string]string{ifInterrupted: "the command that ran says what to do; start it again"},
		Short:       "Run a command of dirstorage again and again",
		Long: `Run another command of dirstorage at once, and then each INTERVAL (30m, 1h, 24h, 168h),
for as long as this runs. It is the timer of containers, which have neither cron nor
systemd. Two runs never overlap. A run that fails is reported, and the next one comes
all the same. SIGTERM ends it cleanly.

With --at the first run waits for that time of the day. It is a time of the time zone
of the machine; in a container that is UTC.`,
		Example: `  dirstorage every 1h backup run /data/zodb /backups/zodb
  dirstorage every --at 02:00 168h pack --keep 7 /data/zodb`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.interval, err = time.ParseDuration(args[0]); err != nil || o.interval < time.Second {
				return usage("INTERVAL %q: want one second or more, such as 30m or 24h", args[0])
			}
			found, _, err := c.Root().Find(args[1:])
			switch {
			case err != nil:
				return usage("%w", err)
			case !found.HasParent() || found.HasSubCommands() || found == c:
				return usage("%q is not a command to repeat; give one without commands below it, such as backup run", strings.Join(args[1:], " "))
			}
			return o.run(c.Context(), e, args[1:])
		},
	}
	c.Flags().SetInterspersed(false) // flags behind COMMAND are its own
	c.Flags().StringVar(&o.at, "at", "", "wait until this `TIME` of the day, such as 02:00, before the first run")
	c.Flags().IntVar(&o.times, "times", 0, "end after `N` runs; 0 = never")
	return c
}

// run repeats a command until ctx ends.
func (o *everyCommand) run(ctx context.Context, e *env, args []string) error {
	next := e.Now()
	if o.at != "" {
		var err error
		if next, err = nextTime(next, o.at); err != nil {
			return err
		}
	}
	for n := 1; ; n++ {
		if wait := next.Sub(e.Now()); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
		began := e.Now()
		code := run(ctx, e, args)
		switch {
		case ctx.Err() != nil:
			return &status{code: code} // the command has said why
		case n == o.times:
			if code != exitOK {
				return &status{code: code}
			}
			return nil
		}
		for !next.After(e.Now()) {
			next = next.Add(o.interval) // a run that took longer skips those that it covered
		}
		if code != exitOK {
			fmt.Fprintf(e.Stderr, "%s of %s ended with status %d; the next run is at %s\n",
				strings.Join(args, " "), began.UTC().Format(time.RFC3339), code, next.UTC().Format(time.RFC3339))
		}
	}
}

// nextTime is the next moment, not before now, at which a clock shows a time of the day.
func nextTime(now time.Time, text string) (time.Time, error) {
	clock, err := time.Parse("15:04", text)
	if err != nil {
		return now, usage("--at %q: want a time of the day, such as 02:00", text)
	}
	for day := 0; ; day++ {
		t := time.Date(now.Year(), now.Month(), now.Day()+day, clock.Hour(), clock.Minute(), 0, 0, now.Location())
		if !t.Before(now) {
			return t, nil
		}
	}
}
