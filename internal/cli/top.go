package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

type topCommand struct {
	home string
	sort string
	once bool
	json bool
	most int
	watching
	reverse bool
}

func newTop(e *env) *cobra.Command {
	var o topCommand
	c := &cobra.Command{
		Use:         "top HOME",
		Annotations: interruptible("nothing was changed; run it again"),
		SuggestFor:  []string{"clients", "connections", "ps"},
		Short:       "Show the work of the clients of a running server",
		Long: `Show the clients of a storage that is being served, the busiest ones first: loads,
commits and bytes a second, requests under way, bytes that wait to be read by the
client, the open transaction with its state and size, and for which lock of which
object a vote waits, and who has it. It takes as many columns as the terminal has
room for.

Keys: s and S choose the column to sort by, r reverses the order, q ends it. Where
the output is not a terminal the looks are printed one below the other. --once looks
twice, --interval apart, prints that, and ends.

` + strings.Join(wrap("Columns to sort by: "+strings.Join(topKeys(), ", ")+".", 85, 0, 0, true), "\n"),
		Example: "  dirstorage top /srv/zodb\n  dirstorage top --once --sort sent /srv/zodb\n  dirstorage top --once --json /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.sort, "sort", "loads", "the `COLUMN` to sort by")
	c.Flags().BoolVar(&o.reverse, "reverse", false, "the other way round")
	c.Flags().IntVarP(&o.most, "number", "n", 0, "at most `N` clients; 0 = all")
	c.Flags().BoolVar(&o.once, "once", false, "print one look, and end")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON; without --once one document a line")
	o.addInterval(c)
	return c
}

// topReport is the output of top: one look.
type topReport struct {
	Time time.Time `json:"time"`
	// Seconds is the time since the look before, over which rates are.
	Seconds float64     `json:"seconds"`
	Storage string      `json:"storage"`
	Clients []topClient `json:"clients"` // in the order that was asked for
	// Waits are the votes that wait for a lock, the earliest first.
	Waits []zeo.LockWait `json:"waits"`
	Rates topRates       `json:"rates"` // of all clients
}

// topClient is one client.
type topClient struct {
	zeo.ClientActivity
	Rates topRates `json:"rates"`
}

// topRates are numbers a second.
type topRates struct {
	Loads         float64 `json:"loads"`
	Stores        float64 `json:"stores"`
	Commits       float64 `json:"commits"`
	SentBytes     float64 `json:"sent_bytes"`
	ReceivedBytes float64 `json:"received_bytes"`
}

func (o *topCommand) run(ctx context.Context, e *env) error {
	if err := o.check(); err != nil {
		return err
	}
	if !slices.Contains(topKeys(), o.sort) {
		return usage("--sort %q: want one of %s", o.sort, strings.Join(topKeys(), ", "))
	}
	if o.most < 0 {
		return usage("-n %d: want 0 or more", o.most)
	}
	if _, err := openHome(o.home); err != nil {
		return err
	}
	before, err := o.look(ctx)
	if err != nil {
		return err
	}
	select { // else the first rates were over no time
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(min(o.interval, time.Second)):
	}
	look := func(ctx context.Context) (frame, error) {
		now, err := o.look(ctx)
		if err != nil {
			return frame{}, err
		}
		r := compareActivity(before, now)
		before = now
		doc := r
		doc.Clients = o.arrange(&r)
		return frame{
			lines:  func(width int) []string { return o.lines(e, &r, width) },
			footer: func() string { return o.footer() }, doc: doc,
		}, nil
	}
	if !o.once {
		return o.each(ctx, e, look, o.json, o.key)
	}
	f, err := look(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return e.printJSON(f.doc)
	}
	return printLines(e.Stdout, f.lines(e.outColumns()))
}

// look asks the server.
func (o *topCommand) look(ctx context.Context) (a zeo.Activity, err error) {
	running, err := control.Dial(ctx, o.home)
	if err != nil {
		if errors.Is(err, control.ErrNotRunning) {
			err = hint(fmt.Errorf("%s: %w", o.home, err), "start it with dirstorage serve; dirstorage status shows a storage that is not running")
		}
		return a, err
	}
	defer running.Close()
	b, err := running.Ask(ctx, opClients)
	if errors.Is(err, zodb.ErrUnsupported) {
		return a, fmt.Errorf("%s: the process that has it open is not a server, so there are no clients; wait for its end, then serve it", o.home)
	}
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err == nil && len(a.Storages) != 1 {
		err = fmt.Errorf("%s: the server lists %s, not one: it is of another release; use its own program", o.home, human.Number(int64(len(a.Storages)), "storage"))
	}
	return a, err
}

// compareActivity works out the rates of two looks. Clients that came in between began with zero.
func compareActivity(before, now zeo.Activity) topReport {
	was, is := before.Storages[0], now.Storages[0]
	if !before.Started.Equal(now.Started) { // the server was restarted
		was = zeo.StorageActivity{}
	}
	r := topReport{Time: now.Time, Seconds: max(now.Time.Sub(before.Time).Seconds(), 0), Storage: is.Storage, Waits: is.Waits, Clients: []topClient{}}
	old := clientsByNumber(&was)
	for _, c := range is.Clients {
		t := topClient{ClientActivity: c}
		b := old[c.Client]
		if b == nil {
			b = &zeo.ClientActivity{}
		}
		rate := func(from, to int64) float64 {
			if r.Seconds == 0 {
				return 0
			}
			return float64(to-from) / r.Seconds
		}
		t.Rates = topRates{rate(b.Loads, c.Loads), rate(b.Stores, c.Stores), rate(b.Commits, c.Commits), rate(b.SentBytes, c.SentBytes), rate(b.ReceivedBytes, c.ReceivedBytes)}
		r.Clients = append(r.Clients, t)
		r.Rates.add(t.Rates)
	}
	return r
}

func (r *topRates) add(other topRates) {
	r.Loads += other.Loads
	r.Stores += other.Stores
	r.Commits += other.Commits
	r.SentBytes += other.SentBytes
	r.ReceivedBytes += other.ReceivedBytes
}

// topOrder is how clients can be sorted, by names.
type topOrder struct {
	name  string
	value func(*topClient, *topReport) float64 // the largest first
}

func topOrders() []topOrder {
	return []topOrder{
		{"loads", func(c *topClient, _ *topReport) float64 { return c.Rates.Loads }},
		{"commits", func(c *topClient, _ *topReport) float64 { return c.Rates.Commits }},
		{"sent", func(c *topClient, _ *topReport) float64 { return c.Rates.SentBytes }},
		{"received", func(c *topClient, _ *topReport) float64 { return c.Rates.ReceivedBytes }},
		{"running", func(c *topClient, _ *topReport) float64 { return float64(c.Running) }},
		{"queue", func(c *topClient, _ *topReport) float64 { return float64(c.QueueBytes) }},
		{"waits", func(c *topClient, r *topReport) float64 {
			if x := c.Transaction; x != nil && x.State != "begun" {
				return 1 + r.Time.Sub(x.StateSince).Seconds()
			}
			return 0
		}},
		{"transaction", func(c *topClient, _ *topReport) float64 {
			if c.Transaction == nil {
				return -1
			}
			return float64(c.Transaction.Bytes)
		}},
		{"largest", func(c *topClient, _ *topReport) float64 {
			if c.Largest == nil {
				return -1
			}
			return float64(c.Largest.Bytes)
		}},
		{"conflicts", func(c *topClient, _ *topReport) float64 { return float64(c.Conflicts) }},
		{"total-loads", func(c *topClient, _ *topReport) float64 { return float64(c.Loads) }},
		{"total-commits", func(c *topClient, _ *topReport) float64 { return float64(c.Commits) }},
		{"age", func(c *topClient, r *topReport) float64 { return r.Time.Sub(c.Since).Seconds() }},
	}
}

func topKeys() (names []string) {
	for _, o := range topOrders() {
		names = append(names, o.name)
	}
	return names
}

// key works off a key.
func (o *topCommand) key(b byte) {
	names := topKeys()
	i := slices.Index(names, o.sort)
	switch b {
	case 's':
		o.sort = names[(i+1)%len(names)]
	case 'S':
		o.sort = names[(i+len(names)-1)%len(names)]
	case 'r':
		o.reverse = !o.reverse
	}
}

func (o *topCommand) footer() string {
	order := o.sort
	if o.reverse {
		order += ", reversed"
	}
	return fmt.Sprintf("by %s; s S: sort, r: reverse, q: end; every %s", order, human.Duration(o.interval))
}

// arrange returns the clients that are shown, in their order. Equal ones stand in the order in which they
// came.
func (o *topCommand) arrange(r *topReport) []topClient {
	orders := topOrders()
	value := orders[slices.IndexFunc(orders, func(t topOrder) bool { return t.name == o.sort })].value
	list := slices.Clone(r.Clients)
	slices.SortFunc(list, func(a, b topClient) int {
		c := cmp.Compare(value(&b, r), value(&a, r))
		if o.reverse {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Client, b.Client))
	})
	if o.most > 0 && len(list) > o.most {
		list = list[:o.most]
	}
	return list
}
