package current

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzOpen changes bytes of the files of a table: a slot that is found is one that was put for that
// object, or none, and everything else is an error that says damage.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0, 9, 7}, []byte{0, 3, 1})
	f.Add([]byte{16, 5, 200, 2, 9, 255}, []byte{})
	f.Fuzz(func(t *testing.T, file, pages []byte) {
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
		put := make(map[zodb.OID]Slot)
		b := someBatch(rand.New(rand.NewPCG(1, 1)), 77)
		b.apply(put)
		if err := errors.Join(b.put(table), table.Commit(77, []byte("note")), table.Close()); err != nil {
			t.Fatal(err)
		}
		for name, changes := range map[string][]byte{Name: file, PagesName: pages} {
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
		defer table.Close()
		for oid, want := range put {
			if got, err := table.Get(oid); err != nil && !errors.Is(err, ErrDamaged) || err == nil && got != want && got != (Slot{}) {
				t.Errorf("%s is %+v, %v; want %+v", oid, got, err, want)
			}
		}
	})
}
