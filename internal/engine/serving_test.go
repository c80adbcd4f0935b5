package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func begin(t testing.TB, s *Storage) *txn.Txn {
	t.Helper()
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { txn.Abort() })
	return txn
}

// staged returns the names of staged blobs.
func staged(t testing.TB, home string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(home, "journal", "blob-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCountsIncludeWhatIsNotFlushedAndTheTransactionThatIsPublished(t *testing.T) {
	t.Parallel()
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			s := open(t, newHome(t, CreateOptions{Class: class}), Options{})
			var want, got zodb.Counts
			for i := range 30 {
				txn := begin(t, s)
				if err := fill(s, txn, change{oid: zodb.OID(i % 7), data: rec(strings.Repeat("x", i))}, change{oid: zodb.OID(100 + i), data: rec("new")}); err != nil {
					t.Fatal(err)
				}
				if err := txn.Vote(t.Context()); err != nil {
					t.Fatal(err)
				}
				var inCallback zodb.TID
				tid, err := txn.Finish(t.Context(), func(zodb.TID) { got, inCallback = s.Counts(), s.LastTransaction() })
				if err != nil || inCallback != tid {
					t.Fatalf("finish: %v; the last transaction was %s in the callback of %s", err, inCallback, tid)
				}
				// The running counts have to equal the sum over the queue.
				for version, same := uint64(0), false; !same; same = s.state.Version() == version {
					version = s.state.Version()
					want, _ = s.state.FlushedCounts()
					state.AddBatch(&want, s.state.Unflushed(), s.home.Full)
				}
				if class == zodb.ClassMinimal {
					want.Objects = got.Objects // which is then only known to be less than the highest oid
				}
				if got != want {
					t.Fatalf("counts %+v, want %+v", got, want)
				}
				if i%9 == 8 {
					if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
						t.Fatal(err)
					}
					if now := s.Counts(); now.Revisions != got.Revisions || now.Bytes != got.Bytes {
						t.Fatalf("the flush changes the counts from %+v to %+v", got, now)
					}
				}
			}
			unflushed := func() zodb.Counts {
				n := s.state.Counts()
				flushed, _ := s.state.FlushedCounts()
				state.Combine(&n, flushed, -1)
				n.Exact = false
				return n
			}
			if unflushed() == (zodb.Counts{}) {
				t.Error("nothing was counted as unflushed")
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := unflushed(); left != (zodb.Counts{}) {
				t.Errorf("with nothing unflushed %+v is left", left)
			}
		})
	}
}

// observed notes the calls of an Observer.
type observed struct {
	mu                            sync.Mutex
	syncs, synced, waits          int
	flushes, transactions, files  int
	syncTime, waitTime, flushTime time.Duration
	longestFlush                  time.Duration
}

func (o *observed) Synced(d time.Duration, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.syncs++
	o.synced += n
	o.syncTime += d
}

func (o *observed) LockWaited(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waits++
	o.waitTime += d
}

func (o *observed) Flushed(d time.Duration, transactions, files int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flushes++
	o.transactions += transactions
	o.files += files
	o.flushTime += d
	o.longestFlush = max(o.longestFlush, d)
}

