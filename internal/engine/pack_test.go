package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// packHome makes a storage whose packs go to when they are told to, that puts
// nothing aside.
func packStorage(t testing.TB, o Options, set ...string) *Storage {
	t.Helper()
	m := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}
	for _, kv := range set {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return open(t, newHome(t, CreateOptions{Set: m}), o)
}

func doPack(t testing.TB, s *Storage, o zodb.PackOptions) zodb.PackResult {
	t.Helper()
	r, err := s.Pack(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exists(t testing.TB, s *Storage, oid zodb.OID) bool {
	t.Helper()
	_, err := s.Load(t.Context(), oid)
	if err != nil && !errors.Is(err, zodb.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// newOIDs hands out oids, so that 0 is not one of them.
func newOIDs(t testing.TB, s *Storage, n int) []zodb.OID {
	t.Helper()
	oids, err := s.NewOIDs(n)
	if err != nil {
		t.Fatal(err)
	}
	return oids
}

// TestGoldenPacks packs the original's input: the result is the original's result, and the
// revisions that were current at the pack time, with their transactions.
func TestGoldenPacks(t *testing.T) {
	t.Parallel()
	home := hometest.Unpack(t, "packed")
	golden := hometest.Expected(t, "packed").Pack
	unpackGolden(t, home, golden)
	clock := func() time.Time { return time.Unix(0, int64(golden.StartedAt*1e9)) }
	s := open(t, home, Options{Clock: clock, History: HistoryKept})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	format := s.home.Settings.Structure.Format
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	inA := func(names []string) (list []string) {
		for _, name := range names {
			if n, ok := format.Parse(strings.TrimPrefix(name, "A/")); ok && n.Kind != layout.KindXOID && n.Kind != layout.KindXSerial && n.Kind != layout.KindXPacked {
				list = append(list, strings.TrimPrefix(name, "A/"))
			}
		}
		slices.Sort(list)
		return list
	}
	if d := difference(inA(golden.FilesBefore), filesOf(f, format)); d != "" {
		t.Fatalf("the home is not the one that the original packed:\n%s", d)
	}
	threshold := zodb.TIDFromTime(time.Unix(0, int64(golden.Time*1e9)))
	// The revisions current at the pack time, among those that the original kept.
	want := inA(golden.FilesAfter)
	kept := make(map[zodb.OID]bool)
	for _, name := range want {
		if n, _ := format.Parse(name); n.Kind == layout.KindPointer {
			kept[n.OID] = true
		}
	}
	added := 0
	for oid := range kept {
		h, err := s.History(t.Context(), oid, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h {
			if e.TID > threshold {
				continue
			}
			for _, n := range []layout.Name{layout.Revision(oid, e.TID), layout.Transaction(e.TID)} {
				if p := format.Path(n); !slices.Contains(want, p) {
					want = append(want, p)
					added++
				}
			}
			break
		}
	}
	slices.Sort(want)
	if added == 0 {
		t.Error("the golden home has no revision that was current at the pack time and is replaced; it shows nothing")
	}
	r := doPack(t, s, zodb.PackOptions{Time: threshold.Time()})
	if d := difference(want, filesOf(f, format)); d != "" {
		t.Errorf("files in A (-the original's and those current then, +ours):\n%s", d)
	}
	if r.Threshold != threshold || s.Status().Packed != threshold {
		t.Errorf("packed to %s, x.packed %s, want %s", r.Threshold, s.Status().Packed, threshold)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sound(t.Context(), f, false); err != nil {
		t.Error(err)
	}
}

// unpackGolden makes a home's state before its pack out of the state after it: that holds all files
// under other names, and one transaction more.
func unpackGolden(t *testing.T, home string, golden *hometest.Pack) {
	t.Helper()
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for name, err := range vfs.Walk(f, "A") {
		must(err)
		names = append(names, name)
	}
	newest := make(map[zodb.OID]zodb.TID)
	for _, name := range names {
		n, ok := layout.Bushy.Parse(name[2:])
		if d, _, deleted := layout.Bushy.ParseDeleted(name[2:]); deleted {
			n, ok = d, true
			must(f.Rename(name, "A/"+layout.Bushy.Path(n)))
		}
		path := "A/" + layout.Bushy.Path(n)
		if ok && !slices.Contains(golden.FilesBefore, path) {
			must(f.Remove(path))
			continue
		}
		switch n.Kind {
		case layout.KindRevision:
			newest[n.OID] = max(newest[n.OID], n.TID)
		case layout.KindTransaction:
			data, err := f.ReadFile(path)
			must(err)
			txn, err := record.ParseTransaction(data, path, true)
			must(err)
			txn.Previous = golden.PreviousBefore[n.TID]
			data, err = txn.Append(nil, record.MD5)
			must(err)
			must(os.WriteFile(f.Path(path), data, 0o600))
		}
	}
	for oid, tid := range newest {
		must(os.WriteFile(f.Path("A/"+layout.Bushy.Path(layout.Pointer(oid))), record.AppendPointer(nil, tid), 0o600))
	}
	must(os.WriteFile(f.Path("A/"+layout.Bushy.Path(layout.XSerial)), record.AppendX(nil, uint64(golden.UndoableBefore[0])), 0o600))
	must(os.WriteFile(f.Path("A/"+layout.Bushy.Path(layout.XPacked)), record.AppendX(nil, 0), 0o600))
}

// TestWhatIsCurrentAtThePackTimeStays is the difference to the original in small: a reader as of
// then, and an undo of a later transaction, find their revisions.
func TestWhatIsCurrentAtThePackTimeStays(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "storage.delay_delete=1000")
	commit(t, s, change{oid: 0, data: rec("first")})
	second := commit(t, s, change{oid: 0, data: rec("second")})
	third := commit(t, s, change{oid: 0, data: rec("third")})
	doPack(t, s, zodb.PackOptions{Time: (second + 1).Time()})
	if r, err := s.LoadBefore(t.Context(), 0, third); err != nil || r == nil || r.Serial != second {
		t.Errorf("as of the pack time: %+v, %v", r, err)
	}
	if r, err := s.LoadBefore(t.Context(), 0, second); err != nil || r != nil {
		t.Errorf("before it: %+v, %v; want nothing, and no error", r, err)
	}
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	if _, err := txn.Undo(t.Context(), third); err != nil {
		t.Errorf("what came after the pack time cannot be undone: %v", err)
	}
	if _, err := txn.Undo(t.Context(), second); !errors.Is(err, zodb.ErrUndo) || !strings.Contains(err.Error(), "packed") {
		t.Errorf("undo of what was packed: %v", err)
	}
}

func TestTwoNewestTransactionsStay(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	s := packStorage(t, Options{Clock: clock}, "storage.min_pack_time=1")
	oids := newOIDs(t, s, 3)
	commit(t, s, change{oid: 0, data: rec("root")})
	for _, oid := range oids {
		commit(t, s, change{oid: oid, data: rec("nobody refers to it")})
	}
	later.Store(int64(1100 * time.Millisecond))
	for _, dry := range []bool{true, false} {
		if r := doPack(t, s, zodb.PackOptions{DryRun: dry}); r.KeptNewest != 2 || r.KeptObjects != 3 || r.Objects != 1 {
			t.Errorf("dry run %t: %d objects are kept, %d of them for their transactions alone, and %d go", dry, r.KeptObjects, r.KeptNewest, r.Objects)
		}
	}
	for i, oid := range oids {
		if got, want := exists(t, s, oid), i > 0; got != want {
			t.Errorf("object %d of 3, which nobody refers to: there %t, want %t", i+1, got, want)
		}
	}
}

// TestNewestTransactionsThatStayForAnotherReasonAreNotTold: something refers to their objects, or
// they are not older than the pack time, or all objects stay.
func TestNewestTransactionsThatStayForAnotherReasonAreNotTold(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		root  []zodb.OID
		later time.Duration
		o     zodb.PackOptions
		want  int64
	}{
		"alone":                   {later: time.Minute, want: 1},
		"reached":                 {root: []zodb.OID{1}, later: time.Minute},
		"not old":                 {later: -time.Minute},
		"no garbage is collected": {later: time.Minute, o: zodb.PackOptions{NoGC: true}},
	} {
		var later atomic.Int64
		s := packStorage(t, Options{Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }}, "storage.min_pack_time=1")
		commit(t, s, change{oid: 0, data: rec("root", tc.root...)}, change{oid: 1, data: rec("one")})
		commit(t, s, change{oid: 1, data: rec("two")})
		later.Store(int64(tc.later))
		if r := doPack(t, s, tc.o); r.KeptNewest != tc.want {
			t.Errorf("%s: %d objects, want %d", name, r.KeptNewest, tc.want)
		}
	}
}

func TestKeepClass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keep string
		want int // revisions of 4, of which the last is later than the threshold
	}{{"", 2}, {"forever", 4}, {"extra 36500", 4}, {"extra 0", 2}} {
		t.Run(tt.keep, func(t *testing.T) {
			t.Parallel()
			set := []string{"storage.delay_delete=100"}
			if tt.keep != "" {
				set = append(set, "keepclass.persistent.mapping.PersistentMapping="+tt.keep)
			}
			s := packStorage(t, Options{}, set...)
			var third zodb.TID
			for i := range 4 {
				tid := commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i))})
				if i == 2 {
					third = tid
				}
			}
			doPack(t, s, zodb.PackOptions{Time: third.Time()})
			h, err := s.History(t.Context(), 0, 10)
			if err != nil || len(h) != tt.want {
				t.Errorf("%d revisions (%v), want %d", len(h), err, tt.want)
			}
		})
	}
}

