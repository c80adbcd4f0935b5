package restore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// version is one revision as its writer knows it.
type version struct {
	tid  zodb.TID
	data string
	blob string
	gone bool
}

// load is a storage and the model that its writers keep.
type load struct {
	home    string
	s       *dirstorage.Storage
	objects int

	mu      sync.Mutex
	history map[zodb.OID][]version // guarded by mu
	tids    []zodb.TID             // guarded by mu

	budget atomic.Int64 // transactions that may still be made
	stop   chan struct{}
	wait   sync.WaitGroup
}

func newLoad(t testing.TB, objects int, o dirstorage.CreateOptions) *load {
	t.Helper()
	l := &load{home: filepath.Join(t.TempDir(), "home"), objects: objects, history: make(map[zodb.OID][]version), stop: make(chan struct{})}
	if o.Set == nil {
		o.Set = map[string]string{"journal.flush_transaction_threshold": "20"}
	}
	err := dirstorage.Create(l.home, o)
	if err == nil {
		l.s, err = dirstorage.Open(t.Context(), l.home, dirstorage.Options{SegmentSize: 64 << 10, RetryInterval: 5 * time.Millisecond})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.s.Close() })
	return l
}

// record returns two pickles, a class and a state, that hold a text.
func record(text string) string {
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	return "cpersistent.mapping\nPersistentMapping\n.(T" + string(size) + text + "t."
}

