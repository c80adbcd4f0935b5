package zeo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// content is that of a blob.
func content(size int) []byte {
	b := make([]byte, size)
	rnd := rand.New(rand.NewPCG(uint64(size), 3))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// commitBlob stores an object with a blob.
func commitBlob(t *testing.T, c *cachetest.Cache, oid zodb.OID, serial zodb.TID, text string, blob []byte) zodb.TID {
	t.Helper()
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.StoreBlob(oid, serial, record(text), bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

func wantBlob(t *testing.T, c *cachetest.Cache, oid zodb.OID, tid zodb.TID, want []byte) {
	t.Helper()
	var got bytes.Buffer
	n, err := c.SendBlob(t.Context(), oid, tid, &got)
	if err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("blob of object %s at %s: %d bytes, %v; want %d", oid, tid, n, err, len(want))
	}
}

func TestBlobsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c, other := ts.dialCache(e), ts.dialCache(e)
		for i, size := range []int{0, 1, 58_999, 59_000, 59_001, 4 * 59_000, 4*59_000 + 1, 5_000_000} {
			oid := zodb.OID(i + 1)
			blob := content(size)
			tid := commitBlob(t, c, oid, 0, "blob", blob)
			wantBlob(t, other, oid, tid, blob)
			wantBlob(t, c, oid, tid, blob)
		}
		if _, err := c.SendBlob(t.Context(), 1, 5, &bytes.Buffer{}); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("a blob that is not there: %v", err)
		}
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
	})
}

// TestDownloadsOfOneBlobAreNotMixed: the pieces of a blob do not name the request, so a client that asks again before
// the end has one whole blob behind the other.
func TestDownloadsOfOneBlobAreNotMixed(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		blob := content(3_000_000)
		tid := commitBlob(t, ts.dialCache(e), 1, 0, "blob", blob)
		c := ts.client(e)
		const times = 3
		for range times {
			c.request("sendBlob", zodb.OID(1), tid)
		}
		var got []byte
		whole, within := 0, false
		for answers := 0; answers < times; {
			switch m := c.message(); m.Name {
			case ".reply":
				if answers++; m.Flag != int64(0) || within || answers > whole {
					t.Fatalf("answer %d, %v, after %d downloads", answers, m, whole)
				}
			case "receiveBlobStart":
				if within {
					t.Fatal("one begins within another")
				}
				got, within = nil, true
			case "receiveBlobChunk":
				got = append(got, elements(m.Args)[2].([]byte)...)
			case "receiveBlobStop":
				if !within || !bytes.Equal(got, blob) {
					t.Fatalf("%d bytes, want %d", len(got), len(blob))
				}
				whole, within = whole+1, false
			}
		}
		if whole != times {
			t.Errorf("%d downloads, want %d", whole, times)
		}
	})
}

// TestDamagedBlobIsNotSentAsAWhole: the client is never told that this was all, and gets an error that names the
// object. The first download of a blob from a server does not begin, and after the repair there is the blob. One that
// was uploaded to this server begins: a client would put the blob behind that beginning, so it is not sent again.
func TestDamagedBlobIsNotSentAsAWhole(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		"empty":   func([]byte) []byte { return nil },
		"longer":  func(b []byte) []byte { return append(b, 0) },
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		test := func(t *testing.T, e wire.Encoding, first bool) {
			ts := serve(t, Options{})
			home := ts.storages["1"]
			blob := content(500_000)
			tid := commitBlob(t, ts.dialCache(e), 1, 0, "blob", blob)
			if err := home.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if first {
				ts = serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: home}}})
			}
			file := hometest.BlobFile(t, filepath.Join(home.Home(), "A"))
			write := func(b []byte) {
				t.Helper()
				if err := errors.Join(os.Remove(file), os.WriteFile(file, b, 0o400)); err != nil {
					t.Fatal(err)
				}
			}
			c := ts.client(e)
			fails := func(begins bool) string {
				t.Helper()
				c.told = nil
				said := fmt.Sprint(c.fails(classSystem, "sendBlob", zodb.OID(1), tid))
				if !strings.Contains(said, "0000000000000001") || !strings.Contains(said, filepath.Base(file)) {
					t.Errorf("the error is %q", said)
				}
				began := false
				for _, m := range c.told {
					began = began || m.Name == "receiveBlobStart"
					if m.Name == "receiveBlobStop" {
						t.Error("the client was told that it has the whole")
					}
				}
				if began != begins {
					t.Errorf("was begun: %t, want %t", began, begins)
				}
				return said
			}
			begins := !first && name != "empty"
			write(damage(bytes.Clone(blob)))
			for _, begins := range []bool{begins, false} {
				if said := fails(begins); strings.Contains(said, "*.blob.dl") != (!first && name != "empty") {
					t.Errorf("the error is %q", said)
				}
			}
			write(blob)
			if begins {
				fails(false)
				ts = serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: home}}})
			}
			wantBlob(t, ts.dialCache(e), 1, tid, blob)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) { test(t, e, false) })
		})
		t.Run(name+", first download", func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) { test(t, e, true) })
		})
	}
}

