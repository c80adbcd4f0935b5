package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// stagedBlob is the content of a blob in journal/, on its way into A. Once it is
// whole nobody has the permission to write to it, because its file may get other
// names outside of HOME.
type stagedBlob struct {
	name string // relative to HOME
	size int64
	sum  record.BlobSum
	kept bool // it belongs to a committed transaction
}

// stage brings the content of a blob into journal/. It is not durable yet. The
// result is not nil, even with an error, as soon as there may be a file.
func (m *Manager) stage(src zodb.BlobSource) (*stagedBlob, error) {
	b := &stagedBlob{name: m.stagedName("blob")}
	if src.Path == "" {
		return b, m.stageStream(b, src.Reader, record.NewBlobHash())
	}
	abs, err := filepath.Abs(src.Path)
	if err != nil {
		return nil, err
	}
	root, err := vfs.OS("/")
	if err != nil {
		return nil, err
	}
	from := vfs.FromRoot(abs)
	if info, err := root.Stat(from); err != nil {
		return nil, err
	} else if !info.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is not an ordinary file", abs)
	}
	if err := root.Rename(from, vfs.FromRoot(m.o.Home.FS.Path(b.name))); err == nil {
		return m.stageMoved(b)
	}
	f, err := root.Open(from)
	if err != nil {
		return nil, err
	}
	err = m.stageStream(b, f, record.NewBlobHash())
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Remove(from)
	}
	return b, err
}

// stageStream copies a stream. The destination is synced by the vote.
func (m *Manager) stageStream(b *stagedBlob, r io.Reader, h *record.BlobHash) error {
	f, err := m.o.Home.FS.Create(b.name)
	if err != nil {
		return err
	}
	w := newBlobSink(f, h)
	return m.endStaging(b, w, w.readFrom(r))
}

// endStaging closes a staged file, also after an error.
func (m *Manager) endStaging(b *stagedBlob, w *blobSink, err error) error {
	if err == nil {
		err = w.finish()
	}
	_ = w.stop() // an error of it was there before
	if err = errors.Join(err, w.out.f.Close()); err != nil {
		return err
	}
	b.size = w.size
	b.sum = w.hash.BlobSum()
	return m.o.Home.FS.SetReadOnly(b.name)
}

// stageMoved reads a file that was moved in, for its size and checksum. A file of another
// user, which could be changed later, is copied.
func (m *Manager) stageMoved(b *stagedBlob) (*stagedBlob, error) {
	info, err := m.o.Home.FS.Stat(b.name)
	if err == nil && !info.Mode.IsRegular() {
		err = errors.New("it is not an ordinary file")
	}
	foreign := false
	if err == nil {
		err = m.o.Home.FS.SetReadOnly(b.name)
		foreign = errors.Is(err, fs.ErrPermission)
	}
	if err != nil && !foreign {
		return b, err
	}
	f, err := m.o.Home.FS.Open(b.name)
	if err != nil {
		return b, err
	}
	if !foreign {
		w := newBlobSink(nil, record.NewBlobHash())
		err = w.readFrom(f)
		err = errors.Join(err, w.finish(), f.Close())
		b.size = w.size
		b.sum = w.hash.BlobSum()
		return b, err
	}
	own := &stagedBlob{name: m.stagedName("blob")}
	err = m.stageStream(own, f, record.NewBlobHash())
	// A file that cannot be removed now is removed at the next open.
	return own, errors.Join(err, f.Close(), m.o.Home.FS.Remove(b.name))
}

type blobState uint8

const (
	blobOpen   blobState = iota
	blobClosed           // all was written
	blobUsed             // it belongs to an operation of the transaction
	blobAborted
)

// syncBlobs makes the staged content of the transaction durable, before its vote
// promises anything. An fsync that failed has used up its proof: the content may be
// gone, and the next one would say that all is well. So the transaction can only be
// aborted then. Nobody was promised it yet, so nothing else is harmed.
func (t *Txn) syncBlobs() error {
	m := t.m
	if !m.o.Home.Settings.Filesystem.Sync {
		return nil
	}
	any := false
	for op := range t.ops.all() {
		b := op.blob()
		if b == nil {
			continue
		}
		any = true
		f, err := m.o.Home.FS.Open(b.name)
		if err != nil {
			return fmt.Errorf("make the blob %s durable: %w", b.name, err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.lost = fmt.Errorf("make the blob %s durable; its content may be lost, and has to be stored again: %w", b.name, err)
			return t.lost
		}
	}
	if !any || !m.o.Home.Settings.POSIX.DirSync {
		return nil
	}
	err := m.o.Home.FS.SyncDir(home.JournalDir)
	if err != nil && !vfs.NotBegun(err) {
		// The names of the log are in that directory too.
		return m.o.State.Fail(fmt.Errorf("make the names of blobs durable: %w", err))
	}
	return err
}

// stagedName returns a name in journal/ that no earlier run used.
func (m *Manager) stagedName(kind string) string {
	return fmt.Sprintf("%s/%s-%s-%d", home.JournalDir, kind, m.staging, m.staged.Add(1))
}
