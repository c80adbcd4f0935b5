package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// packModel is the content that a storage should hold before and after packs, worked out
// naively: everything is kept in memory, and reachability is a walk over all of it.
type packModel struct {
	txns []*packTxn
	// files are the revisions that should be there, and their transactions.
	revisions map[zodb.OID]map[zodb.TID]bool
	trans     map[zodb.TID]bool
	doubtful  *packTxn
	packs     int
	// packing is to when the pack goes that is under way, packingNoGC how; 0: there is none.
	packing     zodb.TID
	packingNoGC bool
	packed      zodb.TID // how far the packs that ended went
	oids        int

	minPack  bool // min_pack_time is more than 0
	undoable bool
	forever  bool // keepclass keeps everything of the objects that stay
}

type packTxn struct {
	tid    zodb.TID
	states map[zodb.OID]packState
}

type packState struct {
	text string
	refs []zodb.OID
	blob bool
	gone bool
}

func (st packState) data() []byte { return rec(st.text, st.refs...) }

func newPackModel() *packModel {
	return &packModel{revisions: make(map[zodb.OID]map[zodb.TID]bool), trans: make(map[zodb.TID]bool), minPack: true}
}

func (m *packModel) clone() *packModel {
	c := *m
	c.txns = slices.Clone(m.txns)
	c.revisions = make(map[zodb.OID]map[zodb.TID]bool)
	for oid, set := range m.revisions {
		c.revisions[oid] = maps.Clone(set)
	}
	c.trans = maps.Clone(m.trans)
	return &c
}

// add notes a transaction.
func (m *packModel) add(t *packTxn) {
	m.txns = append(m.txns, t)
	m.trans[t.tid] = true
	for oid := range t.states {
		if m.revisions[oid] == nil {
			m.revisions[oid] = make(map[zodb.TID]bool)
		}
		m.revisions[oid][t.tid] = true
	}
}

func (m *packModel) txn(tid zodb.TID) *packTxn {
	for _, t := range m.txns {
		if t.tid == tid {
			return t
		}
	}
	return nil
}

// current returns the state of an object now.
func (m *packModel) current(oid zodb.OID) (packState, bool) {
	tids := m.tids(oid)
	if len(tids) == 0 {
		return packState{}, false
	}
	st := m.txn(tids[len(tids)-1]).states[oid]
	return st, !st.gone
}

// tids returns the revisions of an object that should be there, oldest first.
func (m *packModel) tids(oid zodb.OID) []zodb.TID { return slices.Sorted(maps.Keys(m.revisions[oid])) }

// kept returns the revisions of an object that a pack keeps if it keeps the object.
func (m *packModel) kept(oid zodb.OID, threshold zodb.TID) []zodb.TID {
	tids := m.tids(oid)
	if m.forever {
		return tids
	}
	first := 0
	for i, tid := range tids {
		if tid <= threshold {
			first = i
		}
	}
	return tids[first:]
}

// latest is the latest pack time.
func (m *packModel) latest() zodb.TID {
	if m.minPack {
		return m.last()
	}
	return m.last() + 1
}

// pack removes the garbage, as a pack should.
func (m *packModel) pack(threshold zodb.TID, gc bool) {
	if len(m.txns) == 0 {
		return
	}
	threshold = min(threshold, m.latest())
	alive := make(map[zodb.OID]bool)
	var visit func(oid zodb.OID)
	visit = func(oid zodb.OID) {
		if alive[oid] || len(m.revisions[oid]) == 0 {
			return
		}
		alive[oid] = true
		for _, tid := range m.kept(oid, threshold) {
			for _, to := range m.txn(tid).states[oid].refs {
				visit(to)
			}
		}
	}
	stay := make(map[zodb.TID]bool)
	recent := make(map[zodb.OID]bool)
	n := 0
	for _, tid := range slices.Backward(slices.Sorted(maps.Keys(m.trans))) {
		if tid < threshold && (n >= 2 || !m.minPack) {
			if n == 0 {
				stay[tid] = true // not its writes
			}
			break
		}
		n++
		stay[tid] = true
		for oid := range m.txn(tid).states {
			recent[oid] = true
			visit(oid)
		}
	}
	visit(0)
	for oid := range m.revisions {
		tids := m.tids(oid)
		newest := tids[len(tids)-1]
		if !gc {
			alive[oid] = recent[oid] || newest >= threshold || !m.txn(newest).states[oid].gone
		}
		if !alive[oid] {
			delete(m.revisions, oid)
			continue
		}
		keep := m.kept(oid, threshold)
		for tid := range m.revisions[oid] {
			if !slices.Contains(keep, tid) {
				delete(m.revisions[oid], tid)
			}
		}
	}
	if !m.undoable {
		for oid := range m.revisions {
			for tid := range m.revisions[oid] {
				stay[tid] = true
			}
		}
	}
	for tid := range m.trans {
		if !stay[tid] {
			delete(m.trans, tid)
		}
	}
}

