package transfer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// loadInto returns a Load into a new home of bundles, and where the storage is when it is open.
func loadInto(t *testing.T, home string) (*Load, **engine.Storage) {
	t.Helper()
	load, s := loadIfNew(t, home)
	if load == nil {
		t.Fatal("there is no loader")
	}
	return load, s
}

// loadIfNew is loadInto for any home: the Load is nil if it has no loader, or not any more.
func loadIfNew(t *testing.T, home string) (*Load, **engine.Storage) {
	t.Helper()
	l, err := engine.OpenLoader(t.Context(), home, engine.Options{})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	s := new(*engine.Storage)
	return &Load{Loader: l, Open: func() (Target, error) {
		*s = enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
		return *s, nil
	}}, s
}

// TestLoadedHomeIsAsACopiedOne compares homes that were made around the log, from files and from a
// server, with one that was made through it.
func TestLoadedHomeIsAsACopiedOne(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"undo.fs", "before_pack.fs", "packed.fs", "crashed.fs", "blobs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := imported(t, name, BlobsRequired)
			home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
			load, s := loadInto(t, home)
			o := ImportOptions{Load: load}
			file := fixture(t, name, &o)
			done, err := Import(t.Context(), nil, reader(t, file), o)
			if err != nil || done.LastTID != want.LastTransaction() || done.Before != 0 {
				t.Fatalf("import: %+v, %v", done, err)
			}
			sameContents(t, want, *s)
			if got, counts := (*s).Counts(), want.Counts(); got != counts || !got.Exact {
				t.Errorf("there are %+v; want %+v", got, counts)
			}
			again, err := Import(t.Context(), *s, reader(t, file), ImportOptions{Policy: BlobsNone})
			if err != nil || again.Transactions != 0 {
				t.Errorf("again: %+v, %v", again, err)
			}
			if err := (*s).Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := engine.OpenLoader(t.Context(), home, engine.Options{}); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("a loader of what has transactions: %v", err)
			}
			if name == "crashed.fs" {
				return
			}
			load, s = loadInto(t, enginetest.Home(t, engine.CreateOptions{Format: "bundled"}))
			done, err = ImportServer(t.Context(), nil, connect(t, want, 0), ServerOptions{Load: load})
			if err != nil || done.LastTID != want.LastTransaction() {
				t.Fatalf("import from a server: %+v, %v", done, err)
			}
			sameContents(t, want, *s)
		})
	}
}

// TestInterruptedLoadGoesOn ends a load early; its transactions are there, and the rest comes through the log.
func TestInterruptedLoadGoesOn(t *testing.T) {
	t.Parallel()
	file := hometest.FileStorage(t, "before_pack.fs")
	home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
	load, s := loadInto(t, home)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, err := Import(ctx, nil, reader(t, file), ImportOptions{Load: load, Progress: func(p Progress) {
		if p.Transactions == 4 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || done.Transactions != 4 || done.LastTID != (*s).LastTransaction() || done.LastTID == 0 {
		t.Fatalf("%+v, %v; the last transaction is %s", done, err, (*s).LastTransaction())
	}
	if _, err := Import(t.Context(), *s, reader(t, file), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	got, _ := export(t, *s, ExportOptions{})
	if original, err := os.ReadFile(file); err != nil || !bytes.Equal(got, original) {
		t.Errorf("the export is not the file, %v", err)
	}
}

// refuser is a Loader that leaves the third transaction to the storage.
type refuser struct {
	Loader
	n int
}

func (r *refuser) Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error) {
	if r.n++; r.n == 3 {
		return nil, errors.ErrUnsupported
	}
	return r.Loader.Begin(ctx, meta, o)
}

// TestWhatALoaderLeavesIsCopied: the storage goes on where the loader ends.
func TestWhatALoaderLeavesIsCopied(t *testing.T) {
	t.Parallel()
	file := hometest.FileStorage(t, "before_pack.fs")
	load, s := loadInto(t, enginetest.Home(t, engine.CreateOptions{Format: "bundled"}))
	load.Loader = &refuser{Loader: load.Loader}
	done, err := Import(t.Context(), nil, reader(t, file), ImportOptions{Load: load})
	if err != nil || done.LastTID != (*s).LastTransaction() {
		t.Fatalf("%+v, %v", done, err)
	}
	got, _ := export(t, *s, ExportOptions{})
	if original, err := os.ReadFile(file); err != nil || !bytes.Equal(got, original) {
		t.Errorf("the export is not the file, %v", err)
	}
}
