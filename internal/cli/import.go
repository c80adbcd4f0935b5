package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

type importCommand struct {
	source, home  string
	class, format string
	blobs         string
	noBlobs       bool
	missing       string
	json          bool
	follow        bool
	tls           clientTLS
}

func newImport(e *env) *cobra.Command {
	var o importCommand
	c := &cobra.Command{
		Use:   "import {DATA.FS | zeo://HOST:PORT/STORAGE} HOME",
		Short: "Copy a FileStorage, or what a ZEO server serves, into a storage; again, what is new in it",
		Long: `Copy the transactions of a Data.fs that HOME does not have yet, with their tids,
users, undo records and blobs. HOME is made if it does not exist. Running it
again adds only what is new, and goes on after an interruption. If HOME holds
anything else, nothing is changed. Nobody may pack or truncate the file
meanwhile; appending to it is harmless.

Instead of a file it may be a storage on a running ZEO server, over TCP
(zeo://HOST:PORT, zeo://HOST:PORT/STORAGE or zeo://HOST:PORT?storage=STORAGE) or a
Unix socket (zeo:///PATH?storage=STORAGE); port 9991 and storage 1 if nothing
else is said. Blobs come from the server. With --follow each later transaction
is copied too, as soon as it was committed there, until SIGINT or SIGTERM.`,
		Example: `  dirstorage import Data.fs /srv/zodb
  dirstorage import --blobs var/blobstorage var/filestorage/Data.fs /srv/zodb
  dirstorage import --follow zeo://db.example.org:8100 /srv/zodb`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.source, o.home = args[0], args[1]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.blobs, "blobs", "", "the blob `DIR` that belongs to the file, bushy or lawn")
	c.Flags().BoolVar(&o.noBlobs, "no-blobs", false, "import the records of blobs without their content")
	c.Flags().StringVar(&o.missing, "missing-blobs", "stop", "what to do when a blob is missing: stop, or skip its content")
	c.Flags().StringVar(&o.format, "format", dirstorage.DefaultFormat, "of a new HOME: bushy, chunky, lawn or flat")
	c.Flags().StringVar(&o.class, "class", string(dirstorage.ClassFull), "of a new HOME: Full, or Minimal")
	c.Flags().BoolVar(&o.json, "json", false, "print what was done as JSON")
	c.Flags().BoolVar(&o.follow, "follow", false, "from a server: go on with each new transaction until told to stop")
	o.tls.addFlags(c)
	return c
}

func (o *importCommand) options() (transfer.ImportOptions, error) {
	var t transfer.ImportOptions
	switch {
	case o.noBlobs && o.blobs != "":
		return t, usage("--blobs and --no-blobs exclude each other")
	case o.missing != "stop" && o.missing != "skip":
		return t, usage("--missing-blobs %q: want stop or skip", o.missing)
	case o.noBlobs:
		t.Policy = transfer.BlobsNone
	case o.missing == "skip":
		t.Policy = transfer.BlobsSkipMissing
	}
	if o.blobs == "" {
		return t, nil
	}
	var err error
	t.Blobs, err = vfs.OS(o.blobs)
	return t, err
}

func (o *importCommand) run(ctx context.Context, e *env) (err error) {
	options, err := o.options()
	if err != nil {
		return err
	}
	if zeoclient.IsURL(o.source) {
		return o.runServer(ctx, e, options)
	}
	if o.follow || o.tls != (clientTLS{}) {
		return usage("--follow and --tls-... are for a server, zeo://HOST:PORT")
	}
	dir, name, err := vfs.Split(o.source)
	if err != nil {
		return err
	}
	r, err := filestorage.Open(dir, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	r.Warn = func(w filestorage.Warning) {
		e.logger().Warn("strange, but harmless", "path", o.source, "offset", w.Offset, "tid", w.TID, "reason", w.Reason)
	}
	s, err := o.open(ctx, e)
	if err != nil {
		return err
	}
	m := newMeter(e)
	options.Progress = m.show
	done, err := transfer.Import(ctx, s, r, options)
	m.end()
	err = errors.Join(err, s.Close())
	if done.Truncated != nil {
		fmt.Fprintf(e.Stderr, "warning: %s is good up to byte %d only (%s); what is behind was never committed and is left out\n",
			o.source, done.Truncated.Offset, done.Truncated.Reason)
	}
	if errors.Is(err, transfer.ErrBlob) {
		return hint(err, "give --blobs DIR, or leave blobs out by --no-blobs or --missing-blobs=skip; then run it again, it goes on where it stopped")
	}
	return o.report(e, m, done, err)
}

// open opens HOME, which is made if it is not there.
func (o *importCommand) open(ctx context.Context, e *env) (*dirstorage.Storage, error) {
	above, base, err := vfs.Split(o.home)
	if err != nil {
		return nil, err
	}
	if _, err := above.Stat(base); errors.Is(err, fs.ErrNotExist) {
		if err := dirstorage.Create(o.home, dirstorage.CreateOptions{Class: dirstorage.Class(o.class), Format: o.format}); err != nil {
			return nil, err
		}
	}
	return dirstorage.Open(ctx, o.home, dirstorage.Options{Logger: e.logger()})
}

// report says what was done, or what to do about err.
func (o *importCommand) report(e *env, m *meter, done transfer.Imported, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return hint(err, "run it again, it goes on after transaction %s", done.LastTID)
	case errors.Is(err, transfer.ErrOther):
		return hint(err, "import into a new HOME")
	case err != nil:
		return err
	}
	if o.json {
		return e.printJSON(done)
	}
	spent := m.spent()
	_, err = fmt.Fprintf(e.Stdout, "imported %s transactions with %s records and %s blobs (%s) in %s, %s; the last one is %s\n",
		human.Count(done.Transactions), human.Count(done.Records), human.Count(done.Blobs), human.Bytes(done.Bytes),
		human.Duration(spent), human.Rate(done.Records, spent), formatLast(done.LastTID))
	if done.MissingBlobs > 0 {
		fmt.Fprintf(e.Stderr, "warning: %s blobs were missing; their records are there without content\n", human.Count(done.MissingBlobs))
	}
	return err
}
