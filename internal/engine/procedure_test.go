package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// stampingFS is a file system on a machine whose clock is ours: a file bears
// the time of that clock when it was written.
type stampingFS struct {
	vfs.FS
	clock func() time.Time
}

func (f stampingFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return stampingFile{file, f, name}, err
}

type stampingFile struct {
	vfs.File
	fs   stampingFS
	name string
}

func (f stampingFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err == nil {
		err = f.fs.SetModTime(f.name, f.fs.clock())
	}
	return n, err
}

// traffic writes into a storage as fast as it can, with its effects kept in a model: oid → tid →
// data, where data that is nil is a deletion.
type traffic struct {
	s       *engine.Storage
	objects int
	mu      sync.Mutex
	history map[zodb.OID][]version
	commits atomic.Int64
	budget  atomic.Int64 // commits that may still be made; the copies would take ever longer
	busy    sync.RWMutex // read-locked by each writer until the model has its transaction
	stop    chan struct{}
	wait    sync.WaitGroup
}

type version struct {
	tid  zodb.TID
	data string
	blob string
}

func startTraffic(t *testing.T, s *engine.Storage, writers, objects int, budget int64) *traffic {
	w := &traffic{s: s, objects: objects, history: make(map[zodb.OID][]version), stop: make(chan struct{})}
	w.budget.Store(budget)
	for g := range writers {
		w.wait.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(g)))
			for {
				select {
				case <-w.stop:
					return
				default:
				}
				done, err := w.one(rnd, g, writers)
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
	t.Cleanup(w.end)
	return w
}

func (w *traffic) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.wait.Wait()
}

// one makes a transaction if the budget allows one.
func (w *traffic) one(rnd *rand.Rand, g, writers int) (done bool, err error) {
	w.busy.RLock()
	defer w.busy.RUnlock()
	if w.budget.Add(-1) < 0 {
		return false, nil
	}
	return true, w.transaction(rnd, g, writers)
}

func (w *traffic) transaction(rnd *rand.Rand, g, writers int) error {
	changes := make(map[zodb.OID]version)
	for range 1 + rnd.IntN(4) {
		oid := zodb.OID(rnd.IntN(w.objects/writers)*writers + g)
		// Contents of the same length, so that size tells nothing.
		v := version{data: string(pickletest.Record(fmt.Sprintf("%020d", rnd.Int64())))}
		if rnd.IntN(8) == 0 {
			v.blob = fmt.Sprintf("%020d", rnd.Int64())
		}
		changes[oid] = v
	}
	var list []enginetest.Change
	for oid, v := range changes {
		list = append(list, enginetest.Change{OID: oid, Data: []byte(v.data), Blob: v.blob})
	}
	tid, err := enginetest.TryCommit(w.s, zodb.TxnMeta{User: []byte("writer"), Description: fmt.Appendf(nil, "%d", g)}, list...)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for oid, v := range changes {
		v.tid = tid
		w.history[oid] = append(w.history[oid], v)
	}
	w.commits.Add(1)
	return nil
}

// at returns the state of all objects at a tid. The storage may have a transaction
// before its writer has put it into the model: at waits for those.
func (w *traffic) at(tid zodb.TID) map[zodb.OID]version {
	w.busy.Lock()
	defer w.busy.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	state := make(map[zodb.OID]version)
	for oid, list := range w.history {
		for _, v := range list {
			if v.tid <= tid {
				state[oid] = v
			}
		}
	}
	return state
}

// compareCopy opens a copy of a snapshot and compares it with the model, object
// by object, and all revisions of it.
func (w *traffic) compareCopy(t *testing.T, what, dir string) {
	t.Helper()
	s, err := engine.Open(context.Background(), dir, engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	state := w.at(s.LastTransaction())
	for oid := range zodb.OID(w.objects) {
		want, ok := state[oid]
		r, err := s.Load(t.Context(), oid)
		if !ok {
			if err == nil {
				t.Errorf("%s: object %s should not be there", what, oid)
			}
			continue
		}
		if err != nil || r.Serial != want.tid || string(r.Data) != want.data {
			t.Errorf("%s: object %s: serial %s, %v; want %s", what, oid, r.Serial, err, want.tid)
			continue
		}
		if want.blob != "" {
			if got := engine.ReadBlob(t, s, oid, want.tid); got != want.blob {
				t.Errorf("%s: blob of %s is %q, want %q", what, oid, got, want.blob)
			}
		}
		if h, err := s.History(t.Context(), oid, 3); err != nil || len(h) == 0 {
			t.Errorf("%s: history of %s: %d entries, %v", what, oid, len(h), err)
		}
	}
	n := 0
	for _, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		n++
	}
	if n < len(state)/4 {
		t.Errorf("%s: only %d transactions", what, n)
	}
}