func TestReferencesToOtherDatabasesAreNotFollowed(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	oids := newOIDs(t, s, 2)
	// ["n", (database, oid)] is such a reference, [oid] a weak one.
	other := "\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03](X\x01\x00\x00\x00n(X\x05\x00\x00\x00otherC\x08" + string(oids[0].Bytes()) + "teQ."
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: oids[0], data: rec("a")}, change{oid: 0, data: []byte(other)}); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 0, data: []byte(other)})
	commit(t, s, change{oid: 0, data: []byte(other)})
	doPack(t, s, zodb.PackOptions{})
	if exists(t, s, oids[0]) {
		t.Error("an object stays because one of the same number is referred to in another database")
	}
}

// TestBrokenObjectStopsThePack damages an object that can be reached.
func TestBrokenObjectStopsThePack(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"missing", "damaged", "no pickle", "pointer missing"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := packStorage(t, Options{CacheSize: -1})
			o := newOIDs(t, s, 3)
			bad, kept, garbage := o[0], o[1], o[2]
			data := rec("bad", kept)
			if kind == "no pickle" {
				data = []byte("no pickle")
			}
			commit(t, s, change{oid: kept, data: rec("kept")}, change{oid: garbage, data: rec("garbage")})
			tid := commit(t, s, change{oid: bad, data: data}, change{oid: 0, data: rec("root", bad)})
			commit(t, s, change{oid: 0, data: rec("root 2", bad)})
			commit(t, s, change{oid: 0, data: rec("root 3", bad)})
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			name := s.home.FS.Path(pathOf(s, "A", layout.Revision(bad, tid)))
			var err error
			switch kind {
			case "missing":
				err = os.Remove(name)
			case "damaged":
				err = os.WriteFile(name, []byte("damaged"), 0o600)
			case "pointer missing":
				err = os.Remove(s.home.FS.Path(pathOf(s, "A", layout.Pointer(bad))))
			}
			if err != nil {
				t.Fatal(err)
			}
			before := filesOf(s.home.FS, s.home.Settings.Structure.Format)
			_, err = s.Pack(t.Context(), zodb.PackOptions{})
			var b *zodb.BrokenError
			if !errors.As(err, &b) || b.OID != bad || !strings.Contains(err.Error(), bad.String()) {
				t.Errorf("pack of a storage with a broken object: %v", err)
			}
			if d := difference(before, filesOf(s.home.FS, s.home.Settings.Structure.Format)); d != "" {
				t.Errorf("it changed A:\n%s", d)
			}
			if s.Packed() != 0 {
				t.Error("it moved x.packed")
			}
			r := doPack(t, s, zodb.PackOptions{SkipBroken: true})
			if r.Broken != 1 || len(r.BrokenList) != 1 || r.BrokenList[0].OID != bad {
				t.Errorf("broken: %+v", r)
			}
			if !exists(t, s, kept) || !exists(t, s, garbage) {
				t.Error("what a broken object could refer to is gone")
			}
			if r.Revisions != 2 { // of the root
				t.Errorf("%d old revisions were removed, want 2", r.Revisions)
			}
		})
	}
}

