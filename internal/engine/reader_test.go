package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestReadOnlyOpenBesideAFlush lets a flush, with later commits that use the log again,
// come at each operation of a read-only open. A healthy storage is never damaged.
func TestReadOnlyOpenBesideAFlush(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			home := engine.NewHome(t, engine.CreateOptions{Class: class, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
			w := engine.OpenHome(t, home, engine.Options{SegmentSize: 4 << 10})
			if err := w.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			dir, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			for n := 1; ; n++ {
				for i := range 6 {
					enginetest.Commit(t, w, enginetest.Change{OID: 0, Data: pickletest.Record(strings.Repeat(fmt.Sprint(i), 2000))})
				}
				did := false
				f := errfs.New(dir, nil)
				f.Decide(func(op errfs.Op) error {
					if op.N != n {
						return nil
					}
					did = true
					if err := w.Flush(context.Background()); err != nil {
						return err
					}
					for i := range 3 {
						if _, err := enginetest.TryCommit(w, zodb.TxnMeta{}, enginetest.Change{OID: 0, Data: pickletest.Record(strings.Repeat(fmt.Sprint("later", i), 500))}); err != nil {
							return err
						}
					}
					if class == zodb.ClassFull && n%5 == 0 {
						if _, err := w.Pack(context.Background(), zodb.PackOptions{}); err != nil {
							return err
						}
					}
					return nil
				})
				r, err := engine.Open(t.Context(), home, engine.OnFS(engine.Options{ReadOnly: true}, f))
				if err != nil {
					t.Fatalf("a flush at operation %d of a read-only open: %v", n, err)
				}
				// Data read from the log may have been packed away since.
				if _, err := r.Load(t.Context(), 0); err != nil && !strings.Contains(err.Error(), "open it again") {
					t.Errorf("a flush at operation %d: %v", n, err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				if !did {
					if n < 10 {
						t.Errorf("an open has %d operations only", n)
					}
					return
				}
			}
		})
	}
}

// TestReadOnlyOpenBesideAWriterThatNeverRests: transactions are committed and flushed again and again
// while it reads, which is slow. None of that looks like an older copy that was put over the HOME.
func TestReadOnlyOpenBesideAWriterThatNeverRests(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	w := engine.OpenHome(t, home, engine.Options{SegmentSize: 64 << 10})
	if err := w.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	write := func() error {
		_, err := enginetest.TryCommit(w, zodb.TxnMeta{}, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
		if err == nil {
			err = w.Flush(context.Background())
		}
		return err
	}
	for range 40 {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f := errfs.New(dir, nil)
	var opened atomic.Bool
	var operations atomic.Int64
	f.Decide(func(op errfs.Op) error {
		if operations.Add(1)%10 != 0 || opened.Load() {
			return nil
		}
		return write()
	})
	r, err := engine.Open(t.Context(), home, engine.OnFS(engine.Options{ReadOnly: true, SegmentSize: 64 << 10}, f))
	opened.Store(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestReaderBesideAFlushFindsWhatWasInTheLog: its place in the log was used again.
func TestReaderBesideAFlushFindsWhatWasInTheLog(t *testing.T) {
	t.Parallel()
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			home := engine.NewHome(t, engine.CreateOptions{Class: class})
			w := engine.OpenHome(t, home, engine.Options{SegmentSize: 8 << 10})
			if err := w.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			tid := enginetest.Commit(t, w, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
			r := engine.OpenHome(t, home, engine.Options{ReadOnly: true, SegmentSize: 8 << 10})
			if got := engine.Load(t, r, 0); got != string(pickletest.Record("root")) {
				t.Fatal(got)
			}
			for i := range 20 {
				enginetest.Commit(t, w, enginetest.Change{OID: 1, Data: pickletest.Record(strings.Repeat(fmt.Sprint(i), 2000))})
				if err := w.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			rev, err := r.Load(t.Context(), 0)
			if err != nil || string(rev.Data) != string(pickletest.Record("root")) || rev.Serial != tid {
				t.Errorf("the reader: %+v, %v", rev, err)
			}
			enginetest.Commit(t, w, enginetest.Change{OID: 0, Data: pickletest.Record("newer")})
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			rev, err = r.Load(t.Context(), 0)
			if err != nil || class == zodb.ClassFull && rev.Serial != tid {
				t.Errorf("the reader, of what was replaced: %+v, %v", rev, err)
			}
		})
	}
}

// openFiles returns which files below a directory this process has open.
func openFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(to, dir+"/") {
			names = append(names, to[len(dir)+1:])
		}
	}
	return names
}

// TestFailedOpenLeavesNothingOpen fails each operation of an open, reading and writing,
// for ever, with an error that lasts and one that passes.
func TestFailedOpenLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{false, true} {
		for _, cause := range []syscall.Errno{syscall.EIO, syscall.EMFILE} {
			t.Run(fmt.Sprintf("read-only %t %v", readOnly, cause), func(t *testing.T) {
				t.Parallel()
				where := engine.NewHome(t, engine.CreateOptions{})
				s := engine.OpenHome(t, where, engine.Options{SegmentSize: 4 << 10})
				if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record(strings.Repeat("x", 3000))})
				}
				s.Close()
				dir, err := vfs.OS(where)
				if err != nil {
					t.Fatal(err)
				}
				failed := 0
				for n := 1; ; n++ {
					f := errfs.New(dir, nil)
					var opening atomic.Bool
					opening.Store(true)
					did := false
					f.Decide(func(op errfs.Op) error {
						if op.N < n || !opening.Load() || op.Kind == "close" || op.Kind == "space" {
							return nil
						}
						did = true
						return cause
					})
					s, err := engine.Open(t.Context(), where, engine.OnFS(engine.Options{ReadOnly: readOnly, NoControlSocket: true}, f))
					opening.Store(false)
					f.Decide(nil)
					if err == nil {
						s.Close()
						if !did {
							break
						}
						continue
					}
					failed++
					if s != nil {
						t.Errorf("errors from operation %d on: %v, and a storage", n, err)
					}
					if !errors.Is(err, cause) {
						t.Errorf("errors from operation %d on: %v", n, err)
					}
					if left := openFiles(t, where); len(left) > 0 {
						t.Fatalf("errors from operation %d on: %v; left open: %v", n, err, left)
					}
					for _, name := range []string{home.LockFile, snapfile.Sublock} {
						lock, err := dir.Lock(name)
						if err != nil {
							t.Fatalf("errors from operation %d on: %v", n, err)
						}
						lock.Close()
					}
				}
				if failed < 8 {
					t.Errorf("only %d opens failed", failed)
				}
				if left := openFiles(t, where); len(left) > 0 {
					t.Errorf("left open: %v", left)
				}
			})
		}
	}
}

// TestSocketThatCannotBeMadeIsMadeLater: sockets are no part of the database.
func TestSocketThatCannotBeMadeIsMadeLater(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	socket := filepath.Join(home, "misc/control")
	// A directory that is not empty is in its place.
	if err := os.MkdirAll(filepath.Join(socket, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	log := new(engine.TestLog)
	s := engine.OpenHome(t, home, engine.Options{Logger: log.Logger()})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("one")})
	if n := log.Count("no control socket"); n != 1 {
		t.Errorf("it is %d times in the log", n)
	}
	if err := os.RemoveAll(socket); err != nil {
		t.Fatal(err)
	}
	hometest.Eventually(t, "the socket", func() bool {
		info, err := os.Lstat(socket)
		return err == nil && info.Mode()&os.ModeSocket != 0
	})
}
