package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	l, err := engine.OpenLoader(t.Context(), home, 0, engine.Options{})
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

// loadLater opens a home, and returns the Load around its log, if it has one. turned counts the loaders.
func loadLater(t *testing.T, home string) (load *Load, s **engine.Storage, turned *int) {
	t.Helper()
	s, turned = new(*engine.Storage), new(int)
	open := func() (Target, error) {
		*s = enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
		return *s, nil
	}
	if _, err := open(); err != nil || !(*s).Loads() {
		return nil, s, turned
	}
	return &Load{Open: open, Turn: func(last zodb.TID) (Loader, error) {
		if err := (*s).Close(); err != nil {
			return nil, err
		}
		l, err := engine.OpenLoader(t.Context(), home, last, engine.Options{})
		if err != nil {
			return nil, err
		}
		*turned++
		return l, nil
	}}, s, turned
}

// TestALaterCopyGoesAroundTheLog: transactions that are copied into a home which has some, packed or not,
// are put into bundles, and it is the same as one that got them through the log. A copy without any news
// leaves the storage open.
func TestALaterCopyGoesAroundTheLog(t *testing.T) {
	t.Parallel()
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprintf("packed %t", packed), func(t *testing.T) {
			t.Parallel()
			set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "1000000"}
			source := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Format: "chunky"}), engine.Options{})
			home, through := enginetest.Home(t, engine.CreateOptions{Format: "bundled", Set: set}), enginetest.Home(t, engine.CreateOptions{Format: "bundled", Set: set})
			var last zodb.TID
			for round := range 4 {
				for i := range 3 {
					changes := []enginetest.Change{{OID: 0, Data: enginetest.Record("root")}, {OID: 1, Data: enginetest.BlobRecord(), Blob: fmt.Sprint(round, i)}}
					if i == 1 {
						changes = append(changes, enginetest.Change{OID: zodb.OID(10 + round), Data: enginetest.Record("new")})
					}
					last = enginetest.Commit(t, source, changes...)
				}
				undone := last
				if err := errors.Join(undo(t, source, undone), source.Flush(t.Context())); err != nil {
					t.Fatal(err)
				}
				load, s, turned := loadLater(t, home)
				done, err := Convert(t.Context(), *s, source, ConvertOptions{Copy: true, Load: load})
				if err != nil || done.Transactions != 4 || done.LastTID != source.LastTransaction() || *turned != 1 {
					t.Fatalf("round %d: %+v, %d loaders, %v", round, done, *turned, err)
				}
				log := enginetest.Open(t, through, engine.Options{History: engine.HistoryCopied})
				if _, err := Convert(t.Context(), log, source, ConvertOptions{Copy: true}); err != nil {
					t.Fatal(err)
				}
				sameContents(t, log, *s)
				if got, want := (*s).Counts(), log.Counts(); got != want || !got.Exact {
					t.Errorf("round %d: there are %+v; want %+v", round, got, want)
				}
				if (*s).HighestOID() != log.HighestOID() {
					t.Errorf("round %d: the highest oid is %s, want %s", round, (*s).HighestOID(), log.HighestOID())
				}
				if _, err := Compare(t.Context(), source, *s, CompareOptions{}); err != nil && !packed {
					t.Errorf("round %d: %v", round, err)
				}
				if packed && round%2 == 0 {
					for _, s := range []*engine.Storage{*s, log} {
						if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: last.Time()}); err != nil {
							t.Fatal(err)
						}
					}
				}
				if packed && round == 3 {
					r, err := (*s).Undelete(t.Context(), 0)
					want, werr := log.Undelete(t.Context(), 0)
					if err != nil || werr != nil || r != want || r.Revisions == 0 {
						t.Errorf("brought back %+v, %v; want %+v, %v", r, err, want, werr)
					}
					sameContents(t, log, *s)
				}
				if err := errors.Join((*s).Close(), log.Close()); err != nil {
					t.Fatal(err)
				}
				enginetest.Clean(t, home)
				load, s, turned = loadLater(t, home)
				if done, err := Convert(t.Context(), *s, source, ConvertOptions{Copy: true, Load: load}); err != nil || done.Transactions != 0 || *turned != 0 {
					t.Errorf("round %d, again: %+v, %d loaders, %v", round, done, *turned, err)
				}
				if err := (*s).Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// undo undoes a transaction.
func undo(t *testing.T, s *engine.Storage, tid zodb.TID) error {
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{Description: []byte("undo")}, zodb.BeginOptions{})
	if err == nil {
		_, err = txn.Undo(t.Context(), tid)
	}
	if err == nil {
		err = txn.Vote(t.Context())
	}
	if err == nil {
		_, err = txn.Finish(t.Context(), nil)
	}
	return err
}

// TestALaterImportGoesAroundTheLog: of a file, after one that was stopped, also where the loader leaves some
// of it.
func TestALaterImportGoesAroundTheLog(t *testing.T) {
	t.Parallel()
	file := hometest.FileStorage(t, "before_pack.fs")
	for _, refuses := range []bool{false, true} {
		home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
		load, s := loadInto(t, home)
		ctx, cancel := context.WithCancel(t.Context())
		stop := func(p Progress) {
			if p.Transactions == 2 {
				cancel()
			}
		}
		if _, err := Import(ctx, nil, reader(t, file), ImportOptions{Load: load, Progress: stop}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := (*s).Close(); err != nil {
			t.Fatal(err)
		}
		load, s, turned := loadLater(t, home)
		if turn := load.Turn; refuses {
			load.Turn = func(last zodb.TID) (Loader, error) {
				l, err := turn(last)
				return &refuser{Loader: l}, err
			}
		}
		done, err := Import(t.Context(), *s, reader(t, file), ImportOptions{Load: load})
		if err != nil || *turned != 1 || done.LastTID != (*s).LastTransaction() || done.Before == 0 {
			t.Fatalf("%+v, %d loaders, %v", done, *turned, err)
		}
		got, _ := export(t, *s, ExportOptions{})
		if original, err := os.ReadFile(file); err != nil || !bytes.Equal(got, original) {
			t.Errorf("refuses %t: the export is not the file, %v", refuses, err)
		}
	}
}

// TestLoadedHomeIsAsACopiedOne compares homes that were made around the log, from files and from a
// server, with one that was made through it.
func TestLoadedHomeIsAsACopiedOne(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, name := range hometest.Today(t, hometest.OneOf(1, 1, 3), []string{"undo.fs", "before_pack.fs", "packed.fs", "crashed.fs", "blobs"}) {
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
			if _, err := engine.OpenLoader(t.Context(), home, 0, engine.Options{}); !errors.Is(err, errors.ErrUnsupported) {
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
