package bundled_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestFileOfANewerReleaseIsRefusedBeforeAnyChange: a newer release has written one of two bundles, or a list of
// one, and was killed while it put transactions that are in no log. Or it was killed before it moved x.serial,
// and a crash has damaged the last bundle, which the log puts again.
func TestFileOfANewerReleaseIsRefusedBeforeAnyChange(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{4})
	for _, tc := range []struct {
		name                            string
		newer                           int // bundle
		list, carried, loading, damaged bool
	}{
		{name: "the first bundle", newer: 0, loading: true},
		{name: "the second bundle", newer: 1, loading: true},
		{name: "the list of the first bundle", newer: 0, list: true, loading: true},
		{name: "the list of the second bundle", newer: 1, list: true, loading: true},
		{name: "the list that the first bundle carries, behind a damaged footer", newer: 0, carried: true},
		{name: "the list that the first bundle carries, behind a damaged footer, while others are put", newer: 0, carried: true, loading: true},
		{name: "the first bundle, and the last one is damaged", newer: 0, damaged: true},
		{name: "the list of the first bundle, and the last one is damaged", newer: 0, list: true, damaged: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
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
			slices.Sort(bundles)
			if len(bundles) != 2 {
				t.Fatalf("there are %q", bundles)
			}
			write := func(name string, b []byte) {
				if err := vfs.WriteFileAtomic(disk, "journal/aside", name, b, vfs.SyncOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			path := bundles[tc.newer]
			b, err := disk.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.carried:
				b = carryingNewer(t, b)
			case tc.list:
				path = strings.TrimSuffix(path, ".tar.zst") + ".3.gone"
				if b, err = (&bundle.Gone{}).Append(nil); err != nil {
					t.Fatal(err)
				}
				newerVersion(b, 8, len(b)-4)
			default:
				newerVersion(b[len(b)-bundle.FooterSize+8:], 8, bundle.FooterSize-8-12)
			}
			write(path, b)
			if tc.loading {
				write("misc/loading", nil)
			}
			if tc.damaged {
				if b, err = disk.ReadFile(bundles[1]); err != nil {
					t.Fatal(err)
				}
				b[40] ^= 1
				write(bundles[1], b)
			}
			write("A/x.serial", record.AppendX(nil, uint64(all[1].TID())))
			before := contents(t, disk)
			_, err = openEvery(disk, 2)
			if n, ok := errors.AsType[*layout.NewerError](err); !ok || n.Path != path {
				t.Errorf("the open says %v, want that %s is of a newer release", err, path)
			}
			if after := contents(t, disk); !maps.Equal(before, after) {
				t.Errorf("the open left %d files of %d, or changed some", len(after), len(before))
			}
		})
	}
}

// carryingNewer makes of a bundle one that carries a list of a newer release, and whose footer is damaged.
func carryingNewer(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = bundle.Merge(t.Context(), &out, bundle.Options{Identity: r.Identity, Min: r.Min, Max: r.Max, Generation: r.Generation, Previous: r.Previous, HighestOID: r.HighestOID},
		[]bundle.Source{{Reader: r, Gone: (*bundle.Gone)(nil).With(r.Sum, 9, roaring.BitmapOf(0))}})
	if err != nil {
		t.Fatal(err)
	}
	b = out.Bytes()
	end := len(b) - bundle.FooterSize
	list := b[bytes.LastIndex(b[:end], []byte("DSgone\r\n")):end]
	newerVersion(list, 8, len(list)-4)
	b[end+100] ^= 1
	return b
}

// newerVersion changes the version of a file, and the checksum of all before it.
func newerVersion(b []byte, version, sum int) {
	binary.BigEndian.PutUint32(b[version:], 9)
	binary.BigEndian.PutUint32(b[sum:], crc32.Checksum(b[:sum], crc32.MakeTable(crc32.Castagnoli)))
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
