package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAHandMadeCopyBesideAKilledLoadIsASnapshot: the load is killed before each of its operations, and then somebody
// locks the sublock and looks for misc/snapshot. If it is there, A has the transactions up to x.serial, and
// stays so while the sublock is held, whatever a load or a storage does then. If it is not there, which
// says that A may be incomplete, the next open leaves it. So A never changes under a copy.
func TestAHandMadeCopyBesideAKilledLoadIsASnapshot(t *testing.T) {
	t.Parallel()
	snapshots, others, torn := 0, 0, 0
	faulttest.Sampled(t, hometest.OneOf(1, 1, 3), hometest.Phase(t), func(at faulttest.Nth, _ int) (log []string, came bool) {
		disk, last := loaded(t)
		begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
		l, err := engine.OpenLoader(t.Context(), "", last, sweepOptions(disk))
		if err == nil {
			err = errors.Join(load(t, l, last+1, 2), load(t, l, last+2, 3), l.Close())
		}
		if log, came = disk.Log()[begun:], cut.Load(); !came && err != nil {
			t.Fatalf("before %v, which did not come: %v", at, err)
		}
		after := disk.Killed()
		sublock, lerr := after.Lock(snapfile.Sublock)
		if lerr != nil {
			t.Fatal(lerr)
		}
		if _, serr := after.Stat(snapfile.Name); errors.Is(serr, fs.ErrNotExist) {
			others++
			if got, rerr := copied(t, after); rerr != nil || got != last && got != last+2 {
				torn++
			}
			if err := errors.Join(sublock.Close(), openedBy(t, after)); err != nil {
				t.Fatalf("before %v: %v", at, err)
			}
			if _, err := snapfile.Read(after); err != nil {
				t.Errorf("before %v: after the next open: %v", at, err)
			}
			return log, came
		} else if serr != nil {
			t.Fatal(serr)
		}
		snapshots++
		before := filesOfA(t, after)
		got, rerr := copied(t, after)
		if rerr != nil || got != last && got != last+2 {
			t.Errorf("before %v: a copy ends with %s: %v", at, got, rerr)
		}
		if l, err := engine.OpenLoader(t.Context(), "", got, sweepOptions(after)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("before %v: a load begins beside the copy: %v, %v", at, l, err)
		}
		o := sweepOptions(after)
		o.History = engine.HistoryCopied
		s, oerr := engine.Open(t.Context(), "", o)
		if oerr != nil {
			t.Fatalf("before %v: %v", at, oerr)
		}
		oerr = errors.Join(commitAs(t.Context(), s, got+9), s.Flush(t.Context()))
		if now := filesOfA(t, after); now != before {
			t.Errorf("before %v: A changes under the copy:\n%s\nbefore:\n%s", at, now, before)
		}
		if err := errors.Join(oerr, sublock.Close(), s.Close()); err != nil {
			t.Fatalf("before %v: %v", at, err)
		}
		return log, came
	})
	if snapshots < 2 || others < 10 || torn == 0 {
		t.Errorf("%d kills left a snapshot, %d none, and %d of these were between two transactions", snapshots, others, torn)
	}
}

// filesOfA is the names, times and contents of all files in A.
func filesOfA(t *testing.T, f vfs.FS) string {
	t.Helper()
	var text strings.Builder
	for name, err := range vfs.Walk(f, "A") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s %s %x\n", name, info.ModTime, b)
	}
	return text.String()
}

// copied opens a copy of config and A, and returns its last transaction.
func copied(t *testing.T, from *crashfs.FS) (zodb.TID, error) {
	t.Helper()
	to := crashfs.New(2)
	for name, err := range vfs.Walk(from, ".") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "A/") && !strings.HasPrefix(name, "config/") {
			continue
		}
		b, err := from.ReadFile(name)
		if err == nil {
			_, err = vfs.MkdirAll(to, name[:strings.LastIndex(name, "/")])
		}
		if err == nil {
			_, err = vfs.Put(to, name, b, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"B", "journal", "misc"} {
		if err := to.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	o := sweepOptions(to)
	o.ReadOnly = true
	s, err := engine.Open(t.Context(), "", o)
	if err != nil {
		return 0, err
	}
	return s.LastTransaction(), s.Close()
}

// openedBy opens the storage for writing, and closes it.
func openedBy(t *testing.T, f vfs.FS) error {
	o := sweepOptions(f)
	o.History = engine.HistoryCopied
	s, err := engine.Open(t.Context(), "", o)
	if err != nil {
		return err
	}
	return s.Close()
}

// commitAs commits a transaction as an import does it through a storage.
func commitAs(ctx context.Context, s *engine.Storage, tid zodb.TID) error {
	txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
	if err != nil {
		return err
	}
	err = txn.Restore(ctx, zodb.Record{OID: 9, TID: tid, Data: sweptData(9, 1), Exists: true}, nil)
	if err == nil {
		err = txn.Vote(ctx)
	}
	if err == nil {
		_, err = txn.Finish(ctx, nil)
	}
	return err
}