// names returns the files of A that there should be.
func (m *packModel) names(f layout.Format) []string {
	var names []string
	add := func(n layout.Name) { names = append(names, f.Path(n)) }
	for oid, set := range m.revisions {
		add(layout.Pointer(oid))
		for tid := range set {
			add(layout.Revision(oid, tid))
			if m.txn(tid).states[oid].blob {
				add(layout.Blob(oid, tid))
			}
		}
	}
	for tid := range m.trans {
		add(layout.Transaction(tid))
	}
	slices.Sort(names)
	return names
}

// filesOf returns the database files of A, but for x.*: of bundles those that are in them.
func filesOf(f vfs.FS, format layout.Format) []string {
	if format == layout.Bundled {
		return membersOf(f)
	}
	var names []string
	for name, err := range vfs.Walk(f, "A") {
		if err != nil {
			return []string{err.Error()}
		}
		if n, ok := format.Parse(name[2:]); ok && n.Kind != layout.KindXOID && n.Kind != layout.KindXSerial && n.Kind != layout.KindXPacked {
			names = append(names, name[2:])
		}
	}
	slices.Sort(names)
	return names
}

// commit makes a transaction that changes some objects: new ones are linked
// somewhere, links are cut, put back and moved.
func (m *packModel) commit(ctx context.Context, s *Storage, rnd *rand.Rand) error {
	t := &packTxn{states: make(map[zodb.OID]packState)}
	txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		return err
	}
	defer txn.Abort()
	if len(m.txns) > 2 && rnd.IntN(6) == 0 {
		if err := m.undo(ctx, txn, t, rnd); err != nil {
			return err
		}
	}
	for range 1 + rnd.IntN(3) {
		if err := m.change(ctx, s, txn, t, rnd); err != nil {
			return err
		}
	}
	if err := txn.Vote(ctx); err != nil {
		return err
	}
	m.doubtful = t
	if t.tid, err = txn.Finish(ctx, nil); err != nil {
		return err
	}
	m.doubtful = nil
	m.add(t)
	return nil
}

func (m *packModel) undo(ctx context.Context, txn *txn.Txn, t *packTxn, rnd *rand.Rand) error {
	victim := m.txns[len(m.txns)-1-rnd.IntN(3)]
	oids, err := txn.Undo(ctx, victim.tid)
	if errors.Is(err, zodb.ErrUndo) {
		return nil
	}
	for _, oid := range oids {
		tids := m.tids(oid)
		i := slices.Index(tids, victim.tid)
		st := packState{gone: true}
		if i > 0 {
			st = m.txn(tids[i-1]).states[oid]
		}
		t.states[oid] = st
	}
	return err
}

func (m *packModel) change(ctx context.Context, s *Storage, txn *txn.Txn, t *packTxn, rnd *rand.Rand) error {
	see := func(oid zodb.OID) (packState, bool) {
		if st, ok := t.states[oid]; ok {
			return st, !st.gone
		}
		return m.current(oid)
	}
	var there []zodb.OID
	for oid := range zodb.OID(m.oids) {
		if _, ok := see(oid); ok {
			there = append(there, oid)
		}
	}
	store := func(oid zodb.OID, st packState) error {
		serial, err := s.Serial(ctx, oid)
		if err != nil {
			return err
		}
		st.blob = st.blob || t.states[oid].blob // which would stay
		t.states[oid] = st
		if st.blob {
			return txn.StoreBlob(oid, serial, st.data(), zodb.BlobSource{Reader: strings.NewReader("blob of " + st.text)})
		}
		return txn.Store(oid, serial, st.data())
	}
	text := fmt.Sprint("text ", rnd.Uint64())
	if len(there) == 0 || !slices.Contains(there, 0) {
		m.oids = max(m.oids, 1)
		return store(0, packState{text: text})
	}
	oid := there[rnd.IntN(len(there))]
	st, _ := see(oid)
	st.text, st.refs, st.blob = text, slices.Clone(st.refs), rnd.IntN(6) == 0
	switch n := rnd.IntN(8); {
	case n < 3: // a new object
		oids, err := s.NewOIDs(1)
		if err != nil {
			return err
		}
		fresh := oids[0]
		m.oids = max(m.oids, int(fresh)+1)
		if err := store(fresh, packState{text: "new " + text, blob: rnd.IntN(6) == 0}); err != nil {
			return err
		}
		st.refs = append(st.refs, fresh)
	case n < 5 && len(st.refs) > 0: // a link less
		st.refs = slices.Delete(st.refs, 0, 1)
	case n < 7: // a link to any object, also to an unreferenced one
		st.refs = append(st.refs, there[rnd.IntN(len(there))])
	}
	return store(oid, st)
}

