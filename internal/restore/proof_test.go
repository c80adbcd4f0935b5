package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// largeBundles makes a home of two bundles that are too large for memory, as entries of an archive,
// and a full backup of it. It returns the directory of the backup.
func largeBundles(t *testing.T) (repository string, m *backup.Manifest) {
	t.Helper()
	home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
	rnd := rand.New(rand.NewPCG(1, 2))
	for k := range 2 {
		s := enginetest.Open(t, home, engine.Options{})
		var changes []enginetest.Change
		for oid := range zodb.OID(20) {
			var text strings.Builder
			for range 80 << 10 {
				text.WriteByte(byte(' ' + rnd.IntN(64)))
			}
			changes = append(changes, enginetest.Change{
				OID: oid + zodb.OID(k*20), Data: enginetest.Record(text.String()),
			})
		}
		enginetest.Commit(t, s, changes...)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	repository = t.TempDir()
	m = backUp(t, home, objstore.NewDir(directory(t, repository)), backup.Full).Backup
	if len(m.Bundles) != 2 || m.Bytes < 2<<20 {
		t.Fatalf("the backup has %v, %d bytes", m.Bundles, m.Bytes)
	}
	return repository, m
}

// damaged is a repository of which one file has other bytes when it is read.
type damaged struct {
	objstore.Store
	name   string
	change func(b []byte) []byte
}

func (d damaged) Get(ctx context.Context, name string) (objstore.Object, error) {
	o, err := d.Store.Get(ctx, name)
	if err != nil || name != d.name {
		return o, err
	}
	b, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err = errors.Join(err, o.Close()); err != nil {
		return nil, err
	}
	b = d.change(b)
	return object{bytes.NewReader(b)}, nil
}

type object struct{ *bytes.Reader }

func (o object) Close() error { return nil }

// restoring restores a backup of a store.
func restoring(
	t *testing.T, s objstore.Store, m *backup.Manifest, parent vfs.FS,
) (*restore.Result, error) {
	t.Helper()
	r := openRepository(t, s)
	p, err := r.Exactly(m)
	if err != nil {
		t.Fatal(err)
	}
	o := restoreOptions(t, r, p, t.TempDir(), "home")
	if parent != nil {
		o.Parent = parent
	}
	return restore.Run(t.Context(), o)
}

// TestEachChangedByteOfAnArchiveStopsARestore: large files are proven by the sum of the whole
// archive.
func TestEachChangedByteOfAnArchiveStopsARestore(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	dir, m := largeBundles(t)
	whole := objstore.NewDir(directory(t, dir))
	if done, err := restoring(t, whole, m, nil); err != nil || done.Files < 4 {
		t.Fatal(done, err)
	}
	places := 64
	if testing.Short() {
		places = 16
	}
	cases := make(map[string]func(b []byte) []byte)
	for k := range places {
		at := m.Archive.Bytes*int64(k)/int64(places) + int64(k)%min(512, m.Archive.Bytes/int64(places))
		cases[fmt.Sprintf("byte %d", at)] = func(b []byte) []byte { b[at] ^= 1 << (k % 8); return b }
	}
	cases["last byte"] = func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	cases["cut"] = func(b []byte) []byte { return b[:len(b)-1] }
	cases["half"] = func(b []byte) []byte { return b[:len(b)/2] }
	cases["longer"] = func(b []byte) []byte { return append(b, b[:100]...) }
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := directory(t, t.TempDir())
			_, err := restoring(t, damaged{whole, m.Archive.Name, change}, m, target)
			if !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), m.Archive.Name) {
				t.Errorf("%v", err)
			}
			for e, err := range target.List(".") {
				t.Errorf("it left %s, %v", e.Name, err)
			}
		})
	}
}

