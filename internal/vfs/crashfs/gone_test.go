package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
)

// writeFile makes a file of a kilobyte.
func writeFile(f *FS, name string) error {
	file, err := f.Create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 1024))
	return errors.Join(err, file.Sync(), file.Close())
}

// TestNothingIsKeptThatNoCrashBringsBack counts the inodes: a long run that replaces its files again
// and again would take more and more memory.
func TestNothingIsKeptThatNoCrashBringsBack(t *testing.T) {
	t.Parallel()
	sync := func(f *FS) error { return f.SyncDir("d") }
	for name, c := range map[string]struct {
		act   func(f *FS) error // with a new file d/new, of which no name is durable
		extra int               // inodes besides the root, d and d/old
	}{
		"removed before a sync": {func(f *FS) error { return f.Remove("d/new") }, 1},
		"removed":               {func(f *FS) error { return errors.Join(sync(f), f.Remove("d/new"), sync(f)) }, 0},
		"removed and both synced": {func(f *FS) error {
			return errors.Join(f.Remove("d/new"), sync(f))
		}, 0},
		"removed and everything synced": {func(f *FS) error {
			return errors.Join(sync(f), f.Remove("d/new"), f.SyncAll())
		}, 0},
		"removal not durable": {func(f *FS) error { return errors.Join(sync(f), f.Remove("d/new")) }, 1},
		"replaced": {func(f *FS) error {
			return errors.Join(f.Rename("d/new", "d/old"), sync(f))
		}, 0},
		"replaced, not durable": {func(f *FS) error { return f.Rename("d/new", "d/old") }, 1},
		"exchanged and removed": {func(f *FS) error {
			return errors.Join(f.Exchange("d/new", "d/old"), f.Remove("d/new"), sync(f))
		}, 0},
		"another link": {func(f *FS) error {
			return errors.Join(f.Link("d/new", "d/link"), sync(f), f.Remove("d/new"), sync(f))
		}, 1},
		"both links removed": {func(f *FS) error {
			return errors.Join(f.Link("d/new", "d/link"), sync(f), f.Remove("d/new"), f.Remove("d/link"), sync(f))
		}, 0},
		"removed while open": {func(f *FS) error {
			file, err := f.Open("d/new")
			if err != nil {
				return err
			}
			err = errors.Join(f.Remove("d/new"), sync(f))
			if _, rerr := io.ReadAll(file); rerr != nil {
				return fmt.Errorf("read what was removed: %w", rerr)
			}
			if n := len(f.nodes); n != 4 {
				return fmt.Errorf("%d inodes while it is open", n)
			}
			if n := len(f.Killed().nodes); n != 3 {
				return fmt.Errorf("%d inodes after the process with the open file was killed", n)
			}
			return errors.Join(err, file.Close())
		}, 0},
		"a directory": {func(f *FS) error {
			return errors.Join(f.Mkdir("d/sub"), f.Rename("d/new", "d/sub/new"), f.SyncDir("d/sub"), sync(f),
				f.Remove("d/sub/new"), f.Remove("d/sub"), sync(f))
		}, 0},
	} {
		f := New(1)
		err := errors.Join(f.Mkdir("d"), writeFile(f, "d/old"), f.SyncAll(), writeFile(f, "d/new"), c.act(f))
		if got := len(f.nodes); err != nil || got != 3+c.extra {
			t.Errorf("%s: %d inodes, want %d: %v", name, got, 3+c.extra, err)
		}
	}
}

