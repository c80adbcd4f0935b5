package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBlobThatIsNotWhatWasWrittenIsNotReadToItsEnd damages the file of a blob in
// all ways that leave a file.
func TestBlobThatIsNotWhatWasWrittenIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: engine.FormatOf(t)})
	s := enginetest.Open(t, home, engine.Options{})
	sound := string(bytes.Repeat([]byte("sound "), 20_000))
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.Record("one"), Blob: sound})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := hometest.BlobFile(t, filepath.Join(home, "A"))
	for name, content := range map[string]string{
		"sound": sound, "cut": sound[1:], "empty": "", "longer": sound + "x", "flipped": "S" + sound[1:], "end flipped": sound[:len(sound)-1] + "x",
	} {
		if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte(content), 0o400)); err != nil {
			t.Fatal(err)
		}
		b, err := s.OpenBlob(t.Context(), 1, tid)
		if err != nil {
			t.Fatal(err)
		}
		for how, r := range map[string]io.Reader{"whole": b, "in halves": iotest.HalfReader(b), "again": b} {
			if _, err := b.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			damage, isDamage := errors.AsType[*zodb.CorruptError](err)
			switch {
			case name == "sound":
				if err != nil || string(got) != content {
					t.Errorf("%s, %s: %d bytes, %v", name, how, len(got), err)
				}
			case !isDamage || damage.OID != 1 || damage.TID != tid || damage.Path == "":
				t.Errorf("%s, %s: error %#v", name, how, err)
			case len(got) >= len(content) && len(content) > 0:
				t.Errorf("%s, %s: all %d bytes were read", name, how, len(got))
			}
		}
		// Parts are read without the rest.
		if _, err := b.Seek(6, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(b); err != nil || len(content) > 6 && string(rest) != content[6:] {
			t.Errorf("%s: %d bytes of the rest, %v", name, len(rest), err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// unchanging is a blob that knows whether it was changed.
type unchanging interface{ Unchanged(context.Context) error }

// TestComparisonOfABlobEndsWithItsContext: the whole of a large one would take as long as the disk takes.
func TestComparisonOfABlobEndsWithItsContext(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: engine.FormatOf(t)})
	s := enginetest.Open(t, home, engine.Options{})
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.Record("one"), Blob: strings.Repeat("x", 3<<20)})
	b, err := s.OpenBlob(t.Context(), 1, tid)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(s.Flush(t.Context()), os.Chtimes(hometest.BlobFile(t, filepath.Join(home, "A")), time.Time{}, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.(unchanging).Unchanged(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the comparison ends with %v", err)
	}
	if err := b.(unchanging).Unchanged(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBlobThatIsWrittenToIsKnownAsChanged while it is open; that it is flushed, and gets a second
// name, is no change.
func TestBlobThatIsWrittenToIsKnownAsChanged(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: engine.FormatOf(t)})
	s := enginetest.Open(t, home, engine.Options{})
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.Record("one"), Blob: "sound"})
	open := func() unchanging {
		b, err := s.OpenBlob(t.Context(), 1, tid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b.(unchanging)
	}
	early := open()
	if err := errors.Join(s.Flush(t.Context()), s.LinkBlob(t.Context(), 1, tid, filepath.Join(t.TempDir(), "link")), early.Unchanged(t.Context()), open().Unchanged(t.Context())); err != nil {
		t.Fatal(err)
	}
	file := hometest.BlobFile(t, filepath.Join(home, "A"))
	for _, content := range []string{"other", "longer than it was"} {
		late := open()
		if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte(content), 0o600), os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		for _, b := range []unchanging{early, late} {
			if damage, ok := errors.AsType[*zodb.CorruptError](b.Unchanged(t.Context())); !ok || damage.OID != 1 || damage.TID != tid {
				t.Errorf("%q: %v", content, damage)
			}
		}
	}
}
