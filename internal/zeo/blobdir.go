package zeo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	layoutFile = ".layout"
	// markFile names the storage, and the transaction up to which all blobs are in the
	// directory: “IDENTITY TID”. Later ones are looked at when it is opened. A
	// transaction that the storage does not have says nothing: it is of another history.
	markFile = ".dirstorage"
	// markEvery is how many transactions with blobs may come before the mark is
	// written again.
	markEvery = 1000
)

// blobDir is a directory that clients share: they open blobs there by
// themselves, and put new ones there for the server to take. Its entries are hard links
// to the files of the storage, so it costs no space; it can be removed and is made again.
type blobDir struct {
	fs      vfs.FS
	layout  filestorage.BlobLayout
	storage zodb.Storage
	log     *slog.Logger

	mu     sync.Mutex
	since  int      // guarded by mu: transactions since the mark was written
	shared zodb.TID // guarded by mu: last transaction whose blobs are there
	broken bool     // guarded by mu: a blob could not be shared, so the mark must not move
}

// openBlobDir makes the directory ready: it exists, has a layout, is on the file
// system of the storage, and holds every blob that the storage has.
func openBlobDir(ctx context.Context, dir string, s zodb.Storage, log *slog.Logger) (*blobDir, error) {
	above, name, err := vfs.Split(dir)
	if err != nil {
		return nil, err
	}
	if err := makeBlobDir(above, name); err != nil {
		return nil, err
	}
	f, err := vfs.OS(dir)
	if err != nil {
		return nil, err
	}
	home, err := vfs.OS(s.Home())
	if err != nil {
		return nil, err
	}
	here, err := f.Stat(".")
	if err != nil {
		return nil, err
	}
	there, err := home.Stat(".")
	if err != nil {
		return nil, err
	}
	if here.Dev != there.Dev {
		return nil, fmt.Errorf("it is on another file system than %s, and hard links cannot lead there: choose a directory beside HOME", s.Home())
	}
	b := &blobDir{fs: f, storage: s, log: log}
	if b.layout, err = filestorage.DetectLayout(f, "."); err != nil {
		return nil, err
	}
	if err := populateBlobDir(f, b.layout); err != nil {
		return nil, err
	}
	n, err := b.catchUp(ctx)
	if err != nil {
		return nil, err
	}
	log.Info("shares blobs", "path", f.Path("."), "layout", string(b.layout), "added", n)
	return b, b.close()
}

// makeBlobDir makes the directory, if it is not there, aside and whole: a client that
// starts meanwhile sees it with its layout or not at all.
func makeBlobDir(above vfs.FS, name string) error {
	if _, err := above.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	aside := "." + name + ".new"
	if err := above.Mkdir(aside); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := populateBlobDir(vfs.Sub(above, aside), filestorage.BlobBushy); err != nil {
		return err
	}
	if err := above.SyncDir(aside); err != nil {
		return err
	}
	err := above.Rename(aside, name)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		// A client has made it meanwhile, as it is wanted.
		return vfs.RemoveAll(above, aside)
	}
	if err != nil {
		return err
	}
	return above.SyncDir(".")
}

// populateBlobDir makes the missing entries that ZODB wants in a directory of blobs. The
// layout comes first: a directory with anything else in it and without one is taken for
// lawn.
func populateBlobDir(f vfs.FS, l filestorage.BlobLayout) error {
	if _, err := f.Stat(layoutFile); errors.Is(err, fs.ErrNotExist) {
		if err := vfs.WriteFileAtomic(f, layoutFile+".new", layoutFile, []byte(l), vfs.SyncOptions{File: true, Dir: true}); err != nil {
			return err
		}
	}
	if err := f.Mkdir("tmp"); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// catchUp links the blobs of the storage that the directory lacks.
func (b *blobDir) catchUp(ctx context.Context) (added int, err error) {
	last := b.storage.LastTransaction()
	since := false // the mark is a transaction of this storage's history, and later blobs were linked
	if mark, known := b.readMark(); known && mark <= last {
		for t, err := range b.storage.TransactionsBackward(ctx, 0) {
			if t != nil && err != nil {
				break // its writes are unknown
			}
			if err != nil {
				return added, err
			}
			if t.TID <= mark {
				since = t.TID == mark
				break
			}
			for _, oid := range t.OIDs {
				if err := b.link(ctx, oid, t.TID, &added); err != nil {
					return added, err
				}
			}
		}
	}
	if !since {
		for blob, err := range b.storage.Blobs(ctx) {
			if err != nil {
				return added, err
			}
			if err := b.link(ctx, blob.OID, blob.TID, &added); err != nil {
				return added, err
			}
		}
	}
	b.shared = last
	return added, nil
}

// link gives a blob its name in the directory. A revision without one is passed over.
func (b *blobDir) link(ctx context.Context, oid zodb.OID, tid zodb.TID, added *int) error {
	name := b.layout.Path(oid, tid)
	err := b.storage.LinkBlob(ctx, oid, tid, b.fs.Path(name))
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, zodb.ErrNotFound) {
		if err := b.mkdirs(path.Dir(name)); err != nil {
			return err
		}
		err = b.storage.LinkBlob(ctx, oid, tid, b.fs.Path(name))
	}
	switch {
	case err == nil:
		*added++
	case errors.Is(err, fs.ErrExist), errors.Is(err, zodb.ErrNotFound):
		err = nil
	}
	return err
}

