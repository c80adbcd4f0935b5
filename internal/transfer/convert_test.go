package transfer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// allFormats are the formats of a storage.
var allFormats = []string{"bundled", "bushy", "chunky", "lawn", "flat"}

// convert copies a storage into a new HOME, or one that was made so before, and compares the two.
func convert(t *testing.T, from zodb.Storage, home string) (Imported, Compared) {
	t.Helper()
	var s *engine.Storage
	var done Imported
	var err error
	if load, loaded := loadIfNew(t, home); load != nil {
		done, err = Convert(t.Context(), nil, from, ConvertOptions{Load: load})
		s = *loaded
	} else {
		load, later, _ := loadLater(t, home)
		done, err = Convert(t.Context(), *later, from, ConvertOptions{Copy: true, Load: load})
		s = *later
	}
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	s = enginetest.Open(t, home, engine.Options{ReadOnly: true})
	defer s.Close()
	compared, err := Compare(t.Context(), from, s, CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return done, compared
}

// TestConvertCopiesEveryHome: homes of the Python original and of earlier builds, so of all five formats,
// of both classes, packed, damaged by no more than a kill, become homes of each format: a Data.fs of the two is the same, byte for byte.
func TestConvertCopiesEveryHome(t *testing.T) {
	t.Parallel()
	for i, name := range slices.Concat(hometest.OwnNames(t), hometest.Names(t)) {
		for j, format := range allFormats {
			if testing.Short() && i%len(allFormats) != j {
				continue
			}
			t.Run(name+" "+format, func(t *testing.T) {
				t.Parallel()
				from := hometest.Unpack(t, name)
				for _, dir := range []string{"B", "journal", "misc"} { // a heap of copies has none
					if err := os.MkdirAll(filepath.Join(from, dir), 0o777); err != nil {
						t.Fatal(err)
					}
				}
				if err := enginetest.Open(t, from, engine.Options{History: engine.HistoryKept}).Close(); err != nil { // recovers it
					t.Fatal(err)
				}
				source := enginetest.Open(t, from, engine.Options{ReadOnly: true})
				class := source.Status().Class
				if class == zodb.ClassMinimal && format == "bundled" {
					t.Skip("there is no such class in that format")
				}
				home := enginetest.Home(t, engine.CreateOptions{Format: format, Class: class})
				done, compared := convert(t, source, home)
				if done.Transactions != compared.Transactions || done.Records != compared.Records || compared.Kept != 0 {
					t.Errorf("copied %+v, compared %+v", done, compared)
				}
				if again, _ := convert(t, source, home); again.Transactions != 0 {
					t.Errorf("copied again: %+v", again)
				}
				made := enginetest.Open(t, home, engine.Options{ReadOnly: true})
				want, exported := export(t, source, ExportOptions{LeaveBlobs: true})
				got, _ := export(t, made, ExportOptions{LeaveBlobs: true})
				if !bytes.Equal(got, want) {
					t.Error("an export of the copy is another file")
				}
				if exported.Records != done.Records {
					t.Errorf("copied %d records of %d", done.Records, exported.Records)
				}
				if done.Transactions > 0 {
					enginetest.Clean(t, home)
				}
			})
		}
	}
}

// TestConvertGoesOn: a storage that is in use is converted again and again; blobs, undos and packs
// are followed.
func TestConvertGoesOn(t *testing.T) {
	t.Parallel()
	for i, format := range allFormats {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			from := enginetest.Home(t, engine.CreateOptions{Format: allFormats[(i+2)%len(allFormats)],
				Set: map[string]string{"storage.min_pack_time": "0", "storage.keep_policy": "undoable"}})
			home := enginetest.Home(t, engine.CreateOptions{Format: format})
			s := enginetest.Open(t, from, engine.Options{})
			look := func() *engine.Storage { // as another process would
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				return enginetest.Open(t, from, engine.Options{ReadOnly: true})
			}
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")}, enginetest.Change{OID: 1, Data: enginetest.BlobRecord(), Blob: "one"})
			second := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.BlobRecord(), Blob: "two"}, enginetest.Change{OID: 2, Data: enginetest.Record("two")})
			if done, _ := convert(t, look(), home); done.Transactions != 2 || done.Blobs != 2 {
				t.Errorf("copied %+v", done)
			}
			txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
			if err == nil {
				_, err = txn.Undo(t.Context(), second)
			}
			if err == nil {
				err = txn.Vote(t.Context())
			}
			if err == nil {
				_, err = txn.Finish(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			if done, compared := convert(t, look(), home); done.Transactions != 1 || done.Blobs != 1 || compared.Transactions != 3 {
				t.Errorf("copied %+v, compared %+v", done, compared)
			}
			last := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("newer")})
			if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: last.Time()}); err != nil {
				t.Fatal(err)
			}
			if done, compared := convert(t, look(), home); done.Transactions != 1 || compared.Kept == 0 {
				t.Errorf("after a pack: copied %+v, compared %+v", done, compared)
			}
			enginetest.Clean(t, home)
		})
	}
}