// failing is a storage with blobs of which not all can be read, once it is switched on.
type failing struct {
	zodb.Storage
	on *atomic.Bool
}

func (s failing) OpenBlob(ctx context.Context, oid zodb.OID, tid zodb.TID) (zodb.Blob, error) {
	blob, err := s.Storage.OpenBlob(ctx, oid, tid)
	if err != nil || !s.on.Load() {
		return blob, err
	}
	return &failingBlob{Blob: blob}, nil
}

type failingBlob struct {
	zodb.Blob
	read int64
}

func (b *failingBlob) Read(p []byte) (n int, err error) {
	if b.read > b.Size()/2 {
		return 0, syscall.EIO
	}
	n, err = b.Blob.Read(p)
	b.read += int64(n)
	return n, err
}

// TestBlobThatFailsHalfwayIsNotSentAgain: the client would put it behind the beginning that it has. Before its
// beginning was sent, the next download is as good as any.
func TestBlobThatFailsHalfwayIsNotSentAgain(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		s, on := newStorage(t, memoryHome(t)), &atomic.Bool{}
		serves := func() *testServer {
			return serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: failing{s, on}}}})
		}
		ts, blob := serves(), content(900_000)
		tid := commitBlob(t, ts.dialCache(e), 1, 0, "blob", blob)
		on.Store(true)
		c := ts.client(e)
		for _, begins := range []bool{true, false} {
			c.told = nil
			said := fmt.Sprint(c.fails(classSystem, "sendBlob", zodb.OID(1), tid))
			if !strings.Contains(said, "*.blob.dl") || !strings.Contains(said, "0000000000000001") {
				t.Errorf("the error is %q", said)
			}
			if began := len(c.told) > 0; began != begins {
				t.Errorf("was begun: %t", began)
			}
			on.Store(false)
		}
		on.Store(true)
		other := serves()
		c = other.client(e)
		if said := fmt.Sprint(c.fails(classSystem, "sendBlob", zodb.OID(1), tid)); len(c.told) > 0 || strings.Contains(said, "*.blob.dl") {
			t.Errorf("the first download was begun: %q", said)
		}
		on.Store(false)
		wantBlob(t, other.dialCache(e), 1, tid, blob)
	})
}

// TestBlobsAreSentPieceByPiece looks at the messages themselves (R10).
func TestBlobsAreSentPieceByPiece(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		blob := content(59_001)
		tid := commitBlob(t, ts.dialCache(e), 1, 0, "blob", blob)
		c := ts.client(e)
		c.want(nil, c.call("sendBlob", zodb.OID(1), tid))
		var names []string
		var got []byte
		for _, m := range c.told {
			args := elements(m.Args)
			names = append(names, m.Name)
			c.want(zodb.OID(1).Bytes(), args[0])
			c.want(tid.Bytes(), args[1])
			if len(args) == 3 {
				got = append(got, args[2].([]byte)...)
			}
		}
		want := "receiveBlobStart receiveBlobChunk receiveBlobChunk receiveBlobStop"
		if strings.Join(names, " ") != want || !bytes.Equal(got, blob) {
			t.Errorf("%v, %d bytes", names, len(got))
		}
	})
}