func TestObserverIsToldOfCommitsFlushesAndLockWaits(t *testing.T) {
	t.Parallel()
	o := &observed{}
	s := newStorage(t, Options{Observer: o})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 1, data: rec("one")})
	commit(t, s, change{oid: 2, data: rec("two")})
	o.mu.Lock()
	if o.syncs != 2 || o.synced != 2 || o.syncTime <= 0 || o.waits != 0 || o.flushes != 0 {
		t.Errorf("%+v", o)
	}
	o.mu.Unlock()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A second transaction waits for the first one's object.
	a, b := begin(t, s), begin(t, s)
	for _, txn := range []*txn.Txn{a, b} {
		if err := fill(s, txn, change{oid: 1, data: rec("more")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	voted := make(chan error)
	go func() { voted <- b.Vote(t.Context()) }()
	for s.txns.Report().WaitForLocks == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := <-voted; err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flushes != 1 || o.transactions != 2 || o.files == 0 || o.flushTime <= 0 || o.waits != 1 || o.waitTime <= 0 {
		t.Errorf("%+v", o)
	}
}

func TestTransactionTellsWhatItStores(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{SpoolSize: 100})
	commit(t, s, change{oid: 3, data: rec("there")})
	txn := begin(t, s)
	long := rec(strings.Repeat("long", 100)) // in the file of the spool
	if err := fill(s, txn, change{oid: 2, data: rec("first")}, change{oid: 1, data: long}, change{oid: 2, data: rec("second")}, change{oid: 3}); err != nil {
		t.Fatal(err)
	}
	if got := txn.OIDs(); !slices.Equal(got, []zodb.OID{2, 1, 3}) {
		t.Errorf("oids %v", got)
	}
	look := func() {
		t.Helper()
		for oid, want := range map[zodb.OID][]byte{2: rec("second"), 1: long} {
			got, err := txn.Data(oid)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("object %s: %q, %v", oid, got, err)
			}
			clear(got) // it is ours
		}
		for _, oid := range []zodb.OID{3, 4} {
			if _, err := txn.Data(oid); !errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("object %s: %v", oid, err)
			}
		}
	}
	look()
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := load(t, s, 2); got != string(rec("second")) {
		t.Errorf("got %q", got)
	}
	if _, err := txn.Data(2); !errors.Is(err, zodb.ErrState) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAResolvedConflictKeepsItsBlob(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	old := commit(t, s, change{oid: 1, data: rec("one"), blob: "blob one"})
	txn := begin(t, s)
	if err := fill(s, txn, change{oid: 1, data: rec("mine"), blob: "blob mine", serial: old}); err != nil {
		t.Fatal(err)
	}
	current := commit(t, s, change{oid: 1, data: rec("theirs"), blob: "blob theirs"})
	if err := txn.Vote(t.Context()); !errors.Is(err, zodb.ErrConflict) {
		t.Fatalf("vote: %v", err)
	}
	if data, err := txn.Data(1); err != nil || string(data) != string(rec("mine")) {
		t.Errorf("the record of the conflict: %q, %v", data, err)
	}
	if err := txn.Store(1, current, rec("resolved")); err != nil {
		t.Fatal(err)
	}
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := readBlob(t, s, 1, tid); got != "blob mine" || load(t, s, 1) != string(rec("resolved")) {
		t.Errorf("blob %q", got)
	}
	// So does a record that is stored again without a conflict; that of the next
	// transaction is an object without a blob.
	tid = commit(t, s, change{oid: 1, data: rec("with"), blob: "again"}, change{oid: 1, data: rec("anew")})
	if got := readBlob(t, s, 1, tid); got != "again" || load(t, s, 1) != string(rec("anew")) {
		t.Errorf("blob %q of a record stored anew", got)
	}
	tid = commit(t, s, change{oid: 1, data: rec("without")})
	if _, err := s.OpenBlob(t.Context(), 1, tid); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("a record without a blob: %v", err)
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if left := staged(t, home); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestUndoTellsAllObjectsThatAreInItsWay(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 1, data: rec("1")}, change{oid: 2, data: rec("2")}, change{oid: 3, data: rec("3")})
	tid := commit(t, s, change{oid: 1, data: rec("1a")}, change{oid: 2, data: rec("2a"), blob: "blob"}, change{oid: 3, data: rec("3a")})
	commit(t, s, change{oid: 1, data: rec("1b")}, change{oid: 3, data: rec("3b")})
	txn := begin(t, s)
	_, err := txn.Undo(t.Context(), tid)
	if !errors.Is(err, zodb.ErrUndo) {
		t.Fatal(err)
	}
	var oids []zodb.OID
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		u, ok := errors.AsType[*zodb.UndoError](e)
		if !ok || u.TID != tid {
			t.Errorf("%#v", e)
			continue
		}
		oids = append(oids, u.OID)
	}
	if !slices.Equal(oids, []zodb.OID{1, 3}) {
		t.Errorf("objects in the way: %v", oids)
	}
	if got := txn.OIDs(); len(got) != 0 {
		t.Errorf("the transaction writes %v all the same", got)
	}
	_, err = txn.Undo(t.Context(), tid+1)
	if _, single := err.(*zodb.UndoError); !single {
		t.Errorf("a transaction that is not there: %#v", err)
	}
}

