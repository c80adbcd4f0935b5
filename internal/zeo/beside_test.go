package zeo

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// uploadParts is how often the upload waits for all others to go on.
	uploadParts = 6
	// uploadHeap bounds the memory of an upload, however large it is.
	uploadHeap = 32 << 20
	// commitsMeanwhile is how many of each writer see the end of a pack and of a
	// snapshot put off.
	commitsMeanwhile = 5
	// longLog is how many transactions lie at the far end of the undo log.
	longLog = 1000
	// packable is how many packs have something to remove.
	packable = 8
)

// Objects of the test: those of the writers are 1 and 2.
const (
	oidUploaded zodb.OID = 10 + iota
	oidHeld              // of the transaction that a pack waits for
	oidEarly             // the subject of the long undo log
	oidGarbage           // and those after it
)

// uploadSize is how many bytes the large blob has: $DIRSTORAGE_UPLOAD, or 64 MiB. It
// is more than uploadHeap in a short run, too.
func uploadSize(t testing.TB) int64 {
	t.Helper()
	text := os.Getenv("DIRSTORAGE_UPLOAD")
	switch {
	case text == "" && testing.Short():
		return 40 << 20
	case text == "":
		return 64 << 20
	}
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || size < uploadParts {
		t.Fatalf("DIRSTORAGE_UPLOAD=%s: %v", text, err)
	}
	return size
}

// bystanders are clients, a pack and a backup that go on while one client uploads. They tell each
// other of their progress, and the first one that fails ends them all.
type bystanders struct {
	ts      *testServer
	storage *engine.Storage
	backups objstore.Store
	ctx     context.Context
	fail    context.CancelCauseFunc
	garbage [packable]zodb.TID // when it was replaced or could not be reached any more

	mu      sync.Mutex
	changed chan struct{}  // guarded by mu; closed at the next event
	steps   map[string]int // guarded by mu; how many each has made
	writers [2]scribe
}

// scribe is a client that writes one object over and over.
type scribe struct {
	oid    zodb.OID
	told   zodb.TID   // guarded by bystanders.mu; the newest announcement
	own    []zodb.TID // guarded by bystanders.mu; acknowledged, changed by its own goroutine
	packed int        // guarded by bystanders.mu; commits that began and ended during one pack
}

// text is the record of the writer's nth transaction.
func (w *scribe) text(n int) string { return fmt.Sprintf("%d of %s", n, w.oid) }

// newest is the number and the tid of its newest transaction, -1 if there is none.
func (w *scribe) newest() (n int, tid zodb.TID) {
	n = len(w.own) - 1
	if n >= 0 {
		tid = w.own[n]
	}
	return n, tid
}

// event changes the state for which others wait.
func (b *bystanders) event(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

// await waits for events until a condition holds.
func (b *bystanders) await(f func() bool) error {
	for {
		b.mu.Lock()
		ok, changed := f(), b.changed
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		}
	}
}

// allStep waits until each has made a step since it was called.
func (b *bystanders) allStep() error {
	before := make(map[string]int)
	b.mu.Lock()
	for name, n := range b.steps {
		before[name] = n
	}
	b.mu.Unlock()
	return b.await(func() bool {
		for name, n := range before {
			if b.steps[name] == n {
				return false
			}
		}
		return true
	})
}

// allCommit waits until each writer's count has grown by commitsMeanwhile.
func (b *bystanders) allCommit(count func(w *scribe) int) error {
	var before [len(b.writers)]int
	b.mu.Lock()
	for i := range b.writers {
		before[i] = count(&b.writers[i])
	}
	b.mu.Unlock()
	return b.await(func() bool {
		for i := range b.writers {
			if count(&b.writers[i]) < before[i]+commitsMeanwhile {
				return false
			}
		}
		return true
	})
}

// start has one of them make steps until it is over.
func (b *bystanders) start(wait *sync.WaitGroup, over <-chan struct{}, name string, step func() error) {
	b.event(func() { b.steps[name] = 0 })
	wait.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			if err := step(); err != nil {
				b.fail(fmt.Errorf("%s: %w", name, err))
				return
			}
			b.event(func() { b.steps[name]++ })
		}
	})
}