func TestConflictOnABlobKeepsTheBlob(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		a, b := ts.dialCache(e), ts.dialCache(e)
		first := commitBlob(t, a, 1, 0, "first", content(10))
		second := commitBlob(t, a, 1, first, "second", content(20))
		txn, err := b.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		blob := content(70_000)
		if err := txn.StoreBlob(1, first, record("third"), bytes.NewReader(blob)); err != nil {
			t.Fatal(err)
		}
		_, conflicts, err := txn.Vote(t.Context())
		if err != nil || len(conflicts) != 1 || conflicts[0].Committed != second || conflicts[0].Based != first {
			t.Fatalf("voted %v, %v", conflicts, err)
		}
		if err := txn.Store(1, second, record("resolved")); err != nil {
			t.Fatal(err)
		}
		tid, err := txn.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantBlob(t, a, 1, tid, blob)
		wantBlob(t, a, 1, second, content(20))
		rev, err := a.LoadBefore(t.Context(), 1, tid+1)
		if err != nil || !bytes.Equal(rev.Data, record("resolved")) {
			t.Errorf("%v, %v", rev, err)
		}
	})
}

// TestRecordThatIsStoredAgainKeepsTheBlob of the same transaction.
func TestRecordThatIsStoredAgainKeepsTheBlob(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		c.begin(mine)
		for _, piece := range [][]byte{content(10), content(blobPiece)} { // the last blob counts
			c.oneWay("storeBlobStart")
			c.oneWay("storeBlobChunk", piece)
			c.oneWay("storeBlobEnd", zodb.OID(1), zodb.TID(0), record("first"), mine)
		}
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("again"), mine)
		c.want(wire.List{}, c.call("vote", mine))
		tid := zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
		wantBlob(t, ts.dialCache(e), 1, tid, content(blobPiece))
		c.want(record("again"), elements(c.call("loadBefore", zodb.OID(1), tid+1))[0])
		// The blob of an earlier transaction does not stay.
		later := c.commit(1, tid, "later")
		if _, err := c.try("sendBlob", zodb.OID(1), later); err == nil {
			t.Error("a transaction without a blob has one")
		}
	})
}

func TestHalfAnUploadIsGoneAfterTheAbort(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		s := ts.storages["1"]
		half := func() {
			c.begin(mine)
			c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
			c.oneWay("storeBlobStart")
			c.oneWay("storeBlobChunk", content(blobPiece))
		}
		half()
		c.call("tpc_abort", mine)
		if left := staged(t, s); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
		// The next transaction is not disturbed.
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("y"), mine)
		c.oneWay("storeBlobStart")
		c.oneWay("storeBlobChunk", []byte("whole"))
		c.oneWay("storeBlobEnd", zodb.OID(1), zodb.TID(0), record("y"), mine)
		c.want(wire.List{}, c.call("vote", mine))
		tid := zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
		wantBlob(t, ts.dialCache(e), 1, tid, []byte("whole"))
		half()
		c.conn.Close()
		eventually(t, "what was uploaded is gone", func() bool { return len(staged(t, s)) == 0 })
		// Chunks and starts that don't fit end the connection.
		c = ts.client(e)
		c.oneWay("storeBlobChunk", []byte("x"))
		c.closed()
		c = ts.client(e)
		half()
		c.oneWay("storeBlobStart")
		c.closed()
		eventually(t, "what was uploaded is gone", func() bool { return len(staged(t, s)) == 0 })
	})
}

// sharing is a server with a shared blob directory.
func sharing(t *testing.T) (*testServer, string) {
	t.Helper()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	blobs := filepath.Join(dir, "blobs")
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: newStorage(t, home), BlobDir: blobs}}})
	return ts, blobs
}

func bushy(dir string, oid zodb.OID, tid zodb.TID) string {
	return filepath.Join(dir, filepath.FromSlash(filestorage.BlobBushy.Path(oid, tid)))
}

