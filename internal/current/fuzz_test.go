package current

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzOpen changes bytes of the files of a table that was committed twice. A slot that is found is the one of
// the second commit, or, if the table says that it is as of the first one, of either; none is missing.
// Everything else is an error that says damage, from every way to read. What is put then is read as it was
// put, also after the next open, and the rest is as before.
func FuzzOpen(f *testing.F) {
	for _, add := range [][]byte{{}, {0, 9, 7}, {16, 5, 200, 2, 9, 255}, {2, 9, 255}, {0, 40, 1}, {17, 224, 1}} {
		f.Add(add, []byte{}, []byte{}, []byte{})
		f.Add([]byte{}, add, []byte{}, []byte{})
		f.Add([]byte{}, []byte{}, add, []byte{})
		f.Add(add, add, add, add)
	}
	f.Fuzz(func(t *testing.T, file, pages, versions, note []byte) {
		disk := crashfs.New(1)
		for _, dir := range []string{"misc", "journal"} {
			if err := disk.Mkdir(dir); err != nil {
				t.Fatal(err)
			}
		}
		table, err := Create(disk, identity)
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		first, second := make(map[zodb.OID]Slot), make(map[zodb.OID]Slot)
		b := someBatch(rnd, 77)
		b.apply(first)
		b.apply(second)
		if err := errors.Join(b.put(table), table.Commit(77, []byte("note"))); err != nil {
			t.Fatal(err)
		}
		b = someBatch(rnd, 99)
		b.entries = append(b.entries, Entry{someKey(first), Slot{TID: 99, Bundle: 3}})
		b.apply(second)
		if err := errors.Join(b.put(table), table.Commit(99, []byte("another note")), table.Close()); err != nil {
			t.Fatal(err)
		}
		for name, changes := range map[string][]byte{Name: file, PagesName: pages, VersionsName: versions, noteOf(2): note} {
			content, err := disk.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for ; len(changes) > 2; changes = changes[3:] { // an offset, two bytes, and a bit pattern
				if at := int(changes[0])<<8 | int(changes[1]); at < len(content) {
					content[at] ^= changes[2]
				}
			}
			if err := vfs.WriteFileAtomic(disk, "aside", name, content, vfs.SyncOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		table, err = Open(disk, identity)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v", err)
			}
			return
		}
		defer func() { _ = table.Close() }()
		upTo, text := table.UpTo()
		if upTo != 77 && upTo != 99 || upTo == 77 && string(text) != "note" || upTo == 99 && string(text) != "another note" {
			t.Errorf("it is as of %s, with the note %q", upTo, text)
		}
		right := func(oid zodb.OID, got Slot) bool {
			old, there := first[oid]
			return got == second[oid] || upTo == 77 && got == old && (there || old == Slot{})
		}
		read := make(map[zodb.OID]Slot)
		cursor := table.Cursor()
		for _, oid := range slices.Sorted(maps.Keys(second)) {
			got, err := table.Get(oid)
			again, cursorErr := cursor.Get(oid)
			if (err == nil) != (cursorErr == nil) || got != again {
				t.Errorf("%s is %+v, %v; a cursor finds %+v, %v", oid, got, err, again, cursorErr)
			}
			if err != nil && !errors.Is(err, ErrDamaged) || err == nil && !right(oid, got) {
				t.Errorf("%s is %+v, %v; want %+v", oid, got, err, second[oid])
			}
			if err == nil {
				read[oid] = got
			}
		}
		b = someBatch(rnd, 111)
		b.entries = append(b.entries, Entry{someKey(second), Slot{TID: 111, Bundle: 4}})
		b.apply(read)
		if err := errors.Join(b.put(table), table.Commit(111, nil)); err != nil {
			t.Fatalf("put: %v", err)
		}
		for _, what := range []string{"put", "opened again"} {
			for oid, want := range read {
				if got, err := table.Get(oid); err != nil || got != want {
					t.Errorf("%s: %s is %+v, %v; want %+v", what, oid, got, err, want)
				}
			}
			if err := table.Close(); err != nil {
				t.Fatal(err)
			}
			if table, err = Open(disk, identity); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	})
}

// someKey returns the lowest object of a map.
func someKey(m map[zodb.OID]Slot) zodb.OID { return slices.Min(slices.Collect(maps.Keys(m))) }