// TestDryRunSaysWhatWouldGo compares it with the files that go then.
func TestDryRunSaysWhatWouldGo(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	o := newOIDs(t, s, 4)
	commit(t, s, change{oid: o[0], data: rec("a", o[1])}, change{oid: o[1], data: rec("b")}, change{oid: 0, data: rec("root", o[0], o[2])}, change{oid: o[2], data: rec("x"), blob: "blob"})
	commit(t, s, change{oid: 0, data: rec("root", o[3])}, change{oid: o[3], data: rec("y")})
	commit(t, s, change{oid: 0, data: rec("root again", o[3])})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := filesOf(s.home.FS, s.home.Settings.Structure.Format)
	dry := doPack(t, s, zodb.PackOptions{DryRun: true})
	if d := difference(before, filesOf(s.home.FS, s.home.Settings.Structure.Format)); d != "" {
		t.Fatalf("a dry run changed A:\n%s", d)
	}
	counts := s.Counts()
	r := doPack(t, s, zodb.PackOptions{})
	if dry.Objects != 3 || dry.Objects != r.Objects || dry.Revisions != r.Revisions || dry.KeptObjects != 2 || r.KeptObjects != 2 {
		t.Errorf("dry %+v, real %+v", dry, r)
	}
	if len(dry.Classes) != 1 || dry.Classes[0].Class != "persistent.mapping.PersistentMapping" || dry.Classes[0].Objects != 3 {
		t.Errorf("classes: %+v", dry.Classes)
	}
	if r.Blobs != 1 || r.Transactions == 0 {
		t.Errorf("real: %+v", r)
	}
	now := s.Counts()
	if now.Objects != counts.Objects-r.Objects || now.Revisions != counts.Revisions-r.Revisions || now.Transactions != counts.Transactions-r.Transactions || now.Bytes != counts.Bytes-r.Bytes || now.BlobBytes != 0 {
		t.Errorf("counts before %+v, after %+v", counts, now)
	}
	exact, err := s.CountExactly(t.Context())
	if err != nil || exact != now {
		t.Errorf("counted %+v (%v), kept %+v", exact, err, now)
	}
}

// pausing calls a function before a pack removes, and before each of its steps.
type pausing struct {
	vfs.FS
	renamed func(name string) // after a rename to that name
	removed func(name string) // before a removal
}

// Inner returns the file system that it is about.
func (p *pausing) Inner() vfs.FS { return p.FS }

func (p *pausing) Rename(from, to string) error {
	err := p.FS.Rename(from, to)
	if p.renamed != nil {
		p.renamed(to)
	}
	return err
}

func (p *pausing) Remove(name string) error {
	if p.removed != nil {
		p.removed(name)
	}
	return p.FS.Remove(name)
}

// pausingStorage opens a storage whose file system reports its operations.
func pausingStorage(t *testing.T, p *pausing, set ...string) *Storage {
	t.Helper()
	s := packStorage(t, Options{}, set...)
	home := s.Home()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	p.FS = f
	return open(t, home, Options{fs: p})
}

// TestWhatIsLinkedAgainDuringAPackStays commits, when the pack begins to mark, or between its
// verdict and the removals, transactions that refer to condemned objects, write them, rely on them,
// refer to them after a conflict, or bring a reference back by undo; also one that was begun before
// the pack.
func TestWhatIsLinkedAgainDuringAPackStays(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		for _, how := range []string{"reference", "new object", "write", "read current", "undo", "second vote", "begun before"} {
			for _, when := range []string{"marking", "removing"} {
				t.Run(fmt.Sprintf("%s, %s while %s", format, how, when), func(t *testing.T) {
					t.Parallel()
					linkedAgain(t, format, how, when)
				})
			}
		}
	}
}