// sameBelow reports whether a file has another name below a directory.
func sameBelow(t *testing.T, home, file string) bool {
	t.Helper()
	want, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = filepath.WalkDir(home, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // the storage moves files about
		}
		if info, err := d.Info(); err == nil && os.SameFile(info, want) {
			found = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSharedBlobsAreReadOnlyLinksIntoHome(t *testing.T) {
	t.Parallel()
	ts, dir := sharing(t)
	home := ts.storages["1"].Home()
	if b, err := os.ReadFile(filepath.Join(dir, ".layout")); err != nil || string(b) != "bushy" {
		t.Errorf("layout %q, %v", b, err)
	}
	c := ts.dialCache(wire.Pickle)
	tid := commitBlob(t, c, 1, 0, "x", content(1000))
	file := bushy(dir, 1, tid)
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, content(1000)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm()&0o222 != 0 || info.Mode().Perm()&0o400 == 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !sameBelow(t, home, file) {
		t.Error("it is a copy")
	}
	if err := ts.storages["1"].Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !sameBelow(t, home, file) {
		t.Error("it is a copy after the flush")
	}
	// The blob that an undo brings back is there too.
	second := commitBlob(t, c, 1, tid, "y", content(20))
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Undo(second); err != nil {
		t.Fatal(err)
	}
	undone, err := txn.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(bushy(dir, 1, undone)); err != nil || !bytes.Equal(got, content(1000)) {
		t.Errorf("after the undo: %d bytes, %v", len(got), err)
	}
}

// TestSharedBlobIsThereBeforeItIsAnnounced opens each blob as soon as its
// transaction is announced (R9).
func TestSharedBlobIsThereBeforeItIsAnnounced(t *testing.T) {
	t.Parallel()
	ts, dir := sharing(t)
	var mu sync.Mutex
	seen := 0
	witness, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: ts.address, OnInvalidate: func(tid zodb.TID, oids []zodb.OID) {
		mu.Lock()
		defer mu.Unlock()
		for _, oid := range oids {
			if _, err := os.Stat(bushy(dir, oid, tid)); err != nil {
				t.Error(err)
			}
			seen++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	var wait sync.WaitGroup
	for i := range 3 {
		c := ts.dialCache(encodingOf(i))
		wait.Go(func() {
			oid, serial := zodb.OID(i+1), zodb.TID(0)
			for n := range 15 {
				txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
				if err == nil {
					err = txn.StoreBlob(oid, serial, record("x"), strings.NewReader(fmt.Sprint(n)))
				}
				if err == nil {
					serial, err = txn.Commit(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(bushy(dir, oid, serial)); err != nil {
					t.Errorf("acknowledged: %v", err)
				}
			}
		})
	}
	wait.Wait()
	if err := witness.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if seen != 45 {
		t.Errorf("%d of 45 announced", seen)
	}
}

func TestSharedUploads(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, dir := sharing(t)
		c := ts.client(e)
		const name = "0x00abcdef.tmp-"
		place := func(oid zodb.OID) string {
			sub := filepath.Dir(bushy(dir, oid, 1))
			if err := os.MkdirAll(sub, 0o777); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(sub, name)
		}
		upload := func(oid zodb.OID, serial zodb.TID, data string) string {
			file := place(oid)
			if err := os.WriteFile(file, []byte(data), 0o666); err != nil {
				t.Fatal(err)
			}
			c.begin(mine)
			c.oneWay("storea", oid, serial, record(data), mine)
			c.oneWay("storeBlobShared", oid, serial, record(data), name, mine)
			return file
		}
		gone := func(file string) {
			t.Helper()
			if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", file, err)
			}
		}
		file := upload(1, 0, "taken")
		c.want(wire.List{}, c.call("vote", mine))
		tid := zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
		gone(file)
		final := bushy(dir, 1, tid)
		if b, err := os.ReadFile(final); err != nil || string(b) != "taken" {
			t.Fatalf("%q, %v", b, err)
		}
		if info, err := os.Stat(final); err != nil || info.Mode().Perm()&0o222 != 0 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		wantBlob(t, ts.dialCache(e), 1, tid, []byte("taken"))

		// Aborted: before the vote, after it, and by the end of the connection.
		file = upload(2, 0, "aborted")
		c.call("tpc_abort", mine)
		gone(file)
		file = upload(2, 0, "aborted")
		c.call("vote", mine)
		c.call("tpc_abort", mine)
		gone(file)
		file = upload(2, 0, "cut off")
		c.call("ping")
		gone(file) // it was moved into HOME, where the end of the connection removes it
		if n := len(staged(t, ts.storages["1"])); n != 1 {
			t.Errorf("%d uploads are in HOME", n)
		}
		c.conn.Close()
		eventually(t, "what was uploaded is gone", func() bool { return len(staged(t, ts.storages["1"])) == 0 })
		c = ts.client(e)

		// Names that lead elsewhere.
		for _, bad := range []string{"../x.tmp", "/etc/passwd.tmp", "a/b.tmp-", "x", ".tmpxx", "", "x.blob", "a\x00.tmp"} {
			c.begin(mine)
			c.fails("builtins.ValueError", "storeBlobShared", zodb.OID(2), zodb.TID(0), record("x"), bad, mine)
			c.call("tpc_abort", mine)
		}

		// A name that leads to another file.
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		file = place(3)
		if err := os.Symlink(secret, file); err != nil {
			t.Fatal(err)
		}
		vote := func() error {
			c.begin(mine)
			c.oneWay("storeBlobShared", zodb.OID(3), zodb.TID(0), record("x"), name, mine)
			_, err := c.try("vote", mine)
			c.call("tpc_abort", mine)
			return err
		}
		if err := vote(); err == nil {
			t.Error("a symlink was taken")
		}
		if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
			t.Errorf("%q, %v", b, err)
		}
		os.Remove(file)
		if err := vote(); err == nil {
			t.Error("a file that is not there was taken")
		}
		if err := os.Mkdir(file, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := vote(); err == nil {
			t.Error("a directory was taken")
		}
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
	})
}

// TestBlobsFromBeforeAreSharedAtTheStart serves a storage that has blobs.
func TestBlobsFromBeforeAreSharedAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, blobs := filepath.Join(dir, "home"), filepath.Join(dir, "blobs")
	s := newStorage(t, home)
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}})
	c := ts.dialCache(wire.Msgpack)
	first := commitBlob(t, c, 1, 0, "a", content(10))
	second := commitBlob(t, c, 1, first, "b", content(20))
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	third := commitBlob(t, c, 2, 0, "c", content(30))
	ts.stop()
	check := func(sizes map[string]int) {
		t.Helper()
		for file, size := range sizes {
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, content(size)) {
				t.Errorf("%s: %d bytes, %v", file, len(got), err)
			}
		}
	}
	want := map[string]int{bushy(blobs, 1, first): 10, bushy(blobs, 1, second): 20, bushy(blobs, 2, third): 30}
	o := Options{Storages: []StorageOptions{{Name: "1", Storage: s, BlobDir: blobs}}}
	ts = serve(t, o)
	check(want)
	ts.stop()
	// One that came while the directory was not served.
	plain := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}})
	fourth := commitBlob(t, plain.dialCache(wire.Pickle), 3, 0, "d", content(40))
	plain.stop()
	ts = serve(t, o)
	want[bushy(blobs, 3, fourth)] = 40
	check(want)
	ts.stop()
	// The mark of another history says nothing.
	if err := os.Remove(bushy(blobs, 1, second)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blobs, markFile), []byte(s.Identity()+" "+(fourth-1).String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, o)
	check(want)
}

