package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

type importCommand struct {
	source, home  string
	class, format string
	blobs         string
	noBlobs       bool
	missing       string
	json          bool
	follow        bool
	salvage       bool
	renumber      bool
	ignoreSpace   bool
	dryRun        bool
	verb          string // of messages; "": import
	tls           clientTLS
	loader        *engine.Loader // of a new HOME, which open has not opened then
	log           *onceLog       // of HOME, which is opened more than once; nil: not yet
}

func newImport(e *env) *cobra.Command {
	var o importCommand
	c := &cobra.Command{
		Use:         "import {DATA.FS | zeo://HOST:PORT/STORAGE} HOME",
		Annotations: interruptible("run it again: it goes on after the last transaction that it copied"),
		SuggestFor:  []string{"load", "zodbconvert", "copy"},
		Short:       "Copy a FileStorage, or the storage of a ZEO server; again: only new transactions",
		Long: `Copy the transactions of a Data.fs that HOME does not have yet, with their tids,
users, undo records and blobs. HOME is made if it does not exist or is empty.
Running it again adds only new transactions, and goes on after an interruption. If
HOME holds anything else, nothing is changed. Nobody may pack or truncate the file
meanwhile; appending to it is harmless.

The end of the file may be torn by a crash: bytes behind the last whole transaction
were never committed. A copy that was cut looks the same, so compare its size with
that of the original. If sound transactions follow, or the transaction has its
length at its own end, the file is damaged instead. An import stops there with
status 3; --salvage takes the sound transactions before and behind, and a
transaction of which only a length is wrong. It lists its omissions, with status 3
too. An object whose newest revision is lost has the one before then. If tids do not
grow, --renumber gives such transactions the next ones after the one before.

Before it begins it estimates the room for the import, from the first transactions
and the blobs, or from the numbers of the server, and refuses if fewer bytes or
inodes are free; --ignore-space goes on. --dry-run reads everything, prints the
report of dirstorage estimate, and copies nothing.

Instead of a file it may be a storage on a running ZEO server, over TCP
(zeo://HOST:PORT, zeo://HOST:PORT/STORAGE or zeo://HOST:PORT?storage=STORAGE) or a
Unix socket (zeo:///PATH?storage=STORAGE); port 9991 and storage 1 if nothing
else is said. Blobs come from it. At the end, current revisions are compared.

With --follow each later transaction is copied too, as soon as the server announces
it, or the file has it, until SIGINT or SIGTERM. It reports when HOME has caught up,
and while it is behind the transactions, bytes and time by which; with --json as
documents, one a line. Before it first caught up, the status is 130.`,
		Example: `  dirstorage import Data.fs /srv/zodb
  dirstorage import --blobs var/blobstorage var/filestorage/Data.fs /srv/zodb
  dirstorage import --dry-run --blobs var/blobstorage var/filestorage/Data.fs /srv/zodb
  dirstorage import --follow zeo://db.example.org:8100 /srv/zodb`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.source, o.home = args[0], args[1]
			if c.Flags().NArg() == 1 && !o.dryRun && !exists(o.home) {
				return notMade(o.home, "environment "+homeVariable)
			}
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.blobs, "blobs", "", "the blob `DIR` that belongs to the file, bushy or lawn")
	c.Flags().BoolVar(&o.noBlobs, "no-blobs", false, "import the records of blobs without their content")
	c.Flags().StringVar(&o.missing, "missing-blobs", "stop", "when a blob is missing: stop, or skip its content")
	c.Flags().StringVar(&o.format, "format", "", "of a new HOME: "+formatHelp)
	c.Flags().StringVar(&o.class, "class", string(zodb.ClassFull), "of a new HOME: Full, or Minimal")
	c.Flags().BoolVar(&o.salvage, "salvage", false, "leave out damaged parts of the file, or of the server")
	c.Flags().BoolVar(&o.renumber, "renumber", false, "give transactions whose tids do not grow other ones")
	c.Flags().BoolVar(&o.ignoreSpace, "ignore-space", false, "begin although the disk seems to have too little space")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "copy nothing; print the report of estimate")
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	c.Flags().BoolVar(&o.follow, "follow", false, "go on with each new transaction until told to stop; report how far HOME is behind")
	o.tls.addFlags(c)
	return c
}

