package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// A model says the content that a storage has to hold, after any event. It is
// driven by one goroutine beside the storage.
type model struct {
	acked    []*modelTxn // in the order of their tids
	doubtful *modelTxn   // asked to be finished, and never answered
	made     int         // makes each content different
	oids     []zodb.OID  // in use
	snapshot string      // code of the snapshot mode that was entered, if it was not asked to be left
	least    int         // so many of acked are in that snapshot at least
	entered  []moment    // the snapshots that were entered
}

// moment is when a snapshot was asked for, and the last transaction that it may hold.
type moment struct {
	asked time.Time
	tid   zodb.TID
}

// modelTxn is one transaction of a model.
type modelTxn struct {
	tid     zodb.TID // 0 while doubtful
	name    string   // its description
	order   []zodb.OID
	changes map[zodb.OID]modelState
}

// modelState is an object after a transaction.
type modelState struct {
	data string
	blob string
	gone bool
}

// state returns an object after the first n transactions.
func (m *model) state(oid zodb.OID, n int) modelState {
	for i := n - 1; i >= 0; i-- {
		if st, ok := m.acked[i].changes[oid]; ok {
			return st
		}
	}
	return modelState{gone: true}
}

// commit makes a transaction of one to four changes and commits it.
func (m *model) commit(ctx context.Context, s *Storage, rnd *rand.Rand) error {
	m.made++
	t := &modelTxn{name: fmt.Sprintf("content %d", m.made), changes: make(map[zodb.OID]modelState)}
	txn, err := s.txns.Begin(ctx, zodb.TxnMeta{User: []byte("model"), Description: []byte(t.name)}, zodb.BeginOptions{})
	if err != nil {
		return err
	}
	defer txn.Abort() // after Finish it does nothing
	undo := rnd.IntN(8) == 0 && len(m.acked) > 1 && s.home.Full
	for range 1 + rnd.IntN(4) {
		if undo {
			break
		}
		if err := m.change(ctx, s, rnd, txn, t); err != nil {
			return err
		}
	}
	if undo {
		i := len(m.acked) - 1
		oids, err := txn.Undo(ctx, m.acked[i].tid)
		if err != nil {
			return err
		}
		for _, oid := range oids {
			t.order = append(t.order, oid)
			t.changes[oid] = m.state(oid, i)
		}
	}
	if err := txn.Vote(ctx); err != nil {
		return err
	}
	if rnd.IntN(12) == 0 {
		return txn.Abort() // it must leave no trace
	}
	m.doubtful = t
	tid, err := txn.Finish(ctx, nil)
	if err != nil {
		if _, unknown := errors.AsType[*zodb.UnknownOutcomeError](err); !unknown {
			m.doubtful = nil
		}
		return err
	}
	t.tid = tid
	m.acked, m.doubtful = append(m.acked, t), nil
	return nil
}

// change does something to one object.
func (m *model) change(ctx context.Context, s *Storage, rnd *rand.Rand, txn *txn.Txn, t *modelTxn) error {
	var oid zodb.OID
	if len(m.oids) < 3 || rnd.IntN(3) == 0 {
		oids, err := s.NewOIDs(1)
		if err != nil {
			return err
		}
		oid = oids[0]
		m.oids = append(m.oids, oid)
	} else {
		oid = m.oids[rnd.IntN(len(m.oids))]
	}
	serial, err := s.Serial(ctx, oid)
	if err != nil {
		return err
	}
	st := modelState{data: string(rec(fmt.Sprintf("%s of %d %s", t.name, oid, strings.Repeat("x", rnd.IntN(600)))))}
	switch n := rnd.IntN(10); {
	case n == 0 && serial != 0 && s.home.Full && !m.state(oid, len(m.acked)).gone && t.changes[oid].data == "":
		st = modelState{gone: true}
		err = txn.Delete(oid, serial)
	case n < 3 && s.home.Full:
		st.blob = strings.Repeat(t.name, 1+rnd.IntN(100))
		err = txn.StoreBlob(oid, serial, []byte(st.data), zodb.BlobSource{Reader: strings.NewReader(st.blob)})
	default:
		st.blob = t.changes[oid].blob // stays
		err = txn.Store(oid, serial, []byte(st.data))
	}
	if err != nil {
		return err
	}
	if _, again := t.changes[oid]; !again {
		t.order = append(t.order, oid)
	}
	t.changes[oid] = st
	return nil
}

