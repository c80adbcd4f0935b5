package transfer

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// sixObjects is a storage with a root and five objects, of two transactions, of which the second one changes the root and
// objects 2 and 3, adds 4 and 5, and deletes 1.
func sixObjects(t testing.TB) (s *engine.Storage, first, second zodb.TID) {
	t.Helper()
	s = enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0"}}), engine.Options{})
	first = enginetest.Commit(t, s,
		enginetest.Change{OID: 0, Data: holder("Root", 2, 3)}, enginetest.Change{OID: 1, Data: enginetest.Record("one")},
		enginetest.Change{OID: 2, Data: enginetest.Record("two")}, enginetest.Change{OID: 3, Data: enginetest.Record("three")})
	second = enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: holder("Root", 2, 3, 4, 5)},
		enginetest.Change{OID: 2, Data: enginetest.Record("two again")}, enginetest.Change{OID: 3, Data: enginetest.Record("three again")},
		enginetest.Change{OID: 4, Data: enginetest.Record("four")}, enginetest.Change{OID: 5, Data: enginetest.Record("five")}, enginetest.Change{OID: 1})
	return s, first, second
}

// emptyCopy is a storage for an import.
func emptyCopy(t testing.TB) *engine.Storage {
	t.Helper()
	return enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{History: engine.HistoryCopied})
}