func linkedAgain(t *testing.T, format layout.Format, how, when string) {
	var once sync.Once
	var act func()
	hook := func(want string) func(string) {
		return func(name string) {
			if name == want && act != nil {
				once.Do(act)
			}
		}
	}
	home := newHome(t, CreateOptions{Format: string(format), Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	p := &pausing{FS: f}
	if when == "removing" {
		p.renamed = hook(planFile)
	} else {
		p.removed = hook(planAside)
	}
	s := open(t, home, Options{fs: p})
	o := newOIDs(t, s, 6)
	x, y, z, gone, extra, fresh := o[0], o[1], o[2], o[3], o[4], o[5]
	// root -> x -> y -> z, and then root lets go of x and of gone.
	before := commit(t, s, change{oid: 0, data: rec("root", x, gone, extra)}, change{oid: x, data: rec("x", y)}, change{oid: y, data: rec("y", z)},
		change{oid: z, data: rec("z")}, change{oid: gone, data: rec("gone")}, change{oid: extra, data: rec("e")})
	cut := commit(t, s, change{oid: 0, data: rec("root", extra)})
	for i := range 3 {
		commit(t, s, change{oid: extra, data: rec(fmt.Sprint("e", i))})
	}
	ctx := t.Context()
	serial, err := s.Serial(ctx, x)
	if err != nil {
		t.Fatal(err)
	}
	begin := func() *txn.Txn {
		txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return txn
	}
	var early *txn.Txn
	if how == "begun before" {
		early = begin()
		if err := fill(s, early, change{oid: 0, data: rec("root again", x)}); err != nil {
			t.Fatal(err)
		}
	}
	acted := false
	act = func() {
		acted = true
		txn := early
		if txn == nil {
			txn = begin()
		}
		defer txn.Abort()
		var err error
		switch how {
		case "reference":
			err = fill(s, txn, change{oid: 0, data: rec("root again", x)})
		case "new object":
			err = fill(s, txn, change{oid: 0, data: rec("root again", fresh)}, change{oid: fresh, data: rec("new", x)})
		case "write":
			err = txn.Store(x, serial, rec("x again", y))
		case "read current":
			err = txn.CheckCurrent(x, serial)
		case "undo":
			_, err = txn.Undo(ctx, cut)
		case "second vote":
			if err = fill(s, txn, change{oid: 0, data: rec("root again"), serial: before}); err == nil {
				if err = txn.Vote(ctx); errors.Is(err, zodb.ErrConflict) {
					err = fill(s, txn, change{oid: 0, data: rec("root merged", x)})
				}
			}
		}
		if err == nil {
			err = txn.Vote(ctx)
		}
		if err == nil {
			_, err = txn.Finish(ctx, nil)
		}
		if err != nil {
			t.Errorf("a transaction during a pack: %v", err)
		}
	}
	at := zodb.PackOptions{}
	if how == "undo" {
		// Undo needs the revision that it brings back: the pack must keep the one before the cut.
		// The objects to which that one refers stay anyway.
		at.Time = (cut - 1).Time()
	}
	doPack(t, s, at)
	if !acted {
		t.Fatal("the pack did not come to where the transaction should be made")
	}
	for _, oid := range []zodb.OID{0, x, y, z} {
		if !exists(t, s, oid) {
			t.Errorf("object %s is gone", oid)
		}
	}
	if how != "undo" && exists(t, s, gone) {
		t.Error("what nobody linked again is still there")
	}
	if err := errors.Join(s.Flush(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := sound(ctx, p.FS, false); err != nil {
		t.Error(err)
	}
}

// TestReferenceToWhatAPackRemovedIsRefused: it came too late.
func TestReferenceToWhatAPackRemovedIsRefused(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "storage.check_dangling_references=0")
	x := newOIDs(t, s, 1)[0]
	commit(t, s, change{oid: 0, data: rec("root", x)}, change{oid: x, data: rec("x")})
	commit(t, s, change{oid: 0, data: rec("root")})
	commit(t, s, change{oid: 0, data: rec("root 2")})
	doPack(t, s, zodb.PackOptions{})
	if exists(t, s, x) {
		t.Fatal("the object is still there")
	}
	s2 := packStorage(t, Options{})
	commit(t, s2, change{oid: 0, data: rec("root", x)}, change{oid: x, data: rec("x")})
	commit(t, s2, change{oid: 0, data: rec("root")})
	commit(t, s2, change{oid: 0, data: rec("root 2")})
	doPack(t, s2, zodb.PackOptions{})
	if _, err := tryCommit(s2, zodb.TxnMeta{}, change{oid: 0, data: rec("root 3", x)}); !errors.Is(err, zodb.ErrDangling) {
		t.Errorf("a reference to what was packed away: %v", err)
	}
}

// TestSnapshotsGoThroughAPack enters snapshot mode again and again while a pack
// removes: it is entered before the pack ends, A stands still, and check finds
// nothing in it.
func TestSnapshotsGoThroughAPack(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "storage.delay_delete=1000")
	ctx := t.Context()
	const n = 1200
	oids := newOIDs(t, s, n)
	for part := range slices.Chunk(oids, 500) {
		var changes []change
		for i, oid := range part {
			refs := []zodb.OID{}
			if i > 0 {
				refs = append(refs, part[i-1])
			}
			changes = append(changes, change{oid: oid, data: rec("garbage", refs...)})
		}
		commit(t, s, changes...)
	}
	commit(t, s, change{oid: 0, data: rec("root")})
	commit(t, s, change{oid: 0, data: rec("root")})
	var during atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := s.Pack(ctx, zodb.PackOptions{}); err != nil {
			t.Error(err)
		}
	}()
	seen := map[int]bool{}
	for i := 0; ; i++ {
		select {
		case <-done:
			if during.Load() < 2 || len(seen) < 2 {
				t.Errorf("%d snapshots came between, with %d states of A: too few to show anything", during.Load(), len(seen))
			}
			if got := len(filesOf(s.home.FS, s.home.Settings.Structure.Format)); got > 10 {
				t.Errorf("%d files are left", got)
			}
			return
		default:
		}
		if s.PackProgress().Phase != "removing objects" || during.Load() >= 4 {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		code := fmt.Sprint("code", i)
		if err := s.EnterSnapshot(ctx, code); err != nil {
			t.Fatal(err)
		}
		if s.PackProgress().Phase == "removing objects" {
			during.Add(1)
			before := filesOf(s.home.FS, s.home.Settings.Structure.Format)
			seen[len(before)] = true
			if err := sound(ctx, s.home.FS, true); err != nil {
				t.Error(err)
			}
			if d := difference(before, filesOf(s.home.FS, s.home.Settings.Structure.Format)); d != "" {
				t.Errorf("A changed during a snapshot:\n%s", d)
			}
		}
		if err := s.LeaveSnapshot(ctx, code); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCommitsDuringPacks has many writers that link and unlink objects while
// packs follow each other. In the end everything that can be reached is there.
func TestCommitsDuringPacks(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "journal.flush_transaction_threshold=20")
	ctx := t.Context()
	const writers = 4
	heads := newOIDs(t, s, writers)
	changes := []change{{oid: 0, data: rec("root", heads...)}}
	for _, h := range heads {
		changes = append(changes, change{oid: h, data: rec("head")})
	}
	commit(t, s, changes...)
	stop := make(chan struct{})
	var commits, relinks, refused atomic.Int64
	missing := int64(0)
	var wait sync.WaitGroup
	for i, head := range heads {
		wait.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			var linked []zodb.OID
			var dropped []zodb.OID // objects it still knows, as a client's cache does
			for {
				select {
				case <-stop:
					return
				default:
				}
				var extra []change
				kind := rnd.IntN(3)
				next := slices.Clone(linked)
				switch {
				case kind == 0 && len(next) > 3:
					dropped = append(dropped, next[0])
					next = next[1:]
				case kind == 1 && len(dropped) > 0:
					next = append(next, dropped[rnd.IntN(len(dropped))])
				default:
					o, err := s.NewOIDs(2)
					if err != nil {
						t.Error(err)
						return
					}
					next = append(next, o[0])
					extra = append(extra, change{oid: o[0], data: rec("parent", o[1])}, change{oid: o[1], data: rec("child")})
				}
				_, err := tryCommit(s, zodb.TxnMeta{}, append(extra, change{oid: head, data: rec("head", next...)})...)
				switch {
				case errors.Is(err, zodb.ErrDangling):
					if kind != 1 {
						t.Errorf("new objects are refused: %v", err)
					}
					dropped = nil // they are packed away
					refused.Add(1)
					continue
				case err != nil:
					t.Error(err)
					return
				}
				if kind == 1 {
					relinks.Add(1)
				}
				commits.Add(1)
				linked = next
			}
		})
	}
	for range 4 {
		missing += doPack(t, s, zodb.PackOptions{}).Dangling
	}
	close(stop)
	wait.Wait()
	if n := refused.Load(); missing > n {
		t.Errorf("%d objects are said to be missing; %d transactions were refused because of one", missing, n)
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if commits.Load() < 40 || relinks.Load() < 3 {
		t.Errorf("%d commits, %d old links put back: too few to show anything", commits.Load(), relinks.Load())
	}
	if err := errors.Join(s.Close(), sound(ctx, s.home.FS, false)); err != nil {
		t.Error(err)
	}
}

// TestObjectsThatAreComingAreNotMissing: a transaction that has voted and is not finished
// while the pack marks writes new objects that refer to each other. One that does not exist
// and is only referred to is missing.
func TestObjectsThatAreComingAreNotMissing(t *testing.T) {
	t.Parallel()
	for _, finish := range []bool{true, false} {
		t.Run(map[bool]string{true: "finished", false: "aborted"}[finish], func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			var act func()
			s := pausingStorage(t, &pausing{removed: func(name string) {
				if name == planAside && act != nil {
					once.Do(act)
				}
			}}, "storage.check_dangling_references=0")
			o := newOIDs(t, s, 6)
			commit(t, s, change{oid: 0, data: rec("root", o[0], o[5])}, change{oid: o[0], data: rec("a")})
			ctx := t.Context()
			var txn *txn.Txn
			act = func() {
				var err error
				if txn, err = s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{}); err == nil {
					err = fill(s, txn, change{oid: o[0], data: rec("a", o[1])}, change{oid: o[1], data: rec("b", o[2], o[4])}, change{oid: o[2], data: rec("c", o[1])})
				}
				if err == nil {
					err = txn.Vote(ctx)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if r := doPack(t, s, zodb.PackOptions{}); r.Dangling != 2 {
				t.Errorf("%d objects are said to be missing; two are", r.Dangling)
			}
			if finish {
				if _, err := txn.Finish(ctx, nil); err != nil {
					t.Fatal(err)
				}
				for _, oid := range o[:3] {
					if _, err := s.Load(ctx, oid); err != nil {
						t.Error(err)
					}
				}
			} else if err := txn.Abort(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestIterationGoesOnDuringPacks: transactions that stay are all seen.
func TestIterationGoesOnDuringPacks(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	oids := newOIDs(t, s, 15)
	var keep []zodb.TID
	commit(t, s, change{oid: 0, data: rec("root")})
	for i := range 300 {
		if i%20 == 0 {
			keep = append(keep, commit(t, s, change{oid: oids[i/20], data: rec("stays")}))
			continue
		}
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint("root ", i))})
	}
	last := commit(t, s, change{oid: 0, data: rec("root", oids...)})
	keep = append(keep, last)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for {
				seen := make(map[zodb.TID]bool)
				for txn, err := range s.TransactionsBackward(t.Context(), 0) {
					if err != nil {
						t.Error(err)
						return
					}
					seen[txn.TID] = true
				}
				for _, tid := range keep {
					if !seen[tid] {
						t.Errorf("transaction %s, which stays, was not seen", tid)
						return
					}
				}
				for range s.Transactions(t.Context(), 0, 0) {
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	doPack(t, s, zodb.PackOptions{Time: last.Time()})
	close(stop)
	wait.Wait()
}

// TestIterationInWhatIsRemovedFindsWhatStays stands at the third of five
// transactions that go, goes on as soon as the one before it is gone, and has to
// come to the one that stays.
func TestIterationInWhatIsRemovedFindsWhatStays(t *testing.T) {
	t.Parallel()
	p := &pausing{}
	s := pausingStorage(t, p)
	oid := newOIDs(t, s, 1)[0]
	stays := commit(t, s, change{oid: oid, data: rec("stays")})
	var gone []zodb.TID
	for i := range 5 {
		gone = append(gone, commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i))}))
	}
	commit(t, s, change{oid: 0, data: rec("root", oid)})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(s.TransactionsBackward(t.Context(), 0))
	defer stop()
	for {
		if txn, err, ok := next(); err != nil || !ok {
			t.Fatal(err)
		} else if txn.TID == gone[2] {
			break
		}
	}
	met := false
	p.removed = func(string) {
		if _, err := p.FS.Stat(pathOf(s, "A", layout.Transaction(gone[1]))); err != nil && !met {
			met = true
			if txn, err, ok := next(); err != nil || !ok || txn.TID != stays {
				t.Errorf("after %s comes %+v, %v; want %s", gone[2], txn, err, stays)
			}
		}
	}
	doPack(t, s, zodb.PackOptions{})
	if !met {
		t.Error("the pack did not remove what it should")
	}
}

// TestPackCanBeStopped ends a pack in the middle of the removing; the rest is sound, and the next
// pack finishes it.
func TestPackCanBeStopped(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"cancel", "close"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			p := &pausing{}
			s := pausingStorage(t, p)
			var changes []change
			for _, oid := range newOIDs(t, s, 1500) {
				changes = append(changes, change{oid: oid, data: rec("garbage")})
			}
			commit(t, s, changes...)
			commit(t, s, change{oid: 0, data: rec("root")})
			commit(t, s, change{oid: 0, data: rec("root")})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			closed := make(chan error, 1)
			p.removed = func(name string) {
				if !strings.HasPrefix(name, "A/") {
					return
				}
				switch n++; {
				case n > 300 && end == "cancel":
					time.Sleep(time.Millisecond) // so that who waits for the pack sees the end of ctx long before the last file
				case n == 300:
					if end == "cancel" {
						cancel()
					} else {
						go func() { closed <- s.Close() }()
						<-s.closing.Done() // more than a thousand files are still to be removed
					}
				}
			}
			if _, err := s.Pack(ctx, zodb.PackOptions{}); err == nil {
				t.Fatal("the pack was not stopped")
			}
			if end == "close" {
				if err := <-closed; err != nil {
					t.Fatal(err)
				}
			} else if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			p.removed = nil
			left := len(filesOf(p.FS, s.home.Settings.Structure.Format))
			if left < 100 || left > 2900 {
				t.Fatalf("%d files are left, want some of 3,000", left)
			}
			if err := sound(t.Context(), p.FS, false); err != nil {
				t.Error(err)
			}
			_, err := p.FS.Stat(planFile)
			if there := err == nil; there != (end == "close") {
				t.Errorf("the plan is there: %t", there)
			}
			s = open(t, filepath.Dir(p.FS.Path("A")), Options{})
			if end == "close" {
				if err := s.WaitPack(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				doPack(t, s, zodb.PackOptions{})
			}
			if left := len(filesOf(p.FS, s.home.Settings.Structure.Format)); left > 6 {
				t.Errorf("%d files are left", left)
			}
		})
	}
}

