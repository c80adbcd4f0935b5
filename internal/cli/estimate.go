package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/estimate"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

type estimateCommand struct {
	source, target string
	blobs, format  string
	noBlobs, json  bool
	limit          time.Duration
	tls            clientTLS
}

func newEstimate(e *env) *cobra.Command {
	var o estimateCommand
	c := &cobra.Command{
		Use:         "estimate {DATA.FS | HOME | zeo://HOST:PORT/STORAGE} [TARGET]",
		Annotations: interruptible("nothing was changed"),
		SuggestFor:  []string{"plan", "size"},
		Short:       "Estimate space, inodes, time and memory of an import, and list the oddities of the source",
		Long: `Read a Data.fs, a storage, or a storage on a ZEO server, and print the space and
inodes that it would take in each format on the file system of TARGET, the time
and memory of the import, and everything unusual in it: dangling references, a
missing root, transactions in the future or out of order, pickles of Python 2,
missing blobs, damage. TARGET is the HOME of the import, which need not exist, or a
directory; the working directory if none is given.

The source is read whole, or for --limit. Files are counted, and their space follows
from the blocks of the file system. The size of bundles and the times are estimates
from a sample, which is copied into a scratch directory beside TARGET (or in it) and
removed: .dirstorage-estimate-…. Where that may not be written, there are no times.

Status 0: it fits, in the format of --format. Status 1: it does not fit. Status 3: the
source is damaged. import --dry-run prints the same report.`,
		Example: `  dirstorage estimate --blobs var/blobstorage var/filestorage/Data.fs /srv/zodb
  dirstorage estimate --limit 1m zeo://db.example.org:8100 /srv/zodb`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			o.source, o.target = args[0], "."
			if len(args) > 1 {
				o.target = args[1]
			}
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.blobs, "blobs", "", "the blob `DIR` that belongs to the file, bushy or lawn")
	c.Flags().BoolVar(&o.noBlobs, "no-blobs", false, "leave the content of blobs out")
	c.Flags().StringVar(&o.format, "format", "", "the format that has to fit: "+formatHelp)
	c.Flags().DurationVar(&o.limit, "limit", 0, "stop reading the source after this `TIME`, such as 1m, and estimate the rest")
	c.Flags().BoolVar(&o.json, "json", false, "print the report as JSON")
	o.tls.addFlags(c)
	return c
}