// start begins writers, each with objects of its own.
func (l *load) start(t testing.TB, writers int) {
	for g := range writers {
		l.wait.Go(func() {
			rnd := rand.New(rand.NewPCG(11, uint64(g)))
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if l.budget.Add(-1) < 0 {
					time.Sleep(time.Millisecond)
					continue
				}
				if err := l.commit(rnd, g, writers); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(l.end)
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wait.Wait()
}

func (l *load) current(oid zodb.OID) version {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.history[oid]; len(h) > 0 {
		return h[len(h)-1]
	}
	return version{gone: true}
}

func (l *load) commit(rnd *rand.Rand, g, writers int) error {
	ctx := context.Background()
	txn, err := l.s.Begin(ctx, zodb.TxnMeta{User: []byte("load"), Description: fmt.Appendf(nil, "%d", g)}, dirstorage.BeginOptions{})
	if err != nil {
		return err
	}
	defer txn.Abort()
	changes := make(map[zodb.OID]version)
	for range 1 + rnd.IntN(4) {
		oid := zodb.OID(rnd.IntN(l.objects/writers)*writers + g)
		if _, again := changes[oid]; again {
			continue
		}
		now := l.current(oid)
		v := version{data: record(fmt.Sprintf("%020d", rnd.Int64()) + strings.Repeat(" ", rnd.IntN(300)))}
		switch n := rnd.IntN(16); {
		case n == 0 && !now.gone && now.tid != 0:
			v = version{gone: true}
			err = txn.Delete(oid, now.tid)
		case n < 4:
			v.blob = strings.Repeat(fmt.Sprintf("%020d", rnd.Int64()), 1+rnd.IntN(400))
			err = txn.StoreBlob(oid, now.tid, []byte(v.data), dirstorage.BlobSource{Reader: strings.NewReader(v.blob)})
		default:
			err = txn.Store(oid, now.tid, []byte(v.data))
		}
		if err != nil {
			return err
		}
		changes[oid] = v
	}
	if err := txn.Vote(ctx); err != nil {
		return err
	}
	tid, err := txn.Finish(ctx, nil)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for oid, v := range changes {
		v.tid = tid
		l.history[oid] = append(l.history[oid], v)
	}
	l.tids = append(l.tids, tid)
	return nil
}

// write lets the writers make about n transactions.
func (l *load) write(t testing.TB, n int) {
	t.Helper()
	l.mu.Lock()
	want := len(l.tids) + n
	l.mu.Unlock()
	l.budget.Store(int64(n))
	for have := 0; have < want; {
		if t.Failed() {
			t.FailNow()
		}
		time.Sleep(time.Millisecond)
		l.mu.Lock()
		have = len(l.tids)
		l.mu.Unlock()
	}
}

// at returns the state of an object at a tid.
func (l *load) at(oid zodb.OID, tid zodb.TID) version {
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

// compare compares a HOME, object by object and revision by revision, with the
// model at a tid.
func (l *load) compare(home string, tid zodb.TID) error {
	ctx := context.Background()
	s, err := dirstorage.Open(ctx, home, dirstorage.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer s.Close()
	if got := s.LastTransaction(); got != tid {
		return fmt.Errorf("the last transaction is %s, want %s", got, tid)
	}
	for oid := range zodb.OID(l.objects) {
		if err := l.compareObject(ctx, s, oid, tid); err != nil {
			return err
		}
	}
	l.mu.Lock()
	want := 0
	for _, x := range l.tids {
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

func (l *load) compareObject(ctx context.Context, s *dirstorage.Storage, oid zodb.OID, tid zodb.TID) error {
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

func directory(t testing.TB, dir string) vfs.FS {
	t.Helper()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// backUp makes a backup of a HOME. Frames are small, so that there are several.
func backUp(t testing.TB, home string, store objstore.Store, kind backup.Kind) *backup.Result {
	t.Helper()
	result, err := tryBackUp(t.Context(), home, store, kind)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func tryBackUp(ctx context.Context, home string, store objstore.Store, kind backup.Kind) (*backup.Result, error) {
	return backup.Run(ctx, backup.Options{
		Store: store, Kind: kind, Now: time.Now, FrameSize: 16 << 10,
		Snapshot: snapshot.Options{Home: home, Now: time.Now, Timeout: 20 * time.Second, Interval: 5 * time.Millisecond},
	})
}

func openRepository(t testing.TB, store objstore.Store) *backup.Repository {
	t.Helper()
	r, err := backup.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damaged) > 0 {
		t.Fatalf("manifests that can't be used: %v", r.Damaged)
	}
	return r
}

func restoreOptions(t testing.TB, r *backup.Repository, p *backup.Plan, dir, name string) restore.Options {
	t.Helper()
	return restore.Options{Repository: r, Plan: p, Parent: directory(t, dir), Name: name, Now: time.Now}
}

// TestEveryBackupAndTransactionIsRestored is the promise of the backups: made
// under load, each of them, and any transaction between, comes back as the
// writers know it, blobs included.
func TestEveryBackupAndTransactionIsRestored(t *testing.T) {
	t.Parallel()
	for format, between := range map[string]int{"chunky": 50} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			l := newLoad(t, 80, dirstorage.CreateOptions{Format: format})
			l.start(t, 4)
			l.write(t, 60)
			store := objstore.NewDir(directory(t, t.TempDir()))
			var backups []*backup.Manifest
			for i := range 21 {
				kind := backup.Incremental
				if i == 0 {
					kind = backup.Full
				}
				l.budget.Store(25) // at full speed while it is made
				result := backUp(t, l.home, store, kind)
				if result.Backup == nil || result.Backup.Kind != kind || result.Backup.ProblemCount != 0 {
					t.Fatalf("backup %d: %+v", i, result)
				}
				backups = append(backups, result.Backup)
				l.write(t, 6)
			}
			l.end()

			repo := openRepository(t, store)
			outcomes, err := repo.Verify(t.Context(), repo.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
			if err != nil || len(outcomes) != 21 {
				t.Fatalf("%d outcomes, %v", len(outcomes), err)
			}
			for _, o := range outcomes {
				if o.Error != nil {
					t.Error(o.Name, o.Error)
				}
			}
			var targets []zodb.TID
			for _, m := range backups {
				targets = append(targets, m.TID)
			}
			first, last := backups[0].TID, backups[20].TID
			rnd := rand.New(rand.NewPCG(5, 5))
			for len(targets) < 21+between {
				if tid := l.tids[rnd.IntN(len(l.tids))]; tid >= first && tid <= last {
					targets = append(targets, tid)
				}
			}
			dir := t.TempDir()
			for i, tid := range targets {
				p, err := repo.At(repo.Identities()[0], tid)
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprint("r", i)
				done, err := restore.Run(t.Context(), restoreOptions(t, repo, p, dir, name))
				if err != nil || done.TID != tid || done.Resumed {
					t.Fatalf("restore to %s: %+v, %v", tid, done, err)
				}
				if err := l.compare(filepath.Join(dir, name), tid); err != nil {
					t.Fatalf("restored to %s: %v", tid, err)
				}
				sound(t, filepath.Join(dir, name))
				os.RemoveAll(filepath.Join(dir, name))
			}
		})
	}
}

func sound(t testing.TB, home string) {
	t.Helper()
	sum, err := check.Run(t.Context(), check.Options{FS: directory(t, home)}, func(f check.Finding) {
		t.Errorf("check of %s: %s %s %s", home, f.Kind, f.Path, f.Detail)
	})
	if err != nil || sum.Transactions == 0 {
		t.Fatalf("check: %+v, %v", sum, err)
	}
}