// verify compares a storage with the model: each object that should be there reads right, and every
// readable object is reachable.
func (m *packModel) verify(ctx context.Context, s *Storage) error {
	for oid := range m.revisions {
		want, there := m.current(oid)
		r, err := s.Load(ctx, oid)
		switch {
		case !there && !errors.Is(err, zodb.ErrNotFound):
			return fmt.Errorf("object %s does not exist, and load says %v", oid, err)
		case there && err != nil:
			return err
		case there && string(r.Data) != string(want.data()):
			return fmt.Errorf("object %s has other data", oid)
		}
		if there && want.blob {
			b, err := s.OpenBlob(ctx, oid, r.Serial)
			if err != nil {
				return err
			}
			if err := b.Close(); err != nil {
				return err
			}
		}
		for _, tid := range m.tids(oid) {
			st := m.txn(tid).states[oid]
			r, err := s.LoadRecord(ctx, oid, tid)
			if err != nil || r.Exists == st.gone || r.Exists && string(r.Data) != string(st.data()) {
				return fmt.Errorf("object %s at %s: %v, exists %t", oid, tid, err, r.Exists)
			}
		}
	}
	return nil
}

// packCase is one storage with commits and packs.
type packCase struct {
	format layout.Format
	seed   uint64
	set    string // section.option=value, separated by spaces
	steps  int
	every  int // one of so many steps is a pack, about
}

func (c packCase) options(f vfs.FS) Options {
	o := scriptOptions(f)
	clock := o.Clock
	// Each look at the clock is a second, so that min_pack_time is some transactions.
	begun := clock()
	o.Clock = func() time.Time { return begun.Add(clock().Sub(begun) * 1000) }
	return o
}

// optionsAfter are those of a process that comes later: its clock is not behind the
// transactions that there are, nor behind the empty one with which a process whose clock
// was behind has begun a history, up to two minutes after them.
func (c packCase) optionsAfter(f vfs.FS, m *packModel) Options {
	o := c.options(f)
	clock, ahead := o.Clock, time.Duration(0)
	if m.last() != 0 {
		ahead = max(0, m.last().Time().Add(3*time.Minute).Sub(clock()))
	}
	o.Clock = func() time.Time { return clock().Add(ahead) }
	return o
}

func (c packCase) home(f vfs.FS) error {
	o := CreateOptions{Class: zodb.ClassFull, Set: map[string]string{
		"journal.flush_transaction_threshold": "4", "journal.flush_file_threshold": "20",
	}}.withDefaults()
	for _, kv := range strings.Fields(c.set) {
		k, v, _ := strings.Cut(kv, "=")
		o.Set[k] = v
	}
	text, err := newSettings(c.format, o)
	if err != nil {
		return err
	}
	cr := creator{fs: f, base: "."}
	cr.populate(c.format, text, strings.Repeat("0123456789abcdef", 2))
	return errors.Join(cr.err, f.SyncDir("."))
}

// run does steps until one fails. The outcome is in the model.
func (c packCase) run(ctx context.Context, f vfs.FS, m *packModel, after func(*Storage, *packModel) error) error {
	rnd := rand.New(rand.NewPCG(c.seed, 7))
	s, err := Open(ctx, "", c.options(f))
	if err != nil {
		return err
	}
	defer s.Close()
	for range c.steps {
		if rnd.IntN(c.every) > 0 || len(m.txns) < 3 {
			err = m.commit(ctx, s, rnd)
		} else {
			err = c.pack(ctx, s, m, rnd)
			if err == nil && after != nil {
				err = after(s, m)
			}
		}
		if errors.Is(err, zodb.ErrDangling) || errors.Is(err, zodb.ErrUndo) {
			err = nil // an undo took away the target of a change
		}
		if err != nil {
			return err
		}
	}
	return s.Close()
}

