package dirstorage

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// BlobSource says where the content of a blob comes from: a file or a stream.
type BlobSource struct {
	// Path of a file, which is consumed: it is moved into HOME if it lies on the
	// same file system, else copied and removed. Nobody may write to it any more.
	Path string
	// Reader is read to its end, if Path is empty.
	Reader io.Reader
}

// stagedBlob is the content of a blob in journal/, on its way into A.
type stagedBlob struct {
	name string // relative to HOME
	size int64
	md5  [16]byte
	kept bool // it belongs to a committed transaction
}

// stage brings the content of a blob into journal/. It is not durable yet. The
// result is not nil, even with an error, as soon as there may be a file.
func (s *Storage) stage(src BlobSource) (*stagedBlob, error) {
	b := &stagedBlob{name: s.stagedName("blob")}
	if src.Path == "" {
		return b, s.stageStream(b, src.Reader)
	}
	abs, err := filepath.Abs(src.Path)
	if err != nil {
		return nil, err
	}
	root, err := vfs.OS("/")
	if err != nil {
		return nil, err
	}
	from := strings.TrimPrefix(filepath.ToSlash(abs), "/")
	if err := root.Rename(from, strings.TrimPrefix(filepath.ToSlash(s.fs.Path(b.name)), "/")); err == nil {
		return b, s.stageMoved(b)
	}
	f, err := root.Open(from)
	if err != nil {
		return nil, err
	}
	err = s.stageStream(b, f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Remove(from)
	}
	return b, err
}

func (s *Storage) stageStream(b *stagedBlob, r io.Reader) error {
	f, err := s.fs.Create(b.name)
	if err != nil {
		return err
	}
	h := md5.New()
	b.size, err = io.Copy(io.MultiWriter(f, h), r)
	h.Sum(b.md5[:0])
	return errors.Join(err, f.Close())
}

// stageMoved reads a file that was moved in, for its size and checksum.
func (s *Storage) stageMoved(b *stagedBlob) error {
	f, err := s.fs.Open(b.name)
	if err != nil {
		return err
	}
	h := md5.New()
	b.size, err = io.Copy(h, f)
	h.Sum(b.md5[:0])
	return errors.Join(err, f.Close())
}

// syncBlobs makes the staged content of a transaction durable, before its vote
// promises anything.
func (s *Storage) syncBlobs(ops map[zodb.OID]*operation) error {
	if !s.settings.Filesystem.Sync {
		return nil
	}
	any := false
	for _, op := range ops {
		if op.blob == nil {
			continue
		}
		any = true
		f, err := s.fs.OpenWrite(op.blob.name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("make the blob %s durable: %w", op.blob.name, err)
		}
	}
	if any && s.settings.POSIX.DirSync {
		return s.fs.SyncDir(journalDir)
	}
	return nil
}

// stagedName returns a name in journal/ that no earlier run used.
func (s *Storage) stagedName(kind string) string {
	return fmt.Sprintf("%s/%s-%s-%d", journalDir, kind, s.staging, s.staged.Add(1))
}
