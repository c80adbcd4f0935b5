package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestEachFormatHasItsKindOfChecksum: a flush writes MD5 in the formats that the Python original
// reads, XXH64 in bundles, and none where config/settings says so.
func TestEachFormatHasItsKindOfChecksum(t *testing.T) {
	t.Parallel()
	for _, format := range engine.AllFormats() {
		for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
			for _, write := range []string{"1", "0"} {
				if format == layout.Bundled && class == zodb.ClassMinimal {
					continue
				}
				t.Run(format.String()+" "+string(class)+" "+write, func(t *testing.T) {
					t.Parallel()
					home := enginetest.Home(t, engine.CreateOptions{Format: format.String(), Class: class, Set: map[string]string{"md5policy.write": write}})
					s := enginetest.Open(t, home, engine.Options{})
					enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
					enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					want := record.MD5
					if format == layout.Bundled {
						want = record.XXH64
					}
					if write == "0" {
						want = record.NoSum
					}
					if kinds := enginetest.SumKinds(t, home, format); len(kinds) != 1 || kinds[want] < 2 {
						t.Errorf("kinds of checksums, and how many there are: %v; want %q only", kinds, want)
					}
					enginetest.Clean(t, home)
				})
			}
		}
	}
}

// TestRecordsWithEachKindOfChecksumAreRead: with checksums of three kinds in A, in every format,
// everything that reads records goes on as before.
func TestRecordsWithEachKindOfChecksumAreRead(t *testing.T) {
	t.Parallel()
	for _, format := range engine.AllFormats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			home := enginetest.Home(t, engine.CreateOptions{Format: format.String(), Set: map[string]string{"storage.min_pack_time": "0"}})
			s := enginetest.Open(t, home, engine.Options{})
			texts := []string{"a", "b", "c", "d", "e", "f", "g"}
			var tids []zodb.TID
			for _, text := range texts {
				tids = append(tids, enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root"+text, 1, 2)},
					enginetest.Change{OID: 1, Data: pickletest.Record(text)}, enginetest.Change{OID: 2, Data: pickletest.Record(text), Blob: text}))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			enginetest.Rewrite(t, home, format, enginetest.Resum(t, record.MD5, record.XXH64, record.NoSum))
			kinds := enginetest.SumKinds(t, home, format)
			if len(kinds) != 3 {
				t.Fatal(kinds)
			}
			dir, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			if sum, err := checktest.Clean(t.Context(), dir); err != nil || sum.WithoutChecksum != int64(kinds[record.NoSum]) {
				t.Errorf("check counts %d without a checksum, want %d: %v", sum.WithoutChecksum, kinds[record.NoSum], err)
			}

			s = enginetest.Open(t, home, engine.Options{CacheSize: -1})
			for i, tid := range tids {
				for oid := range zodb.OID(3) {
					r, err := s.LoadRecord(t.Context(), oid, tid)
					if err != nil || !strings.Contains(string(r.Data), texts[i]) {
						t.Errorf("revision %s of %s is %q, %v", tid, oid, r.Data, err)
					}
				}
				if got := engine.ReadBlob(t, s, 2, tid); got != texts[i] {
					t.Errorf("the blob of %s is %q", tid, got)
				}
			}
			records := 0
			for tr, err := range s.Transactions(t.Context(), 0, 0) {
				if err != nil {
					t.Fatal(err)
				}
				for _, err := range s.Records(t.Context(), tr) {
					if err != nil {
						t.Fatal(err)
					}
					records++
				}
			}
			history, err := s.History(t.Context(), 1, 100)
			if records != 3*len(tids) || err != nil || len(history) != len(tids) {
				t.Errorf("%d records, a history of %d: %v", records, len(history), err)
			}
			undoable := 0
			for e, err := range s.UndoLog(t.Context()) {
				if err != nil || !e.Undoable {
					t.Errorf("%s cannot be undone: %s, %v", e.TID, e.Reason, err)
				}
				undoable++
			}
			if undoable != len(tids) {
				t.Errorf("%d transactions in the undo log", undoable)
			}
			for i := len(tids) - 1; i > 3; i-- {
				if _, err := engine.Undo(t, s, tids[i]); err != nil {
					t.Fatalf("undo of %s: %v", tids[i], err)
				}
			}
			if got := engine.Load(t, s, 1); got != string(pickletest.Record("d")) {
				t.Errorf("after undos object 1 is %q", got)
			}
			packed, err := s.Pack(t.Context(), zodb.PackOptions{Time: tids[2].Time()})
			if err != nil || packed.Revisions == 0 {
				t.Errorf("packed %+v: %v", packed, err)
			}
			if back, err := s.Undelete(t.Context(), packed.Stamp); err != nil || back.Revisions != packed.Revisions {
				t.Errorf("brought back %+v of %+v: %v", back, packed, err)
			}
			if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: time.Now()}); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := checktest.Sound(t.Context(), dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAWrongChecksumIsAnError: bytes that do not fit their checksum, of either kind, are never given
// out, unless md5policy/read says that revisions are not compared. Transactions always are.
func TestAWrongChecksumIsAnError(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Chunky, layout.Bundled} {
		for _, kind := range []record.SumKind{record.MD5, record.XXH64} {
			t.Run(format.String()+" "+kind.String(), func(t *testing.T) {
				t.Parallel()
				for _, read := range []string{"1", "0"} {
					home := enginetest.Home(t, engine.CreateOptions{Format: format.String(), Set: map[string]string{"md5policy.read": read}})
					s := enginetest.Open(t, home, engine.Options{})
					tid := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("text")})
					later := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("other")})
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					resum := enginetest.Resum(t, kind)
					enginetest.Rewrite(t, home, format, func(n layout.Name, b []byte) []byte {
						b = resum(n, b)
						if n == layout.Revision(1, tid) || n == layout.Transaction(later) {
							b[len(b)-2] ^= 4
						}
						return b
					})
					s = enginetest.Open(t, home, engine.Options{ReadOnly: true, CacheSize: -1})
					r, err := s.Load(t.Context(), 1)
					if read == "1" && (!errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), kind.String()+" is ")) {
						t.Errorf("a wrong revision is %q: %v", r.Data, err)
					}
					if read == "0" && (err != nil || string(r.Data) == string(pickletest.Record("text"))) {
						t.Errorf("md5policy/read = 0: %q, %v", r.Data, err)
					}
					if _, err := s.Transaction(t.Context(), later); !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), kind.String()+" is ") {
						t.Errorf("a wrong transaction, read = %s: %v", read, err)
					}
				}
			})
		}
	}
}