// TestDamagedPlanIsGivenUp cuts the plan of an interrupted pack.
func TestDamagedPlanIsGivenUp(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.home.FS.Path(planFile), []byte("DSpack1\n\x02{}\x01"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.Home(), Options{})
	if _, err := s.home.FS.Stat(planFile); err == nil {
		t.Error("the plan is still there")
	}
	doPack(t, s, zodb.PackOptions{})
}

// TestUndeleteBringsBackWhatAPackTook packs, brings everything back, and compares every file, every
// history and the chain of transactions with those before the pack.
func TestUndeleteBringsBackWhatAPackTook(t *testing.T) {
	t.Parallel()
	for _, format := range allFormats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			var now atomic.Int64
			now.Store(at("2026-03-01T00:00:00Z").UnixNano())
			s := open(t, newHome(t, CreateOptions{Format: format.String(), Set: map[string]string{"storage.min_pack_time": "0"}}),
				Options{Clock: func() time.Time { return time.Unix(0, now.Add(1000)) }})
			rnd := rand.New(rand.NewPCG(11, 1))
			m := newPackModel()
			for len(m.txns) < 60 {
				if err := m.commit(t.Context(), s, rnd); err != nil && !errors.Is(err, zodb.ErrDangling) {
					t.Fatal(err)
				}
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := filesOf(s.home.FS, format)
			list := tids(t, s)
			counts := s.Counts()
			// Two packs, a day between them, and each brings back its files.
			var stamps []int64
			for i := range 2 {
				stamps = append(stamps, time.Unix(0, now.Load()).Unix())
				doPack(t, s, zodb.PackOptions{Time: m.txns[20+20*i].tid.Time()})
				now.Add(int64(24 * time.Hour))
			}
			packed := filesOf(s.home.FS, format)
			if len(packed) > len(before)*3/4 {
				t.Fatalf("%d of %d files are left: too many to show anything", len(packed), len(before))
			}
			commit(t, s, change{oid: 0, data: rec("later", m.txns[len(m.txns)-1].states[0].refs...)})
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			after := filesOf(s.home.FS, format)
			r, err := s.Undelete(t.Context(), stamps[1])
			if err != nil || r.Revisions == 0 || r.Skipped != 0 {
				t.Fatalf("undelete of the second pack: %+v, %v", r, err)
			}
			if err := sound(t.Context(), s.home.FS, true); err != nil {
				t.Error(err)
			}
			if r, err = s.Undelete(t.Context(), 0); err != nil || r.Revisions == 0 || r.Skipped != 0 {
				t.Fatalf("undelete of all: %+v, %v", r, err)
			}
			want := slices.Concat(before, after)
			slices.Sort(want)
			if d := difference(slices.Compact(want), filesOf(s.home.FS, format)); d != "" {
				t.Errorf("files in A:\n%s", d)
			}
			if got := tids(t, s); !slices.Equal(got[:len(got)-1], list) {
				t.Errorf("transactions %v\nwant %v and one more", got, list)
			}
			if now := s.Counts(); now.Objects != counts.Objects || now.Revisions != counts.Revisions+1 || now.Transactions != counts.Transactions+1 {
				t.Errorf("counts before %+v, after %+v", counts, now)
			}
			if err := sound(t.Context(), s.home.FS, true); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWhatWasPutAsideGoesAfterDelayDelete: a later pack removes it for good.
func TestWhatWasPutAsideGoesAfterDelayDelete(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	now.Store(at("2026-03-01T00:00:00Z").UnixNano())
	s := packStorage(t, Options{Clock: func() time.Time { return time.Unix(0, now.Add(1000)) }}, "storage.delay_delete=3600")
	for i := range 4 {
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i))})
	}
	deleted := func() (n int) {
		for name, err := range vfs.Walk(s.home.FS, "A") {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "-deleted") {
				n++
			}
		}
		return n
	}
	doPack(t, s, zodb.PackOptions{})
	first := deleted()
	if first != 6 { // three revisions and transactions
		t.Fatalf("%d files are put aside, want 6", first)
	}
	now.Add(int64(3599 * time.Second))
	if r := doPack(t, s, zodb.PackOptions{}); r.Purged != 0 || deleted() != first {
		t.Errorf("before their time: %d purged", r.Purged)
	}
	now.Add(int64(3 * time.Second))
	if r := doPack(t, s, zodb.PackOptions{}); r.Purged != 6 || deleted() != 0 {
		t.Errorf("after their time: %d purged, %d left", r.Purged, deleted())
	}
}

