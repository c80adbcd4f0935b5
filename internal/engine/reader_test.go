package engine

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

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestReadOnlyOpenBesideAFlush lets a flush, with later commits that use the log again,
// come at each operation of a read-only open. A healthy storage is never damaged.
func TestReadOnlyOpenBesideAFlush(t *testing.T) {
	t.Parallel()
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			home := newHome(t, CreateOptions{Class: class, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
			w := open(t, home, Options{SegmentSize: 4 << 10})
			if err := w.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			dir, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			for n := 1; ; n++ {
				for i := range 6 {
					commit(t, w, change{oid: 0, data: rec(strings.Repeat(fmt.Sprint(i), 2000))})
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
						if _, err := tryCommit(w, zodb.TxnMeta{}, change{oid: 0, data: rec(strings.Repeat(fmt.Sprint("later", i), 500))}); err != nil {
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
				r, err := Open(t.Context(), home, Options{ReadOnly: true, fs: f})
				if err != nil {
					t.Fatalf("a flush at operation %d of a read-only open: %v", n, err)
				}
				// What was read of the log may have been packed away since.
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

// TestReaderBesideAFlushFindsWhatWasInTheLog: its place in the log was used again.
func TestReaderBesideAFlushFindsWhatWasInTheLog(t *testing.T) {
	t.Parallel()
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			home := newHome(t, CreateOptions{Class: class})
			w := open(t, home, Options{SegmentSize: 8 << 10})
			if err := w.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			tid := commit(t, w, change{oid: 0, data: rec("root")})
			r := open(t, home, Options{ReadOnly: true, SegmentSize: 8 << 10})
			if got := load(t, r, 0); got != string(rec("root")) {
				t.Fatal(got)
			}
			for i := range 20 {
				commit(t, w, change{oid: 1, data: rec(strings.Repeat(fmt.Sprint(i), 2000))})
				if err := w.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			rev, err := r.Load(t.Context(), 0)
			if err != nil || string(rev.Data) != string(rec("root")) || rev.Serial != tid {
				t.Errorf("the reader: %+v, %v", rev, err)
			}
			commit(t, w, change{oid: 0, data: rec("newer")})
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
				where := newHome(t, CreateOptions{})
				s := open(t, where, Options{SegmentSize: 4 << 10})
				if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					commit(t, s, change{oid: 0, data: rec(strings.Repeat("x", 3000))})
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
					s, err := Open(t.Context(), where, Options{ReadOnly: readOnly, fs: f, NoControlSocket: true})
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
					for _, name := range []string{home.LockFile, sublockFile} {
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
	home := newHome(t, CreateOptions{})
	socket := filepath.Join(home, "misc/control")
	// A directory that is not empty is in its place.
	if err := os.MkdirAll(filepath.Join(socket, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	log := new(testLog)
	s := open(t, home, Options{Logger: log.logger()})
	commit(t, s, change{oid: 0, data: rec("one")})
	if n := log.count("no control socket"); n != 1 {
		t.Errorf("it is %d times in the log", n)
	}
	if err := os.RemoveAll(socket); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the socket", func() bool {
		info, err := os.Lstat(socket)
		return err == nil && info.Mode()&os.ModeSocket != 0
	})
}
