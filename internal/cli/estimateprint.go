package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dirstorage/dirstorage/internal/estimate"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

func (o *estimateCommand) print(e *env, r *estimate.Report) error {
	var err error
	if o.json {
		err = e.printJSON(r)
	} else {
		err = o.printText(e.Stdout, r)
	}
	if err != nil {
		return err
	}
	for _, odd := range r.Odd {
		if odd.Kind == estimate.KindDamage {
			return &status{code: exitDamage, err: fmt.Errorf("%s is damaged; %s", o.source, odd.Detail)}
		}
	}
	if r.Fits {
		return nil
	}
	f := r.Of(r.Format)
	need := transfer.Room{Bytes: f.NeedBytes, Inodes: f.NeedInodes}
	free := vfs.Space{FreeBytes: uint64(max(r.Target.FreeBytes, 0))}
	if r.Target.FreeInodes >= 0 {
		free.FreeInodes, free.TotalInodes = uint64(r.Target.FreeInodes), uint64(max(r.Target.FreeInodes, 1))
	}
	return hint(fmt.Errorf("%s into %s in format %s: %w", o.source, o.target, r.Format, need.Check(free)),
		"free space, or choose another disk or format (docs/formats.md)")
}

func (o *estimateCommand) printText(w io.Writer, r *estimate.Report) error {
	c := r.Source
	fmt.Fprintf(w, "%s: %s, %s of %s (%s)\n", o.source, human.Number(c.Transactions, "transaction"), human.Number(c.Revisions, "revision"), human.Number(c.Objects, "object"), human.Bytes(c.RecordBytes))
	switch {
	case c.BlobBytes < 0:
		fmt.Fprintf(w, "blobs: %s, of unknown size\n", human.Count(c.Blobs))
	case c.BlobSample > 0:
		fmt.Fprintf(w, "blobs: %s, about %s by a sample of %s\n", human.Count(c.Blobs), human.Bytes(c.BlobBytes), human.Count(c.BlobSample))
	default:
		fmt.Fprintf(w, "blobs: %s (%s)\n", human.Count(c.Blobs), human.Bytes(c.BlobBytes))
	}
	if c.LastTID != 0 {
		fmt.Fprintf(w, "first transaction: %s\nlast transaction: %s\n", formatLast(c.FirstTID), formatLast(c.LastTID))
	}
	if c.Present > 0 {
		fmt.Fprintf(w, "%s has %s of the transactions already\n", o.target, human.Count(c.Present))
	}
	if !r.Complete {
		fmt.Fprintln(w, "only the beginning of the source was read, because of --limit: the figures are for the whole of it, by that part")
	}
	p := r.Target
	inodes := "inodes without a limit"
	if p.FreeInodes >= 0 {
		inodes = human.Count(p.FreeInodes) + " inodes"
	}
	fmt.Fprintf(w, "%s: %s, blocks of %s; %s and %s are free\n\n", p.Directory, p.FileSystem, human.Bytes(p.BlockBytes), human.Bytes(p.FreeBytes), inodes)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "format\tspace\tinodes\tmemory\ttime\tfits\t")
	for _, f := range r.Formats {
		seconds, fits := "unknown", "no"
		if f.Seconds != nil {
			seconds = human.Duration(time.Duration(*f.Seconds * float64(time.Second)))
		}
		if f.Fits {
			fits = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", f.Format, human.Bytes(f.Bytes), human.Count(f.Inodes), human.Bytes(f.MemoryBytes), seconds, fits)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if s := r.Sample; s != nil {
		fmt.Fprintf(w, "Times are estimates: the source was read in %s, and a sample of %s (%s) was copied into each format in %s.\n",
			human.Duration(time.Duration(c.ReadSeconds*float64(time.Second))), human.Number(s.Records, "record"), human.Bytes(s.Bytes), human.Duration(time.Duration(s.Seconds*float64(time.Second))))
	}
	if r.NoSample != "" {
		fmt.Fprintf(w, "No sample was copied, so there are no times, and the size of bundles is a rough guess: %s.\n", r.NoSample)
	}
	if len(r.Odd) == 0 {
		_, err := fmt.Fprintln(w, "nothing unusual")
		return err
	}
	fmt.Fprintln(w, "\nunusual:")
	for _, odd := range r.Odd {
		mark := " "
		if odd.Stops {
			mark = "!"
		}
		fmt.Fprintf(w, "%s %s: %s: %s\n", mark, odd.Kind, human.Count(odd.Count), odd.Detail)
	}
	for _, d := range r.Dangling[:min(len(r.Dangling), maxDanglingLines)] {
		fmt.Fprintf(w, "    object %s%s refers to %s%s\n", d.OID, inBrackets(d.Class), d.Target, inBrackets(d.TargetClass))
	}
	return nil
}