func TestBlobOfACommittedTransactionCannotBeWrittenTo(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(mine, []byte("moved"), 0o604); err != nil {
		t.Fatal(err)
	}
	txn := begin(t, s)
	w, err := txn.BeginBlob()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "staged"); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		txn.StoreBlob(1, 0, rec("1"), zodb.BlobSource{Path: mine}),
		txn.StoreBlob(2, 0, rec("2"), zodb.BlobSource{Staged: w}),
		txn.StoreBlob(3, 0, rec("3"), zodb.BlobSource{Reader: strings.NewReader("streamed")}), txn.Vote(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range staged(t, home) {
		if info, err := os.Stat(name); err != nil || info.Mode()&0o222 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	modes := make(map[string]fs.FileMode)
	for name, err := range vfs.Walk(s.home.FS, "A") {
		info, serr := s.home.FS.Stat(name)
		if err != nil || serr != nil {
			t.Fatal(err, serr)
		}
		if strings.HasSuffix(name, ".blob") {
			modes[readFile(t, filepath.Join(home, name))] = info.Mode
		}
	}
	if len(modes) != 3 || modes["moved"] != 0o404 || modes["staged"]&0o222 != 0 || modes["streamed"]&0o222 != 0 {
		t.Errorf("modes %v", modes)
	}
	if got := readBlob(t, s, 2, tid); got != "staged" {
		t.Errorf("got %q", got)
	}
	// And an undo copies it.
	commit(t, s, change{oid: 2, data: rec("2b"), blob: "other"})
	if _, err := undo(t, s, s.LastTransaction()); err != nil {
		t.Fatal(err)
	}
	if got := readBlob(t, s, 2, s.LastTransaction()); got != "staged" {
		t.Errorf("undone: %q", got)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestABlobOfAnotherUserIsCopiedNotMoved(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	first := true
	s := open(t, home, Options{fs: errfs.New(f, func(op errfs.Op) error {
		if op.Kind == "chmod" && first { // as the system says if somebody else owns it
			first = false
			return fs.ErrPermission
		}
		return nil
	})})
	theirs := filepath.Join(t.TempDir(), "theirs")
	if err := os.WriteFile(theirs, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	again := theirs + "-again"
	if err := os.Link(theirs, again); err != nil {
		t.Fatal(err)
	}
	txn := begin(t, s)
	if err := errors.Join(txn.StoreBlob(1, 0, rec("1"), zodb.BlobSource{Path: theirs}), txn.Vote(t.Context())); err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(again, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := readBlob(t, s, 1, tid); got != "content" {
		t.Errorf("somebody changed it to %q", got)
	}
	if _, err := os.Stat(theirs); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was not consumed: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(again, link); err != nil {
		t.Fatal(err)
	}
	if err := begin(t, s).StoreBlob(2, 0, rec("2"), zodb.BlobSource{Path: link}); err == nil {
		t.Error("a symbolic link was taken for a blob")
	}
}

func TestBlobThatComesInPieces(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	rnd := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 59_000, 64 << 10, 64<<10 + 1, 5 << 20} {
		content := make([]byte, size)
		_, _ = rnd.Read(content)
		txn := begin(t, s)
		w, err := txn.BeginBlob()
		if err != nil {
			t.Fatal(err)
		}
		for piece := range slices.Chunk(content, 59_000) {
			if n, err := w.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if w.Size() != int64(size) {
			t.Errorf("size %d, want %d", w.Size(), size)
		}
		if err := errors.Join(w.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, zodb.ErrState) {
			t.Errorf("write to a closed blob: %v", err)
		}
		if err := txn.StoreBlob(1, s.serialFor(t, 1), rec("one"), zodb.BlobSource{Staged: w}); err != nil {
			t.Fatal(err)
		}
		if err := txn.StoreBlob(2, s.serialFor(t, 2), rec("two"), zodb.BlobSource{Staged: w}); !errors.Is(err, zodb.ErrState) {
			t.Errorf("stored twice: %v", err)
		}
		if err := begin(t, s).StoreBlob(2, 0, rec("two"), zodb.BlobSource{Staged: w}); !errors.Is(err, zodb.ErrState) {
			t.Errorf("stored by another transaction: %v", err)
		}
		if err := w.Abort(); err != nil { // it belongs to the transaction now
			t.Fatal(err)
		}
		if err := txn.Vote(t.Context()); err != nil {
			t.Fatal(err)
		}
		tid, err := txn.Finish(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := readBlob(t, s, 1, tid); got != string(content) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
		o, err := s.Revision(t.Context(), 1, tid)
		if err != nil || o.BlobSum != record.SumBlob(content) {
			t.Errorf("%d bytes: checksum %x, %v", size, o.BlobSum, err)
		}
	}
}

func TestBlobThatIsNotStoredIsRemoved(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	write := func(txn *txn.Txn) zodb.BlobWriter {
		w, err := txn.BeginBlob()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 3<<20)); err != nil {
			t.Fatal(err)
		}
		return w
	}
	for name, end := range map[string]func(*txn.Txn, zodb.BlobWriter) error{
		"aborted":               func(_ *txn.Txn, w zodb.BlobWriter) error { return errors.Join(w.Abort(), w.Abort()) },
		"closed and aborted":    func(_ *txn.Txn, w zodb.BlobWriter) error { return errors.Join(w.Close(), w.Abort()) },
		"transaction aborted":   func(txn *txn.Txn, _ zodb.BlobWriter) error { return txn.Abort() },
		"closed, not stored":    func(txn *txn.Txn, w zodb.BlobWriter) error { return errors.Join(w.Close(), txn.Abort()) },
		"transaction committed": func(txn *txn.Txn, _ zodb.BlobWriter) error { return finishWith(txn, 1) },
		"stored, then not": func(txn *txn.Txn, w zodb.BlobWriter) error {
			return errors.Join(txn.StoreBlob(2, 0, rec("2"), zodb.BlobSource{Staged: w}), txn.Abort())
		},
		"committed, closed, unused": func(txn *txn.Txn, w zodb.BlobWriter) error { return errors.Join(w.Close(), finishWith(txn, 3)) },
	} {
		txn := begin(t, s)
		w := write(txn)
		if err := end(txn, w); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left := staged(t, home); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
		_ = txn.Abort()
		if _, err := w.Write([]byte("x")); !errors.Is(err, zodb.ErrState) {
			t.Errorf("%s: write: %v", name, err)
		}
	}
	txn := begin(t, s)
	write(txn)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := staged(t, home); len(left) != 0 {
		t.Errorf("after a close: %v", left)
	}
}

func finishWith(txn *txn.Txn, oid zodb.OID) error {
	err := errors.Join(txn.Store(oid, 0, rec("x")), txn.Vote(context.Background()))
	if err == nil {
		_, err = txn.Finish(context.Background(), nil)
	}
	return err
}

func (s *Storage) serialFor(t testing.TB, oid zodb.OID) zodb.TID {
	t.Helper()
	serial, err := s.Serial(t.Context(), oid)
	if err != nil {
		t.Fatal(err)
	}
	return serial
}

func TestBlobsAreLinkedFromWhereverTheyAre(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	linked := 0
	link := func(oid zodb.OID, tid zodb.TID, want string) {
		t.Helper()
		linked++
		name := filepath.Join(dir, string(rune('a'+linked)))
		if err := s.LinkBlob(t.Context(), oid, tid, name); err != nil {
			t.Error(err)
			return
		}
		if got := readFile(t, name); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := s.LinkBlob(t.Context(), oid, tid, name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("linked twice: %v", err)
		}
	}
	// From the callback of the commit itself.
	txn := begin(t, s)
	if err := errors.Join(fill(s, txn, change{oid: 1, data: rec("1"), blob: "one"}), txn.Vote(t.Context())); err != nil {
		t.Fatal(err)
	}
	t1, err := txn.Finish(t.Context(), func(tid zodb.TID) { link(1, tid, "one") })
	if err != nil {
		t.Fatal(err)
	}
	link(1, t1, "one") // journal
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	link(1, t1, "one") // A
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	t2 := commit(t, s, change{oid: 1, data: rec("1"), blob: "two"})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	link(1, t2, "two") // B
	if err := errors.Join(s.LeaveSnapshot(t.Context(), "x"), s.WaitNormal(t.Context())); err != nil {
		t.Fatal(err)
	}
	link(1, t2, "two")
	t3 := commit(t, s, change{oid: 1, data: rec("1")})
	if err := s.LinkBlob(t.Context(), 1, t3, filepath.Join(dir, "z")); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("no blob: %v", err)
	}
	if err := s.LinkBlob(t.Context(), 1, t2+1, filepath.Join(dir, "z")); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("no revision: %v", err)
	}
	err = s.LinkBlob(t.Context(), 1, t2, filepath.Join(dir, "none", "z"))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, zodb.ErrNotFound) || errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("no directory: %v", err)
	}
	if err := s.LinkBlob(t.Context(), 1, t2, "z"); err == nil {
		t.Error("a relative path was taken")
	}
}

func TestBlobsAreLinkedWhileTheFlushMovesThem(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 60 {
				oid := zodb.OID(1 + i*1000 + n)
				tid, err := tryCommit(s, zodb.TxnMeta{}, change{oid: oid, data: rec("x"), blob: oid.String()})
				if err != nil {
					t.Error(err)
					return
				}
				go func() { _ = s.Flush(t.Context()) }()
				for k := range 5 {
					name := filepath.Join(dir, oid.String()+string(rune('a'+k)))
					if err := s.LinkBlob(t.Context(), oid, tid, name); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestTIDAfterWhichNothingCanComeIsRefused: a storage that had it could not
// commit any more.
func TestTIDAfterWhichNothingCanComeIsRefused(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if err := Create(home, CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), home, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tid := range []zodb.TID{1<<63 - 1, 1 << 63, zodb.MaxTID} {
		if txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid}); err == nil {
			t.Errorf("%s was accepted", tid)
			txn.Abort()
		}
	}
}
