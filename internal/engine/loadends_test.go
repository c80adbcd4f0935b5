package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestALoadThatIsInterruptedHasNothingOfTheTransaction: the part of it that arrived may be
// incomplete, even if nothing else has said so.
func TestALoadThatIsInterruptedHasNothingOfTheTransaction(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := engine.CreateOn(disk, layout.Bundled, nil); err != nil {
		t.Fatal(err)
	}
	loader, err := engine.OpenLoader(t.Context(), "", 0, sweepOptions(disk))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	txn, err := loader.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: 1000})
	if err == nil {
		err = txn.Restore(ctx, zodb.Record{OID: 2, Data: sweptData(2, 1), Exists: true}, &zodb.BlobSource{Reader: strings.NewReader("a part")})
	}
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := txn.Vote(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("voted: %v", err)
	}
	if err := errors.Join(txn.Abort(), loader.Close()); err != nil {
		t.Fatal(err)
	}
	if err := within(t.Context(), disk, func(s *engine.Storage) error {
		if last := s.LastTransaction(); last != 0 {
			t.Errorf("transaction %s is there", last)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestALoaderRefusesAHomeThatIsNotSettled: with anything but the transactions of another storage in A. A
// storage that is opened then is as it was.
func TestALoaderRefusesAHomeThatIsNotSettled(t *testing.T) {
	t.Parallel()
	put := func(name, text string) func(t *testing.T, disk *crashfs.FS) {
		return func(t *testing.T, disk *crashfs.FS) {
			if err := disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if _, err := vfs.Put(disk, name, []byte(text), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		refused bool
		do      func(t *testing.T, disk *crashfs.FS)
	}{
		"closed cleanly":          {false, func(*testing.T, *crashfs.FS) {}},
		"no snapshot":             {false, func(t *testing.T, disk *crashfs.FS) { remove(t, disk, "misc/snapshot") }},
		"no counts":               {false, func(t *testing.T, disk *crashfs.FS) { remove(t, disk, "misc/counts") }},
		"no table":                {false, func(t *testing.T, disk *crashfs.FS) { remove(t, disk, "misc/current") }},
		"x.oid too low":           {false, put("A/x.oid", "\x00\x00\x00\x00\x00\x00\x00\x01")},
		"a log":                   {true, put("journal/log-1", "x")},
		"a file in B":             {true, put("B/x.oid", "\x00\x00\x00\x00\x00\x00\x00\x01")},
		"a history of its own":    {true, put("misc/history", "{}")},
		"a pack":                  {true, put("misc/pack", "x")},
		"a snapshot of somebody":  {true, put("misc/snapshot", "user/nightly")},
		"x.serial is of an older": {true, put("A/x.serial", "\x00\x00\x00\x00\x00\x10\x00\x00")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, last := loaded(t)
			tc.do(t, disk)
			before := tree(t, disk)
			l, err := engine.OpenLoader(t.Context(), "", last, sweepOptions(disk))
			if tc.refused {
				if !errors.Is(err, errors.ErrUnsupported) {
					t.Fatalf("%v", err)
				}
				if after := tree(t, disk); after != before {
					t.Errorf("it changed something:\n%s\nbefore:\n%s", after, before)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(load(t, l, last+1, 2, 9), l.Close()); err != nil {
				t.Fatal(err)
			}
			o := sweepOptions(disk)
			o.History = engine.HistoryCopied
			s, err := engine.Open(t.Context(), "", o)
			if err != nil {
				t.Fatal(err)
			}
			n := s.Counts()
			if s.LastTransaction() != last+1 || s.HighestOID() != 9 || !n.Exact || n.Transactions != 4 || n.Objects != 4 || n.Revisions != 5 {
				t.Errorf("the last transaction is %s, the highest oid %s, counts %+v", s.LastTransaction(), s.HighestOID(), n)
			}
			if err := errors.Join(hasRevisions(t, s, 2, last+1, last), s.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
	disk, last := loaded(t)
	for _, other := range []zodb.TID{last - 1, last + 1, 0} {
		if _, err := engine.OpenLoader(t.Context(), "", other, sweepOptions(disk)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("after %s, and the last one is %s: %v", other, last, err)
		}
	}
}

// TestALoadThatIsCutOffLeavesNoBlobs: of transactions that are not there, in a new home and in one that has
// transactions, whenever it is killed or the power is cut.
func TestALoadThatIsCutOffLeavesNoBlobs(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 3)
	for _, later := range []bool{false, true} {
		faulttest.Sampled(t, hometest.OneOf(1, 1, 9), hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
			disk, last := crashfs.New(int64(n)), zodb.TID(0)
			if later {
				disk, last = loaded(t)
			} else if err := engine.CreateOn(disk, layout.Bundled, nil); err != nil {
				t.Fatal(err)
			}
			begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
			l, err := engine.OpenLoader(t.Context(), "", last, sweepOptions(disk))
			if err == nil {
				for tid := max(last, 1<<40) + 1; err == nil && tid < last+1<<41; tid += 1 << 40 {
					var txn zodb.Txn
					if txn, err = l.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid}); err == nil {
						err = txn.Restore(t.Context(), zodb.Record{OID: 2, Data: sweptData(2, int(tid)), Exists: true}, &zodb.BlobSource{Reader: strings.NewReader("blob")})
					}
					if err == nil {
						_, err = txn.Finish(t.Context(), nil)
					}
				}
				err = errors.Join(err, l.Close())
			}
			if log, came = disk.Log()[begun:], cut.Load(); !came && err != nil {
				t.Fatalf("later %t, before %v, which did not come: %v", later, at, err)
			}
			for _, mode := range []crashfs.Mode{crashfs.KeepAll, crashfs.KeepNone, crashfs.Random(uint32(n))} {
				after := disk.Crashed(mode)
				o := sweepOptions(after)
				o.History = engine.HistoryCopied
				s, err := engine.Open(t.Context(), "", o)
				if err != nil {
					t.Fatal(err)
				}
				there := 0
				for tid, err := range s.Serials(t.Context(), 2) {
					if errors.Is(err, zodb.ErrNotFound) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if b, err := s.OpenBlob(t.Context(), 2, tid); err == nil {
						there++
						_ = b.Close()
					} else if tid > last {
						t.Errorf("later %t, before %v, %s: the blob of %s: %v", later, at, mode, tid, err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				files := 0
				for name, err := range vfs.Walk(after, ".") {
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(name, "blob") && !strings.HasPrefix(name, "A/blobs/x") && strings.HasSuffix(name, ".blob") || strings.HasPrefix(name, "journal/") {
						files++
					}
				}
				if files != there {
					t.Errorf("later %t, before %v, %s: there are %d blobs of %d revisions", later, at, mode, files, there)
				}
			}
			return log, came
		})
	}
}

// TestAnOlderCopyOverAKilledLoadIsRefused: the bundles behind x.serial are those of the load, or of acknowledged
// transactions before it, and none of them is removed. With the right x.serial it goes on; without the bundles, too.
func TestAnOlderCopyOverAKilledLoadIsRefused(t *testing.T) {
	t.Parallel()
	put := func(disk *crashfs.FS, serial zodb.TID) {
		t.Helper()
		remove(t, disk, "A/x.serial")
		if _, err := vfs.Put(disk, "A/x.serial", serial.Bytes(), true); err != nil {
			t.Fatal(err)
		}
	}
	bundles := func(disk *crashfs.FS) (names []string) {
		t.Helper()
		for e, err := range disk.List("A/bundles") {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, e.Name)
		}
		slices.Sort(names)
		return names
	}
	noted := false
	faulttest.Sampled(t, hometest.OneOf(1, 1, 3), hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		disk, last := loaded(t)
		acknowledged := bundles(disk)
		begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
		l, err := engine.OpenLoader(t.Context(), "", last, sweepOptions(disk))
		if err == nil {
			err = errors.Join(load(t, l, last+1<<40, 9), l.Close())
		}
		if log, came = disk.Log()[begun:], cut.Load(); !came && err != nil {
			t.Fatalf("before %v, which did not come: %v", at, err)
		}
		killed := disk.Crashed(crashfs.KeepAll)
		_, err = killed.Stat("misc/loading")
		if noted = noted || err == nil; !came {
			return log, false
		}
		was, err := killed.ReadFile("A/x.serial")
		if err != nil {
			t.Fatal(err)
		}
		o := sweepOptions(killed)
		o.History = engine.HistoryCopied
		open := func(want zodb.TID, step string) {
			t.Helper()
			s, err := engine.Open(t.Context(), "", o)
			if err != nil {
				t.Fatalf("before %v, %s: %v", at, step, err)
			}
			if got := s.LastTransaction(); got != want {
				t.Errorf("before %v, %s: the last transaction is %s, not %s", at, step, got, want)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := killed.Stat("misc/loading"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("before %v, %s: misc/loading stays: %v", at, step, err)
			}
		}
		put(killed, last-1)
		if s, err := engine.Open(t.Context(), "", o); !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), "an older copy was probably put over") {
			t.Fatalf("before %v: %v, %v", at, s, err)
		}
		for _, name := range acknowledged {
			if !slices.Contains(bundles(killed), name) {
				t.Fatalf("before %v: %s is gone", at, name)
			}
		}
		if n%2 == 0 {
			put(killed, zodb.TIDFromBytes(was))
			open(zodb.TIDFromBytes(was), "the right x.serial again")
			return log, true
		}
		for _, name := range bundles(killed) {
			remove(t, killed, "A/bundles/"+name)
		}
		put(killed, 0)
		open(0, "without the bundles")
		return log, true
	})
	if !noted {
		t.Error("no operation was between the begin and the end of the load")
	}
}

// loaded makes a home that a Loader has filled, and closes it.
func loaded(t *testing.T) (*crashfs.FS, zodb.TID) {
	t.Helper()
	disk := crashfs.New(1)
	if err := engine.CreateOn(disk, layout.Bundled, nil); err != nil {
		t.Fatal(err)
	}
	l, err := engine.OpenLoader(t.Context(), "", 0, sweepOptions(disk))
	if err != nil {
		t.Fatal(err)
	}
	const first = zodb.TID(1 << 40)
	if err := errors.Join(load(t, l, first, 0), load(t, l, first+1, 2), load(t, l, first+2, 3), l.Close()); err != nil {
		t.Fatal(err)
	}
	o := sweepOptions(disk)
	o.History = engine.HistoryCopied
	s, err := engine.Open(t.Context(), "", o)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk, first + 2
}

// load loads one transaction.
func load(t *testing.T, l *engine.Loader, tid zodb.TID, oids ...zodb.OID) error {
	txn, err := l.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
	for _, oid := range oids {
		if err == nil {
			err = txn.Restore(t.Context(), zodb.Record{OID: oid, TID: tid, Data: sweptData(oid, int(tid)), Exists: true}, nil)
		}
	}
	if err == nil {
		err = txn.Vote(t.Context())
	}
	if err == nil {
		_, err = txn.Finish(t.Context(), nil)
	}
	return err
}

// hasRevisions returns an error unless an object has revisions of two transactions, the last two first.
func hasRevisions(t *testing.T, s *engine.Storage, oid zodb.OID, newest, last zodb.TID) error {
	var serials []zodb.TID
	for serial, err := range s.Serials(t.Context(), oid) {
		if err != nil {
			return err
		}
		serials = append(serials, serial)
	}
	if len(serials) != 2 || serials[0] != newest || serials[1] != last-1 {
		return fmt.Errorf("the revisions of %s are %v", oid, serials)
	}
	return nil
}

func remove(t *testing.T, disk *crashfs.FS, name string) {
	t.Helper()
	if err := disk.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// tree is the names and contents of a home.
func tree(t *testing.T, disk *crashfs.FS) string {
	t.Helper()
	var text strings.Builder
	for name, err := range vfs.Walk(disk, ".") {
		var b []byte
		if err == nil {
			b, err = disk.ReadFile(name)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s %x\n", name, b)
	}
	return text.String()
}

// TestALoadThatIsInterruptedDoesNotCount: nobody knows how much there was, so all of it would have to be
// read. The transactions stay, and the next load counts.
func TestALoadThatIsInterruptedDoesNotCount(t *testing.T) {
	t.Parallel()
	disk, last := loaded(t)
	remove(t, disk, "misc/counts")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := engine.OpenLoader(ctx, "", last, sweepOptions(disk))
	if err == nil {
		err = load(t, l, last+1, 2)
	}
	cancel()
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat("misc/counts"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was counted: %v", err)
	}
	l, err = engine.OpenLoader(t.Context(), "", last+1, sweepOptions(disk))
	if err == nil {
		err = errors.Join(load(t, l, last+2, 9), l.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat("misc/counts"); err != nil {
		t.Errorf("the next load does not count: %v", err)
	}
}

// TestALoaderLeavesASnapshot: a copy by hand of a closed storage looks for it. It is there when nothing was loaded
// because of an interruption, and after the Loader; files that come later look later.
func TestALoaderLeavesASnapshot(t *testing.T) {
	t.Parallel()
	disk, last := loaded(t)
	before := tree(t, disk)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := engine.OpenLoader(ctx, "", last, sweepOptions(disk)); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was interrupted: %v", err)
	}
	if after := tree(t, disk); after != before {
		t.Errorf("an interrupted open changed something:\n%s\nbefore:\n%s", after, before)
	}
	clock := time.Now()
	o := sweepOptions(disk)
	o.Clock = func() time.Time { return clock }
	for _, tid := range []zodb.TID{last, last + 1, last + 2} { // with nothing, the first time
		l, err := engine.OpenLoader(t.Context(), "", last, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := disk.Stat(snapfile.Name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there while A changes: %v", snapfile.Name, err)
		}
		if tid != last {
			err = load(t, l, tid, 2)
		}
		if err = errors.Join(err, l.Close()); err != nil {
			t.Fatal(err)
		}
		last = tid
		r, err := snapfile.Read(disk)
		if err != nil || r.Code != snapfile.Shutdown || r.TID != last || !r.Moment.Equal(clock) {
			t.Errorf("after %s the snapshot is %+v, %v", last, r, err)
		}
		floor, err := formats.Floor(disk)
		if err != nil {
			t.Fatal(err)
		}
		for name, err := range vfs.Walk(disk, "A") {
			if err != nil {
				t.Fatal(err)
			}
			if info, err := disk.Stat(name); err != nil || info.ModTime.Unix() >= floor.Unix() {
				t.Errorf("%s bears %v, later files %v: %v", name, info.ModTime, floor, err)
			}
		}
		clock = clock.Add(-time.Hour)
	}
}

// TestALoaderThatDoesNotBeginLeavesASnapshot: whichever operation of its open fails, A is a snapshot, or the
// error is about that file or its directory.
func TestALoaderThatDoesNotBeginLeavesASnapshot(t *testing.T) {
	t.Parallel()
	failed := 0
	for at := 1; ; at++ {
		disk, last := loaded(t)
		ops, name := 0, ""
		f := errfs.New(disk, func(op errfs.Op) error {
			if ops++; ops == at {
				name = op.Name
				return syscall.EIO
			}
			return nil
		})
		l, err := engine.OpenLoader(t.Context(), "", last, sweepOptions(f))
		if err == nil {
			err = l.Close()
			if ops < at {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			continue
		}
		failed++
		if _, err := snapfile.Read(disk); err != nil && name != "misc" && !strings.HasPrefix(name, "misc/snapshot") {
			t.Errorf("operation %d, of %s, fails: %v", at, name, err)
		}
	}
	if failed < 5 {
		t.Errorf("%d opens failed", failed)
	}
}
