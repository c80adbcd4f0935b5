package transfer

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// holder returns a record of a class that refers to objects of class m.Target.
func holder(class string, oids ...zodb.OID) []byte {
	b := fmt.Appendf(nil, "\x80\x03cm\n%s\n.\x80\x03(", class)
	for _, oid := range oids {
		b = append(append(append(b, "C\x08"...), oid.Bytes()...), "cm\nTarget\n\x86Q"...)
	}
	return append(b, "t."...)
}

// tidOf is that of a transaction in such a file.
func tidOf(i int) zodb.TID { return zodb.TID(0x03F0_0000_0000_0001 + uint64(i)<<32) }

// fileOf writes transactions, each with new records of objects; nil deletes one.
func fileOf(t *testing.T, txns ...map[zodb.OID][]byte) *filestorage.Reader {
	t.Helper()
	return reader(t, fileNamed(t, txns...))
}

// fileNamed is fileOf, and returns the name.
func fileNamed(t *testing.T, txns ...map[zodb.OID][]byte) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "Data.fs")
	dir, base, err := vfs.Split(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := filestorage.Create(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	for i, objects := range txns {
		txn := &zodb.Transaction{TID: tidOf(i), Status: zodb.StatusDone}
		records := func(yield func(zodb.Record, error) bool) {
			for _, oid := range slices.Sorted(maps.Keys(objects)) {
				data := objects[oid]
				if !yield(zodb.Record{OID: oid, TID: txn.TID, Data: data, Exists: data != nil}, nil) {
					return
				}
			}
		}
		if err := w.Append(txn, records); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestImportListsWhatDangles: of the current revisions, with both classes, and the list
// is bounded.
func TestImportListsWhatDangles(t *testing.T) {
	t.Parallel()
	root := func(oids ...zodb.OID) []byte { return holder("Root", oids...) }
	many := make([]zodb.OID, 250)
	for i := range many {
		many[i] = zodb.OID(1000 + i)
	}
	for name, tc := range map[string]struct {
		txns  []map[zodb.OID][]byte
		count int64
		want  []Dangling // the first of the list
	}{
		"none":                    {[]map[zodb.OID][]byte{{0: root(1, 2), 1: holder("A"), 2: holder("B", 1)}}, 0, nil},
		"forward and back":        {[]map[zodb.OID][]byte{{0: root(1)}, {1: holder("A", 0)}}, 0, nil},
		"never stored":            {[]map[zodb.OID][]byte{{0: root(1), 1: holder("A", 9)}}, 1, []Dangling{{1, "m.A", 9, "m.Target"}}},
		"deleted":                 {[]map[zodb.OID][]byte{{0: root(1), 1: holder("A")}, {1: nil}}, 1, []Dangling{{0, "m.Root", 1, "m.Target"}}},
		"deleted, come back":      {[]map[zodb.OID][]byte{{0: root(1), 1: holder("A")}, {1: nil}, {1: holder("A")}}, 0, nil},
		"only in an old revision": {[]map[zodb.OID][]byte{{0: root(9)}, {0: root()}}, 0, nil},
		"of what was deleted":     {[]map[zodb.OID][]byte{{0: root(), 1: holder("A", 9)}, {1: nil}}, 0, nil},
		"no pickle":               {[]map[zodb.OID][]byte{{0: []byte("encrypted"), 1: holder("A", 9)}}, 1, []Dangling{{1, "m.A", 9, "m.Target"}}},
		"two of many":             {[]map[zodb.OID][]byte{{0: root(many...)}}, 250, []Dangling{{0, "m.Root", 1000, "m.Target"}, {0, "m.Root", 1001, "m.Target"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
			done, err := Import(t.Context(), s, fileOf(t, tc.txns...), ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if done.Dangling != tc.count || len(done.DanglingList) != min(int(tc.count), maxDangling) {
				t.Errorf("%d, and %d are listed; want %d", done.Dangling, len(done.DanglingList), tc.count)
			}
			if diff := cmp.Diff(tc.want, done.DanglingList[:min(len(tc.want), len(done.DanglingList))]); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestImportOfMoreListsWhatDanglesInIt: objects of an earlier import are there.
func TestImportOfMoreListsWhatDanglesInIt(t *testing.T) {
	t.Parallel()
	first := map[zodb.OID][]byte{0: holder("Root", 1), 1: holder("A")}
	second := map[zodb.OID][]byte{2: holder("B", 1, 7)}
	s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	for _, txns := range [][]map[zodb.OID][]byte{{first}, {first, second}} {
		done, err := Import(t.Context(), s, fileOf(t, txns...), ImportOptions{})
		if err != nil || done.Transactions != 1 {
			t.Fatal(done, err)
		}
		if want := int64(len(txns) - 1); done.Dangling != want {
			t.Errorf("%d dangle, want %d", done.Dangling, want)
		}
	}
}
