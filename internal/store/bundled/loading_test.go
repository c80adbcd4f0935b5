package bundled_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// load loads transactions, two in a bundle, and returns the last one that is durable.
func load(s *bundled.Store, all []store.Transaction) (durable zodb.TID, err error) {
	l, err := s.BeginLoading()
	if err != nil {
		return 0, err
	}
	for i, x := range all {
		if _, err = l.Add(x); err != nil {
			break
		}
		if i%2 == 0 {
			continue
		}
		if err = l.End(); err != nil {
			break
		}
		durable = x.TID()
	}
	return durable, errors.Join(err, l.Close())
}

// TestLoadingSurvives cuts the power before every operation of loading. Transactions said to
// be durable are there, x.serial covers all others that are, and a bundle that is in no log is never
// adopted.
func TestLoadingSurvives(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{4}, []zodb.OID{2, 4})
	faulttest.Sampled(t, hometest.OneOf(1, 3, 1), hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		disk := crashfs.New(int64(n))
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
		var durable zodb.TID
		before, err := openEvery(disk, 2)
		if err == nil {
			durable, err = load(before, all[:4])
			err = errors.Join(err, before.Close())
		}
		if log, came = disk.Log()[begun:], cut.Load(); !came && err != nil {
			t.Fatalf("before %v, which did not come: %v", at, err)
		}
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))} {
			say := fmt.Sprintf("before %v, %s", at, mode)
			after := disk.Crashed(mode)
			s := reopen(t, after)
			mark, err := s.Mark(layout.XSerial)
			last, lerr := s.OlderTransaction(1 << 62)
			if err != nil || lerr != nil || zodb.TID(mark) < durable || zodb.TID(mark) != last {
				t.Fatalf("%s: x.serial is %x, %v, and the last transaction %s, %v; %s was durable", say, mark, err, last, lerr, durable)
			}
			if _, err := after.Stat("misc/loading"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: misc/loading: %v", say, err)
			}
			var rest []store.Transaction
			for _, x := range all {
				if x.TID() > last {
					rest = append(rest, x)
				}
			}
			if err := errors.Join(s.Put(store.A, rest, new(store.Progress)), s.SetLast(store.A, all[4].TID())); err != nil {
				t.Fatalf("%s: %v", say, err)
			}
			for _, x := range all {
				x := x.(*storetest.Txn)
				for _, oid := range x.OIDs {
					b, place, err := s.Get(layout.Revision(oid, x.Tid))
					if err == nil {
						err = isWritten(b, place, oid, x.Tid)
					}
					if err != nil {
						t.Errorf("%s: %v", say, err)
					}
				}
			}
			compareWithout(t, s, after, say)
		}
		// An open after a kill relies on x.serial, perhaps for the last time before the power is cut.
		killed := disk.Killed()
		if s, err := openEvery(killed, 2); err != nil {
			t.Fatal(err)
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, say := reopen(t, killed.Crashed(crashfs.KeepNone)), fmt.Sprintf("before %v, killed, opened, power cut", at)
		if mark, err := s.Mark(layout.XSerial); err != nil || zodb.TID(mark) < durable || zodb.TID(mark) != s.Reach() {
			t.Errorf("%s: x.serial is %x, %v, and the bundles reach to %s; %s was durable", say, mark, err, s.Reach(), durable)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return log, came
	})
}
