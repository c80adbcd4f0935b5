package engine_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func TestGoldenHomesReadAsTheOriginalReadsThem(t *testing.T) {
	t.Parallel()
	for _, name := range hometest.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := hometest.Unpack(t, name)
			want := hometest.Expected(t, name)
			s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept})
			compareWithGolden(t, s, want) // at once, while B may still be moved
			if err := s.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			compareWithGolden(t, s, want)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files := slices.Sorted(maps.Keys(hometest.Contents(t, filepath.Join(home, "A"))))
			for i := range files {
				files[i] = "A/" + files[i]
			}
			wantFiles := slices.Clone(want.FilesInA)
			for _, f := range want.OtherFilesInA {
				if !slices.Contains(wantFiles, f) {
					wantFiles = append(wantFiles, f)
				}
			}
			slices.Sort(wantFiles)
			if d := cmp.Diff(wantFiles, files); d != "" {
				t.Errorf("files in A (-original +ours):\n%s", d)
			}
			left := []string{"B", "journal"}
			if s.Settings().Filesystem.QuickShutdown {
				left = []string{"B"}
			}
			for _, dir := range left {
				if left := hometest.Contents(t, filepath.Join(home, dir)); len(left) != 0 {
					t.Errorf("%s holds %v after a clean close", dir, slices.Collect(maps.Keys(left)))
				}
			}
			compareWithGolden(t, engine.OpenHome(t, home, engine.Options{ReadOnly: true}), want)
		})
	}
}

func compareWithGolden(t *testing.T, s *engine.Storage, want *hometest.Home) {
	t.Helper()
	ctx := t.Context()
	if got := s.LastTransaction(); got != want.XSerial {
		t.Errorf("last transaction %s, want %s", got, want.XSerial)
	}
	if got := s.Status(); got.MaxOID != want.XOID || got.Packed != want.XPacked || string(got.Class) != want.Class || got.Format != want.Format {
		t.Errorf("status %+v", got)
	}
	for oid, c := range want.Current {
		r, err := s.Load(ctx, oid)
		if c.Load != "ok" {
			if !errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("load %s: %v, the original says %s", oid, err, c.Load)
			}
			continue
		}
		if err != nil || r.Serial != c.Serial || sum(r.Data) != c.SHA256 {
			t.Errorf("load %s: serial %s, %v; want %s", oid, r.Serial, err, c.Serial)
		}
	}
	if want.Class != string(zodb.ClassFull) {
		return
	}
	for _, o := range want.Objects {
		rec, err := s.LoadRecord(ctx, o.OID, o.TID)
		from := o.UndoFrom // if it is there to be copied
		if _, err := s.LoadRecord(ctx, o.OID, from); errors.Is(err, zodb.ErrNotFound) {
			from = 0
		}
		if _, err := s.Transaction(ctx, from); errors.Is(err, zodb.ErrNotFound) {
			from = 0
		}
		if err != nil || rec.Exists == o.UndoneCreation || rec.DataTID != from || len(rec.Data) != o.Length || sum(rec.Data) != o.SHA256 {
			t.Errorf("record %s %s: %+v, %v", o.OID, o.TID, rec, err)
		}
		// The revision was current right after its transaction.
		r, err := s.LoadBefore(ctx, o.OID, o.TID+1)
		switch {
		case o.UndoneCreation:
			if !errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("load %s before %s: %v", o.OID, o.TID+1, err)
			}
		case err != nil || r == nil || r.Serial != o.TID || sum(r.Data) != o.SHA256:
			if want.XPacked == 0 {
				t.Errorf("load %s before %s: %+v, %v", o.OID, o.TID+1, r, err)
			}
		}
	}
	var got []hometest.Transaction
	for txn, err := range s.TransactionsBackward(ctx, 0) {
		if err != nil {
			t.Error(err)
			break
		}
		got = append(got, hometest.Transaction{TID: txn.TID, Previous: txn.Previous, User: string(txn.User),
			Description: string(txn.Description), ExtensionHex: hex.EncodeToString(txn.Extension), OIDs: txn.OIDs})
	}
	wanted := slices.Clone(want.Transactions)
	for i := range wanted {
		w := &wanted[i]
		w.Extension, w.MD5, w.FileSize, w.FileSHA256 = "", "", 0, ""
	}
	if d := cmp.Diff(wanted, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("transactions (-original +ours):\n%s", d)
	}
	if want.XPacked == 0 {
		forward := engine.TIDs(t, s)
		slices.Reverse(forward)
		for i, txn := range wanted {
			if i >= len(forward) || forward[i] != txn.TID {
				t.Errorf("forward iteration differs at %s", txn.TID)
				break
			}
		}
	}
}

