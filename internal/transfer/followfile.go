package transfer

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// FileOptions of [FollowFile].
type FileOptions struct {
	Blobs    vfs.FS // the blob directory; nil = there is none
	Policy   BlobPolicy
	Progress func(Progress) // may be nil
	Report   func(Lag)      // may be nil; as in FollowOptions
	Every    time.Duration  // between two looks at the file; default 1 s
}

const (
	// countedBytes is the largest part of a file whose transactions are counted before they are copied.
	countedBytes = 256 << 20
	// triesOfFile is how often in a row a file may look damaged where its end is being written.
	triesOfFile = 5
)

// FollowFile copies a Data.fs that another process appends to, and then each transaction when the
// file has it, until ctx ends, which is no error. If the file is replaced, as by a pack, it goes on
// in the new one behind the last transaction that was copied.
func FollowFile(ctx context.Context, s Target, dir vfs.FS, name string, o FileOptions) (Imported, error) {
	if o.Every <= 0 {
		o.Every = time.Second
	}
	f := &fileFollower{o: o, dir: dir, name: name, src: &dataFS{blobs: o.Blobs}}
	f.im = newImporter(s, f.src, o.Policy, f.progress)
	err := f.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return f.im.result, err
}

type fileFollower struct {
	o     FileOptions
	dir   vfs.FS
	name  string
	src   *dataFS
	im    *importer
	seen  vfs.Info // the file when it was read last
	begun bool
	whole bool     // dangling references were looked for in everything
	left  int64    // transactions that the file had when it was opened, and that were not copied; -1: not known
	base  int64    // transactions copied by then
	last  zodb.TID // of the file
}

func (f *fileFollower) progress(p Progress) {
	if f.o.Progress != nil {
		f.o.Progress(p)
	}
	f.report(false)
}

func (f *fileFollower) report(up bool) {
	if f.o.Report == nil {
		return
	}
	l := Lag{Up: up, Source: max(f.last, f.im.result.LastTID), Imported: f.im.result}
	if !up {
		l.Bytes = max(f.src.r.Size()-f.src.after.Offset, 0)
		if l.Transactions = -1; f.left >= 0 {
			l.Transactions = max(f.left-(f.im.result.Transactions-f.base), 0)
		}
	}
	f.o.Report(l)
}

func (f *fileFollower) run(ctx context.Context) error {
	tries := 0
	for {
		err := f.look(ctx)
		if f.begun && (errors.Is(err, zodb.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)) && tries < triesOfFile {
			tries++ // it is being written, or replaced
			err = nil
		} else {
			tries = 0
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(f.o.Every):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look copies the part of the file that is new.
func (f *fileFollower) look(ctx context.Context) (err error) {
	info, err := f.dir.Stat(f.name)
	if err != nil {
		return err
	}
	same := f.begun && info.Dev == f.seen.Dev && info.Ino == f.seen.Ino && info.Size >= f.src.after.Offset
	if same && info.Size == f.seen.Size && info.ModTime.Equal(f.seen.ModTime) {
		f.report(true)
		return nil
	}
	r, err := filestorage.Open(f.dir, f.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f.src.r = r
	from := f.src.after
	if !same {
		f.src.after = filestorage.Position{}
		if from, _, err = r.FindTID(ctx, f.im.result.LastTID); err != nil {
			return err
		}
	}
	if err := f.count(ctx, r, from); err != nil {
		return err
	}
	if same {
		err = f.im.copyFrom(ctx, f.im.result.LastTID+1)
	} else {
		err = f.im.run(ctx)
	}
	if err != nil {
		return err
	}
	if err := f.dangling(ctx); err != nil {
		return err
	}
	f.seen, f.begun, f.last = info, true, f.im.result.LastTID
	f.report(true)
	return nil
}

// count counts the transactions behind a position.
func (f *fileFollower) count(ctx context.Context, r *filestorage.Reader, from filestorage.Position) error {
	f.left, f.base = -1, f.im.result.Transactions
	if r.Size()-from.Offset > countedBytes {
		return nil
	}
	n := int64(0)
	for txn, err := range r.Transactions(ctx, from) {
		if err != nil {
			return err
		}
		n++
		f.last = txn.TID
	}
	f.left = n
	return nil
}

// dangling is that of follower.
func (f *fileFollower) dangling(ctx context.Context) error {
	look := f.im.danglingInNew
	if !f.whole {
		look = f.im.dangling
	}
	if err := look(ctx); err != nil {
		return err
	}
	f.whole, f.im.refs = true, newReferences()
	return nil
}
