package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

type exportCommand struct {
	home, target string
	to           string
	blobs        string
	noBlobs      bool
	force        bool
	skipBroken   bool
	python       int
	json         bool
}

func newExport(e *env) *cobra.Command {
	var o exportCommand
	c := &cobra.Command{
		Use:         "export HOME DATA.FS",
		Annotations: interruptible("the file was not made; run it again, it begins anew"),
		SuggestFor:  []string{"dump"},
		Short:       "Write a FileStorage that holds the same transactions",
		Long: `Write a Data.fs that ZODB's FileStorage reads, with the tids, users and undo
records of HOME. It reads beside a running storage, and exports the transactions
committed before it began. The file gets its name when it is whole and durable.
Revisions whose transaction was packed away come in transactions with the
description “packed away”. Transactions that were packed have the status that says
so: nobody can undo them.

An unreadable record or blob ends the export. With --skip-broken it is left out and
listed, and the exit status is 3; an object whose newest revision is left out has
the one before.`,
		Example: `  dirstorage export /srv/zodb copy.fs --blobs copy-blobs
  dirstorage export --to "2026-03-01 10:00" --no-blobs /srv/zodb then.fs`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.home, o.target = args[0], args[1]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.to, "to", "", "the last transaction to export, by `TID` or time")
	c.Flags().StringVar(&o.blobs, "blobs", "", "make a blob `DIR` for the file; it must not exist, or be empty")
	c.Flags().BoolVar(&o.noBlobs, "no-blobs", false, "leave the content of blobs out")
	c.Flags().BoolVar(&o.force, "force", false, "replace DATA.FS if it exists")
	c.Flags().BoolVar(&o.skipBroken, "skip-broken", false, "leave out unreadable records and blobs, and list them")
	c.Flags().IntVar(&o.python, "python", 0, "whose pickles the records are, 2 or 3, for the first bytes of the file; default: as in the settings of HOME")
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o *exportCommand) run(ctx context.Context, e *env) (err error) {
	if o.noBlobs && o.blobs != "" {
		return usage("--blobs cannot be combined with --no-blobs; leave one out")
	}
	if o.python != 0 && o.python != 2 && o.python != 3 {
		return usage("--python %d: want 2 or 3", o.python)
	}
	options := transfer.ExportOptions{LeaveBlobs: o.noBlobs, SkipBroken: o.skipBroken}
	if options.To, err = e.parseTID("--to", o.to); err != nil {
		return err
	}
	if err := notInside(o.target); err != nil {
		return err
	}
	s, err := openReader(ctx, e, o.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	dir, final, err := vfs.Split(o.target)
	if err == nil {
		err = vfs.WantDir(dir)
	}
	if err != nil {
		return err
	}
	name := final
	if info, err := dir.Stat(final); err == nil {
		if !info.Mode.IsRegular() {
			return hint(fmt.Errorf("%w: %s is not an ordinary file", fs.ErrExist, o.target), "choose another name")
		}
		if !o.force {
			return hint(fmt.Errorf("%w: %s", fs.ErrExist, o.target), "choose another name, or replace it with --force")
		}
		name += ".new"
	}
	if o.blobs != "" {
		if options.Blobs, err = vfs.OS(o.blobs); err != nil {
			return err
		}
		if err := options.Blobs.Mkdir("."); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	w, err := filestorage.Create(dir, name)
	if errors.Is(err, fs.ErrExist) {
		return hint(err, "an export that was killed left it, or another one is at work; remove it if there is none")
	}
	if err != nil {
		return err
	}
	if o.python == 0 {
		o.python = s.Settings().Storage.Python
	}
	if o.python == 2 {
		w.Python2()
	}
	m := newMeter(e)
	options.Progress = m.show
	done, err := transfer.Export(ctx, s, w, options)
	m.end()
	if errors.Is(err, transfer.ErrBlob) {
		err = hint(err, "give --blobs DIR, or leave them out by --no-blobs")
	}
	if errors.Is(err, zodb.ErrCorrupt) {
		err = &status{code: exitDamage, err: hint(err, "--skip-broken leaves it out and exports the rest; dirstorage check %s lists all damage", o.home)}
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	size := w.Size()
	if err := w.Close(); err != nil {
		return err
	}
	if name != final {
		// An index that belongs to the old file would lead ZODB astray.
		if err := dir.Remove(final + ".index"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := dir.Rename(name, final); err != nil {
			return err
		}
		if err := dir.SyncDir("."); err != nil {
			return err
		}
	}
	for _, b := range done.BrokenList {
		what := fmt.Sprintf("left out object %s of transaction %s", b.OID, b.TID)
		switch {
		case b.Blob:
			what = fmt.Sprintf("left out the blob of object %s of transaction %s", b.OID, b.TID)
		case b.Transaction:
			what = fmt.Sprintf("transaction %s itself; revisions of it that were found are exported without user and description", b.TID)
		case b.Link:
			what = fmt.Sprintf("nothing is left out, but transaction %s does not lead to the one before it", b.TID)
		}
		fmt.Fprintf(e.Stderr, "damage: %s: %s\n", what, b.Reason)
	}
	if done.Broken > 0 {
		err = &status{code: exitDamage, err: hint(fmt.Errorf("%s cannot be read (transactions, records or blobs); see the list of omissions", human.Number(done.Broken, "part")), "dirstorage check %s", o.home)}
	}
	if o.json {
		return errors.Join(e.printJSON(done), err)
	}
	_, perr := fmt.Fprintf(e.Stdout, "exported %s with %s and %s into %s (%s) in %s; the last one is %s\n",
		human.Number(done.Transactions, "transaction"), human.Number(done.Records, "record"), human.Number(done.Blobs, "blob"), o.target, human.Bytes(size),
		human.Duration(m.spent()), formatLast(done.LastTID))
	return errors.Join(perr, err)
}

// openReader opens a storage for reading only, beside a process that has it open.
func openReader(ctx context.Context, e *env, home string) (*engine.Storage, error) {
	s, err := engine.Open(ctx, home, engine.Options{ReadOnly: true, Logger: e.logger()})
	if errors.Is(err, zodb.ErrNeedsRecovery) {
		err = hint(err, "run dirstorage recover %s", home)
	}
	return s, err
}