func (b *bystanders) dial(t testing.TB, onInvalidate func(zodb.TID, []zodb.OID)) *zeoclient.Client {
	t.Helper()
	c, err := zeoclient.Dial(b.ctx, zeoclient.Options{Address: b.ts.address, OnInvalidate: onInvalidate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// store commits one object.
func (b *bystanders) store(c *zeoclient.Client, user string, oid zodb.OID, serial zodb.TID, data []byte) (zodb.TID, error) {
	txn, err := c.Begin(zodb.TxnMeta{User: []byte(user)}, zeoclient.BeginOptions{})
	if err != nil {
		return 0, err
	}
	if err := txn.Store(oid, serial, data); err != nil {
		return 0, err
	}
	return txn.Commit(b.ctx)
}

// prepare commits garbage for packs, and after it the transactions of the long undo log.
func (b *bystanders) prepare() error {
	c, err := zeoclient.Dial(b.ctx, zeoclient.Options{Address: b.ts.address})
	if err != nil {
		return err
	}
	defer c.Close()
	serial, err := b.store(c, "before", oidEarly, 0, record("before"))
	if err != nil {
		return err
	}
	if _, err := b.store(c, "root", 0, 0, []byte(refers("root", oidEarly))); err != nil {
		return err
	}
	for i := range b.garbage {
		for range 2 {
			if b.garbage[i], err = b.store(c, "garbage", oidGarbage+zodb.OID(i), b.garbage[i], record("nobody refers to it")); err != nil {
				return err
			}
		}
	}
	for range longLog {
		if serial, err = b.store(c, "early", oidEarly, serial, record("early")); err != nil {
			return err
		}
	}
	return nil
}

// write commits, and then looks whether the newest transaction of the other one is
// announced and can be read.
func (b *bystanders) write(c *zeoclient.Client, me, other *scribe) error {
	n, serial := me.newest()
	pack := b.storage.PackProgress().Begun
	tid, err := b.store(c, "writer", me.oid, serial, record(me.text(n+1)))
	if err != nil {
		return err
	}
	packed := !pack.IsZero() && b.storage.PackProgress().Begun.Equal(pack)
	var theirs zodb.TID
	b.event(func() {
		me.own = append(me.own, tid)
		if packed {
			me.packed++
		}
		n, theirs = other.newest()
	})
	if n < 0 {
		return nil
	}
	if err := b.await(func() bool { return me.told >= theirs }); err != nil {
		return err
	}
	return hasRevision(b.ctx, c, other, n, theirs)
}

// hasRevision compares a client's load with the record that a writer has stored.
func hasRevision(ctx context.Context, c *zeoclient.Client, w *scribe, n int, tid zodb.TID) error {
	rev, err := c.LoadBefore(ctx, w.oid, tid+1)
	if err != nil {
		return err
	}
	if rev == nil || rev.Serial != tid || !bytes.Equal(rev.Data, record(w.text(n))) {
		return fmt.Errorf("object %s at %s is %v, want %q", w.oid, tid, rev, w.text(n))
	}
	return nil
}

// undoInfo asks for the far end of the undo log, so that all of it is read.
func (b *bystanders) undoInfo(c *zeoclient.Client) error {
	list, err := c.UndoInfo(b.ctx, 0, maxUndoEntries, wire.Dict{{Key: "user_name", Value: []byte("early")}})
	if err == nil && len(list) != longLog {
		err = fmt.Errorf("%d entries, want %d", len(list), longLog)
	}
	return err
}

// backUp makes a backup, whose snapshot lasts until the writers have committed.
func (b *bystanders) backUp() error {
	waited := false
	r, err := backup.Run(b.ctx, backup.Options{
		Store: b.backups, Now: time.Now, Snapshot: snapshot.Options{Home: b.storage.Home(), Now: time.Now},
		Progress: func(backup.Progress) {
			if !waited {
				waited = true
				// If it fails, ctx has ended, and so does the backup.
				_ = b.allCommit(func(w *scribe) int { return len(w.own) })
			}
		},
	})
	if err == nil && (r.Backup == nil || !waited) {
		err = fmt.Errorf("nothing was backed up: %+v", r)
	}
	return err
}

// pack packs the nth batch of garbage away. The pack has to wait for a voted
// transaction until the writers have committed.
func (b *bystanders) pack(packer, holder *zeoclient.Client, n int) error {
	n = min(n, packable-1)
	txn, err := holder.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err != nil {
		return err
	}
	if err := txn.Store(oidHeld, 0, record("held")); err != nil {
		return err
	}
	if _, _, err := txn.Vote(b.ctx); err != nil {
		return err
	}
	packed := make(chan error, 1)
	go func() { packed <- packer.Pack(b.ctx, b.garbage[n].Time().Add(time.Microsecond), true) }()
	err = b.allCommit(func(w *scribe) int { return w.packed })
	if err = errors.Join(err, txn.Abort(b.ctx), <-packed); err != nil {
		return err
	}
	if _, err := packer.LoadBefore(b.ctx, oidGarbage+zodb.OID(n), 1<<62); !isNotFound(err) {
		return fmt.Errorf("the garbage is still there: %v", err)
	}
	return nil
}

// slowBlob is the content of a blob as it is read by its uploader. It goes on with each
// part when all others have made a step since the one before.
type slowBlob struct {
	b     *bystanders
	rnd   *rand.ChaCha8
	sum   hash.Hash
	size  int64
	sent  int64
	part  int64    // the next one
	heaps []uint64 // bytes in use before each part
}

func (s *slowBlob) end(part int64) int64 { return s.size * part / uploadParts }

// Read implements io.Reader.
func (s *slowBlob) Read(p []byte) (int, error) {
	if s.sent == s.end(s.part) && s.part <= uploadParts {
		s.part++
		if err := s.b.allStep(); err != nil {
			return 0, err
		}
		s.heaps = append(s.heaps, heapInUse())
	}
	if s.sent == s.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.end(s.part)-s.sent)]
	_, _ = s.rnd.Read(p) // never fails
	s.sum.Write(p)
	s.sent += int64(len(p))
	return len(p), nil
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// upload commits the blob.
func (b *bystanders) upload(c *zeoclient.Client, blob io.Reader) (zodb.TID, error) {
	// A client whose server does not read any more waits for ever.
	defer context.AfterFunc(b.ctx, func() { c.Close() })()
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err != nil {
		return 0, err
	}
	if err := txn.StoreBlob(oidUploaded, 0, record("uploaded"), blob); err != nil {
		return 0, err
	}
	return txn.Commit(b.ctx)
}

// uploadBeside starts the bystanders, uploads the blob, and returns when all have ended.
func (b *bystanders) uploadBeside(t *testing.T, blob io.Reader) (zodb.TID, error) {
	t.Helper()
	var writers, others sync.WaitGroup
	over, allOver := make(chan struct{}), make(chan struct{})
	var clients [len(b.writers)]*zeoclient.Client
	for i := range b.writers {
		me := &b.writers[i]
		me.oid = zodb.OID(i + 1)
		clients[i] = b.dial(t, func(tid zodb.TID, _ []zodb.OID) { b.event(func() { me.told = tid }) })
	}
	for i, c := range clients {
		me, other := &b.writers[i], &b.writers[1-i]
		b.start(&writers, allOver, fmt.Sprint("writer ", i), func() error { return b.write(c, me, other) })
	}
	reader, packer, holder, uploader := b.dial(t, nil), b.dial(t, nil), b.dial(t, nil), b.dial(t, nil)
	b.start(&others, over, "undo log", func() error { return b.undoInfo(reader) })
	b.start(&others, over, "backup", b.backUp)
	packs := 0
	b.start(&others, over, "pack", func() error {
		packs++
		return b.pack(packer, holder, packs-1)
	})
	tid, err := b.upload(uploader, blob)
	if err != nil {
		b.fail(fmt.Errorf("upload: %w", err))
	}
	close(over)
	others.Wait() // they need the writers to come to their end
	close(allOver)
	writers.Wait()
	return tid, context.Cause(b.ctx)
}

// TestLargeUploadStopsNobody: the upload goes on only when each of the others has, so
// that it never ends if one of them has to wait for it; and it takes no memory that
// grows with the blob. It is not parallel to other tests, whose memory would count.
func TestLargeUploadStopsNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	ts, s := servePacks(t, Options{})
	home := s.Home()
	dir := filepath.Join(filepath.Dir(home), "backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	store, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Only a test that hangs comes to this end.
	limited, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	ctx, fail := context.WithCancelCause(limited)
	defer fail(nil)
	b := &bystanders{
		ts: ts, storage: s, backups: objstore.NewDir(store), ctx: ctx, fail: fail,
		changed: make(chan struct{}), steps: make(map[string]int),
	}
	if err := b.prepare(); err != nil {
		t.Fatal(err)
	}
	blob := &slowBlob{b: b, rnd: rand.NewChaCha8([32]byte{}), sum: md5.New(), size: uploadSize(t)}
	began := time.Now()
	tid, err := b.uploadBeside(t, blob)
	if err != nil {
		t.Fatalf("after %d of %d bytes, steps %v: %v", blob.sent, blob.size, b.steps, err)
	}
	t.Logf("%d bytes in %s; steps %v; heap %d", blob.size, time.Since(began), b.steps, blob.heaps)
	for _, heap := range blob.heaps {
		if heap > blob.heaps[0]+uploadHeap {
			t.Errorf("%d bytes of heap in use during the upload, %d before", heap, blob.heaps[0])
		}
	}
	c := b.dial(t, nil)
	for i := range b.writers {
		own := b.writers[i].own
		every := 1
		if testing.Short() { // the time of a load grows with the number of revisions
			every += len(own) / 100
		}
		for n, tid := range own {
			if n%every > 0 && n != len(own)-1 {
				continue
			}
			if err := hasRevision(ctx, c, &b.writers[i], n, tid); err != nil {
				t.Error(err)
			}
		}
	}
	got := md5.New()
	n, err := c.SendBlob(ctx, oidUploaded, tid, got)
	if err != nil || n != blob.size || !bytes.Equal(got.Sum(nil), blob.sum.Sum(nil)) {
		t.Errorf("the blob came back with %d of %d bytes, MD5 %x, want %x: %v", n, blob.size, got.Sum(nil), blob.sum.Sum(nil), err)
	}
	ts.stop()
	sound(t, s)
}
