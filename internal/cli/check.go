package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

type checkCommand struct {
	home    string
	since   string
	workers int
	refs    bool
	json    bool
}

func newCheck(e *env) *cobra.Command {
	var o checkCommand
	c := &cobra.Command{
		Use:         "check HOME",
		Annotations: interruptible("it has not read everything, so that it found no damage until then says nothing; run it again, it begins anew"),
		SuggestFor:  []string{"fsck", "fstest", "verify"},
		Short:       "Read every file of a storage and report damage",
		Long: `Read every file below HOME, running, stopped or a copy of config and A, and print
each finding as it is found. A running storage is put into snapshot mode
meanwhile. The exit status is 3 if there is damage. Damaged members of a bundle are
counted behind the other findings; --verbose and --json list each of them. The result
is recorded in HOME/misc/runs: status tells damage until a later check of everything
is clean.

With --refs it also writes the index that makes dirstorage refs quick, as refs
--write-index does, unless there may be objects that it does not come to.`,
		Example: "  dirstorage check /srv/zodb\n  dirstorage check --since 03F6ED2440000000 --json /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.since, "since", "", "look only at revisions of transactions later than this `TID`")
	c.Flags().IntVar(&o.workers, "workers", 0, "files to look at at the same time; 0 = the number of processors")
	c.Flags().BoolVar(&o.refs, "refs", false, "also write the index that makes dirstorage refs quick")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line, the last one the summary")
	return c
}

func (o *checkCommand) run(ctx context.Context, e *env) (err error) {
	var since zodb.TID
	if o.since != "" && o.refs {
		return usage("--refs cannot be combined with --since, which does not read all references; leave one out")
	}
	if o.workers < 0 {
		return usage("--workers %d: want 0 or more", o.workers)
	}
	if since, err = wantTID("--since", o.since); err != nil {
		return err
	}
	home, err := openHome(o.home)
	if err != nil {
		return err
	}
	checked := &runs.Checked{Extent: runs.Whole, Since: since}
	var failed error // of the check, not of a print
	record := e.record(home, runs.Check)
	defer func() { record.end(runs.Result{Check: checked}, failed) }()
	snapshotOnly, release, err := stand(ctx, e, home)
	if err != nil {
		failed = err
		return err
	}
	switch {
	case since != 0:
		checked.Extent = runs.Part
	case snapshotOnly:
		checked.Extent = runs.Snapshot
	}
	defer func() { err = errors.Join(err, release()) }()
	options := check.Options{FS: home, Since: since, Workers: o.workers, SnapshotOnly: snapshotOnly, Root: true, Now: e.Now}
	var index *checkIndex
	if o.refs {
		index = &checkIndex{home: home}
		options.Index = index
	}
	show := newCheckMeter(e, home, since == 0)
	options.Progress = show.update
	var printed error
	var held bundleFindings
	var dangling []string
	back := "" // the way to give back files of another user
	sum, err := check.Run(ctx, options, func(f check.Finding) {
		if o.json || e.Verbose || !held.hold(f) {
			show.around(func() { printed = errors.Join(printed, o.print(e, f)) })
		}
		switch {
		case f.Severity != check.Damage:
		case f.Kind == check.DanglingReference:
			if checked.Dangling++; len(dangling) < firstFindings {
				dangling = append(dangling, shortened(findingLine(f)))
			}
		case len(checked.First) < firstFindings:
			checked.First = append(checked.First, shortened(findingLine(f)))
		}
		if f.Kind == check.Unreadable && back == "" {
			back = giveBack(home.Path(f.Path))
		}
	})
	show.m.end()
	printed = errors.Join(printed, held.print(e, func(f check.Finding) error { return o.print(e, f) }))
	failed, checked.Complete = err, err == nil
	checked.First = append(checked.First, dangling[:min(len(dangling), firstFindings-len(checked.First))]...)
	checked.LastTID, checked.Files, checked.Damage, checked.Warnings = sum.LastTID, sum.Files, sum.Damage, sum.Warnings
	if index != nil {
		index.close(e)
	}
	if err = errors.Join(err, printed); err != nil {
		return err
	}
	if err := o.printSummary(e, sum, index); err != nil {
		return err
	}
	if back != "" {
		fmt.Fprintf(e.Stderr, "hint: %s\n", back)
	}
	if sum.Damage > 0 {
		return &status{code: exitDamage}
	}
	return nil
}

func (o *checkCommand) print(e *env, f check.Finding) error {
	if o.json {
		return e.printLine(f)
	}
	_, err := fmt.Fprintln(e.Stdout, findingLine(f))
	return err
}

// firstFindings is how many a record has.
const firstFindings = 5

// findingLine is a finding on one line.
func findingLine(f check.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", f.Severity, f.Kind)
	if f.HasOID {
		fmt.Fprintf(&b, " oid %s", f.OID)
	}
	if f.TID != 0 {
		fmt.Fprintf(&b, " tid %s", f.TID)
	}
	if f.Class != "" {
		fmt.Fprintf(&b, " class %q", f.Class)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, " %s", strconv.Quote(f.Path))
	}
	if f.Kind == check.DanglingReference {
		fmt.Fprintf(&b, " referred to by %s", f.From)
		if f.FromClass != "" {
			fmt.Fprintf(&b, " class %q", f.FromClass)
		}
		fmt.Fprintf(&b, " at %s", f.FromTID)
	}
	if f.Detail != "" {
		fmt.Fprintf(&b, ": %s", f.Detail)
	}
	return b.String()
}

// printSummary prints the summary, and the size of the index, if one was written.
func (o *checkCommand) printSummary(e *env, s check.Summary, index *checkIndex) error {
	var written *indexWritten
	if index != nil {
		written = index.written
	}
	if o.json {
		return e.printLine(checkSummary{s, written})
	}
	w := e.printer()
	w.printf("%s, %s, %s, %s; last transaction %s\n%s read: %d damaged, %s, %s\n",
		human.Number(int64(s.Objects), "object"), human.Number(int64(s.Revisions), "revision"), human.Number(int64(s.Transactions), "transaction"), human.Number(int64(s.Blobs), "blob"), s.LastTID, human.Number(int64(s.Files), "file"), s.Damage, human.Number(int64(s.Warnings), "warning"), human.Number(int64(s.Notes), "note"))
	if s.Dangling > 0 {
		w.printf("%s missing that something refers to. Those that refer to them can be changed; a change that adds such a reference is refused\n", human.Plural(int64(s.Dangling), "object is", "objects are"))
	}
	if written != nil {
		w.printf("%s\n", written)
	}
	return w.err
}

// stand makes sure that the files do not change while they are read. A storage that
// nobody has open is kept so by its lock; one that runs is put into snapshot mode,
// and then only config and A are to be looked at. release ends it.
func stand(ctx context.Context, e *env, home vfs.FS) (snapshotOnly bool, release func() error, err error) {
	if e.Getenv("SNAPSHOT_VERSION") == "" {
		lock, err := vfs.LockToRead(home, "misc/lock")
		switch {
		case err == nil:
			return false, lock.Close, nil
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			// A copy of config and A, or one that may not be written to.
			return false, func() error { return nil }, nil
		case !errors.Is(err, vfs.ErrLocked):
			return false, nil, err
		}
	}
	held, err := snapshot.Enter(ctx, e.snapshotOptions(home.Path(".")))
	if err != nil {
		return false, nil, err
	}
	return true, func() error { return held.Release(context.WithoutCancel(ctx)) }, nil
}