// TestServerThatEndsTheRecordsOfATransactionEarly: the server answers no error, so that all looks well. The import says
// which objects the copy has not as the server has them.
func TestServerThatEndsTheRecordsOfATransactionEarly(t *testing.T) {
	t.Parallel()
	src, first, second := sixObjects(t)
	without := func(answer func(string, any, any) (any, string)) func(string, any, any) (any, string) {
		return func(name string, args, result any) (any, string) {
			if d, ok := result.(wire.Dict); ok && name == "get_info" {
				for i := range d {
					if d[i].Key == "supports_record_iternext" {
						d[i].Value = false
					}
				}
			}
			return answer(name, args, result)
		}
	}
	for name, tc := range map[string]struct {
		answer func(name string, args, result any) (any, string)
		want   []Differing
	}{
		"honest":              {honest, nil},
		"an older revision":   {endsAt(second, 2), []Differing{{OID: 1, Here: first, There: second}, {OID: 2, Here: first, There: second}, {OID: 3, Here: first, There: second}, {OID: 4, There: second}, {OID: 5, There: second}}},
		"a missing object":    {endsAt(second, 5), []Differing{{OID: 1, Here: first, There: second}, {OID: 5, There: second}}},
		"a deletion":          {endsAt(second, 1), []Differing{{OID: 1, Here: first, There: second}}},
		"no list of objects":  {without(endsAt(second, 5)), []Differing{{OID: 1, Here: first, There: second}, {OID: 5, There: second}}},
		"the list has errors": {listless(endsAt(second, 5)), []Differing{{OID: 1, Here: first, There: second}, {OID: 5, Reason: "server: ZODB.FileStorage.format.CorruptedDataError oid=0000000000000005"}}},
		"unreadable": {func(name string, args, result any) (any, string) {
			if list, ok := sequence(args); ok && name == "getTid" && string(list[0].([]byte)) == string(zodb.OID(3).Bytes()) {
				return wire.Dict{{Key: "pos", Value: int64(7)}}, "ZODB.FileStorage.format.CorruptedDataError"
			}
			return result, ""
		}, []Differing{{OID: 3, Here: second, Reason: "server: ZODB.FileStorage.format.CorruptedDataError pos=7"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := lie(t, src, tc.answer)
			dst := emptyCopy(t)
			for range 2 { // the second one has nothing to copy
				_, err := ImportServer(t.Context(), dst, dialAt(t, address), ServerOptions{})
				if (err != nil) != (tc.want != nil) || err != nil && !errors.Is(err, ErrIncomplete) {
					t.Fatalf("import: %v", err)
				}
				for _, d := range tc.want {
					if d.Here != 0 && !strings.Contains(err.Error(), d.String()) {
						t.Errorf("%v is not told: %v", d, err)
					}
				}
			}
			dir, err := vfs.OS(dst.Home())
			if err != nil {
				t.Fatal(err)
			}
			if m, _ := histfile.Read(dir); m.Differs != (tc.want != nil) {
				t.Errorf("the mark that caches of the source's clients are wrong for it: %+v", m)
			}
			salvaged, err := ImportServer(t.Context(), emptyCopy(t), dialAt(t, address), ServerOptions{Salvage: true})
			slices.SortFunc(salvaged.DifferingList, func(a, b Differing) int { return cmp.Compare(a.OID, b.OID) })
			if diff := gocmp.Diff(tc.want, salvaged.DifferingList); err != nil || diff != "" || salvaged.Differing != int64(len(tc.want)) {
				t.Errorf("with salvage: %d, %v; -want +got:\n%s", salvaged.Differing, err, diff)
			}
			if tc.want == nil && salvaged.Compared != 6 {
				t.Errorf("compared %d objects", salvaged.Compared)
			}
		})
	}
}

// listless is a server that cannot read object 5 when it lists its objects.
func listless(answer func(name string, args, result any) (any, string)) func(name string, args, result any) (any, string) {
	return func(name string, args, result any) (any, string) {
		if list, ok := sequence(result); ok && name == "record_iternext" && string(list[0].([]byte)) == string(zodb.OID(5).Bytes()) {
			return wire.Dict{{Key: "oid", Value: zodb.OID(5).Bytes()}}, "ZODB.FileStorage.format.CorruptedDataError"
		}
		return answer(name, args, result)
	}
}

// TestServerGoesOnBehindTheCopy: transactions and packs between the copy and the comparison change nothing about the state
// that was copied, nor does an object that exists since.
func TestServerGoesOnBehindTheCopy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lost    zodb.OID // and those behind it, of the second transaction; 0: nothing
		changes func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte))
		want    []Differing // with here 1 and there 2 for the two transactions
		lists   bool
	}{
		"a change": {0, func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte)) {
			change(2, enginetest.Record("later"))
		}, nil, false},
		"a change of an object that is wrong": {1, func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte)) {
			change(1, enginetest.Record("later"))
		}, []Differing{{OID: 1, Here: 1, There: 2}}, false},
		"a change of an object that is missing": {5, func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte)) {
			change(5, enginetest.Record("later"))
		}, []Differing{{OID: 1, Here: 1, There: 2}, {OID: 5, There: 2}}, true},
		"a new object": {0, func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte)) {
			change(77, enginetest.Record("later"))
		}, nil, false},
		"a deletion": {0, func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte)) {
			change(3, nil)
			change(77, enginetest.Record("later"))
		}, nil, false},
		"a pack": {0, func(t testing.TB, src *engine.Storage, change func(oid zodb.OID, data []byte)) {
			change(0, holder("Root", 2))
			if r, err := src.Pack(t.Context(), zodb.PackOptions{}); err != nil || r.Objects == 0 {
				t.Errorf("pack: %+v, %v", r, err)
			}
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, first, second := sixObjects(t)
			end := honest
			if tc.lost != 0 {
				end = endsAt(second, tc.lost)
			}
			var once sync.Once
			var l *liar
			l, address := lie(t, src, func(name string, args, result any) (any, string) {
				// The first call behind the copy, and behind the number of objects.
				if name == "lastTransaction" && l.called("iterator_record_next") > 0 {
					once.Do(func() {
						tc.changes(t, src, func(oid zodb.OID, data []byte) { changeOver(t, l.server, src, oid, data) })
					})
				}
				return end(name, args, result)
			})
			done, err := ImportServer(t.Context(), emptyCopy(t), dialAt(t, address), ServerOptions{Salvage: true})
			for i := range tc.want {
				d := &tc.want[i]
				if d.Here != 0 {
					d.Here = first
				}
				d.There = second
			}
			slices.SortFunc(done.DifferingList, func(a, b Differing) int { return cmp.Compare(a.OID, b.OID) })
			if diff := gocmp.Diff(tc.want, done.DifferingList); err != nil || diff != "" {
				t.Errorf("%v; -want +got:\n%s", err, diff)
			}
			if lists := l.called("record_iternext") > 0; lists != tc.lists {
				t.Errorf("the objects of the server are listed: %v", lists)
			}
		})
	}
}

