package engine_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// hangingFS is a disk whose files cannot be synced while hung is there.
type hangingFS struct {
	vfs.FS
	hung atomic.Pointer[hang]
}

type hang struct{ reached, over chan struct{} }

func (f *hangingFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return &hangingFile{file, f}, err
}

func (f *hangingFS) OpenWrite(name string) (vfs.File, error) {
	file, err := f.FS.OpenWrite(name)
	return &hangingFile{file, f}, err
}

type hangingFile struct {
	vfs.File
	fs *hangingFS
}

func (f *hangingFile) Sync() error {
	if h := f.fs.hung.Swap(nil); h != nil {
		close(h.reached)
		<-h.over
	}
	return f.File.Sync()
}

func TestStatusTellsOfACommitThatHangs(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	disk, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	fs := &hangingFS{FS: disk}
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	s := engine.OpenHome(t, home, engine.OnFS(engine.Options{Clock: func() time.Time { return time.Unix(0, now.Load()) }}, fs))
	serial := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("before")})
	if got := s.Status().CommitSeconds; got != 0 {
		t.Errorf("before: %v seconds", got)
	}
	h := &hang{make(chan struct{}), make(chan struct{})}
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err == nil {
		err = txn.Store(1, serial, pickletest.Record("hangs"))
	}
	if err == nil {
		err = txn.Vote(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	fs.hung.Store(h)
	finished := make(chan error, 1)
	go func() {
		_, err := txn.Finish(t.Context(), nil)
		finished <- err
	}()
	<-h.reached
	now.Add(int64(12 * time.Second))
	if got := s.Status().CommitSeconds; got != 12 {
		t.Errorf("meanwhile: %v seconds, want 12", got)
	}
	close(h.over)
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	for s.Status().CommitSeconds != 0 {
		time.Sleep(time.Millisecond) // the committer ends just after who waits for it
	}
}
