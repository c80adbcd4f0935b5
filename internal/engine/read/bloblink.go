package read

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// LinkBlob gives the file of a revision's blob a second name, a hard link, at an
// absolute path outside of HOME, and makes nothing durable. Of the file only the
// number of links and the time of change differ then, as after cp -al. It waits for nobody,
// so the callback of [Txn.Finish] may call it for the transaction that is being published.
//
// Errors: fs.ErrExist if there is a file at that path; fs.ErrNotExist that is not
// zodb.ErrNotFound, if its directory is missing; syscall.EXDEV if that is on
// another file system; *zodb.KeyError and *zodb.CorruptError as OpenBlob.
func (r *Reader) LinkBlob(ctx context.Context, oid zodb.OID, serial zodb.TID, name string) error {
	if !filepath.IsAbs(name) {
		return fmt.Errorf("link the blob of object %s: %q is not an absolute path", oid, name)
	}
	root, err := vfs.OS("/")
	if err != nil {
		return err
	}
	return r.validated(ctx, func() error {
		rev, inLog := r.o.State.Revision(oid, serial)
		var from []string
		if inLog && rev.Entry.Blob {
			from = append(from, rev.Entry.BlobFile)
		} else {
			o, err := r.revisionOnce(oid, serial)
			if err != nil {
				return err
			}
			if !o.HasBlob() {
				return noBlob(oid, serial)
			}
		}
		// In the order in which the file moves.
		for _, f := range append(from, r.o.Store.BlobFiles(oid, serial)...) {
			err := root.Link(vfs.FromRoot(r.o.Home.FS.Path(f)), vfs.FromRoot(name))
			if errors.Is(err, syscall.EXDEV) {
				return fmt.Errorf("link the blob of object %s: %s is on another file system than %s, and a hard link cannot lead there: %w", oid, name, r.o.Home.FS.Path("."), err)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			// Either the file has moved on, or there is no such directory.
			if _, serr := r.o.Home.FS.Stat(f); serr == nil {
				return err
			}
		}
		return &zodb.CorruptError{Path: r.o.Store.Place(layout.Blob(oid, serial)), OID: oid, TID: serial, Reason: "the blob file is missing"}
	})
}

func noBlob(oid zodb.OID, serial zodb.TID) error {
	return &zodb.KeyError{OID: oid, TID: serial, Reason: "this revision has no blob"}
}
