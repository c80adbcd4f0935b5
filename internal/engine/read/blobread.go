package read

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// openBlob is read by one goroutine, but for ReadAt.
type openBlob struct {
	vfs.File
	size    int64
	written time.Time // last
	want    record.BlobSum
	corrupt zodb.CorruptError // without its reason
	hash    *record.BlobHash  // of the bytes read; nil: not from the start
	read    int64
}

func (b *openBlob) Size() int64 { return b.size }

// Sum returns the checksum that the content should have, with its kind; empty if the storage has none.
func (b *openBlob) Sum() string { return b.want.String() }

// SyscallConn implements [syscall.Conn] for who has the kernel send what was read, see Unchanged.
// errors.ErrUnsupported: it is no file of the operating system.
func (b *openBlob) SyscallConn() (syscall.RawConn, error) {
	if f, ok := b.File.(syscall.Conn); ok {
		return f.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Unchanged returns *zodb.CorruptError if the file was written to since it was opened: what was read
// and compared then may be something else by now. A flush sets the time of a file, too; so where that
// is another one the content is compared again, until ctx ends, whose error is returned then.
func (b *openBlob) Unchanged(ctx context.Context) error {
	info, err := b.File.Stat()
	if err != nil || info.Size == b.size && info.ModTime.Equal(b.written) {
		return err
	}
	hash, all := b.want.Hash(), io.NewSectionReader(b.File, 0, info.Size)
	read := int64(0)
	for {
		n, err := io.CopyN(hash, all, 1<<20)
		read += n
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	if read != b.size || hash.BlobSum() != b.want {
		damage := b.corrupt
		damage.Reason = "the blob was changed while it was read"
		return &damage
	}
	return nil
}

// Read implements io.Reader.
func (b *openBlob) Read(p []byte) (int, error) {
	n, err := b.File.Read(p)
	if b.hash == nil || len(p) == 0 {
		return n, err
	}
	b.hash.Write(p[:n])
	b.read += int64(n)
	if err != nil && err != io.EOF || err == nil && b.read < b.size {
		return n, err
	}
	if b.read != b.size || b.hash.BlobSum() != b.want {
		damage := b.corrupt
		damage.Reason = "the blob was changed since it was written: its checksum differs"
		return 0, &damage
	}
	return n, err
}

// Seek implements io.Seeker.
func (b *openBlob) Seek(offset int64, whence int) (int64, error) {
	at, err := b.File.Seek(offset, whence)
	switch {
	case err != nil:
	case at == 0:
		b.hash, b.read = b.want.Hash(), 0
	case at != b.read:
		b.hash = nil
	}
	return at, err
}

// OpenBlob opens the blob of a revision. Errors: *zodb.KeyError if there is no
// such revision or if it has no blob; *zodb.CorruptError if the file is missing
// or is known to have another length than it should.
func (r *Reader) OpenBlob(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Blob, error) {
	var b *openBlob
	err := r.validated(ctx, func() error {
		rev, inLog := r.o.State.Revision(oid, serial)
		var f vfs.File
		var where string
		var err error
		var sum record.BlobSum
		if inLog && rev.Entry.Blob {
			where, sum = rev.Entry.BlobFile, rev.Entry.BlobSum
			f, err = r.o.Home.FS.Open(where)
			if errors.Is(err, fs.ErrNotExist) { // the flush moves it before the index forgets it
				f, where, err = r.o.Store.OpenBlob(oid, serial)
			}
		} else {
			o, lerr := r.revisionOnce(oid, serial)
			if lerr != nil {
				return lerr
			}
			if !o.HasBlob() {
				return noBlob(oid, serial)
			}
			sum = o.BlobSum
			f, where, err = r.o.Store.OpenBlob(oid, serial)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &zodb.CorruptError{Path: where, OID: oid, TID: serial, Reason: "the blob file is missing"}
		}
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if inLog && info.Size != rev.Entry.BlobSize {
			return errors.Join(&zodb.CorruptError{Path: where, OID: oid, TID: serial,
				Reason: fmt.Sprintf("the blob has %d bytes, not %d", info.Size, rev.Entry.BlobSize)}, f.Close())
		}
		b = &openBlob{File: f, size: info.Size, written: info.ModTime, want: sum, corrupt: zodb.CorruptError{Path: where, OID: oid, TID: serial}, hash: sum.Hash()}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}