// TestAFileThatIsNotThatOfTheIndexIsNamed: the error about an archive names the file that was
// changed.
func TestAFileThatIsNotThatOfTheIndexIsNamed(t *testing.T) {
	t.Parallel()
	dir, m := largeBundles(t)
	at := m.Archive.Bytes / 2
	change := func(b []byte) []byte { b[at] ^= 4; return b }
	_, err := restoring(t, damaged{objstore.NewDir(directory(t, dir)), m.Archive.Name, change}, m, nil)
	if err == nil || !strings.Contains(err.Error(), "the content of A/bundles/") {
		t.Errorf("%v", err)
	}
}

// TestAResumedRestoreProvesWhatWasUnpackedBefore: files that a killed restore unpacked are proven
// by no sum yet.
func TestAResumedRestoreProvesWhatWasUnpackedBefore(t *testing.T) {
	t.Parallel()
	dir, m := largeBundles(t)
	whole := objstore.NewDir(directory(t, dir))
	for _, changed := range []bool{false, true} {
		first := objstore.Store(whole)
		change := func(b []byte) []byte { b[len(b)/4] ^= 2; return b } // of the first bundle
		if changed {
			first = damaged{whole, m.Archive.Name, change}
		}
		target := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		r := openRepository(t, first)
		p, err := r.Exactly(m)
		if err != nil {
			t.Fatal(err)
		}
		o := restoreOptions(t, r, p, target, "home")
		o.Checkpoint = 1 << 20
		o.Progress = func(p backup.Progress) {
			if p.Bytes > 2<<20 { // within the second bundle
				cancel()
			}
		}
		if _, err := restore.Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("a restore that was stopped: %v", err)
		}
		o.Progress = nil
		done, err := restore.Run(t.Context(), o)
		switch {
		case changed && (!errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), "the content of A/bundles/")):
			t.Errorf("of a damaged archive: %+v, %v", done, err)
		case !changed && (err != nil || !done.Resumed || done.Bytes > m.Bytes*2/3):
			t.Errorf("%+v of %d bytes, %v", done, m.Bytes, err)
		}
	}
}

// spoiling is a disk on which a byte of one bundle is written as another.
type spoiling struct {
	vfs.FS
	at int64
}

func (s spoiling) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	if err == nil && strings.HasSuffix(name, ".tar.zst") {
		f = &spoiled{File: f, at: s.at}
	}
	return f, err
}

type spoiled struct {
	vfs.File
	size, at int64
}

func (s *spoiled) Write(b []byte) (int, error) {
	if k := s.at - s.size; k >= 0 && k < int64(len(b)) {
		b = bytes.Clone(b)
		b[k] ^= 0x20
	}
	n, err := s.File.Write(b)
	s.size += int64(n)
	return n, err
}

// TestEachByteThatIsWrittenWrongIsFound: the check after the unpacking reads the written bytes.
func TestEachByteThatIsWrittenWrongIsFound(t *testing.T) {
	t.Parallel()
	dir, m := largeBundles(t)
	size := m.Bytes / 2 * 9 / 10 // of the shorter bundle, about
	places := int64(24)
	if testing.Short() {
		places = 6
	}
	for k := range places {
		at := size * k / places
		t.Run(fmt.Sprint("byte ", at), func(t *testing.T) {
			t.Parallel()
			target := t.TempDir()
			disk := spoiling{directory(t, target), at}
			_, err := restoring(t, objstore.NewDir(directory(t, dir)), m, disk)
			if !errors.Is(err, restore.ErrDamage) || !strings.Contains(err.Error(), "A/bundles/") {
				t.Errorf("%v", err)
			}
			if _, err := directory(t, target).Stat("home"); err == nil {
				t.Error("the target has its name: " + filepath.Join(target, "home"))
			}
		})
	}
}

// TestFaultsOfARestoreOfLargeFiles is about files that are made durable beside the others and the
// check.
func TestFaultsOfARestoreOfLargeFiles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	dir, m := largeBundles(t)
	r := openRepository(t, objstore.NewDir(directory(t, dir)))
	p, err := r.Exactly(m)
	if err != nil {
		t.Fatal(err)
	}
	faults(t, 11, restoreJob(t, r, p, t.TempDir(), 0, 0))
}
