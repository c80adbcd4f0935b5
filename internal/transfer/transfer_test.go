package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func reader(t testing.TB, name string) *filestorage.Reader {
	t.Helper()
	dir, base, err := vfs.Split(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := filestorage.Open(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// export writes a storage into a file and returns its content.
func export(t testing.TB, s *engine.Storage, o ExportOptions) ([]byte, Exported) {
	t.Helper()
	dir, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := filestorage.Create(dir, "out.fs")
	if err != nil {
		t.Fatal(err)
	}
	done, err := Export(t.Context(), s, w, o)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := dir.ReadFile("out.fs")
	if err != nil {
		t.Fatal(err)
	}
	return b, done
}

// expected are the records that ZODB reads from a golden file.
type expected struct {
	Transactions []struct {
		TID         zodb.TID `json:"tid"`
		User        string   `json:"user"`
		Description string   `json:"description"`
		Extension   string   `json:"extension_hex"`
		Records     []struct {
			OID     zodb.OID  `json:"oid"`
			DataTxn *zodb.TID `json:"data_txn"`
			SHA256  string    `json:"sha256"`
			Gone    bool      `json:"undone_creation"`
		} `json:"records"`
	} `json:"transactions"`
	Current map[string]struct {
		Serial zodb.TID `json:"serial"`
		SHA256 string   `json:"sha256"`
	} `json:"current"`
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// TestGoldenFilesGoThereAndBack compares every transaction and record of an
// imported file with the records that ZODB reads from it, and the export with the file.
func TestGoldenFilesGoThereAndBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"undo.fs", "before_pack.fs", "packed.fs", "crashed.fs"} {
		for _, format := range []string{"bushy", "chunky", "lawn", "flat"} {
			t.Run(name+" "+format, func(t *testing.T) {
				t.Parallel()
				file := hometest.FileStorage(t, name)
				var want expected
				if err := json.Unmarshal(hometest.Golden(t, "filestorage/"+name+".json"), &want); err != nil {
					t.Fatal(err)
				}
				home := enginetest.Home(t, engine.CreateOptions{Format: format})
				s := enginetest.Open(t, home, engine.Options{})
				done, err := Import(t.Context(), s, reader(t, file), ImportOptions{})
				if err != nil || done.Transactions != int64(len(want.Transactions)) || (done.Truncated != nil) != (name == "crashed.fs") {
					t.Errorf("import %+v, %v", done, err)
				}
				compare(t, s, &want)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				enginetest.Clean(t, home)
				s = enginetest.Open(t, home, engine.Options{ReadOnly: true})
				compare(t, s, &want)
				got, _ := export(t, s, ExportOptions{})
				original, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if done.Truncated != nil {
					original = original[:done.Truncated.Offset]
				}
				if !bytes.Equal(got, original) {
					t.Errorf("the export of %d bytes is not the file of %d bytes", len(got), len(original))
				}
			})
		}
	}
}

func compare(t *testing.T, s *engine.Storage, want *expected) {
	t.Helper()
	i := 0
	for txn, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if i == len(want.Transactions) {
			t.Fatalf("there is a transaction %s too many", txn.TID)
		}
		w := want.Transactions[i]
		if txn.TID != w.TID || string(txn.User) != w.User || string(txn.Description) != w.Description || hex.EncodeToString(txn.Extension) != w.Extension {
			t.Fatalf("transaction %d is %+v", i, txn)
		}
		n := 0
		for rec, err := range s.Records(t.Context(), txn) {
			if err != nil {
				t.Fatal(err)
			}
			if n == len(w.Records) {
				t.Fatalf("transaction %s has a record too many", txn.TID)
			}
			wr := w.Records[n]
			var from zodb.TID
			if wr.DataTxn != nil {
				from = *wr.DataTxn
			}
			if rec.OID != wr.OID || rec.Exists == wr.Gone || rec.Exists && sum(rec.Data) != wr.SHA256 || rec.DataTID != from {
				t.Errorf("record %d of %s is %s, exists %t, of %s; want %+v", n, txn.TID, rec.OID, rec.Exists, rec.DataTID, wr)
			}
			n++
		}
		if n != len(w.Records) {
			t.Errorf("%d records of %s, want %d", n, txn.TID, len(w.Records))
		}
		i++
	}
	if i != len(want.Transactions) {
		t.Errorf("%d transactions, want %d", i, len(want.Transactions))
	}
	for text, c := range want.Current {
		oid, err := zodb.ParseOID(text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Load(t.Context(), oid)
		if c.SHA256 == "" {
			if !errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("load %s: %v", oid, err)
			}
		} else if err != nil || r.Serial != c.Serial || sum(r.Data) != c.SHA256 {
			t.Errorf("load %s: %s, %v", oid, r.Serial, err)
		}
	}
}

// TestImportedHomeIsTheOriginalsByteForByte compares the files of an imported
// Data.fs with those that the original wrote for the same edits.
func TestImportedHomeIsTheOriginalsByteForByte(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: "bushy"})
	s := enginetest.Open(t, home, engine.Options{})
	if _, err := Import(t.Context(), s, reader(t, hometest.FileStorage(t, "undo.fs")), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := hometest.Contents(t, filepath.Join(hometest.Unpack(t, "bushy"), "A"))
	got := hometest.Contents(t, filepath.Join(home, "A"))
	for name, b := range want {
		if name != "x/oid" && !bytes.Equal(b, got[name]) {
			t.Errorf("%s differs", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

func TestMediumFileGoesThereAndBack(t *testing.T) {
	t.Parallel()
	file := hometest.Medium(t)
	lines := strings.Split(strings.TrimSuffix(string(hometest.Golden(t, "filestorage/medium.transactions.tsv.gz")), "\n"), "\n")
	current := strings.Split(strings.TrimSuffix(string(hometest.Golden(t, "filestorage/medium.current.tsv.gz")), "\n"), "\n")
	home := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, home, engine.Options{})
	if _, err := Import(t.Context(), s, reader(t, file), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Clean(t, home)
	s = enginetest.Open(t, home, engine.Options{ReadOnly: true})
	n := 0
	for txn, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		h, count := sha256.New(), 0
		for rec, err := range s.Records(t.Context(), txn) {
			if err != nil {
				t.Fatal(err)
			}
			h.Write(rec.OID.Bytes())
			h.Write(rec.TID.Bytes())
			h.Write(rec.Data)
			count++
		}
		got := fmt.Sprintf("%016x\t%s\t%s\t%d\t%x", uint64(txn.TID), txn.User, strings.ReplaceAll(string(txn.Description), "\n", `\n`), count, h.Sum(nil))
		if n >= len(lines) || got != lines[n] {
			t.Fatalf("transaction %d is %q", n, got)
		}
		n++
	}
	if n != len(lines) {
		t.Errorf("%d transactions, want %d", n, len(lines))
	}
	for _, line := range current {
		f := strings.Split(line, "\t")
		oid, err := zodb.ParseOID(f[0])
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Load(t.Context(), oid)
		if got := fmt.Sprintf("%016x\t%016x\t%d\t%s", uint64(oid), uint64(r.Serial), len(r.Data), sum(r.Data)); err != nil || got != line {
			t.Errorf("load: %q, %v, want %q", got, err, line)
		}
	}
	got, done := export(t, s, ExportOptions{})
	original, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, original) || done.Transactions != int64(n) {
		t.Errorf("the export of %d bytes is not the file, %v", len(got), err)
	}
}

func TestInterruptedImportGoesOn(t *testing.T) {
	t.Parallel()
	file := hometest.FileStorage(t, "before_pack.fs")
	home := enginetest.Home(t, engine.CreateOptions{})
	var last zodb.TID
	for round := 0; ; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		s := enginetest.Open(t, home, engine.Options{})
		done, err := Import(ctx, s, reader(t, file), ImportOptions{Progress: func(p Progress) {
			if p.Transactions == 4 {
				cancel()
			}
		}})
		cancel()
		if done.Before != last || done.LastTID != s.LastTransaction() {
			t.Errorf("round %d: %+v", round, done)
		}
		last = done.LastTID
		if cerr := s.Close(); cerr != nil {
			t.Fatal(cerr)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || done.Transactions != 4 {
			t.Fatalf("round %d: %+v, %v", round, done, err)
		}
	}
	got, _ := export(t, enginetest.Open(t, home, engine.Options{ReadOnly: true}), ExportOptions{})
	if original, err := os.ReadFile(file); err != nil || !bytes.Equal(got, original) {
		t.Errorf("the export is not the file, %v", err)
	}
}

func TestImportIntoAnotherDatabaseChangesNothing(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, home, engine.Options{})
	tid := commit(t, s, zodb.BeginOptions{TID: 0x03F6ED1905555555}, 1, "other", "")
	// The tid is in the file too, with other content.
	done, err := Import(t.Context(), s, reader(t, hometest.FileStorage(t, "undo.fs")), ImportOptions{})
	if !errors.Is(err, ErrOther) || done.Transactions != 0 || s.LastTransaction() != tid {
		t.Errorf("import: %+v, %v", done, err)
	}
}

// TestPackedHomeIsExportedWhole exports homes whose old transactions were packed
// away, and imports the result again: every revision is there.
func TestPackedHomeIsExportedWhole(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"packed", "packed_twice", "minimal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := enginetest.Open(t, hometest.Unpack(t, name), engine.Options{ReadOnly: true})
			file, done := export(t, src, ExportOptions{})
			if done.PackedAway == 0 && name != "packed" { // that keeps the transactions of all that it keeps
				t.Errorf("nothing was packed away: %+v", done)
			}
			home := enginetest.Home(t, engine.CreateOptions{})
			dst := enginetest.Open(t, home, engine.Options{})
			r, err := filestorage.NewReader(bytes.NewReader(file), int64(len(file)), "exported")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := Import(t.Context(), dst, r, ImportOptions{}); err != nil {
				t.Fatal(err)
			}
			revisions := 0
			for oid, err := range src.OIDs(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				for serial, err := range src.Serials(t.Context(), oid) {
					if err != nil {
						t.Fatal(err)
					}
					a, errA := src.LoadRecord(t.Context(), oid, serial)
					b, errB := dst.LoadRecord(t.Context(), oid, serial)
					if errA != nil || errB != nil || !bytes.Equal(a.Data, b.Data) || a.Exists != b.Exists && name != "minimal" {
						t.Errorf("revision %s of %s differs: %v, %v", serial, oid, errA, errB)
					}
					revisions++
				}
			}
			if int64(revisions) != done.Records {
				t.Errorf("%d revisions, and %d records exported", revisions, done.Records)
			}
			if err := dst.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// BenchmarkImport imports medium.fs: 2,001 transactions, 56,966 records, 66 MB.
// An operation is the whole file, durable and flushed.
func BenchmarkImport(b *testing.B) {
	file := hometest.Medium(b)
	records := int64(0)
	for b.Loop() {
		s := enginetest.Open(b, enginetest.Home(b, engine.CreateOptions{}), engine.Options{})
		done, err := Import(b.Context(), s, reader(b, file), ImportOptions{})
		if err = errors.Join(err, s.Close()); err != nil {
			b.Fatal(err)
		}
		records += done.Records
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

// TestImportGoesOnUntilItIsServed: a copy can be continued, is the source without a
// difference until somebody opens it for writing, and says why it cannot after that.
func TestImportGoesOnUntilItIsServed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	home := enginetest.Home(t, engine.CreateOptions{})
	var last zodb.TID
	for i := range 2 {
		s := enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
		done, err := Import(ctx, s, reader(t, hometest.FileStorage(t, "undo.fs")), ImportOptions{})
		if err != nil || done.Transactions == 0 != (i > 0) {
			t.Fatalf("import %d: %+v, %v", i, done, err)
		}
		last = s.LastTransaction()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	served := enginetest.Open(t, home, engine.Options{})
	txn, err := served.Transaction(ctx, served.LastTransaction())
	if err != nil || txn.Previous != last || !histfile.IsBeginning(txn) {
		t.Fatalf("the last transaction of what is served is %+v, %v; the import ended with %s", txn, err, last)
	}
	if err := served.Close(); err != nil {
		t.Fatal(err)
	}
	s := enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
	_, err = Import(ctx, s, reader(t, hometest.FileStorage(t, "undo.fs")), ImportOptions{})
	if !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), "history of its own") || s.LastTransaction() != txn.TID {
		t.Errorf("import into what was served: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// That changed nothing, so no other history begins.
	if s = enginetest.Open(t, home, engine.Options{}); s.LastTransaction() != txn.TID {
		t.Errorf("after an import that was refused, %s is the last transaction, before it %s", s.LastTransaction(), txn.TID)
	}
}