// adopt takes a doubtful transaction for committed if the storage has it, and
// forgets it otherwise.
func (m *model) adopt(ctx context.Context, s *Storage) error {
	d := m.doubtful
	m.doubtful = nil
	last := zodb.TID(0)
	if len(m.acked) > 0 {
		last = m.acked[len(m.acked)-1].tid
	}
	if d == nil || s.LastTransaction() <= last {
		return nil
	}
	if s.home.Full {
		t, err := s.Transaction(ctx, s.LastTransaction())
		if err != nil {
			return err
		}
		if string(t.Description) != d.name {
			return fmt.Errorf("the last transaction is %q, which nobody committed", t.Description)
		}
	}
	d.tid = s.LastTransaction()
	m.acked = append(m.acked, d)
	return nil
}

// verify compares a storage with the model after its first n transactions.
func (m *model) verify(ctx context.Context, s *Storage, n int) error {
	acked := m.acked[:n]
	last := zodb.TID(0)
	if n > 0 {
		last = acked[n-1].tid
	}
	if got := s.LastTransaction(); got != last {
		return fmt.Errorf("the last transaction is %s, want %s", got, last)
	}
	for _, oid := range m.oids {
		if err := m.verifyCurrent(ctx, s, oid, n); err != nil {
			return err
		}
	}
	if !s.home.Full {
		return nil
	}
	i := 0
	for txn, err := range s.Transactions(ctx, 0, 0) {
		if err != nil {
			return err
		}
		if i >= n || txn.TID != acked[i].tid || string(txn.Description) != acked[i].name || !slices.Equal(txn.OIDs, acked[i].order) {
			return fmt.Errorf("transaction %d is %s %q %v", i, txn.TID, txn.Description, txn.OIDs)
		}
		i++
	}
	if i != n {
		return fmt.Errorf("%d transactions, want %d", i, n)
	}
	for _, t := range acked {
		for oid, st := range t.changes {
			if err := verifyRevision(ctx, s, oid, t.tid, st); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) verifyCurrent(ctx context.Context, s *Storage, oid zodb.OID, n int) error {
	want := m.state(oid, n)
	r, err := s.Load(ctx, oid)
	if want.gone {
		if !errors.Is(err, zodb.ErrNotFound) {
			return fmt.Errorf("load %s: %v, want not found", oid, err)
		}
		return nil
	}
	if err != nil || string(r.Data) != want.data {
		return fmt.Errorf("load %s: %.40q, %v, want %.40q", oid, r.Data, err, want.data)
	}
	return nil
}

func verifyRevision(ctx context.Context, s *Storage, oid zodb.OID, tid zodb.TID, want modelState) error {
	r, err := s.LoadRecord(ctx, oid, tid)
	if err != nil || r.Exists == want.gone || string(r.Data) != want.data || r.HasBlob != (want.blob != "") {
		return fmt.Errorf("record %s %s: %+v, %v, want %.40q", oid, tid, r, err, want.data)
	}
	if want.blob == "" {
		return nil
	}
	b, err := s.OpenBlob(ctx, oid, tid)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if err != nil || string(got) != want.blob {
		return fmt.Errorf("blob %s %s: %.40q, %v, want %.40q", oid, tid, got, err, want.blob)
	}
	return nil
}

// verifySnapshot checks the contents of a copy of config and A, if misc/snapshot says that A is a
// snapshot.
func (m *model) verifySnapshot(ctx context.Context, f vfs.FS, copied vfs.FS, o Options) error {
	code, err := f.ReadFile(snapshotFile)
	if err != nil {
		if m.snapshot != "" {
			return fmt.Errorf("the snapshot %q is gone: %w", m.snapshot, err)
		}
		return nil
	}
	if m.snapshot != "" && string(code) != snapfile.User(m.snapshot) {
		return fmt.Errorf("misc/snapshot holds %q, want %q", code, m.snapshot)
	}
	if err := copyFiles(f, copied, "config", "A"); err != nil {
		return err
	}
	o.fs, o.ReadOnly = copied, true
	s, err := Open(ctx, "", o)
	if err != nil {
		return fmt.Errorf("the copy of the snapshot: %w", err)
	}
	defer s.Close()
	last := s.LastTransaction()
	// A description of the snapshot is true, or absent; it is present if the snapshot was
	// acknowledged.
	r, err := snapfile.Read(f)
	if err == nil && r.TID != last {
		return fmt.Errorf("the snapshot %q is said to end with %s, and ends with %s", code, r.TID, last)
	}
	if err != nil && (m.snapshot != "" || !errors.Is(err, snapfile.ErrUnknown)) {
		return fmt.Errorf("the snapshot %q: %w", code, err)
	}
	n := 0
	for n < len(m.acked) && m.acked[n].tid <= last {
		n++
	}
	if n < m.least {
		return fmt.Errorf("the snapshot holds %d transactions, and %d were acknowledged before it was asked for", n, m.least)
	}
	if d := m.doubtful; d != nil && n == len(m.acked) && (n == 0 && last != 0 || n > 0 && last > m.acked[n-1].tid) {
		// It was committed, though nobody was told.
		with := *m
		if err := with.adopt(ctx, s); err != nil {
			return fmt.Errorf("the copy of the snapshot: %w", err)
		}
		return with.verifyCopy(ctx, s, copied, n+1)
	}
	return m.verifyCopy(ctx, s, copied, n)
}

func (m *model) verifyCopy(ctx context.Context, s *Storage, copied vfs.FS, n int) error {
	err := m.verify(ctx, s, n)
	if err == nil {
		err = sound(ctx, copied, true)
	}
	if err != nil {
		return fmt.Errorf("the copy of the snapshot: %w", err)
	}
	return nil
}

// sound runs a check that has to find nothing.
func sound(ctx context.Context, f vfs.FS, snapshotOnly bool) error {
	_, err := checktest.Run(ctx, check.Options{FS: f, SnapshotOnly: snapshotOnly}, checktest.NoNote)
	return err
}

// copyFiles copies directories from one file system to another.
func copyFiles(from, to vfs.FS, dirs ...string) error {
	for _, dir := range dirs {
		for name, err := range vfs.Walk(from, dir) {
			if err != nil {
				return err
			}
			b, err := from.ReadFile(name)
			if err != nil {
				return err
			}
			if _, err := vfs.MkdirAll(to, name[:strings.LastIndexByte(name, '/')]); err != nil {
				return err
			}
			f, err := to.Create(name)
			if err != nil {
				return err
			}
			_, err = io.Copy(f, bytes.NewReader(b))
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// scenario is the work of a crash or error test on a storage: the same for the same seed.
type scenario struct {
	fs    vfs.FS
	o     Options
	m     *model
	rnd   *rand.Rand
	s     *Storage
	codes int
}

// scriptOptions are those of all tests with a scenario. The clock goes on by a
// millisecond whenever it is looked at.
func scriptOptions(f vfs.FS) Options {
	var ticks atomic.Int64
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return Options{
		fs: f, SegmentSize: 16 << 10, SpoolSize: 1000, NoControlSocket: true, RetryInterval: time.Millisecond,
		Clock: func() time.Time { return epoch.Add(time.Duration(ticks.Add(1)) * time.Millisecond) },
	}
}

// populateHome makes a HOME in the root of a file system, with small batches.
func populateHome(f vfs.FS, class zodb.Class, format layout.Format) error {
	o := CreateOptions{Class: class, Set: map[string]string{
		"journal.flush_transaction_threshold": "4", "journal.flush_file_threshold": "20",
	}}.withDefaults()
	text, err := newSettings(format, o)
	if err != nil {
		return err
	}
	c := creator{fs: f, base: "."}
	c.populate(format, text, strings.Repeat("0123456789abcdef", 2))
	if c.err == nil {
		c.err = f.SyncDir(".")
	}
	return c.err
}

// run does n steps, or fewer until one fails.
func (sc *scenario) run(ctx context.Context, n int) (err error) {
	if sc.s, err = Open(ctx, "", sc.o); err != nil {
		return err
	}
	defer func() {
		if cerr := sc.s.Close(); err == nil {
			err = cerr // after an error it may be closed already
		}
	}()
	for range n {
		if err := sc.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (sc *scenario) step(ctx context.Context) error {
	switch n := sc.rnd.IntN(20); {
	case n < 12:
		err := sc.m.commit(ctx, sc.s, sc.rnd)
		if _, ok := errors.AsType[*zodb.UndoError](err); ok {
			return nil
		}
		return err
	case n < 14:
		return sc.s.Flush(ctx)
	case n < 17 && sc.m.snapshot == "":
		sc.codes++
		code := fmt.Sprint("code", sc.codes)
		least, asked := len(sc.m.acked), sc.o.Clock()
		if err := sc.s.EnterSnapshot(ctx, code); err != nil {
			return err
		}
		sc.m.entered = append(sc.m.entered, moment{asked, sc.s.LastTransaction()})
		sc.m.snapshot, sc.m.least = code, least
		return nil
	case n < 18 && sc.m.snapshot != "":
		code := sc.m.snapshot
		sc.m.snapshot, sc.m.least = "", 0
		return sc.s.LeaveSnapshot(ctx, code)
	case n < 19 && sc.m.snapshot == "":
		return sc.s.WaitNormal(ctx)
	case n < 20:
		sc.m.snapshot, sc.m.least = "", 0 // the next open ends it
		if err := sc.s.Close(); err != nil {
			return err
		}
		s, err := Open(ctx, "", sc.o)
		if err == nil {
			sc.s = s
		}
		return err
	}
	return nil
}

// recovered opens a storage after any fault, verifies it, writes to it, closes it, and checks every
// file.
func (sc *scenario) recovered(ctx context.Context, f vfs.FS) error {
	m := *sc.m
	m.acked = slices.Clone(m.acked)
	o := sc.o
	o.fs = f
	s, err := Open(ctx, "", o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	if err := m.adopt(ctx, s); err != nil {
		return err
	}
	if err := m.verify(ctx, s, len(m.acked)); err != nil {
		return fmt.Errorf("after open: %w", err)
	}
	if err := m.commit(ctx, s, rand.New(rand.NewPCG(uint64(len(m.acked)), 1))); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := errors.Join(s.WaitNormal(ctx), s.Flush(ctx)); err != nil {
		return err
	}
	if err := m.verify(ctx, s, len(m.acked)); err != nil {
		return fmt.Errorf("after flush: %w", err)
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if err := sound(ctx, f, false); err != nil {
		return err
	}
	for _, dir := range []string{"B", "journal"} {
		for name, err := range vfs.Walk(f, dir) {
			return fmt.Errorf("%s is left after a clean close (%w)", name, err)
		}
	}
	if _, err := f.ReadFile(snapshotFile); err != nil {
		return fmt.Errorf("a clean close leaves no snapshot: %w", err)
	}
	return m.times(f, s.home.Settings.Structure.Format)
}

// times looks whether each file that entered A after a snapshot bears a time that
// is not before that snapshot was asked for.
func (m *model) times(f vfs.FS, format layout.Format) error {
	for name, err := range vfs.Walk(f, "A") {
		if err != nil {
			return err
		}
		n, ok := format.Parse(name[2:])
		tid := n.TID
		if b, _, is := bundle.ParseName(path.Base(name)); is {
			ok, tid = true, b.Max
		}
		if !ok {
			continue
		}
		if n.Kind == layout.KindPointer || n.Kind == layout.KindXSerial {
			b, err := f.ReadFile(name)
			if err != nil {
				return err
			}
			tid = zodb.TIDFromBytes(b[:8])
		}
		info, err := f.Stat(name)
		if err != nil {
			return err
		}
		for _, s := range m.entered {
			if tid > s.tid && info.ModTime.Before(s.asked) {
				return fmt.Errorf("%s is of %s, and bears %s: before %s, when the snapshot up to %s was asked for", name, tid, info.ModTime, s.asked, s.tid)
			}
		}
	}
	return nil
}

// clone returns a copy that may be driven on its own.
func (m *model) clone() *model {
	c := *m
	c.acked, c.oids = slices.Clone(m.acked), slices.Clone(m.oids)
	if m.doubtful != nil {
		d := *m.doubtful
		d.changes = maps.Clone(d.changes)
		c.doubtful = &d
	}
	return &c
}