func (o *importCommand) options() (transfer.ImportOptions, error) {
	var t transfer.ImportOptions
	switch {
	case o.noBlobs && o.blobs != "":
		return t, usage("--blobs cannot be combined with --no-blobs; leave one out")
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
	t.Blobs, err = openBlobs(o.blobs)
	return t, err
}

// openBlobs opens the blob directory of a Data.fs.
func openBlobs(name string) (vfs.FS, error) {
	dir, err := vfs.OS(name)
	if err == nil {
		err = vfs.WantDir(dir)
	}
	if _, missing := errors.AsType[*vfs.MissingDirError](err); missing {
		err = hint(err, "look whether --blobs is right: it is the blobstorage that stands beside the filestorage of the site, var/blobstorage with Plone")
	}
	if err != nil {
		return nil, fmt.Errorf("--blobs: %w", err)
	}
	return dir, nil
}

func (o *importCommand) run(ctx context.Context, e *env) (err error) {
	options, err := o.options()
	if err == nil {
		err = o.createOptions().Validate()
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return o.estimate(ctx, e)
	}
	if zeoclient.IsURL(o.source) {
		return o.runServer(ctx, e, options)
	}
	options.Salvage, options.Renumber = o.salvage, o.renumber
	if o.tls != (clientTLS{}) {
		return usage("--tls-... are for a server; leave them out, or give zeo://HOST:PORT")
	}
	if o.follow && (o.salvage || o.renumber) {
		return usage("--follow of a Data.fs cannot be combined with --salvage or --renumber; leave one out")
	}
	dir, name, err := vfs.Split(o.source)
	if err != nil {
		return err
	}
	r, err := filestorage.Open(dir, name)
	if err != nil {
		return o.sourceError(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	r.Warn = func(w filestorage.Warning) {
		e.logger().Warn("unusual", "path", o.source, "offset", w.Offset, "tid", w.TID, "reason", w.Reason)
	}
	s, err := o.openWithRoom(ctx, e, func() (transfer.Room, error) {
		sample, err := filestorage.Open(dir, name)
		if err != nil {
			return transfer.Room{}, err
		}
		estimate := transfer.RoomOfFile
		if o.intoBundles() {
			estimate = transfer.RoomOfFileInBundles
		}
		room, err := estimate(ctx, sample, options.Blobs)
		return room, errors.Join(err, sample.Close())
	})
	if err != nil {
		return err
	}
	if r.Python2() {
		e.note("%s is a file of Python 2: its records are for clients of Python 2, or have to be converted (zodbupdate); an export will be one too\n", o.source)
	}
	m := newMeter(e)
	if o.follow {
		f := newFollowing(o, e, m)
		f.answer(s)
		done, err := transfer.FollowFile(ctx, s, dir, name, transfer.FileOptions{Blobs: options.Blobs, Policy: options.Policy, Progress: m.show, Report: f.report})
		if err = f.end(ctx, err); err == nil && r.Python2() {
			err = rememberPython2(s)
		}
		m.end()
		return o.blobAdvice(e, m, done, errors.Join(err, closeShown(e, s)), "give --blobs DIR, or leave blobs out")
	}
	options.Progress = m.show
	var target transfer.Target
	if options.Load = o.load(ctx, e, &s); s != nil {
		target = s
	}
	done, err := transfer.Import(ctx, target, r, options)
	m.end()
	if err == nil && r.Python2() {
		err = rememberPython2(s)
	}
	err = errors.Join(err, closeShown(e, s))
	if done.Truncated != nil {
		e.note("warning: %s is good up to byte %d only (%s); the bytes behind it are left out: they were never committed, if the file is whole; if it is a copy, compare its size with that of the original\n",
			o.source, done.Truncated.Offset, done.Truncated.Reason)
	}
	return o.blobAdvice(e, m, done, err, "give --blobs DIR, or leave blobs out")
}

// blobAdvice is report, with the advice on a blob that cannot be had.
func (o *importCommand) blobAdvice(e *env, m *meter, done transfer.Imported, err error, remedy string) error {
	if errors.Is(err, transfer.ErrBlob) {
		return hint(err, "%s by --no-blobs or --missing-blobs=skip; then run it again, it goes on where it stopped", remedy)
	}
	return o.report(e, m, done, err)
}

// estimate is run with --dry-run.
func (o *importCommand) estimate(ctx context.Context, e *env) error {
	if zodb.Class(o.class) != zodb.ClassFull {
		return usage("--dry-run estimates homes of class Full only; leave out --class %s, or --dry-run", o.class)
	}
	if o.follow {
		return usage("--dry-run cannot be combined with --follow; leave one out")
	}
	as := estimateCommand{source: o.source, target: o.home, blobs: o.blobs, noBlobs: o.noBlobs, format: o.format, json: o.json, tls: o.tls}
	return as.run(ctx, e)
}

// sourceError adds to the error of a file that cannot be opened a guess at the intended one.
func (o *importCommand) sourceError(err error) error {
	if e, ok := errors.AsType[*filestorage.NotAFileStorageError](err); ok && e.Unpack() != "" {
		return hint(err, "it is compressed: %s it first", e.Unpack())
	}
	if _, herr := openHome(o.source); herr == nil && !exists(o.home) {
		return hint(err, "it is a storage: dirstorage convert %s %s copies one, and dirstorage export %s FILE makes a Data.fs of it", shellWord(o.source), shellWord(o.home), shellWord(o.source))
	} else if herr == nil {
		return hint(err, "the storage comes last: dirstorage import %s %s", o.home, o.source)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return hint(err, "look whether the name is right; a storage on a server is zeo://HOST:PORT/STORAGE")
	}
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return hint(err, "the form is dirstorage %s DATA.FS HOME", cmp.Or(o.verb, "import"))
}

// damagedSource reports whether an error tells of damage of the file, and not of HOME.
func (o *importCommand) damagedSource(err error) bool {
	if errors.Is(err, transfer.ErrDamagedRecord) {
		return true
	}
	damage, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok {
		e, ok := errors.AsType[*zeoclient.ServerError](err)
		return ok && transfer.TellsDamage(e)
	}
	dir, name, err := vfs.Split(o.source)
	return err == nil && damage.Path == dir.Path(name)
}

// rememberPython2 writes into the settings whose pickles the records are.
func rememberPython2(s *engine.Storage) error {
	if s.Settings().Storage.Python == 2 {
		return nil
	}
	home, err := vfs.OS(s.Home())
	if err != nil {
		return err
	}
	const name = "config/settings"
	data, err := vfs.ReadFile(home.Path(name))
	if err != nil {
		return err
	}
	if data, err = settings.Update(data, "storage", "python", "2"); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(home, name+".new", name, data, vfs.SyncOptions{File: true, Dir: true})
}

// createOptions are those of a HOME that is made.
func (o *importCommand) createOptions() engine.CreateOptions {
	made := engine.CreateOptions{Class: zodb.Class(o.class), Format: o.format}
	if made.Format == "" {
		made.Format = engine.DefaultFormat(made.Class)
	}
	return made
}

// open opens HOME, which is made if nothing is there. The result is nil where there is a loader.
func (o *importCommand) open(ctx context.Context, e *env) (*engine.Storage, error) {
	vacant, err := engine.Vacant(o.home)
	if err != nil {
		return nil, err
	}
	if vacant {
		if err := createVacant(o.home, o.createOptions()); err != nil {
			return nil, err
		}
		if !o.salvage && !o.renumber && !o.follow {
			o.loader, err = engine.OpenLoader(ctx, o.home, 0, o.engineOptions(e))
			if !errors.Is(err, errors.ErrUnsupported) {
				return nil, err
			}
		}
	}
	return o.openStorage(ctx, e)
}

func (o *importCommand) openStorage(ctx context.Context, e *env) (*engine.Storage, error) {
	s, err := engine.Open(ctx, o.home, o.engineOptions(e))
	return s, notEmpty(o.home, err)
}

func (o *importCommand) engineOptions(e *env) engine.Options {
	if o.log == nil {
		o.log = newOnceLog(e.logger())
	}
	options := engine.Options{Logger: o.log.open(), History: engine.HistoryCopied}
	if o.ignoreSpace {
		options.Reserve = ignoredReserve
	}
	return options
}

// load is the way around the log; nil: there is none. s is the storage while it is open.
func (o *importCommand) load(ctx context.Context, e *env, s **engine.Storage) *transfer.Load {
	load := &transfer.Load{Open: func() (transfer.Target, error) {
		var err error
		// An interrupted one is opened all the same: it says how far it came.
		*s, err = o.openStorage(context.WithoutCancel(ctx), e)
		return *s, err
	}}
	switch {
	case o.loader != nil:
		load.Loader = o.loader
	case o.salvage || o.renumber || !(*s).Loads():
		return nil
	}
	load.Turn = func(last zodb.TID) (transfer.Loader, error) {
		err := (*s).Close()
		*s = nil
		if err != nil {
			return nil, err
		}
		l, err := engine.OpenLoader(ctx, o.home, last, o.engineOptions(e))
		if err != nil {
			return nil, notEmpty(o.home, err)
		}
		return l, nil
	}
	return load
}

// closeShown closes a storage, if it could be opened.
func closeShown(e *env, s *engine.Storage) error {
	if s == nil {
		return nil
	}
	return showFlush(e, s, s.Close)
}