// TestPackWritesTheIndexOfReferences compares it with the references that there are,
// also where an object is spared at the last moment.
func TestPackWritesTheIndexOfReferences(t *testing.T) {
	t.Parallel()
	p := &pausing{}
	s := pausingStorage(t, p)
	o := newOIDs(t, s, 5)
	commit(t, s, change{oid: 0, data: rec("root", o[0], o[1], o[3])}, change{oid: o[0], data: rec("a", o[2])}, change{oid: o[1], data: rec("b", o[2])},
		change{oid: o[2], data: rec("c")}, change{oid: o[3], data: rec("spared", o[4])}, change{oid: o[4], data: rec("d", o[2])})
	commit(t, s, change{oid: 0, data: rec("root", o[0], o[1])})
	commit(t, s, change{oid: 0, data: rec("root", o[0], o[1], o[2])})
	var once sync.Once
	p.renamed = func(name string) {
		if name == planFile {
			once.Do(func() { commit(t, s, change{oid: o[0], data: rec("a", o[2], o[3])}) })
		}
	}
	doPack(t, s, zodb.PackOptions{References: true})
	r, err := refindex.Open(s.home.FS, "misc/refs")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for target, want := range map[zodb.OID][]zodb.OID{o[0]: {0}, o[1]: {0}, o[2]: {0, o[0], o[1], o[4]}, o[4]: {o[3]}} {
		var got []zodb.OID
		for from, err := range r.Referrers(target) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, from)
		}
		if !slices.Equal(got, want) {
			t.Errorf("object %s is referred to by %v, want %v", target, got, want)
		}
	}
	if r.TID() > s.LastTransaction() || r.TID() == 0 {
		t.Errorf("the index holds up to %s", r.TID())
	}
	// Without it, or when it cannot be written, a pack is a pack.
	if err := os.RemoveAll(s.home.FS.Path("misc/refs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.home.FS.Path("misc/refs.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	doPack(t, s, zodb.PackOptions{References: true})
	if _, err := s.home.FS.Stat("misc/refs"); err == nil {
		t.Error("the index is there although it could not be written")
	}
}

// interrupted makes a storage with garbage, packs it, and ends the process, as it
// were, when so many files of A were removed. It returns HOME and a copy of it
// from before there was garbage.
func interrupted(t *testing.T, removals int) (home, older string) {
	t.Helper()
	p := &pausing{}
	s := pausingStorage(t, p)
	home, older = s.Home(), filepath.Join(t.TempDir(), "older")
	var changes []change
	oids := newOIDs(t, s, 800)
	for _, oid := range oids {
		changes = append(changes, change{oid: oid, data: rec("in use")})
	}
	commit(t, s, append(changes, change{oid: 0, data: rec("root", oids...)})...)
	if err := errors.Join(s.Flush(t.Context()), os.CopyFS(older, os.DirFS(filepath.Join(home, "A")))); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		commit(t, s, change{oid: 0, data: rec("root")})
	}
	n := 0
	closed := make(chan error, 1)
	p.removed = func(name string) {
		if strings.HasPrefix(name, "A/") {
			if n++; n == removals {
				go func() { closed <- s.Close() }()
				<-s.closing.Done()
			}
		}
	}
	if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err == nil {
		t.Fatal("the pack was not interrupted")
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, planFile)); err != nil {
		t.Fatal(err)
	}
	return home, older
}