func TestUndoLogOfPackedHomesIsTheOriginals(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"packed", "packed_twice"} {
		want := hometest.Expected(t, name)
		s := engine.OpenHome(t, hometest.Unpack(t, name), engine.Options{History: engine.HistoryKept})
		var got []zodb.TID
		for e, err := range s.UndoLog(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Undoable {
				got = append(got, e.TID)
			} else if e.Reason == "" {
				t.Errorf("%s: %s cannot be undone, and nobody says why", name, e.TID)
			}
		}
		if want.Pack.UndoableAfter != nil {
			after := slices.DeleteFunc(slices.Clone(got), func(tid zodb.TID) bool {
				return !slices.Contains(want.Pack.UndoableAfter, tid) && tid > want.XPacked && tid == want.XSerial
			})
			if d := cmp.Diff(want.Pack.UndoableAfter, after); d != "" {
				t.Errorf("%s: undoable (-original +ours):\n%s", name, d)
			}
		}
	}
}

func TestCorruptHomesReadAsTheirDescriptionsSay(t *testing.T) {
	t.Parallel()
	base := hometest.Expected(t, "bushy")
	for _, name := range hometest.CorruptNames(t) {
		t.Run(strings.TrimPrefix(name, "corrupt/"), func(t *testing.T) {
			t.Parallel()
			want := hometest.ExpectedCorrupt(t, name)
			home := hometest.Unpack(t, name)
			s, err := engine.Open(t.Context(), home, engine.Options{SegmentSize: 64 << 10, History: engine.HistoryKept})
			if name == "corrupt/journal_older" {
				// The original rolls old data over new; this has to be refused, and change nothing.
				if !errors.Is(err, zodb.ErrJournalOlder) || !strings.Contains(err.Error(), "working_03F6ED2235555555_done") {
					t.Fatalf("open: %v, want a refusal that names the directory", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for oid, c := range base.Current {
				r, err := s.Load(t.Context(), oid)
				diff, differs := want.Load[oid]
				switch {
				case !differs && c.Load != "ok":
					if !errors.Is(err, zodb.ErrNotFound) {
						t.Errorf("load %s: %v", oid, err)
					}
				case !differs:
					if err != nil || r.Serial != c.Serial || sum(r.Data) != c.SHA256 {
						t.Errorf("load %s: %s, %v", oid, r.Serial, err)
					}
				case diff.Exception == "POSKeyError":
					c, ok := errors.AsType[*zodb.CorruptError](err) // a pointer whose revision is missing
					if !errors.Is(err, zodb.ErrNotFound) && (!ok || !c.NoObject || c.OID != oid) {
						t.Errorf("load %s: %v, want not found", oid, err)
					}
				case diff.Exception != "":
					c, ok := errors.AsType[*zodb.CorruptError](err)
					if !ok || c.OID != oid || c.Path == "" {
						t.Errorf("load %s: %v, want a corrupt error that names oid and path", oid, err)
					}
				case err != nil || r.Serial != diff.Serial || sum(r.Data) != diff.SHA256:
					t.Errorf("load %s: %s, %v; want the wrong one, %s", oid, r.Serial, err, diff.Serial)
				}
			}
			for _, o := range base.Objects {
				key := strings.ToLower(o.OID.String() + "." + o.TID.String())
				rec, err := s.LoadRecord(t.Context(), o.OID, o.TID)
				switch want.LoadSerial[key] {
				case "":
					if err != nil || sum(rec.Data) != o.SHA256 {
						t.Errorf("load %s: %v", key, err)
					}
				case "other data":
					if err != nil || sum(rec.Data) == o.SHA256 {
						t.Errorf("load %s: %v, want other data", key, err)
					}
				case "POSKeyError":
					if !errors.Is(err, zodb.ErrNotFound) {
						t.Errorf("load %s: %v, want not found", key, err)
					}
				default:
					c, ok := errors.AsType[*zodb.CorruptError](err)
					if !ok || c.OID != o.OID || c.TID != o.TID || !strings.Contains(c.Path, o.TID.String()) {
						t.Errorf("load %s: %v, want a corrupt error that names oid, tid and path", key, err)
					}
				}
			}
		})
	}
}

func TestHistoryThatDoesNotGoBackwardsEnds(t *testing.T) {
	t.Parallel()
	s := engine.OpenHome(t, hometest.Unpack(t, "corrupt/object_self_loop"), engine.Options{History: engine.HistoryKept})
	_, err := s.History(t.Context(), 4, 1000)
	if c, ok := errors.AsType[*zodb.CorruptError](err); !ok || c.OID != 4 {
		t.Errorf("history: %v", err)
	}
	if _, err := s.LoadBefore(t.Context(), 4, 1); !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("load before: %v", err)
	}
}

// TestFilesHereAreTheOriginalsByteForByte replays the transactions of a golden
// home with the same tids, and compares every file below A.
func TestFilesHereAreTheOriginalsByteForByte(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bushy", "chunky", "lawn", "flat"} {
		for _, how := range []string{"restored", "stored and undone"} {
			t.Run(format+" "+how, func(t *testing.T) {
				t.Parallel()
				golden := hometest.Unpack(t, format)
				src := engine.OpenHome(t, golden, engine.Options{History: engine.HistoryKept})
				home := engine.NewHome(t, engine.CreateOptions{Format: format})
				dst := engine.OpenHome(t, home, engine.Options{})
				for txn, err := range src.Transactions(t.Context(), 0, 0) {
					if err != nil {
						t.Fatal(err)
					}
					replay(t, src, dst, txn, how == "restored")
				}
				// x.oid is the highest oid handed out, which a copy cannot know.
				if got, want := dst.HighestOID(), src.HighestOID(); got > want {
					t.Errorf("highest oid %s, want at most %s", got, want)
				}
				for _, s := range []*engine.Storage{src, dst} {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				want := hometest.Contents(t, filepath.Join(golden, "A"))
				got := hometest.Contents(t, filepath.Join(home, "A"))
				for name, b := range want {
					if strings.HasSuffix(name, "x/oid") || name == "x.oid" {
						continue
					}
					if string(got[name]) != string(b) {
						t.Errorf("%s differs:\n% x\n% x", name, b, got[name])
					}
				}
				if len(got) != len(want) {
					t.Errorf("%d files, want %d", len(got), len(want))
				}
			})
		}
	}
}

func replay(t *testing.T, src, dst *engine.Storage, txn *zodb.Transaction, restore bool) {
	t.Helper()
	ctx := t.Context()
	out, err := dst.Begin(ctx, txn.TxnMeta, zodb.BeginOptions{TID: txn.TID})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Abort()
	undoOf := zodb.TID(0)
	for rec, err := range src.Records(ctx, txn) {
		if err != nil {
			t.Fatal(err)
		}
		if !restore && (rec.DataTID != 0 || !rec.Exists) {
			undoOf = undoneBy(t, src, rec)
			continue
		}
		if restore {
			err = out.Restore(ctx, rec, nil)
		} else {
			var serial zodb.TID
			if serial, err = dst.Serial(ctx, rec.OID); err == nil {
				err = out.Store(rec.OID, serial, rec.Data)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if undoOf != 0 {
		if _, err := out.Undo(ctx, undoOf); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Vote(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Finish(ctx, nil); err != nil {
		t.Fatal(err)
	}
}

// undoneBy returns the transaction that an undo record took back: the one that
// stored the revision before it.
func undoneBy(t *testing.T, src *engine.Storage, rec zodb.Record) zodb.TID {
	t.Helper()
	o, err := src.Revision(t.Context(), rec.OID, rec.TID)
	if err != nil {
		t.Fatal(err)
	}
	return o.Previous
}

func TestOldPointersAreReadAndReplacedByNewOnes(t *testing.T) {
	t.Parallel()
	home := hometest.Unpack(t, "old_pointers")
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("changed")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(home, "A", "o0000000000000000", "c"))
	if err != nil || len(b) != 8 {
		t.Fatalf("pointer % x, %v", b, err)
	}
	if _, err := record.ParsePointer(b, "c", 0); err != nil {
		t.Error(err)
	}
}