func (o *estimateCommand) run(ctx context.Context, e *env) (err error) {
	made := engine.CreateOptions{Class: zodb.ClassFull, Format: o.format}
	if made.Format == "" {
		made.Format = engine.DefaultFormat(made.Class)
	}
	if err := made.Validate(); err != nil {
		return err
	}
	if o.noBlobs && o.blobs != "" {
		return usage("--blobs cannot be combined with --no-blobs; leave one out")
	}
	if o.limit < 0 {
		return usage("--limit %s: want a time, such as 1m", o.limit)
	}
	options := estimate.Options{Format: layout.Format(made.Format), NoBlobs: o.noBlobs, Limit: o.limit, Clock: e.Now}
	src, end, err := o.open(ctx, e, &options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	done, err := o.place(ctx, e, &options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	m := newMeter(e)
	options.Progress = m.show
	sampling := newMeter(e)
	options.Sampling = func(f layout.Format, records int64) {
		sampling.update(0, 0, func(time.Duration) string {
			return fmt.Sprintf("copies a sample into each format: %s, %s", f, human.Number(records, "record"))
		})
	}
	report, err := estimate.Of(ctx, src, options)
	m.end()
	sampling.end()
	if err != nil {
		return err
	}
	return o.print(e, report)
}

// open opens the source.
func (o *estimateCommand) open(ctx context.Context, e *env, options *estimate.Options) (*transfer.Source, func() error, error) {
	if zeoclient.IsURL(o.source) {
		return o.openServer(ctx, options)
	}
	if o.tls != (clientTLS{}) {
		return nil, nil, usage("--tls-... are for a server; leave them out, or give zeo://HOST:PORT")
	}
	if _, err := openHome(o.source); err == nil {
		if o.blobs != "" {
			return nil, nil, usage("--blobs is for a Data.fs, and a storage has its blobs; leave it out")
		}
		s, err := openReader(ctx, e, o.source)
		if err != nil {
			return nil, nil, err
		}
		if s.Settings().Storage.Python == 2 {
			options.More = func(estimate.Content) ([]estimate.Oddity, error) { return []estimate.Oddity{oddPython2}, nil }
		}
		return transfer.StorageSource(s), s.Close, nil
	}
	return o.openFile(options)
}

func (o *estimateCommand) openServer(ctx context.Context, options *estimate.Options) (*transfer.Source, func() error, error) {
	if o.blobs != "" {
		return nil, nil, usage("--blobs is for a Data.fs, and a server sends the blobs itself; leave it out")
	}
	as := importCommand{source: o.source, tls: o.tls}
	z, err := as.serverOptions()
	if err != nil {
		return nil, nil, err
	}
	z.Label = "dirstorage estimate"
	c, err := dialServer(ctx, z)
	if err != nil {
		return nil, nil, err
	}
	options.ReadBlob = func(ctx context.Context, oid zodb.OID, tid zodb.TID) (int64, error) {
		return c.SendBlob(ctx, oid, tid, io.Discard)
	}
	var unreadable []error
	options.More = func(estimate.Content) ([]estimate.Oddity, error) {
		if len(unreadable) == 0 {
			return nil, nil
		}
		return []estimate.Oddity{{Kind: estimate.KindDamage, Count: int64(len(unreadable)), Stops: true,
			Detail: fmt.Sprintf("transactions that the server cannot read, the first: %v; --salvage passes over them", unreadable[0])}}, nil
	}
	skip := func(err error) bool {
		_, ok := errors.AsType[*zeoclient.ServerError](err)
		if ok {
			unreadable = append(unreadable, err)
		}
		return ok
	}
	return transfer.ServerSource(c, skip), c.Close, nil
}

func (o *estimateCommand) openFile(options *estimate.Options) (*transfer.Source, func() error, error) {
	dir, name, err := vfs.Split(o.source)
	if err != nil {
		return nil, nil, err
	}
	r, err := filestorage.Open(dir, name)
	if err != nil {
		as := importCommand{source: o.source, home: o.target, verb: "estimate"}
		return nil, nil, as.sourceError(err)
	}
	var blobs vfs.FS
	if o.blobs != "" {
		if blobs, err = openBlobs(o.blobs); err != nil {
			return nil, nil, errors.Join(err, r.Close())
		}
	}
	r.Renumber = true
	var damage []filestorage.Skipped
	seen := make(map[int64]bool)
	r.Salvage = func(p filestorage.Skipped) {
		if !seen[p.Offset] {
			seen[p.Offset] = true
			damage = append(damage, p)
		}
	}
	options.More = func(c estimate.Content) ([]estimate.Oddity, error) {
		list := oddFile(r, damage)
		unused, err := unusedBlobs(blobs, c.Blobs)
		if unused > 0 && o.limit == 0 {
			list = append(list, estimate.Oddity{Kind: estimate.KindUnusedBlob, Count: unused, Detail: "files in the blob directory that belong to no record, such as leftovers of packs, or blobs that a running server has just taken; they are not imported"})
		}
		return list, err
	}
	return transfer.FileSource(r, blobs), r.Close, nil
}

// oddPython2 is that of a source whose records are pickles of Python 2.
var oddPython2 = estimate.Oddity{Kind: estimate.KindPython2File, Count: 1,
	Detail: "it was written under Python 2: its records are for clients of Python 2, or have to be converted (zodbupdate)"}

// oddFile lists the findings of the reader of a Data.fs.
func oddFile(r *filestorage.Reader, damage []filestorage.Skipped) (list []estimate.Oddity) {
	if len(damage) > 0 {
		list = append(list, estimate.Oddity{Kind: estimate.KindDamage, Count: int64(len(damage)), Stops: true,
			Detail: fmt.Sprintf("damaged parts, the first at byte %d: %s; --salvage takes the sound transactions around them", damage[0].Offset, damage[0].Reason)})
	}
	if n := r.Renumbered(); n > 0 {
		list = append(list, estimate.Oddity{Kind: estimate.KindOrder, Count: n, Stops: true,
			Detail: "transactions with a tid that is not later than the one before; --renumber gives them the next ones"})
	}
	if torn := r.Truncated(); torn != nil {
		list = append(list, estimate.Oddity{Kind: estimate.KindTornEnd, Count: 1,
			Detail: fmt.Sprintf("the file is good up to byte %d only (%s); the bytes behind it are left out: they were never committed, if the file is whole; if it is a copy, compare its size with that of the original", torn.Offset, torn.Reason)})
	}
	if r.Python2() {
		list = append(list, oddPython2)
	}
	return list
}

// unusedBlobs counts the files of blobs beyond those that were met.
func unusedBlobs(blobs vfs.FS, met int64) (int64, error) {
	if blobs == nil {
		return 0, nil
	}
	n := int64(0)
	for name, err := range vfs.Walk(blobs, ".") {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if strings.HasSuffix(name, ".blob") && !strings.HasPrefix(name, "tmp/") {
			n++
		}
	}
	return n - met, nil
}

// place finds the directory of the target, and makes a scratch directory on its file system.
func (o *estimateCommand) place(ctx context.Context, e *env, options *estimate.Options) (done func() error, err error) {
	done = func() error { return nil }
	target, err := filepath.Abs(o.target)
	if err != nil {
		return done, err
	}
	dir := target
	for !isDirectory(dir) {
		if exists(dir) {
			return done, hint(fmt.Errorf("TARGET %s cannot be a HOME: %s is a file", o.target, dir), "give a directory, or a name that does not exist yet")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return done, hint(fmt.Errorf("%s: no directory above it can be read", o.target), "give a directory that you may read")
		}
		dir = parent
	}
	options.Directory = dir
	places := []string{dir}
	home, err := openHome(target)
	switch {
	case err == nil: // nothing is made within a storage
		if err := o.present(ctx, e, home, options); err != nil {
			return done, err
		}
		places = []string{filepath.Dir(target)}
	case dir == target:
		if vacant, err := engine.Vacant(target); err == nil && vacant { // a crash would leave it not vacant
			places = []string{filepath.Dir(target), target}
		}
	}
	for _, in := range places {
		if vfs.MountOf(in) != vfs.MountOf(dir) {
			continue
		}
		name, remove, terr := e.tempDir(in, ".dirstorage-estimate-")
		if terr == nil {
			options.Scratch = name
			return remove, nil
		}
		err = terr
	}
	options.Unwritable = err
	return done, nil
}

func isDirectory(name string) bool {
	fsys, err := vfs.OS(name)
	return err == nil && vfs.WantDir(fsys) == nil
}

// present is for a target that is a storage already: its format counts, and its transactions are there.
func (o *estimateCommand) present(ctx context.Context, e *env, home vfs.FS, options *estimate.Options) error {
	const name = "config/settings"
	text, err := home.ReadFile(name)
	if err != nil {
		return err
	}
	set, _, err := settings.Parse(text, home.Path(name))
	if err != nil {
		return err
	}
	options.Format = set.Structure.Format
	s, err := openReader(ctx, e, o.target)
	if err != nil {
		return err
	}
	options.Have = s.LastTransaction()
	return s.Close()
}
