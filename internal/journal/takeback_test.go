package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// TestCommitFramesThatCannotBeTakenBack: half of a batch's commit frames are written when there is
// no room for the rest, and the written ones cannot be made to mean nothing. That is no refusal:
// the next open may find these transactions. The log says so, takes nothing any more, and the next
// open finds the first of them or none, also after a power cut.
func TestCommitFramesThatCannotBeTakenBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"write", "sync", "nothing"} {
		t.Run(kind+" fails", func(t *testing.T) {
			t.Parallel()
			seen := make(map[int]bool) // how many were found
			for seed := range uint32(12) {
				seen[takeBackFails(t, kind, seed)] = true
			}
			if kind == "nothing" && (len(seen) > 1 || !seen[1]) || kind == "write" && !seen[3] {
				t.Errorf("found %v transactions", seen)
			}
		})
	}
}

func takeBackFails(t *testing.T, kind string, seed uint32) (found int) {
	t.Helper()
	disk := crashfs.New(int64(seed))
	if err := errors.Join(disk.Mkdir(testDir), disk.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	f.ShortWrites()
	l, _, err := journal.Open(options(f))
	if err != nil {
		t.Fatal(err)
	}
	first := txn(1, 50)
	put(t, l, first)
	wanted := []*want{first}
	var batch []journal.CommitRecord
	for tid := 2; tid <= 5; tid++ {
		w := txn(first.tid+1, 30+tid)
		w.tid, w.previous = wanted[len(wanted)-1].tid+1, wanted[len(wanted)-1].tid
		p := w.pending()
		if err := l.Append(p); err != nil {
			t.Fatal(err)
		}
		wanted = append(wanted, w)
		batch = append(batch, w.record(p))
	}
	full := true
	f.Decide(func(op errfs.Op) error {
		switch {
		case op.Kind == "write" && full: // two of the four frames
			full = false
			return syscall.ENOSPC
		case op.Kind == kind:
			f.NoShortWrites()
			return syscall.EIO
		}
		return nil
	})
	err = l.Commit(batch)
	_, refused := errors.AsType[*journal.RefusedError](err)
	if known := kind == "nothing"; refused != known || (l.Failure() == nil) != known || vfs.Passes(err) != known {
		t.Fatalf("commit: %v, refused %t, failure %v", err, refused, l.Failure())
	}
	f.Decide(nil)
	if kind != "nothing" {
		if !strings.Contains(err.Error(), "taken back") {
			t.Errorf("it does not say what is not known: %v", err)
		}
		if again := l.Append(txn(9, 10).pending()); again == nil {
			t.Error("the log goes on")
		}
	}
	next := disk.Killed()
	if seed%2 == 0 {
		next = next.Crashed([]crashfs.Mode{crashfs.KeepNone, crashfs.Random(seed)}[seed/2%2])
	}
	again, r, err := journal.Open(options(next))
	if err != nil {
		t.Fatal(err)
	}
	found = len(r.Transactions)
	if found > 3 {
		t.Fatalf("%d transactions were found of three whose frames were written", found)
	}
	if err := errors.Join(compare(again, r, wanted[:found]...), again.Close()); err != nil {
		t.Error(fmt.Errorf("seed %d: %w", seed, err))
	}
	return found
}