// TestPlanIsForItsOwnA puts an older A in the place of the one in which a pack was interrupted:
// later garbage is in use there.
func TestPlanIsForItsOwnA(t *testing.T) {
	t.Parallel()
	home, older := interrupted(t, 100)
	a := filepath.Join(home, "A")
	if err := errors.Join(os.RemoveAll(a), os.CopyFS(a, os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{})
	if err := s.WaitPack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for oid := range zodb.OID(801) {
		if !exists(t, s, oid) {
			t.Fatalf("object %s is gone: the plan of another A was carried out", oid)
		}
	}
	if _, err := s.home.FS.Stat(planFile); err == nil {
		t.Error("the plan is still there")
	}
	if err := errors.Join(s.Close(), sound(t.Context(), s.home.FS, false)); err != nil {
		t.Error(err)
	}
}

// TestPlanIsNotForWhatAnotherMadeOfA: a standby has a copy of the A in which a pack was
// interrupted, was promoted, and began to use the garbage. Its A comes back into this HOME, in the
// place of the old one, or file by file.
func TestPlanIsNotForWhatAnotherMadeOfA(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	for _, inPlace := range []bool{false, true} {
		t.Run(fmt.Sprintf("in place %t", inPlace), func(t *testing.T) {
			t.Parallel()
			home, _ := interrupted(t, 100)
			a, standby := filepath.Join(home, "A"), filepath.Join(t.TempDir(), "standby")
			err := errors.Join(os.CopyFS(filepath.Join(standby, "A"), os.DirFS(a)),
				os.CopyFS(filepath.Join(standby, "config"), os.DirFS(filepath.Join(home, "config"))))
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, standby, Options{})
			if err := s.WaitPack(t.Context()); err != nil {
				t.Fatal(err)
			}
			var used []zodb.OID
			for oid := range zodb.OID(801) {
				if oid > 0 && exists(t, s, oid) {
					used = append(used, oid)
				}
			}
			if len(used) < 100 || len(used) > 750 {
				t.Fatalf("%d objects are left of what the pack was to remove", len(used))
			}
			commit(t, s, change{oid: 0, data: rec("root", used...)})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if !inPlace {
				err = errors.Join(os.RemoveAll(a), os.CopyFS(a, os.DirFS(filepath.Join(standby, "A"))))
			} else {
				err = copyOver(a, filepath.Join(standby, "A"))
			}
			if err != nil {
				t.Fatal(err)
			}
			s = open(t, home, Options{})
			if err := s.WaitPack(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, oid := range used {
				if !exists(t, s, oid) {
					t.Fatalf("object %s is gone: the plan was carried out", oid)
				}
			}
			if _, err := s.home.FS.Stat(planFile); err == nil {
				t.Error("the plan is still there")
			}
			doPack(t, s, zodb.PackOptions{})
			if err := errors.Join(s.Close(), sound(t.Context(), s.home.FS, true)); err != nil {
				t.Error(err)
			}
		})
	}
}

// copyOver makes a directory like another one, as rsync does: file by file.
func copyOver(to, from string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(p, from))
		if d.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		b, err := os.ReadFile(p)
		if err == nil {
			err = os.WriteFile(name+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(name+".new", name)
		}
		return err
	})
}

