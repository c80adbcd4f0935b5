// Package loadtest is a storage under load, with a model of its contents that its writers keep: for
// tests of everything that reads a storage meanwhile. Only tests may import it.
package loadtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// version is one revision as its writer knows it.
type version struct {
	tid  zodb.TID
	data string
	blob string
	gone bool
}

// Load is a storage and the model that its writers keep.
type Load struct {
	Home    string // of the storage
	Storage zodb.Storage
	objects int
	first   zodb.OID // of them

	mu      sync.Mutex
	history map[zodb.OID][]version // guarded by mu
	packed  map[zodb.OID]bool      // guarded by mu; were deleted, and a pack took even that
	TIDs    []zodb.TID             // guarded by mu; acknowledged, in no exact order

	Budget atomic.Int64 // transactions that may still be made
	busy   sync.RWMutex // read-locked by each writer from its share of the budget until the model has the transaction
	stop   chan struct{}
	wait   sync.WaitGroup
}

// New makes a HOME in a temporary directory, and opens it.
func New(t testing.TB, objects int, o engine.CreateOptions) *Load {
	t.Helper()
	return NewIn(t, filepath.Join(t.TempDir(), "home"), objects, o)
}

// NewIn is New with the HOME in a place of the caller.
func NewIn(t testing.TB, home string, objects int, o engine.CreateOptions) *Load {
	t.Helper()
	if o.Set == nil {
		o.Set = map[string]string{"journal.flush_transaction_threshold": "20"}
	}
	if err := engine.Create(home, o); err != nil {
		t.Fatal(err)
	}
	return NewOf(t, home, objects)
}

