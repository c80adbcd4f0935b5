package bundled_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBundleOfANewerReleaseIsRefusedBeforeAnyChange: a newer release has written one of two bundles, and
// was killed while it put transactions that are in no log.
func TestBundleOfANewerReleaseIsRefusedBeforeAnyChange(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{4})
	for newer := range 2 {
		disk := crashfs.New(1)
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		s := reopen(t, disk)
		_, err := load(s, all)
		if err == nil {
			err = s.SetLast(store.A, all[1].TID())
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		var bundles []string
		for name, err := range vfs.Walk(disk, "A/bundles") {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, ".tar.zst") {
				bundles = append(bundles, name)
			}
		}
		if len(bundles) != 2 {
			t.Fatalf("there are %q", bundles)
		}
		b, err := disk.ReadFile(bundles[newer])
		if err != nil {
			t.Fatal(err)
		}
		footer := b[len(b)-248:]
		binary.BigEndian.PutUint32(footer[8:], 9)
		binary.BigEndian.PutUint32(footer[236:], crc32.Checksum(footer[:236], crc32.MakeTable(crc32.Castagnoli)))
		err = errors.Join(vfs.WriteFileAtomic(disk, "journal/aside", bundles[newer], b, vfs.SyncOptions{}),
			vfs.WriteFileAtomic(disk, "journal/aside", "misc/loading", nil, vfs.SyncOptions{}),
			vfs.WriteFileAtomic(disk, "journal/aside", "A/x.serial", record.AppendX(nil, uint64(all[1].TID())), vfs.SyncOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		before := contents(t, disk)
		_, err = openEvery(disk, 2)
		if n, ok := errors.AsType[*layout.NewerError](err); !ok || n.Path != bundles[newer] {
			t.Errorf("bundle %d: %v", newer, err)
		}
		if after := contents(t, disk); !maps.Equal(before, after) {
			t.Errorf("bundle %d: the open left %d files of %d, or changed some", newer, len(after), len(before))
		}
	}
}

// contents returns those of all files.
func contents(t *testing.T, disk vfs.FS) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for name, err := range vfs.Walk(disk, ".") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := disk.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}