func TestSharedUploadGoesInEveryState(t *testing.T) {
	t.Parallel()
	for _, st := range states() {
		for who, ttid := range map[string]int64{"right": mine, "other": other} {
			t.Run(st.name+"/"+who, func(t *testing.T) {
				t.Parallel()
				ts, dir := sharing(t)
				c, holder := ts.client(wire.Msgpack), ts.client(wire.Msgpack)
				vote := st.reach(c, func() {
					holder.begin(mine)
					holder.oneWay("storea", zodb.OID(1), zodb.TID(0), record("h"), mine)
					holder.call("vote", mine)
				})
				sub := filepath.Dir(bushy(dir, 9, 1))
				if err := os.MkdirAll(sub, 0o777); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(sub, "upload.tmp")
				if err := os.WriteFile(file, []byte("blob"), 0o666); err != nil {
					t.Fatal(err)
				}
				id := c.request("storeBlobShared", zodb.OID(9), zodb.TID(0), record("x"), "upload.tmp", ttid)
				_, err := c.wait(id)
				if used := ttid == mine && st.name != "idle"; (err == nil) != used {
					t.Errorf("used is %t, but %v", used, err)
				}
				if vote != 0 {
					abort := c.request("tpc_abort", mine)
					if _, err := c.wait(vote); err == nil {
						t.Error("an aborted vote succeeds")
					}
					if _, err := c.wait(abort); err != nil {
						t.Error(err)
					}
				} else {
					c.call("tpc_abort", mine)
				}
				if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the upload is still there: %v", err)
				}
			})
		}
	}
}
