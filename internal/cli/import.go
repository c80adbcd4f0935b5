package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
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
	verb          string // of messages; "": import
	tls           clientTLS
	loader        *engine.Loader // of a new HOME, which open has not opened then
}

func newImport(e *env) *cobra.Command {
	var o importCommand
	c := &cobra.Command{
		Use:         "import {DATA.FS | zeo://HOST:PORT/STORAGE} HOME",
		Annotations: interruptible("run it again: it goes on after the last transaction that it copied"),
		SuggestFor:  []string{"load", "zodbconvert", "copy"},
		Short:       "Copy a FileStorage, or a storage on a ZEO server, into a storage; again: only new transactions",
		Long: `Copy the transactions of a Data.fs that HOME does not have yet, with their tids,
users, undo records and blobs. HOME is made if it does not exist or is empty.
Running it again adds only new transactions, and goes on after an interruption. If
HOME holds anything else, nothing is changed. Nobody may pack or truncate the file
meanwhile; appending to it is harmless.

The end of the file may be torn by a crash: bytes behind the last whole transaction
were never committed. If sound transactions follow, or the transaction has its
length at its own end, the file is damaged instead. An import stops there with
status 3; --salvage takes the sound transactions before and behind, and a
transaction of which only a length is wrong. It lists its omissions, with status 3
too. An object whose newest revision is lost has the one before then. If tids do not
grow, --renumber gives such transactions the next ones after the one before.

Before it begins it estimates the room for the import, from the first transactions
and the blobs, or from the numbers of the server, and refuses if fewer bytes or
inodes are free; --ignore-space goes on.

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
	c.Flags().StringVar(&o.missing, "missing-blobs", "stop", "when a blob is missing: stop, or skip its content")
	c.Flags().StringVar(&o.format, "format", "", "of a new HOME: "+formatHelp)
	c.Flags().StringVar(&o.class, "class", string(zodb.ClassFull), "of a new HOME: Full, or Minimal")
	c.Flags().BoolVar(&o.salvage, "salvage", false, "leave out damaged parts of the file, or of the server")
	c.Flags().BoolVar(&o.renumber, "renumber", false, "give transactions whose tids do not grow other ones")
	c.Flags().BoolVar(&o.ignoreSpace, "ignore-space", false, "begin although the disk seems to have too little space")
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	c.Flags().BoolVar(&o.follow, "follow", false, "from a server: go on with each new transaction until told to stop")
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
	t.Blobs, err = vfs.OS(o.blobs)
	return t, err
}

func (o *importCommand) run(ctx context.Context, e *env) (err error) {
	options, err := o.options()
	if err == nil {
		err = o.createOptions().Validate()
	}
	if err != nil {
		return err
	}
	if zeoclient.IsURL(o.source) {
		return o.runServer(ctx, e, options)
	}
	options.Salvage, options.Renumber = o.salvage, o.renumber
	if o.follow || o.tls != (clientTLS{}) {
		return usage("--follow and --tls-... are for a server; leave them out, or give zeo://HOST:PORT")
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
		fmt.Fprintf(e.Stderr, "%s is a file of Python 2: its records are for clients of Python 2, or have to be converted (zodbupdate); an export will be one too\n", o.source)
	}
	m := newMeter(e)
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
		fmt.Fprintf(e.Stderr, "warning: %s is good up to byte %d only (%s); the bytes behind it were never committed and are left out\n",
			o.source, done.Truncated.Offset, done.Truncated.Reason)
	}
	if errors.Is(err, transfer.ErrBlob) {
		return hint(err, "give --blobs DIR, or leave blobs out by --no-blobs or --missing-blobs=skip; then run it again, it goes on where it stopped")
	}
	return o.report(e, m, done, err)
}

// sourceError adds to the error of a file that cannot be opened a guess at the intended one.
func (o *importCommand) sourceError(err error) error {
	if e, ok := errors.AsType[*filestorage.NotAFileStorageError](err); ok && e.Unpack() != "" {
		return hint(err, "it is compressed: %s it first", e.Unpack())
	}
	if _, herr := openHome(o.source); herr == nil {
		return hint(err, "the storage comes last: dirstorage import %s %s", o.home, o.source)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return hint(err, "the form is dirstorage import DATA.FS HOME")
}

// damagedSource reports whether an error tells of damage of the file, and not of HOME.
func (o *importCommand) damagedSource(err error) bool {
	damage, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok {
		_, ok = errors.AsType[*zeoclient.ServerError](err)
		return ok
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
	options := engine.Options{Logger: e.logger(), History: engine.HistoryCopied}
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

// report prints the result, or the advice on err.
func (o *importCommand) report(e *env, m *meter, done transfer.Imported, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return hint(err, "run it again, it goes on after transaction %s", done.LastTID)
	case errors.Is(err, transfer.ErrOther):
		return hint(err, "import into a new HOME")
	case errors.Is(err, transfer.ErrOrder):
		return hint(err, "--renumber gives such transactions the next tids after the one before; run it again, it goes on where it stopped")
	case o.damagedSource(err) && !o.salvage:
		return &status{code: exitDamage, err: hint(err, "the transactions before it were imported; --salvage goes on with the sound ones behind it")}
	case err != nil:
		return err
	}
	o.warn(e, done)
	if o.json {
		return errors.Join(e.printJSON(done), o.damage(done))
	}
	spent := m.spent()
	_, err = fmt.Fprintf(e.Stdout, "imported %s transactions with %s records and %s blobs (%s) in %s, %s; the last one is %s\n",
		human.Count(done.Transactions), human.Count(done.Records), human.Count(done.Blobs), human.Bytes(done.Bytes),
		human.Duration(spent), human.Rate(done.Records, spent), formatLast(done.LastTID))
	return errors.Join(err, o.damage(done))
}

// farFuture is how much later than now a transaction may be before that is worth a word.
const farFuture = 24 * time.Hour

// maxDanglingLines is how many dangling references are shown.
const maxDanglingLines = 20

func inBrackets(class string) string {
	if class == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", class)
}

// warn reports oddities of the imported data.
func (o *importCommand) warn(e *env, done transfer.Imported) {
	if done.MissingBlobs > 0 {
		fmt.Fprintf(e.Stderr, "warning: %s blobs were missing; their records are there without content\n", human.Count(done.MissingBlobs))
	}
	if done.Renumbered > 0 {
		fmt.Fprintf(e.Stderr, "warning: %s transactions got other tids, because those in the file do not grow\n", human.Count(done.Renumbered))
	}
	if ahead := done.LastTID.Time().Sub(e.Now()); done.LastTID != 0 && ahead > farFuture {
		fmt.Fprintf(e.Stderr, "warning: the last transaction %s is %s ahead of the clock, and so will be all that follow: times of packs, backups and logs are not those of the clock\n",
			formatLast(done.LastTID), human.Duration(ahead))
	}
	warnDangling(e, done)
	for _, p := range done.Skipped {
		verb, what := "left out", fmt.Sprintf("object %s of transaction %s", p.OID, p.TID)
		switch {
		case p.Taken:
			verb, what = "took all the same", fmt.Sprintf("transaction %s", p.TID)
		case p.Whole:
			what = "one transaction or more"
		}
		if p.Length > 0 {
			what += fmt.Sprintf(", %d bytes at byte %d", p.Length, p.Offset)
		}
		fmt.Fprintf(e.Stderr, "damage: %s %s: %s\n", verb, what, p.Reason)
	}
}

// warnDangling lists references that lead to nothing.
func warnDangling(e *env, done transfer.Imported) {
	if done.Dangling > 0 {
		fmt.Fprintf(e.Stderr, "warning: %s references lead to objects that do not exist, as in the source; following one raises a POSKeyError. Their holders can be changed, but no such reference can be added\n", human.Count(done.Dangling))
		for _, d := range done.DanglingList[:min(len(done.DanglingList), maxDanglingLines)] {
			fmt.Fprintf(e.Stderr, "  object %s%s refers to %s%s\n", d.OID, inBrackets(d.Class), d.Target, inBrackets(d.TargetClass))
		}
		if more := done.Dangling - maxDanglingLines; more > 0 {
			fmt.Fprintf(e.Stderr, "  and %s more; dirstorage check lists them\n", human.Count(more))
		}
	}
}

// damage is the error of an import that passed something over.
func (o *importCommand) damage(done transfer.Imported) error {
	if done.Damaged == 0 {
		return nil
	}
	return &status{code: exitDamage, err: fmt.Errorf("%s parts of %s were damaged; see the list of omissions", human.Count(done.Damaged), o.source)}
}