func script(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "..", "testdata", "scripts", name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not on this machine", tool)
		}
	}
}

// withSnapshot runs f in snapshot mode.
func withSnapshot(t *testing.T, s *engine.Storage, f func()) {
	t.Helper()
	if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	f()
	if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
}

func TestNothingBelowAChangesDuringASnapshot(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	need(t, "flock", "find", "sha256sum", "xargs")
	for _, format := range engine.AllFormats() {
		t.Run(format.String(), func(t *testing.T) {
			home := engine.NewHome(t, engine.CreateOptions{Format: string(format), Set: map[string]string{"journal.flush_transaction_threshold": "20"}})
			s := engine.OpenHome(t, home, engine.Options{})
			startTraffic(t, s, 4, 100, 5000)
			snapshots := 3
			if testing.Short() || hometest.RaceDetector {
				snapshots = 1
			}
			for range snapshots {
				withSnapshot(t, s, func() {
					// Until the writers have filled two batches, and these were flushed.
					enough := filepath.Join(t.TempDir(), "enough")
					flushes := s.Status().Flushes
					go func() {
						for s.Status().Flushes < flushes+2 && t.Context().Err() == nil {
							time.Sleep(time.Millisecond)
						}
						os.WriteFile(enough, nil, 0o600)
					}()
					if n := script(t, "frozen.sh", home, enough); n == "0" {
						t.Error("nothing was compared")
					}
				})
			}
		})
	}
}

func TestHandMadeCopiesAreWhatTheyShouldBe(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("most of its time is that of other programs")
	}
	need(t, "flock", "find", "tar", "cp", "rsync", "stat")
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"journal.flush_transaction_threshold": "20"}})
	// The clock of this machine, which is going to be stepped back.
	var offset atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	disk, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.OpenHome(t, home, engine.OnFS(engine.Options{Clock: now}, stampingFS{disk, now}))
	w := startTraffic(t, s, 4, 60, 0)
	dir := t.TempDir()
	work, err := os.MkdirTemp(filepath.Dir(home), "links") // cp -al needs the same file system
	if err != nil {
		t.Fatal(err)
	}
	stamp := func(i int) string { return filepath.Join(dir, fmt.Sprint("stamp", i)) }
	at := func(base, kind string, i int) string { return filepath.Join(base, fmt.Sprint(kind, i)) }

	rounds := 10
	switch {
	case testing.Short():
		rounds = 4
	case hometest.RaceDetector:
		rounds = 6
	}
	for i := range rounds {
		if i == rounds/2 {
			offset.Store(int64(-time.Hour))
		}
		// The administrator notes the time first, by the clock of the machine.
		if err := os.WriteFile(stamp(i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(stamp(i), now(), now()); err != nil {
			t.Fatal(err)
		}
		// At full speed, from before the snapshot until after it.
		w.budget.Store(200)
		for w.commits.Load() < int64(i*100+50) && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		withSnapshot(t, s, func() {
			script(t, "tar-newer.sh", home, filepath.Join(dir, "tar"), stamp(i-1))
			script(t, "find-newer.sh", home, filepath.Join(dir, "find"), stamp(i-1))
			script(t, "rsync.sh", home, at(dir, "rsync", i), at(dir, "rsync", i-1))
			script(t, "cp-al.sh", home, at(work, "cp", i))
		})
		w.compareCopy(t, fmt.Sprintf("tar, round %d", i), filepath.Join(dir, "tar"))
		w.compareCopy(t, fmt.Sprintf("find, round %d", i), filepath.Join(dir, "find"))
		w.compareCopy(t, fmt.Sprintf("rsync, round %d", i), at(dir, "rsync", i))
		w.compareCopy(t, fmt.Sprintf("cp -al, round %d", i), at(work, "cp", i))
		if t.Failed() {
			return
		}
	}
	// All of them are still good after everything that came later.
	for i := range rounds {
		w.compareCopy(t, fmt.Sprintf("rsync of round %d at the end", i), at(dir, "rsync", i))
		w.compareCopy(t, fmt.Sprintf("cp -al of round %d at the end", i), at(work, "cp", i))
	}
}