// changeOver changes one object of a storage over its server; without data it deletes it.
func changeOver(t testing.TB, address string, s *engine.Storage, oid zodb.OID, data []byte) zodb.TID {
	t.Helper()
	serial, err := s.Serial(t.Context(), oid)
	if err != nil {
		t.Error(err)
	}
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
	if err != nil {
		t.Error(err)
		return 0
	}
	defer c.Close()
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	switch {
	case err != nil:
	case data == nil:
		err = txn.Delete(oid, serial)
	default:
		err = txn.Store(oid, serial, data)
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	tid, err := txn.Commit(t.Context())
	if err != nil {
		t.Error(err)
	}
	return tid
}

// TestRecordOfAnotherTransaction: its header is damaged, so it may be of another object, too.
func TestRecordOfAnotherTransaction(t *testing.T) {
	t.Parallel()
	src, first, second := sixObjects(t)
	_, address := lie(t, src, func(name string, args, result any) (any, string) {
		if rec, ok := sequence(result); ok && name == "iterator_record_next" && isRevision(rec, second, 3) {
			rec[1] = (second + 1).Bytes()
		}
		return result, ""
	})
	for _, salvage := range []bool{false, true} {
		done, err := ImportServer(t.Context(), emptyCopy(t), dialAt(t, address), ServerOptions{Salvage: salvage})
		if salvage {
			want := []Differing{{OID: 3, Here: first, There: second}}
			if diff := gocmp.Diff(want, done.DifferingList); err != nil || done.Damaged != 1 || diff != "" {
				t.Errorf("with salvage: %d damaged, %v; -want +got:\n%s", done.Damaged, err, diff)
			}
		} else if !errors.Is(err, ErrDamagedRecord) || !strings.Contains(err.Error(), second.String()) || done.Transactions != 1 {
			t.Errorf("import: %+v, %v", done, err)
		}
	}
}

// TestFollowerCompares: all objects at first, then those of the transactions that are announced, and after a time without
// a connection those that changed.
func TestFollowerCompares(t *testing.T) {
	t.Parallel()
	src, _, second := sixObjects(t)
	var cut atomic.Uint64 // the oid at which the records of a transaction end
	cutAt := func(name string, args, result any) (any, string) {
		if rec, ok := sequence(result); ok && name == "iterator_record_next" && cut.Load() != 0 && string(rec[0].([]byte)) == string(zodb.OID(cut.Load()).Bytes()) {
			return nil, ""
		}
		return result, ""
	}
	l, address := lie(t, src, cutAt)
	f := follow(t, emptyCopy(t), address)
	f.until(second)
	whole := l.called("getTid")
	tid := changeOver(t, l.server, src, 2, enginetest.Record("followed"))
	f.until(tid)
	if n := l.called("getTid") - whole; whole != 6 || n != 1 {
		t.Errorf("%d objects were compared at first, and %d then", whole, n)
	}
	l.hangUp()
	<-f.lost
	away := changeOver(t, l.server, src, 4, enginetest.Record("while away"))
	f.until(away)
	if n := l.called("getTid") - whole; n >= whole {
		t.Errorf("%d objects were compared then", n)
	}
	cut.Store(3)
	last := changeOver(t, l.server, src, 3, enginetest.Record("lost"))
	o := <-f.ended
	want := Differing{OID: 3, Here: second, There: last}
	if !errors.Is(o.err, ErrIncomplete) || !strings.Contains(o.err.Error(), want.String()) || o.done.Differing != 1 {
		t.Errorf("the end: %+v, %v", o.done, o.err)
	}
}