// TestPackRemovesWhatAnInterruptedOneLeft: revisions whose pointers are gone, and no
// plan says so any more.
func TestPackRemovesWhatAnInterruptedOneLeft(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	oids := newOIDs(t, s, 20)
	var changes []change
	for _, oid := range oids {
		changes = append(changes, change{oid: oid, data: rec("garbage"), blob: "blob"})
	}
	commit(t, s, append(changes, change{oid: 0, data: rec("root")})...)
	commit(t, s, change{oid: 0, data: rec("root")})
	doPack(t, s, zodb.PackOptions{NoGC: true}) // sets x.packed
	for _, oid := range oids[:10] {
		if err := os.Remove(s.home.FS.Path(pathOf(s, "A", layout.Pointer(oid)))); err != nil {
			t.Fatal(err)
		}
	}
	doPack(t, s, zodb.PackOptions{NoGC: true})
	if n := len(filesOf(s.home.FS, s.home.Settings.Structure.Format)); n < 40 {
		t.Errorf("%d files: without gc something was removed that may be in use", n)
	}
	doPack(t, s, zodb.PackOptions{})
	for _, name := range filesOf(s.home.FS, s.home.Settings.Structure.Format) {
		if n, _ := s.home.Settings.Structure.Format.Parse(name); n.OID != 0 {
			t.Errorf("%s is left", name)
		}
	}
	if err := sound(t.Context(), s.home.FS, true); err != nil {
		t.Error(err)
	}
}