// TestCountsOfNamesAreRight does random work and counts the names that lead to each inode.
func TestCountsOfNamesAreRight(t *testing.T) {
	t.Parallel()
	most, gone := 0, 0
	for seed := range uint64(30) {
		f := New(int64(seed))
		r := rand.New(rand.NewPCG(seed, 0))
		name := func() string {
			return [...]string{"", "d/", "e/", "d/f/"}[r.IntN(4)] + string(rune('a'+r.IntN(6)))
		}
		for range 300 {
			var err error
			switch r.IntN(12) {
			case 0, 1, 2:
				err = writeFile(f, name())
			case 3:
				err = f.Mkdir(name())
			case 4, 5:
				err = f.Remove(name())
			case 6:
				err = f.Rename(name(), name())
			case 7:
				err = f.Link(name(), name())
			case 8:
				err = f.Exchange(name(), name())
			case 9:
				err = f.SyncDir([...]string{"", "d", "e", "d/f"}[r.IntN(4)])
			case 10:
				if r.IntN(10) == 0 {
					err = f.SyncAll()
				}
			case 11:
				if f = f.Killed(); r.IntN(4) == 0 {
					f = f.Crashed(Random(r.Uint32()))
				}
				err = errors.Join(f.Mkdir("d"), f.Mkdir("e"), f.Mkdir("d/f"))
			}
			_ = err // of names that are there, or not
			if err := rightCounts(f); err != nil {
				t.Fatalf("seed %d, after %v: %v", seed, f.log, err)
			}
			for _, mode := range []Mode{KeepNone, KeepAll, Random(r.Uint32())} {
				if err := rightCounts(f.Crashed(mode)); err != nil {
					t.Fatalf("seed %d, after %v, %v: %v", seed, f.log, mode, err)
				}
			}
			most, gone = max(most, len(f.nodes)), gone+int(f.lastIno)-len(f.nodes)
		}
	}
	if most < 12 || gone == 0 {
		t.Errorf("%d inodes at most, %d gone: the work is not what it was", most, gone)
	}
}

// rightCounts compares the counts of each inode with its names.
func rightCounts(f *FS) error {
	type counts struct{ links, stored, waiting int }
	want := make(map[uint64]counts)
	add := func(ino uint64, c counts) {
		w := want[ino]
		want[ino] = counts{w.links + c.links, w.stored + c.stored, w.waiting + c.waiting}
	}
	add(rootIno, counts{links: 1})
	for _, n := range f.nodes {
		for _, ino := range n.names {
			add(ino, counts{links: 1})
		}
		for _, ino := range n.disk {
			add(ino, counts{stored: 1})
		}
	}
	for _, op := range f.pending {
		for _, s := range op.sets {
			add(s.at.dir, counts{waiting: 1})
			if s.ino != 0 {
				add(s.ino, counts{waiting: 1})
			}
		}
	}
	for ino, w := range want {
		n := f.nodes[ino]
		if n == nil {
			return fmt.Errorf("inode %d was forgotten: %+v: %w", ino, w, fs.ErrNotExist)
		}
		if got := (counts{n.links, n.stored, n.waiting}); got != w {
			return fmt.Errorf("inode %d has %+v, want %+v", ino, got, w)
		}
	}
	if len(want) != len(f.nodes) {
		return fmt.Errorf("%d inodes, names lead to %d", len(f.nodes), len(want))
	}
	return nil
}

// TestClonesShareNoChange writes to a file on one of two disks that have its contents in common.
func TestClonesShareNoChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *FS) error{
		"in place": func(f *FS) error { return overwrite(f, 10, "xxx") },
		"longer":   func(f *FS) error { return overwrite(f, 1020, "xxxxxxxxxx") },
		"shorter, then longer": func(f *FS) error {
			n, err := f.find("a")
			if err == nil {
				n.resize(512)
				err = overwrite(f, 512, "xxx")
			}
			return err
		},
	} {
		for _, copied := range []func(f *FS) *FS{
			func(f *FS) *FS { return f.Killed() },
			func(f *FS) *FS { return f.Crashed(KeepNone) },
			func(f *FS) *FS { return f.Crashed(KeepAll) },
			func(f *FS) *FS { return f.Crashed(Random(1)) },
		} {
			for _, original := range []bool{true, false} {
				f := New(1)
				if err := errors.Join(writeFile(f, "a"), f.SyncAll()); err != nil {
					t.Fatal(err)
				}
				g := copied(f)
				changed, other := f, g
				if !original {
					changed, other = g, f
				}
				if err := change(changed); err != nil {
					t.Fatal(err)
				}
				for what, is := range map[string]*FS{"the other disk": other, "the disk itself after a power cut": changed.Crashed(KeepNone)} {
					if b, err := is.ReadFile("a"); err != nil || string(b) != string(make([]byte, 1024)) {
						t.Errorf("%s, of the original %t: %s has %q, %v", name, original, what, b, err)
					}
				}
			}
		}
	}
}

// overwrite writes to a, and does not sync.
func overwrite(f *FS, off int64, text string) error {
	file, err := f.OpenWrite("a")
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(text), off)
	return errors.Join(err, file.Close())
}
