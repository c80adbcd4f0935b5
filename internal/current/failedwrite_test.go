package current

import (
	"errors"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAWriteThatFailsInTheMiddleOfAPageDamagesNothing: as on a full disk, half of the page is written.
// Slots of other objects are there as before, at once and after the next open, and so is the one that was to be
// put.
func TestAWriteThatFailsInTheMiddleOfAPageDamagesNothing(t *testing.T) {
	t.Parallel()
	disk := home(t, 1)
	f := errfs.New(disk, nil)
	f.ShortWrites()
	table, err := Create(f, identity)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(oid zodb.OID, tid zodb.TID) Entry { return Entry{oid, Slot{TID: tid, Size: 1, Block: 1}} }
	oids := []zodb.OID{0, 1, 7, 14, 40}
	for _, oid := range oids {
		if err := table.Put([]Entry{entry(oid, 5)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Commit(5, nil); err != nil {
		t.Fatal(err)
	}
	failed := false
	f.Decide(func(op errfs.Op) error {
		if op.Kind != "write" || op.Name != Name || failed {
			return nil
		}
		failed = true
		return syscall.ENOSPC
	})
	if err := table.Put([]Entry{entry(0, 9), entry(14, 9), entry(100, 9)}); !failed || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("put on a full disk: %v", err)
	}
	look := func() {
		t.Helper()
		for _, oid := range oids {
			if got, err := table.Get(oid); got != entry(oid, 5).Slot || err != nil {
				t.Errorf("object %s: %+v, %v", oid, got, err)
			}
		}
	}
	look()
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if table, err = Open(disk, identity); err != nil {
		t.Fatal(err)
	}
	look()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
}
