package bundled_test

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAReaderBesideListsOnceUntilTimesTell: after a change a reader lists each directory once for a load,
// for as long as another change may have the same time, and then not at all. It sees each change.
func TestAReaderBesideListsOnceUntilTimesTell(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		time time.Time // of the directory, after the change
		long time.Duration
	}{
		{"fractions of a second", time.Unix(2e9, 12345678), 100 * time.Millisecond},
		{"whole seconds", time.Unix(2e9, 0), 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{2})
			s, disk := newStore(t)
			put := putEach(t, s, all)
			for i := range 3 {
				put(i)
			}
			clock := tc.time.Add(-time.Hour)
			var lists atomic.Int64
			counted := errfs.New(disk, func(o errfs.Op) error {
				if o.Kind == "list" && (o.Name == "A/bundles" || o.Name == "B/bundles") {
					lists.Add(1)
				}
				return nil
			})
			reader, err := bundled.New(bundled.Options{FS: counted, Beside: true, Clock: func() time.Time { return clock }})
			if err != nil {
				t.Fatal(err)
			}
			load := func(say string, serial zodb.TID, most int64) {
				t.Helper()
				lists.Store(0)
				const loads = 50
				for range loads {
					if r, err := reader.Load(2); err != nil || r.Serial != serial {
						t.Fatalf("%s: object 2 is of %s, %v; want %s", say, r.Serial, err, serial)
					}
				}
				if n := lists.Load(); n > most*loads+10 {
					t.Errorf("%s: %d listings for %d loads", say, n, loads)
				}
			}
			put(3)
			for _, dir := range []string{"A/bundles", "B/bundles"} {
				if err := disk.SetModTime(dir, tc.time); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
			clock = tc.time.Add(tc.long / 2)
			load("just changed", all[3].TID(), 2)
			clock = tc.time.Add(tc.long + time.Millisecond)
			load("after that", all[3].TID(), 0)
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