func (c packCase) pack(ctx context.Context, s *Storage, m *packModel, rnd *rand.Rand) error {
	at := m.txns[rnd.IntN(len(m.txns))].tid
	if rnd.IntN(3) == 0 {
		at += zodb.TID(rnd.IntN(100000))
	}
	o := zodb.PackOptions{Time: at.Time(), NoGC: rnd.IntN(5) == 0}
	before := s.o.Clock().Add(-s.home.Settings.Storage.MinPackTime)
	m.packing, m.packingNoGC = min(zodb.TIDFromTime(o.Time), m.latest()), o.NoGC
	r, err := s.Pack(ctx, o)
	if err != nil {
		return err
	}
	m.packing = 0
	m.packed = max(m.packed, r.Threshold)
	m.packs++
	if want := min(zodb.TIDFromTime(at.Time()), m.latest()); r.Threshold > want || r.Threshold < want && r.Threshold < min(zodb.TIDFromTime(before), want) {
		return fmt.Errorf("packed to %s, want %s", r.Threshold, want)
	}
	m.pack(r.Threshold, !o.NoGC)
	return nil
}

// TestPackRemovesWhatTheModelSays packs random graphs, with undo, deletion,
// links that are cut and put back, at random times, and compares every file of A
// with a model that works out naively the reachable objects.
func TestPackRemovesWhatTheModelSays(t *testing.T) {
	t.Parallel()
	sets := []string{"", "storage.min_pack_time=0", "storage.keep_policy=undoable", "storage.delay_delete=0", "storage.delay_delete=0 storage.min_pack_time=0 storage.keep_policy=undoable"}
	n := hometest.OneOf(40, 5, 5) // five settings
	for i := range hometest.Rounds(t, n) {
		c := packCase{format: allFormats()[i%len(allFormats())], seed: uint64(i), set: sets[i%len(sets)], steps: 120, every: 10}
		t.Run(fmt.Sprintf("seed %d %s %s", c.seed, c.format, c.set), func(t *testing.T) {
			t.Parallel()
			f := crashfs.New(int64(c.seed))
			if err := c.home(f); err != nil {
				t.Fatal(err)
			}
			m := c.newModel()
			err := c.run(t.Context(), f, m, func(s *Storage, m *packModel) error {
				if err := s.Flush(t.Context()); err != nil {
					return err
				}
				if err := m.verify(t.Context(), s); err != nil {
					return err
				}
				got, want := filesOf(f, c.format), m.names(c.format)
				if !slices.Equal(got, want) {
					return fmt.Errorf("pack %d to %s: files in A\n%s", m.packs, s.Packed(), difference(want, got))
				}
				return sound(t.Context(), f, true)
			})
			if err != nil {
				t.Fatal(err)
			}
			if m.packs == 0 {
				t.Skip("no pack with this seed")
			}
			if err := sound(t.Context(), f, false); err != nil {
				t.Error(err)
			}
		})
	}
}

// difference lists the items that are in one of two sorted lists.
func difference(want, got []string) string {
	var b strings.Builder
	for _, w := range want {
		if _, ok := slices.BinarySearch(got, w); !ok {
			fmt.Fprintf(&b, "-%s\n", w)
		}
	}
	for _, g := range got {
		if _, ok := slices.BinarySearch(want, g); !ok {
			fmt.Fprintf(&b, "+%s\n", g)
		}
	}
	return b.String()
}

