package engine_test

import (
	"crypto/md5"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBlobsOfOlderReleases: a blob whose revision has an MD5 of it is read, compared, checked,
// and copied by an undo with a sum of that kind, so that a second undo finds the two equal.
func TestBlobsOfOlderReleases(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Format: "chunky"})
	s := engine.OpenHome(t, home, engine.Options{})
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("a"), Blob: "an old blob"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	revision := filepath.Join(home, "A", layout.Chunky.Path(layout.Revision(1, first)))
	asOlder(t, revision, "an old blob")

	s = engine.OpenHome(t, home, engine.Options{})
	if got := engine.ReadBlob(t, s, 1, first); got != "an old blob" {
		t.Errorf("blob is %q", got)
	}
	second := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a"), Blob: "a new blob"})
	third, err := engine.Undo(t, s, second)
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Revision(t.Context(), 1, third)
	if err != nil || o.BlobSum != md5.Sum([]byte("an old blob")) {
		t.Errorf("the copy has the sum %s: %v", o.BlobSum, err)
	}
	if got := engine.ReadBlob(t, s, 1, third); got != "an old blob" {
		t.Errorf("blob of the copy is %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if found := damage(t, f); len(found) != 0 {
		t.Errorf("check finds %q", found)
	}

	blob := revision + ".blob"
	if err := errors.Join(os.Chmod(blob, 0o600), os.WriteFile(blob, []byte("an odd blob"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	b, err := s.OpenBlob(t.Context(), 1, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.ReadAll(b); !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("a damaged blob: %v", err)
	}
	if err := errors.Join(b.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if found := damage(t, f); len(found) != 1 || found[0] != check.BlobChecksum {
		t.Errorf("check of a damaged blob finds %q", found)
	}
}

// TestUndoAcrossKindsOfBlobSums: an object whose blob was stored again by this release is in the state
// that the transaction of an older release left, so that one can be undone; with another blob it
// cannot, nor where the blob that has to be read is damaged.
func TestUndoAcrossKindsOfBlobSums(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Format: "chunky"})
	s := engine.OpenHome(t, home, engine.Options{})
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("a"), Blob: "the first blob"})
	older := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a"), Blob: "an old blob"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	revision := filepath.Join(home, "A", layout.Chunky.Path(layout.Revision(1, older)))
	asOlder(t, revision, "an old blob")

	s = engine.OpenHome(t, home, engine.Options{})
	again := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a"), Blob: "an old blob"})
	undone, err := engine.Undo(t, s, older)
	if err != nil {
		t.Fatalf("the blob is that of the undone transaction: %v", err)
	}
	if got := engine.ReadBlob(t, s, 1, undone); got != "the first blob" {
		t.Errorf("blob after the undo is %q", got)
	}
	// Within one transaction: the first undo brings back the blob with a sum of the newer kind.
	if undone, err = engine.Undo(t, s, undone, older); err != nil {
		t.Fatalf("two undos in one transaction: %v", err)
	}
	if got := engine.ReadBlob(t, s, 1, undone); got != "the first blob" {
		t.Errorf("blob after two undos is %q; %s and %s made others", got, first, again)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a"), Blob: "an odd blob"})
	if _, err := engine.Undo(t, s, older); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("the blob is another one: %v", err)
	}
	blob := revision + ".blob"
	if err := errors.Join(os.Chmod(blob, 0o600), os.WriteFile(blob, []byte("an odd blob"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Undo(t, s, older); !errors.Is(err, zodb.ErrUndo) || !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("the blob is damaged: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// damage returns the kinds of damage that check finds.
func damage(t *testing.T, f vfs.FS) (kinds []check.Kind) {
	t.Helper()
	_, err := check.Run(t.Context(), check.Options{FS: f}, func(x check.Finding) {
		if x.Severity == check.Damage {
			kinds = append(kinds, x.Kind)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

// asOlder makes a file of a revision one that an older release wrote.
func asOlder(t *testing.T, path, blob string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o, err := record.ParseObject(b, path, true)
	if err != nil {
		t.Fatal(err)
	}
	if o.BlobSum != record.SumBlob([]byte(blob)) {
		t.Fatalf("the sum of the blob is %s", o.BlobSum)
	}
	o.BlobSum = md5.Sum([]byte(blob))
	if b, err = o.Append(nil, record.MD5); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}