// NewOf opens a HOME that exists, and is [Over] for it.
func NewOf(t testing.TB, home string, objects int) *Load {
	t.Helper()
	s, err := engine.Open(t.Context(), home, engine.Options{SegmentSize: 64 << 10, RetryInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l := Over(t, s, objects)
	l.Home = home
	return l
}

// Over puts a storage of any kind under load, and closes it at the end of the test. The model
// does not have the objects that are in it already, so writers use oids above those.
func Over(t testing.TB, s zodb.Storage, objects int) *Load {
	t.Helper()
	l := &Load{Home: s.Home(), Storage: s, objects: objects, history: make(map[zodb.OID][]version), packed: make(map[zodb.OID]bool), stop: make(chan struct{})}
	if s.LastTransaction() != 0 {
		l.first = s.Status().MaxOID + 1
	}
	t.Cleanup(func() { s.Close() })
	return l
}

// record returns two pickles, a class and a state, that hold a text.
func record(text string) string {
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	return "cpersistent.mapping\nPersistentMapping\n.(T" + string(size) + text + "t."
}

// Start begins writers, each with objects of its own.
func (l *Load) Start(t testing.TB, writers int) {
	for g := range writers {
		l.wait.Go(func() {
			rnd := rand.New(rand.NewPCG(11, uint64(g)))
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				done, err := l.one(rnd, g, writers)
				if err == nil && !done {
					time.Sleep(time.Millisecond)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(l.End)
}

// one makes a transaction if the budget allows one.
func (l *Load) one(rnd *rand.Rand, g, writers int) (done bool, err error) {
	l.busy.RLock()
	defer l.busy.RUnlock()
	if g != 0 && !l.rooted() || l.Budget.Add(-1) < 0 {
		return false, nil
	}
	for err = errAgain; errors.Is(err, errAgain); {
		err = l.commit(rnd, g, writers)
	}
	return true, err
}

// Pause takes the budget away and returns when no transaction is under way: the model equals the
// storage.
func (l *Load) Pause() {
	l.Budget.Store(0)
	l.waitForBegun()
}

// waitForBegun waits until the transactions that were begun are in the model.
func (l *Load) waitForBegun() {
	l.busy.Lock()
	defer l.busy.Unlock()
}

// End stops the writers and waits for them.
func (l *Load) End() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wait.Wait()
}

// rooted reports whether there is a root. The first writer makes it, before anybody makes other objects:
// a copy of a database without its root is damaged.
func (l *Load) rooted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first != zodb.RootOID || len(l.history[zodb.RootOID]) > 0
}

func (l *Load) current(oid zodb.OID) version {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.history[oid]; len(h) > 0 && !(h[len(h)-1].gone && l.packed[oid]) {
		return h[len(h)-1]
	}
	return version{gone: true}
}

func (l *Load) commit(rnd *rand.Rand, g, writers int) error {
	ctx := context.Background()
	txn, err := l.Storage.Begin(ctx, zodb.TxnMeta{User: []byte("load"), Description: fmt.Appendf(nil, "%d", g)}, zodb.BeginOptions{})
	if err != nil {
		return err
	}
	defer txn.Abort()
	changes := make(map[zodb.OID]version)
	for range 1 + rnd.IntN(4) {
		oid := l.first + zodb.OID(rnd.IntN(l.objects/writers)*writers+g)
		if g == 0 && !l.rooted() {
			oid = zodb.RootOID
		}
		if _, again := changes[oid]; again {
			continue
		}
		now := l.current(oid)
		v := version{data: record(fmt.Sprintf("%020d", rnd.Int64()) + strings.Repeat(" ", rnd.IntN(300)))}
		switch n := rnd.IntN(16); {
		case n == 0 && oid != zodb.RootOID && !now.gone && now.tid != 0: // without its root a database is damaged
			v = version{gone: true}
			err = txn.Delete(oid, now.tid)
		case n < 4:
			v.blob = strings.Repeat(fmt.Sprintf("%020d", rnd.Int64()), 1+rnd.IntN(400))
			err = txn.StoreBlob(oid, now.tid, []byte(v.data), zodb.BlobSource{Reader: strings.NewReader(v.blob)})
		default:
			err = txn.Store(oid, now.tid, []byte(v.data))
		}
		if err != nil {
			return err
		}
		changes[oid] = v
	}
	if err := txn.Vote(ctx); err != nil {
		return l.again(err)
	}
	tid, err := txn.Finish(ctx, nil)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for oid, v := range changes {
		delete(l.packed, oid)
		v.tid = tid
		l.history[oid] = append(l.history[oid], v)
	}
	l.TIDs = append(l.TIDs, tid)
	return nil
}

// Write lets the writers make about n transactions.
func (l *Load) Write(t testing.TB, n int) {
	t.Helper()
	l.mu.Lock()
	want := len(l.TIDs) + n
	l.mu.Unlock()
	l.Budget.Store(int64(n))
	for have := 0; have < want; {
		if t.Failed() {
			t.FailNow()
		}
		time.Sleep(time.Millisecond)
		l.mu.Lock()
		have = len(l.TIDs)
		l.mu.Unlock()
	}
}

// at returns the state of an object at a tid.
func (l *Load) at(oid zodb.OID, tid zodb.TID) version {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := version{gone: true}
	for _, x := range l.history[oid] {
		if x.tid <= tid {
			v = x
		}
	}
	return v
}

// Compare opens a HOME for reading and compares it with the model at a tid.
func (l *Load) Compare(home string, tid zodb.TID) error {
	s, err := engine.Open(context.Background(), home, engine.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(l.CompareWith(s, tid), s.Close())
}

// Copy is the part of a storage that is compared with the model.
type Copy interface {
	zodb.Loader
	zodb.Blobs
	zodb.Transactions
}

// CompareWith compares a storage, object by object and revision by revision, with the model
// at a tid.
func (l *Load) CompareWith(s Copy, tid zodb.TID) error {
	ctx := context.Background()
	l.waitForBegun() // a copy may hold a transaction before its writer has put it into the model
	if got := s.LastTransaction(); got != tid {
		return fmt.Errorf("the last transaction is %s, want %s", got, tid)
	}
	for i := range zodb.OID(l.objects) {
		if err := l.compareObject(ctx, s, l.first+i, tid); err != nil {
			return err
		}
	}
	l.mu.Lock()
	want := 0
	for _, x := range l.TIDs {
		if x <= tid {
			want++
		}
	}
	l.mu.Unlock()
	n := 0
	for _, err := range s.Transactions(ctx, 0, 0) {
		if err != nil {
			return err
		}
		n++
	}
	if n != want {
		return fmt.Errorf("%d transactions, want %d", n, want)
	}
	return nil
}

func (l *Load) compareObject(ctx context.Context, s Copy, oid zodb.OID, tid zodb.TID) error {
	want := l.at(oid, tid)
	r, err := s.Load(ctx, oid)
	if want.gone {
		if !errors.Is(err, zodb.ErrNotFound) {
			return fmt.Errorf("object %s: %v, want not found", oid, err)
		}
		return nil
	}
	if err != nil || r.Serial != want.tid || string(r.Data) != want.data {
		return fmt.Errorf("object %s: serial %s, %w; want %s", oid, r.Serial, err, want.tid)
	}
	l.mu.Lock()
	history := slices.Clone(l.history[oid])
	l.mu.Unlock()
	for _, v := range history {
		if v.tid > tid || v.blob == "" {
			continue
		}
		b, err := s.OpenBlob(ctx, oid, v.tid)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(b)
		if err = errors.Join(err, b.Close()); err != nil || string(got) != v.blob {
			return fmt.Errorf("blob of %s at %s: %w", oid, v.tid, err)
		}
	}
	return nil
}

// again takes the error of a vote. If objects that were deleted are not there at all any
// more, because of a pack, or are there again, because of an undelete, that is kept in mind, and the
// transaction may be made anew.
func (l *Load) again(err error) error {
	c, ok := errors.AsType[*zodb.ConflictsError](err)
	if !ok {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range c.Conflicts {
		last := version{gone: true}
		if h := l.history[one.OID]; len(h) > 0 {
			last = h[len(h)-1]
		}
		cameBack := l.packed[one.OID] && one.Current == last.tid
		if !last.gone || one.Current != 0 && !cameBack {
			return err
		}
	}
	for _, one := range c.Conflicts {
		l.packed[one.OID] = one.Current == 0
	}
	return errAgain
}

// errAgain says that another transaction is to be made in place of one.
var errAgain = errors.New("again")