// TestConvertRefusesWhatIsNoCopy: a storage with transactions of its own gets no others.
func TestConvertRefusesWhatIsNoCopy(t *testing.T) {
	t.Parallel()
	from := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	enginetest.Commit(t, from, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
	s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	own := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("another")})
	if done, err := Convert(t.Context(), s, from, ConvertOptions{}); !errors.Is(err, ErrOther) || done.Transactions != 0 || s.LastTransaction() != own {
		t.Errorf("converted %+v: %v", done, err)
	}
}

// TestCompareFindsEachDifference: the copy is made with one thing changed.
func TestCompareFindsEachDifference(t *testing.T) {
	t.Parallel()
	type txn struct {
		meta    zodb.TxnMeta
		records []zodb.Record
		blobs   map[zodb.OID]string
	}
	history := func() []txn {
		return []txn{
			{zodb.TxnMeta{User: []byte("u"), Description: []byte("d")}, []zodb.Record{{OID: 0, Exists: true, Data: []byte("root")}, {OID: 1, Exists: true, Data: []byte("one")}}, map[zodb.OID]string{1: "a blob"}},
			{zodb.TxnMeta{}, []zodb.Record{{OID: 2, Exists: true, Data: []byte("two")}}, nil},
			{zodb.TxnMeta{}, []zodb.Record{{OID: 2}}, nil},
		}
	}
	build := func(t *testing.T, list []txn) zodb.Storage {
		s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
		for i, x := range list {
			out, err := s.Begin(t.Context(), x.meta, zodb.BeginOptions{TID: zodb.TID(1000 + i)})
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range x.records {
				var blob *zodb.BlobSource
				if content, ok := x.blobs[rec.OID]; ok {
					blob = &zodb.BlobSource{Reader: bytes.NewReader([]byte(content))}
				}
				err = errors.Join(err, out.Restore(t.Context(), rec, blob))
			}
			if err = errors.Join(err, out.Vote(t.Context())); err == nil {
				_, err = out.Finish(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	for name, change := range map[string]func(l []txn) []txn{
		"":            func(l []txn) []txn { return l },
		"user":        func(l []txn) []txn { l[0].meta.User = []byte("v"); return l },
		"description": func(l []txn) []txn { l[0].meta.Description = nil; return l },
		"extension":   func(l []txn) []txn { l[1].meta.Extension = []byte("}q\x00U\x01aq\x01K\x01s."); return l },
		"record":      func(l []txn) []txn { l[1].records[0].Data = []byte("tow"); return l },
		"existence": func(l []txn) []txn {
			l[2].records[0] = zodb.Record{OID: 2, Exists: true, Data: []byte("two")}
			return l
		},
		"blob":           func(l []txn) []txn { l[0].blobs[1] = "a Blob"; return l },
		"length of blob": func(l []txn) []txn { l[0].blobs[1] = "a blob "; return l },
		"no blob":        func(l []txn) []txn { l[0].blobs = nil; return l },
		"object missing": func(l []txn) []txn { l[0].records = l[0].records[1:]; return l },
		"object more": func(l []txn) []txn {
			l[1].records = append(l[1].records, zodb.Record{OID: 9, Exists: true, Data: []byte("x")})
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, copied := build(t, history()), build(t, change(history()))
			_, err := Compare(t.Context(), source, copied, CompareOptions{})
			if (name == "") != (err == nil) || err != nil && !errors.Is(err, ErrDiffers) {
				t.Errorf("compared: %v", err)
			}
		})
	}
	t.Run("transactions", func(t *testing.T) {
		t.Parallel()
		source := build(t, history())
		short := build(t, history()[:2])
		if _, err := Compare(t.Context(), source, short, CompareOptions{To: 1002}); !errors.Is(err, ErrDiffers) {
			t.Errorf("a transaction is missing: %v", err)
		}
		if c, err := Compare(t.Context(), source, short, CompareOptions{}); err != nil || c.Transactions != 2 {
			t.Errorf("a copy that is not up to date: %+v, %v", c, err)
		}
		if _, err := Compare(t.Context(), short, source, CompareOptions{}); !errors.Is(err, ErrDiffers) {
			t.Errorf("a transaction too many: %v", err)
		}
		if c, err := Compare(t.Context(), source, build(t, history()), CompareOptions{From: 1001}); err != nil || c.Transactions != 2 {
			t.Errorf("from the second on: %+v, %v", c, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Compare(ctx, source, short, CompareOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped: %v", err)
		}
	})
}