// TestCrashAtEveryOperationOfPacks cuts the power before each operation of a
// script that commits and packs, opens again, which goes on with the pack, and
// compares: nothing is missing, and check finds nothing.
func TestCrashAtEveryOperationOfPacks(t *testing.T) {
	t.Parallel()
	every := hometest.OneOf(4, 240, 601)
	if os.Getenv("DIRSTORAGE_ROUNDS") != "" && !testing.Short() && !hometest.RaceDetector {
		every = 1
	}
	// With a second of min_pack_time each pack goes to when it is told to.
	sets := []string{"storage.min_pack_time=1", "storage.delay_delete=0 storage.min_pack_time=1", "storage.keep_policy=undoable storage.min_pack_time=0"}
	for i := range hometest.Rounds(t, len(allFormats())) {
		c := packCase{format: allFormats()[i%len(allFormats())], seed: uint64(i) + 100, set: sets[i%len(sets)], steps: 30, every: 4}
		t.Run(fmt.Sprintf("seed %d %s %s", c.seed, c.format, c.set), func(t *testing.T) {
			t.Parallel()
			made := 0 // operations before those of the storage
			begin := func(at faulttest.Nth) (*crashfs.FS, *packModel, error) {
				f := crashfs.New(int64(c.seed))
				if err := c.home(f); err != nil {
					t.Fatal(err)
				}
				made = f.Ops()
				if at.N > 0 {
					f.CrashBefore(at.Is())
				}
				m := c.newModel()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := c.run(ctx, f, m, nil)
				if ctx.Err() != nil {
					t.Fatalf("crash before %v: hangs", at)
				}
				return f, m, err
			}
			f, m, err := begin(faulttest.Nth{})
			if err != nil {
				t.Fatal(err)
			}
			if m.packs < 2 {
				t.Fatalf("only %d packs", m.packs)
			}
			runs, ops := faulttest.NewRuns(f.Log()[made:]), f.Ops()-made
			var found comings
			for n := range faulttest.Sample(ops, every, c.seed, hometest.Phase(t)) { // other ones with each seed
				at := runs.Nth(0, n)
				f, m, err := begin(at)
				if !found.count(err != nil) {
					continue
				}
				for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))} {
					after := f.Crashed(mode)
					again := f.Crashed(mode)
					again.CrashAt(1 + n%60)
					if s, err := Open(t.Context(), "", c.options(again)); err == nil {
						_ = s.WaitPack(t.Context())
						_ = s.Close()
					}
					for _, fs := range []*crashfs.FS{after, again.Crashed(mode)} {
						if err := c.recovered(t.Context(), fs, m.clone()); err != nil {
							t.Fatalf("crash before %v, operation %d of %d, %v: %v", at, n, ops, mode, err)
						}
					}
				}
			}
			found.want(t)
			t.Logf("crashed at each %d. of %d operations, with %d packs", every, ops, m.packs)
		})
	}
}

// comings counts the operations of a sample that came in the runs that were to crash there. Where goroutines work side by side,
// some do not.
type comings struct{ tried, came int }

func (c *comings) count(came bool) bool {
	c.tried++
	if came {
		c.came++
	}
	return came
}

// want fails the test if most did not come.
func (c *comings) want(t *testing.T) {
	t.Helper()
	if c.tried > 3 && c.came <= c.tried/2 {
		t.Errorf("only %d of %d operations came", c.came, c.tried)
	}
}

func (c packCase) newModel() *packModel {
	m := newPackModel()
	m.minPack, m.undoable = !strings.Contains(c.set, "min_pack_time=0"), strings.Contains(c.set, "undoable")
	return m
}

// recovered opens a storage after a crash. The survivors of the interrupted pack have to be there,
// and check must find nothing.
func (c packCase) recovered(ctx context.Context, f *crashfs.FS, m *packModel) error {
	// As it is, before anybody opens it.
	if err := damaged(ctx, f); err != nil {
		return fmt.Errorf("before open: %w", err)
	}
	s, err := Open(ctx, "", c.optionsAfter(f, m))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	if d := m.doubtful; d != nil && s.LastTransaction() > m.last() {
		d.tid = s.LastTransaction()
		m.add(d)
	}
	if err := errors.Join(s.WaitPack(ctx), s.WaitNormal(ctx), s.Flush(ctx)); err != nil {
		return err
	}
	if m.packing != 0 {
		if s.Packed() < m.packing && m.packing <= m.latest() {
			m.packing = 0 // it had not begun to remove
		} else if m.packed < m.packing || !slices.Equal(filesOf(f, c.format), m.names(c.format)) {
			// Where an earlier pack went as far, nothing but the files tells whether
			// this one had begun to remove.
			m.pack(m.packing, !m.packingNoGC)
		}
	}
	if err := m.verify(ctx, s); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(uint64(len(m.txns)), 1))
	if err := m.commit(ctx, s, rnd); err != nil && !errors.Is(err, zodb.ErrDangling) {
		return fmt.Errorf("commit: %w", err)
	}
	if m.root() {
		if err := c.pack(ctx, s, m, rnd); err != nil {
			return fmt.Errorf("the next pack: %w", err)
		}
		if err := s.Flush(ctx); err != nil {
			return err
		}
		if got, want := filesOf(f, c.format), m.names(c.format); m.packing == 0 && !slices.Equal(got, want) {
			return fmt.Errorf("after the next pack: files in A\n%s", difference(want, got))
		}
	}
	if err := m.verify(ctx, s); err != nil {
		return fmt.Errorf("after the next pack: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	return sound(ctx, f, false)
}

func (m *packModel) last() zodb.TID {
	if len(m.txns) == 0 {
		return 0
	}
	return m.txns[len(m.txns)-1].tid
}

func (m *packModel) root() bool {
	_, there := m.current(0)
	return there
}

// damaged returns an error if check finds damage.
func damaged(ctx context.Context, f vfs.FS) error {
	_, err := checktest.Undamaged(ctx, f)
	return err
}