func (b *blobDir) mkdirs(dir string) error {
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		if err := b.fs.Mkdir(dir[:i]); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// share links the blobs of a transaction before it is announced. It is called by
// the committer.
func (b *blobDir) share(oids []zodb.OID, tid zodb.TID) {
	added := 0
	var failed error
	for _, oid := range oids {
		if err := b.link(context.Background(), oid, tid, &added); err != nil {
			failed = errors.Join(failed, fmt.Errorf("object %s: %w", oid, err))
		}
	}
	if failed != nil {
		b.log.Error("blobs of a transaction are not in the shared directory; they will be after a restart", "tid", tid, "err", failed)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = b.broken || failed != nil
	if !b.broken {
		b.shared = tid
	}
	if added > 0 {
		b.since++
	}
}

// tidy writes the mark from time to time. It may wait for the disk: no caller may be in a hurry.
func (b *blobDir) tidy() {
	b.mu.Lock()
	due := b.since >= markEvery
	if due {
		b.since = 0
	}
	b.mu.Unlock()
	if due {
		if err := b.close(); err != nil {
			b.log.Warn("the mark of the shared blob directory cannot be written", "err", err)
		}
	}
}

// uploaded returns the path of a file that a client has put here for an object.
func (b *blobDir) uploaded(oid zodb.OID, name string) (string, error) {
	file := path.Join(path.Dir(b.layout.Path(oid, 1)), name)
	info, err := b.fs.Stat(file)
	if err != nil {
		return "", fmt.Errorf("the uploaded blob is not there: %w", err)
	}
	if !info.Mode.IsRegular() {
		return "", fmt.Errorf("the uploaded blob %s is not an ordinary file", b.fs.Path(file))
	}
	return b.fs.Path(file), nil
}

// drop removes an upload that is not taken.
func (b *blobDir) drop(file string) {
	name, ok := strings.CutPrefix(file, b.fs.Path(".")+"/")
	if !ok {
		return
	}
	if err := b.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Warn("an uploaded blob that was not taken stays behind", "path", file, "err", err)
	}
}

// prune removes the links to blobs that the storage has no more, which else keep
// their space. The links of a transaction are made when it can be read already, so a
// transaction that has one and cannot be read was packed away. Files of clients are not
// touched.
func (b *blobDir) prune(ctx context.Context) (removed int, err error) {
	for name, err := range vfs.Walk(b.fs, ".") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return removed, err
		}
		oid, tid, ok := b.parse(name)
		if !ok {
			continue
		}
		blob, err := b.storage.OpenBlob(ctx, oid, tid)
		switch {
		case err == nil:
			err = blob.Close()
		case errors.Is(err, zodb.ErrNotFound) && !errors.Is(err, zodb.ErrCorrupt):
			if err = b.fs.Remove(name); err == nil {
				removed++
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
	}
	return removed, nil
}

// parse tells which blob a name stands for.
func (b *blobDir) parse(name string) (zodb.OID, zodb.TID, bool) {
	dir, file := path.Split(name)
	oid, err := strconv.ParseUint(strings.NewReplacer("0x", "", "/", "").Replace(dir), 16, 64)
	if err != nil {
		return 0, 0, false
	}
	tid, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(file, "0x"), ".blob"), 16, 64)
	if err != nil || b.layout.Path(zodb.OID(oid), zodb.TID(tid)) != path.Clean(name) {
		return 0, 0, false
	}
	return zodb.OID(oid), zodb.TID(tid), true
}

func (b *blobDir) readMark() (zodb.TID, bool) {
	text, err := b.fs.ReadFile(markFile)
	if err != nil {
		return 0, false
	}
	identity, digits, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	tid, err := zodb.ParseTID(digits)
	return tid, err == nil && identity == b.storage.Identity()
}

// close writes the mark, when all that it speaks of is durable.
func (b *blobDir) close() error {
	b.mu.Lock()
	tid := b.shared
	b.mu.Unlock()
	if err := b.fs.SyncAll(); err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		return err
	}
	return vfs.WriteFileAtomic(b.fs, markFile+".new", markFile, []byte(b.storage.Identity()+" "+tid.String()+"\n"), vfs.SyncOptions{File: true, Dir: true})
}
