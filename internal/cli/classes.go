package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/zodb"
)

type classesCommand struct {
	pack   packCommand
	n      int
	noPack bool
	json   bool
}

func newClasses(e *env) *cobra.Command {
	o := classesCommand{pack: packCommand{gc: "on", dryRun: true}}
	c := &cobra.Command{
		Use:         "classes HOME",
		Annotations: interruptible("nothing was changed; run it again, it begins anew"),
		SuggestFor:  []string{"types", "count", "sizes", "analyze"},
		Short:       "Count the objects by class, with their bytes and the gain of a pack",
		Long: `List the classes of a storage, those with the most bytes first: how many objects each
has, the bytes of their current records, their part of all bytes, and the objects that
a pack would remove because nothing refers to them. The storage may be running.
Status 3: some objects cannot be read; the others are counted.

It reads every object, and then finds the gain of a pack as gc --report does, which
reads them again; --no-pack leaves that out. The page of classes of serve --web is
made by the same count.`,
		Example: "  dirstorage classes /srv/zodb\n  dirstorage classes -n 20 --no-pack /srv/zodb\n  dirstorage classes --keep 30 --json /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.pack.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.pack.keep, "keep", defaultKeep, "as if a pack kept the history since this `TIME`, or of this many days")
	c.Flags().BoolVar(&o.noPack, "no-pack", false, "do not look for the gain of a pack")
	c.Flags().IntVarP(&o.n, "number", "n", 0, "list this many classes; 0 = all")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// classesReport is the output of classes.
type classesReport struct {
	TID     zodb.TID     `json:"tid"`
	Objects int64        `json:"objects"`
	Bytes   int64        `json:"bytes"`
	Classes []classLine  `json:"classes"`
	Other   *classLine   `json:"other,omitempty"`
	Largest []objectLine `json:"largest"`
	Gone    int64        `json:"gone"`
	Damaged int64        `json:"damaged"`
	// Pack is the result of a dry run; nil: see NoPack.
	Pack   *zodb.PackResult `json:"pack"`
	NoPack string           `json:"no_pack,omitempty"`
}

// classLine is one class.
type classLine struct {
	Class        string   `json:"class"`
	Objects      int64    `json:"objects"`
	Bytes        int64    `json:"bytes"`
	Largest      zodb.OID `json:"largest"`
	LargestBytes int64    `json:"largest_bytes"`
	Removed      int64    `json:"removed"`
	RemovedBytes int64    `json:"removed_bytes"`
}

// objectLine is an object with a large record.
type objectLine struct {
	OID   zodb.OID `json:"oid"`
	Class string   `json:"class"`
	Bytes int64    `json:"bytes"`
}

func (o *classesCommand) run(ctx context.Context, e *env) (err error) {
	if o.n < 0 {
		return usage("--number %d: want 0 or more", o.n)
	}
	p, err := o.pack.options(e)
	if err != nil {
		return err
	}
	s, err := openReader(ctx, e, o.pack.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m := newMeter(e)
	options := inspect.CensusOptions{Clock: e.Now, DryRun: func(ctx context.Context, _ int) (r zodb.PackResult, err error) {
		m.end()
		err = o.pack.maintain(ctx, e, "pack", p, &r)
		return r, err
	}}
	if o.noPack {
		options.DryRun = func(context.Context, int) (zodb.PackResult, error) {
			return zodb.PackResult{}, errors.New("--no-pack was given; leave it out")
		}
	}
	count, err := inspect.CountClasses(ctx, s, options, 0, func(p inspect.Progress) {
		m.update(p.Objects, p.Total, func(spent time.Duration) string {
			return fmt.Sprintf("%s, %s", human.Number(p.Objects, "object"), human.Rate(p.Objects, spent))
		})
	})
	m.end()
	if err == nil {
		err = ctx.Err() // of the pack
	}
	if err != nil {
		return err
	}
	report := reportClasses(count, o.n)
	if o.json {
		err = e.printJSON(report)
	} else {
		err = o.print(e, report, len(count.Classes))
	}
	if err == nil && (count.Damaged > 0 || passedOver(s)) {
		err = damageMet()
	}
	return err
}

// reportClasses is the report of a count, with up to n classes; 0: with all.
func reportClasses(count *inspect.CensusCount, n int) *classesReport {
	r := &classesReport{
		TID: count.TID, Objects: count.Objects, Bytes: count.Bytes, Classes: []classLine{}, Largest: []objectLine{},
		Gone: count.Gone, Damaged: count.Damaged, Pack: count.Pack, NoPack: count.NoPack,
	}
	for i, k := range count.Classes {
		if n > 0 && i == n {
			break
		}
		r.Classes = append(r.Classes, classLine(k))
	}
	if k := classLine(count.Other); k.Objects+k.Removed > 0 {
		r.Other = &k
	}
	for _, l := range count.Largest {
		r.Largest = append(r.Largest, objectLine(l))
	}
	return r
}

func (o *classesCommand) print(e *env, r *classesReport, classes int) error {
	if r.Objects > 0 || len(r.Classes) > 0 {
		if err := r.table().print(e); err != nil {
			return err
		}
	}
	w := e.printer()
	w.printf("%s of %s, %s, up to %s\n", human.Number(r.Objects, "object"), humanClasses(classes), human.Bytes(r.Bytes), formatLast(r.TID))
	if r.Damaged > 0 {
		w.printf("%s cannot be read\n", human.Number(r.Damaged, "object"))
	}
	switch p := r.Pack; {
	case p == nil && !o.noPack:
		w.printf("the gain of a pack is not known: %s\n", r.NoPack)
	case p != nil && p.Threshold != 0:
		w.printf("a pack to %s would remove %s and %s; dirstorage gc --report %s says more\n", formatLast(p.Threshold),
			human.Number(p.Objects, "object"), human.Number(p.Revisions, "revision"), shellWord(o.pack.home))
	}
	return w.err
}

// table is the list of classes.
func (r *classesReport) table() *table {
	objects, size, part := &tableColumn{head: "OBJECTS", right: true}, &tableColumn{head: "BYTES", right: true}, &tableColumn{head: "PART", right: true}
	removed, removedSize := &tableColumn{head: "PACK REMOVES", right: true}, &tableColumn{head: "BYTES", right: true}
	class := &tableColumn{head: "CLASS"}
	add := func(k classLine, name string) {
		percent := 0.0
		if r.Bytes > 0 {
			percent = 100 * float64(k.Bytes) / float64(r.Bytes)
		}
		objects.add(human.Count(k.Objects))
		size.add(human.Bytes(k.Bytes))
		part.add(fmt.Sprintf("%.1f%%", percent))
		removed.add(human.Count(k.Removed))
		removedSize.add(human.Bytes(k.RemovedBytes))
		class.add(name)
	}
	for _, k := range r.Classes {
		add(k, printable([]byte(k.Class)))
	}
	if r.Other != nil {
		add(*r.Other, "(further classes)")
	}
	if r.Pack == nil {
		return &table{columns: []*tableColumn{objects, size, part, class}, giving: []*tableColumn{part}}
	}
	return &table{columns: []*tableColumn{objects, size, part, removed, removedSize, class}, giving: []*tableColumn{part, removedSize}}
}

func humanClasses(n int) string {
	if n == 1 {
		return "1 class"
	}
	return human.Count(int64(n)) + " classes"
}
