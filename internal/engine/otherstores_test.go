package engine_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestStorageOnOtherStores: the engine needs no more of a store than its interfaces. It
// commits, reads, goes through a snapshot, is opened again, packs and undeletes.
func TestStorageOnOtherStores(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		var memory *storetest.Memory
		testStorageOn(t, func(f vfs.FS) (store.Store, error) {
			if memory == nil {
				memory = storetest.NewMemory(f)
			}
			return memory, nil
		})
	})
	t.Run("bundles", func(t *testing.T) {
		t.Parallel()
		testStorageOn(t, openBundled)
	})
}

// openBundled opens a store of bundles in a HOME of another format.
func openBundled(f vfs.FS) (store.Store, error) {
	for _, e := range bundled.Empty() {
		if _, err := vfs.Put(f, e.Path, e.Content, false); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return bundled.New(bundled.Options{FS: f, Sync: true, DirSync: true, Clock: time.Now})
}

func testStorageOn(t *testing.T, openStore func(f vfs.FS) (store.Store, error)) {
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "3600"}})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	o := engine.Options{History: engine.HistoryKept}
	st, err := openStore(f)
	if err != nil {
		t.Fatal(err)
	}
	o = engine.OnStore(o, st)
	s := engine.OpenHome(t, home, o)
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1, 2)}, enginetest.Change{OID: 1, Data: pickletest.Record("a")}, enginetest.Change{OID: 2, Data: pickletest.Record("b"), Blob: "a blob"})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a2")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	last := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("a3")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, err := s.LastInA(); err != nil || v >= last {
		t.Errorf("A ends with %s during the snapshot, last is %s: %v", v, last, err)
	}
	if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if st, err = openStore(f); err != nil {
		t.Fatal(err)
	}
	o = engine.OnStore(o, st)
	o.CacheSize = -1 // all comes from the store
	s = engine.OpenHome(t, home, o)
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("a3")) {
		t.Errorf("object 1 is %q", got)
	}
	history, err := s.History(t.Context(), 1, 10)
	if err != nil || len(history) != 3 || history[2].TID != first {
		t.Errorf("the history of object 1 is %+v: %v", history, err)
	}
	blob, err := s.OpenBlob(t.Context(), 2, first)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(blob); string(b) != "a blob" || err != nil {
		t.Errorf("the blob is %q: %v", b, err)
	}
	if err := blob.Close(); err != nil {
		t.Error(err)
	}
	n := 0
	for tr, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range s.Records(t.Context(), tr) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	if n != 6 {
		t.Errorf("%d records, want 6", n)
	}
	packed, err := s.Pack(t.Context(), zodb.PackOptions{Time: time.Now()})
	if err != nil || packed.Objects != 1 || packed.Revisions != 4 || packed.Transactions != 2 || packed.Blobs != 1 {
		t.Fatalf("packed %+v: %v", packed, err)
	}
	if got := fmt.Sprint(oids(t, s)); got != fmt.Sprint([]zodb.OID{0, 1}) {
		t.Errorf("after the pack there are %s", got)
	}
	back, err := s.Undelete(t.Context(), packed.Stamp)
	if err != nil || back.Objects != 1 || back.Revisions != 4 || back.Transactions != 2 || back.Blobs != 1 {
		t.Fatalf("brought back %+v: %v", back, err)
	}
	if got := engine.Load(t, s, 2); got != string(pickletest.Record("b")) {
		t.Errorf("object 2 is %q", got)
	}
	if n, err := s.CountExactly(t.Context()); err != nil || n.Objects != 3 || n.Revisions != 6 || n.Transactions != 3 {
		t.Errorf("counted %+v: %v", n, err)
	}
}

func oids(t *testing.T, s *engine.Storage) (list []zodb.OID) {
	t.Helper()
	for oid, err := range s.OIDs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, oid)
	}
	return list
}

// orderStore notes the order of calls.
type orderStore struct {
	store.Store
	mu    sync.Mutex
	calls []string // guarded by mu
}

func (s *orderStore) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// Sync implements [store.Writer].
func (s *orderStore) Sync() error {
	s.note("sync")
	return s.Store.Sync()
}

// RaiseFloor implements [store.Freezer].
func (s *orderStore) RaiseFloor(moment time.Time) (time.Time, error) {
	s.note("floor")
	return s.Store.RaiseFloor(moment)
}

// TestTheFloorRisesWhenAllOfASnapshotIsInA: a sync may put lists that a pack has not written yet. So the floor
// is raised behind it, or a file of the snapshot would bear the time of later ones.
func TestTheFloorRisesWhenAllOfASnapshotIsInA(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := openBundled(f)
	if err != nil {
		t.Fatal(err)
	}
	st := &orderStore{Store: inner}
	s, err := engine.Open(t.Context(), home, engine.OnStore(engine.Options{History: engine.HistoryKept}, st))
	if err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	st.mu.Lock()
	calls := slices.Clone(st.calls)
	st.mu.Unlock()
	if n := len(calls); n < 2 || calls[n-1] != "floor" || calls[n-2] != "sync" {
		t.Errorf("the snapshot was entered after %q", calls)
	}
	if err := errors.Join(s.LeaveSnapshot(t.Context(), "a"), s.Close()); err != nil {
		t.Fatal(err)
	}
}
