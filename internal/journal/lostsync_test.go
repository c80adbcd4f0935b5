package journal_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestWhatASyncLostIsWrittenAnewByTheNextOpen: after an fsync that failed the page
// cache still holds the frames, takes them for clean, and shows them to the next
// process; an fsync of these alone proves nothing.
func TestWhatASyncLostIsWrittenAnewByTheNextOpen(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 1000, 3000} {
		for seed := range uint32(12) {
			disk := crashfs.New(int64(seed))
			if err := errors.Join(disk.Mkdir(testDir), disk.SyncDir(".")); err != nil {
				t.Fatal(err)
			}
			f := errfs.New(disk, nil)
			l, _, err := journal.Open(options(f))
			if err != nil {
				t.Fatal(err)
			}
			put(t, l, txn(1, 50), txn(2, size))
			f.Decide(func(op errfs.Op) error {
				if op.Kind == "sync" {
					return syscall.EIO
				}
				return nil
			})
			if err := tryPut(l, txn(3, size)); !errors.Is(err, syscall.EIO) {
				t.Fatalf("the commit: %v", err)
			}
			next := disk.Killed()
			again, found := open(t, options(next))
			wanted := []*want{txn(1, 50), txn(2, size), txn(3, size)}[:len(found.Transactions)]
			if err := compare(again, found, wanted...); err != nil || len(wanted) < 2 {
				t.Fatalf("the next process: %v, %d transactions", err, len(wanted))
			}
			if seed%2 == 0 {
				next := txn(zodb.TID(len(wanted)+1), 200)
				put(t, again, next)
				wanted = append(wanted, next)
			}
			mode := crashfs.KeepNone
			if seed > 1 {
				mode = crashfs.Random(seed)
			}
			last, found, err := journal.Open(options(next.Crashed(mode)))
			if err == nil {
				err = errors.Join(compare(last, found, wanted...), last.Close())
			}
			if err != nil {
				t.Errorf("size %d, %v: %v", size, mode, err)
			}
		}
	}
}
