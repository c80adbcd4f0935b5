package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// serveOn serves a storage at an address and returns that and the way to stop.
func serveOn(t testing.TB, s *engine.Storage, address string) (string, func()) {
	t.Helper()
	srv, err := zeo.New(t.Context(), zeo.Options{Storages: []zeo.StorageOptions{{Name: "1", Storage: s}}, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	var stopped atomic.Bool
	stop := func() {
		if stopped.Swap(true) {
			return
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// connect serves a storage and returns a client of it.
func connect(t testing.TB, s *engine.Storage, e wire.Encoding) *zeoclient.Client {
	t.Helper()
	address, _ := serveOn(t, s, "127.0.0.1:0")
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address, ReadOnly: true, Encoding: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// imported makes a storage from a golden Data.fs.
func imported(t testing.TB, name string, policy BlobPolicy) *engine.Storage {
	t.Helper()
	return importedAs(t, "", name, policy)
}

// fixture returns the path of a Data.fs of the fixtures; its blobs, if it has any, are in o then.
func fixture(t testing.TB, name string, o *ImportOptions) string {
	t.Helper()
	file := hometest.FileStorage(t, name)
	if name != "blobs" {
		return file
	}
	blobs, err := vfs.OS(filepath.Join(file, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	o.Blobs = blobs
	return filepath.Join(file, "Data.fs")
}

// importedAs is imported into a HOME of a format.
func importedAs(t testing.TB, format, name string, policy BlobPolicy) *engine.Storage {
	t.Helper()
	s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Format: format}), engine.Options{})
	o := ImportOptions{Policy: policy}
	file := fixture(t, name, &o)
	if _, err := Import(t.Context(), s, reader(t, file), o); err != nil {
		t.Fatal(err)
	}
	return s
}

// contents is everything in a storage.
type contents struct {
	Meta      zodb.TxnMeta
	Extension any
	TID       zodb.TID
	Records   []zodb.Record
	Blobs     []string
}

func contentsOf(t testing.TB, s *engine.Storage) []contents {
	t.Helper()
	var all []contents
	for txn, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		c := contents{Meta: txn.TxnMeta, TID: txn.TID, Extension: tuples(wire.UnpickleDict(txn.Extension))}
		c.Meta.Extension = nil
		for rec, err := range s.Records(t.Context(), txn) {
			if err != nil {
				t.Fatal(err)
			}
			c.Records = append(c.Records, rec)
			if rec.HasBlob {
				c.Blobs = append(c.Blobs, blobOf(t, s, rec.OID, rec.TID))
			}
		}
		all = append(all, c)
	}
	return all
}

func sameContents(t testing.TB, a, b *engine.Storage) {
	t.Helper()
	was, is := contentsOf(t, a), contentsOf(t, b)
	if reflect.DeepEqual(was, is) {
		return // sooner said
	}
	if d := cmp.Diff(was, is, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestServedStorageIsCopiedWhole(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"undo.fs", "before_pack.fs", "packed.fs", "blobs"} {
		for j, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
			if testing.Short() && i%2 != j {
				continue // each file with one of them
			}
			t.Run(name+" "+string(rune(e)), func(t *testing.T) {
				t.Parallel()
				src := imported(t, name, BlobsRequired)
				home := enginetest.Home(t, engine.CreateOptions{})
				dst := enginetest.Open(t, home, engine.Options{})
				c := connect(t, src, e)
				done, err := ImportServer(t.Context(), dst, c, ServerOptions{})
				if err != nil || done.LastTID != src.LastTransaction() || (done.Blobs > 0) != (name == "blobs") {
					t.Errorf("import: %+v, %v", done, err)
				}
				sameContents(t, src, dst)
				if again, err := ImportServer(t.Context(), dst, c, ServerOptions{}); err != nil || again.Transactions != 0 || again.Before != done.LastTID {
					t.Errorf("again: %+v, %v", again, err)
				}
				if err := dst.Close(); err != nil {
					t.Fatal(err)
				}
				enginetest.Clean(t, home)
			})
		}
	}
}

// TestImportFromFileGoesOnFromServer: the extensions are other pickles of the same.
func TestImportFromFileGoesOnFromServer(t *testing.T) {
	t.Parallel()
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		src := imported(t, "undo.fs", BlobsRequired)
		c := connect(t, src, e)
		file := reader(t, hometest.FileStorage(t, "undo.fs"))
		var ends []filestorage.Position
		for txn, err := range file.Transactions(t.Context(), filestorage.Position{}) {
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, txn.End())
		}
		for i, n := range []int{4, 6} { // those have extensions
			if testing.Short() && (i == 0) != (e == wire.Pickle) {
				continue // one for each encoding
			}
			dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			_, err := Import(ctx, dst, file, ImportOptions{Progress: func(p Progress) {
				if p.Transactions == int64(n) {
					cancel()
				}
			}})
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if done, err := ImportServer(t.Context(), dst, c, ServerOptions{}); err != nil || done.Transactions != int64(len(ends)-n) {
				t.Errorf("after %d transactions of the file: %+v, %v", n, done, err)
			}
			sameContents(t, src, dst)
		}
	}
}

func TestInterruptedImportFromServerGoesOn(t *testing.T) {
	t.Parallel()
	src := imported(t, "before_pack.fs", BlobsRequired)
	c := connect(t, src, 0)
	dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	for round := 0; ; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		done, err := ImportServer(ctx, dst, c, ServerOptions{Progress: func(p Progress) {
			if p.Transactions == 4 {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || done.LastTID != dst.LastTransaction() || round > 20 {
			t.Fatalf("round %d: %+v, %v", round, done, err)
		}
	}
	sameContents(t, src, dst)
}

func TestImportFromServerIntoAnotherDatabaseChangesNothing(t *testing.T) {
	t.Parallel()
	src := imported(t, "undo.fs", BlobsRequired)
	c := connect(t, src, 0)
	const inFile = zodb.TID(0x03F6ED1905555555)
	for _, tc := range []struct {
		name string
		tid  zodb.TID
	}{{"a tid that is there", inFile}, {"a tid that is not there", inFile + 1}, {"a later tid", src.LastTransaction() + 1}} {
		t.Run(tc.name, func(t *testing.T) {
			dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
			commit(t, dst, zodb.BeginOptions{TID: tc.tid}, 1, "other", "")
			done, err := ImportServer(t.Context(), dst, c, ServerOptions{})
			if !errors.Is(err, ErrOther) || done.Transactions != 0 || dst.LastTransaction() != tc.tid {
				t.Errorf("import: %+v, %v", done, err)
			}
		})
	}
}

// commit stores one object, with a blob if that is not empty.
func commit(t testing.TB, s *engine.Storage, o zodb.BeginOptions, oid zodb.OID, text, blob string) zodb.TID {
	t.Helper()
	c := enginetest.Change{OID: oid, Data: enginetest.Record(text), Blob: blob}
	if blob != "" {
		c.Data = enginetest.BlobRecord()
	}
	return enginetest.CommitWith(t, s, enginetest.Options{Meta: zodb.TxnMeta{Description: []byte(text)}, Begin: o}, c)
}

// commitOver stores one object over a server, with a blob if that is not empty.
func commitOver(t testing.TB, c *zeoclient.Client, oid zodb.OID, serial zodb.TID, blob string) zodb.TID {
	t.Helper()
	txn, err := c.Begin(zodb.TxnMeta{Description: []byte("followed")}, zeoclient.BeginOptions{})
	if err == nil && blob != "" {
		err = txn.StoreBlob(oid, serial, []byte("\x80\x03cZODB.blob\nBlob\n.\x80\x03N."), strings.NewReader(blob))
	} else if err == nil {
		err = txn.Store(oid, serial, []byte("\x80\x03cm\nC\n.\x80\x03N."))
	}
	if err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

func TestBlobThatTheServerLacks(t *testing.T) {
	t.Parallel()
	src := imported(t, "blobs", BlobsNone)
	c := connect(t, src, 0)
	dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	done, err := ImportServer(t.Context(), dst, c, ServerOptions{})
	if !errors.Is(err, ErrBlob) || done.LastTID != dst.LastTransaction() {
		t.Errorf("required: %+v, %v", done, err)
	}
	done, err = ImportServer(t.Context(), dst, c, ServerOptions{Policy: BlobsSkipMissing})
	if err != nil || done.MissingBlobs == 0 {
		t.Errorf("skipped: %+v, %v", done, err)
	}
	sameContents(t, src, dst)
}

func TestServerWithoutIterationSaysSo(t *testing.T) {
	t.Parallel()
	src := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Class: zodb.ClassMinimal}), engine.Options{})
	c := connect(t, src, 0)
	dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	if _, err := ImportServer(t.Context(), dst, c, ServerOptions{}); !errors.Is(err, ErrNoIteration) {
		t.Errorf("import: %v", err)
	}
}

// following is a Follow that goes on.
type following struct {
	t      testing.TB
	up     chan zodb.TID
	lost   chan error
	ended  chan outcome
	cancel context.CancelFunc
}

type outcome struct {
	done Imported
	err  error
}

// follow follows the storage at an address until cancel is called.
func follow(t testing.TB, dst *engine.Storage, address string) *following {
	t.Helper()
	return followWith(t, dst, address, FollowOptions{})
}

// followWith is follow with options.
func followWith(t testing.TB, dst *engine.Storage, address string, o FollowOptions) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{t: t, up: make(chan zodb.TID, 1000), lost: make(chan error, 1000), ended: make(chan outcome, 1), cancel: cancel}
	t.Cleanup(cancel)
	o.Report = func(l Lag) {
		if !l.Up {
			return
		}
		select {
		case f.up <- l.LastTID:
		default: // nobody looks
		}
	}
	o.Lost, o.Again = func(err error, _ time.Duration) { f.lost <- err }, 5*time.Millisecond
	go func() {
		done, err := Follow(ctx, dst, func(ctx context.Context, onInvalidate func(zodb.TID, []zodb.OID)) (*zeoclient.Client, error) {
			return zeoclient.Dial(ctx, zeoclient.Options{Address: address, ReadOnly: true, OnInvalidate: onInvalidate})
		}, o)
		f.ended <- outcome{done, err}
	}()
	return f
}

// until waits until a transaction, and all before it, was copied.
func (f *following) until(tid zodb.TID) {
	f.t.Helper()
	for limit := time.After(5 * time.Minute); ; {
		select {
		case got := <-f.up:
			if got == tid {
				return
			}
		case o := <-f.ended:
			f.t.Fatalf("it ended: %+v, %v", o.done, o.err)
		case <-limit:
			f.t.Fatalf("transaction %s does not come", tid)
		}
	}
}

// TestFollowerComesBackAfterTheServerDoes follows through restarts of the
// server, with transactions before, between and while it is away.
func TestFollowerComesBackAfterTheServerDoes(t *testing.T) {
	t.Parallel()
	src := imported(t, "undo.fs", BlobsRequired)
	address, stop := serveOn(t, src, "127.0.0.1:0")
	home := enginetest.Home(t, engine.CreateOptions{})
	dst := enginetest.Open(t, home, engine.Options{})
	f := follow(t, dst, address)
	f.until(src.LastTransaction())
	for i := range zodb.OID(3) {
		c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		f.until(commitOver(t, c, 0x3000+i, 0, ""))
		f.until(commitOver(t, c, 0x2000+i, 0, strings.Repeat("blob", 50_000)))
		c.Close()
		stop()
		<-f.lost
		tid := commit(t, src, zodb.BeginOptions{}, 0x1000, "while away", strings.Repeat("x", int(i))) // the first one is no blob
		_, stop = serveOn(t, src, address)
		f.until(tid)
	}
	f.cancel()
	if o := <-f.ended; o.err != nil || o.done.LastTID != src.LastTransaction() || o.done.Blobs != 5 {
		t.Errorf("the end: %+v, %v", o.done, o.err)
	}
	sameContents(t, src, dst)
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Clean(t, home)
}

// TestFollowerListsWhatDangles: in the first copy, and in later transactions.
func TestFollowerListsWhatDangles(t *testing.T) {
	t.Parallel()
	src := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	txns := []map[zodb.OID][]byte{{0: holder("Root", 1), 1: holder("A", 9)}}
	if _, err := Import(t.Context(), src, fileOf(t, txns...), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	address, stop := serveOn(t, src, "127.0.0.1:0")
	f := follow(t, enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{}), address)
	f.until(src.LastTransaction())
	stop()
	<-f.lost
	txns = append(txns, map[zodb.OID][]byte{2: holder("B", 1, 7)})
	if _, err := Import(t.Context(), src, fileOf(t, txns...), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	serveOn(t, src, address)
	f.until(src.LastTransaction())
	f.cancel()
	o := <-f.ended
	want := []Dangling{{1, "m.A", 9, "m.Target"}, {2, "m.B", 7, "m.Target"}}
	if diff := cmp.Diff(want, o.done.DanglingList); o.err != nil || o.done.Dangling != 2 || diff != "" {
		t.Errorf("%d dangle, %v; -want +got:\n%s", o.done.Dangling, o.err, diff)
	}
}

// TestBlobThatWasPackedAwayWhileItWasCopied: a follower reads its transaction again; a
// blob that is lost is an error that stays.
func TestBlobThatWasPackedAwayWhileItWasCopied(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: "chunky", Set: map[string]string{"storage.min_pack_time": "0"}})
	src := enginetest.Open(t, home, engine.Options{})
	commit(t, src, zodb.BeginOptions{}, 0, "root", "")
	address, _ := serveOn(t, src, "127.0.0.1:0")
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.GetInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := &server{c: c, info: info}
	first := commitOver(t, c, 10, 0, "first")
	second := commitOver(t, c, 10, first, "second")
	if r, err := src.Pack(t.Context(), zodb.PackOptions{NoGC: true}); err != nil || r.Blobs != 1 {
		t.Fatalf("pack: %+v, %v", r, err)
	}
	var gone *packedMeanwhileError
	if _, err := v.openBlob(t.Context(), zodb.Record{OID: 10, TID: first}); !errors.As(err, &gone) || !isLost(err) {
		t.Errorf("a revision that was packed away: %v", err)
	}
	if err := src.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(home, "A", filepath.FromSlash(layout.Chunky.Path(layout.Blob(10, second))))); err != nil {
		t.Fatal(err)
	}
	if _, err := v.openBlob(t.Context(), zodb.Record{OID: 10, TID: second}); err == nil || isLost(err) || errors.As(err, &gone) {
		t.Errorf("a blob that is lost: %v", err)
	}
}

// TestFollowerOfAStorageThatIsPacked: all that was current is copied, also if a pack takes
// some of it away in front of the follower. One whose last transaction was packed away while it
// was not there cannot know any more whose copy it is.
func TestFollowerOfAStorageThatIsPacked(t *testing.T) {
	t.Parallel()
	src := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0"}}), engine.Options{})
	commit(t, src, zodb.BeginOptions{}, 0, "root", "")
	address, stop := serveOn(t, src, "127.0.0.1:0")
	home := enginetest.Home(t, engine.CreateOptions{})
	dst := enginetest.Open(t, home, engine.Options{})
	f := follow(t, dst, address)
	f.until(src.LastTransaction())
	serials := map[zodb.OID]zodb.TID{0: src.LastTransaction()}
	changes := func() (last zodb.TID) {
		c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 30 {
			oid, blob := zodb.OID(i%5), ""
			if i%3 == 0 {
				oid, blob = zodb.OID(10+i%2), fmt.Sprint("blob ", i)
			}
			last = commitOver(t, c, oid, serials[oid], blob)
			serials[oid] = last
			if i%10 == 9 {
				if r, err := src.Pack(t.Context(), zodb.PackOptions{NoGC: true}); err != nil || r.Transactions == 0 {
					t.Fatalf("pack: %+v, %v", r, err)
				}
			}
		}
		return last
	}
	for range 3 {
		f.until(changes())
		for _, oid := range []zodb.OID{0, 1, 2, 3, 4, 10, 11} {
			want, err := src.Load(t.Context(), oid)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := dst.Load(t.Context(), oid); err != nil || !cmp.Equal(got, want) {
				t.Errorf("object %s: %+v, %v; want %+v", oid, got, err, want)
			}
			if oid >= 10 {
				wantBlob, gotBlob := blobOf(t, src, oid, want.Serial), blobOf(t, dst, oid, want.Serial)
				if gotBlob != wantBlob || !strings.HasPrefix(wantBlob, "blob ") {
					t.Errorf("blob of object %s: %q, want %q", oid, gotBlob, wantBlob)
				}
			}
		}
	}
	stop()
	<-f.lost
	lost, err := src.Transaction(t.Context(), dst.LastTransaction())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, oid := range lost.OIDs {
			commit(t, src, zodb.BeginOptions{}, oid, "while away", "")
		}
		if _, err := src.Pack(t.Context(), zodb.PackOptions{NoGC: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = serveOn(t, src, address)
	o := <-f.ended
	if !errors.Is(o.err, ErrOther) || !strings.Contains(o.err.Error(), "pack") || dst.LastTransaction() != lost.TID {
		t.Errorf("its last transaction was packed away: %+v, %v", o.done, o.err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Clean(t, home)
}

// blobOf reads a blob.
func blobOf(t testing.TB, s *engine.Storage, oid zodb.OID, tid zodb.TID) string {
	t.Helper()
	b, err := s.OpenBlob(t.Context(), oid, tid)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(b)
	if err = errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFollowerWhoNeverFindsTheServerFails(t *testing.T) {
	t.Parallel()
	dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	refused := errors.New("refused")
	_, err := Follow(t.Context(), dst, func(context.Context, func(zodb.TID, []zodb.OID)) (*zeoclient.Client, error) { return nil, refused }, FollowOptions{})
	if !errors.Is(err, refused) {
		t.Errorf("follow: %v", err)
	}
}

func TestLastOfTwoRecordsOfAnObjectCounts(t *testing.T) {
	t.Parallel()
	dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
	src := &listed{txns: []*sourceTxn{{
		Transaction: zodb.Transaction{TID: 10, TxnMeta: zodb.TxnMeta{Description: []byte("twice")}},
		records: func(yield func(zodb.Record, error) bool) {
			for _, data := range []string{"first", "last"} {
				if !yield(zodb.Record{OID: 1, TID: 10, Data: []byte(data), Exists: true}, nil) {
					return
				}
			}
		},
	}}}
	if err := newImporter(dst, src, BlobsRequired, nil).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := dst.Load(t.Context(), 1); err != nil || string(r.Data) != "last" {
		t.Errorf("load: %+v, %v", r, err)
	}
	if err := newImporter(dst, src, BlobsRequired, nil).run(t.Context()); err != nil {
		t.Errorf("compared again: %v", err)
	}
}

// listed is a source that a test has written down.
type listed struct {
	dataFS
	txns []*sourceTxn
}

func (l *listed) name() string { return "a list" }

func (l *listed) transactions(_ context.Context, from zodb.TID) iter.Seq2[*sourceTxn, error] {
	return func(yield func(*sourceTxn, error) bool) {
		for _, t := range l.txns {
			if t.TID >= from && !yield(t, nil) {
				return
			}
		}
	}
}

func (l *listed) progress() (done, total int64) { return 0, 0 }

// TestServerWithADamagedTransaction: the copy ends there, or goes on behind it and tells of it.
func TestServerWithADamagedTransaction(t *testing.T) {
	t.Parallel()
	from := importedAs(t, "chunky", "undo.fs", BlobsRequired)
	var list []zodb.TID
	for txn, err := range from.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, txn.TID)
	}
	if err := from.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{3, 4, len(list) - 1} {
		name := filepath.Join(from.Home(), "A", from.Settings().Structure.Format.Path(layout.Transaction(list[at])))
		if err := errors.Join(os.Remove(name), os.WriteFile(name, []byte("damaged"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, salvage := range []bool{false, true} {
		to := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{History: engine.HistoryCopied})
		done, err := ImportServer(t.Context(), to, connect(t, from, wire.Msgpack), ServerOptions{Policy: BlobsNone, Salvage: salvage})
		want := int64(3)
		if salvage {
			want = int64(len(list) - 3)
		}
		if (err == nil) != salvage || done.Transactions != want || done.Damaged != map[bool]int64{true: 3}[salvage] {
			t.Errorf("salvage %v: %+v, %v; want %d transactions", salvage, done, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), list[3].String()) {
			t.Errorf("the transaction is not named: %v", err)
		}
	}
}

// TestServerWithADamagedFrame: one frame of a bundle has several transactions, or many records of one, which
// cannot be read for the same reason. The copy goes on behind all of them, and leaves out no others.
func TestServerWithADamagedFrame(t *testing.T) {
	t.Parallel()
	from := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Format: "bundled"}), engine.Options{})
	const large, small = 90, 60
	var changes []enginetest.Change
	for i := range zodb.OID(large) {
		changes = append(changes, enginetest.Change{OID: i, Data: enginetest.Record(strings.Repeat("x", 200))})
	}
	enginetest.Commit(t, from, changes...)
	for i := range zodb.OID(small) {
		enginetest.Commit(t, from, enginetest.Change{OID: large + i, Data: enginetest.Record("y")})
	}
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	bundles, err := filepath.Glob(filepath.Join(from.Home(), "A", "bundles", "*.tar.zst"))
	if err != nil || len(bundles) != 1 {
		t.Fatalf("%v, %v", bundles, err)
	}
	b, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	frame := []byte("\x28\xB5\x2F\xFD") // zstd
	for _, part := range []int{1, bytes.Count(b, frame) / 2} {
		bad := slices.Clone(b)
		at := 0
		for range part {
			at += 1 + bytes.Index(bad[at+1:], frame)
		}
		bad[at+20] ^= 0xFF
		home := filepath.Join(t.TempDir(), "home")
		if err := os.CopyFS(home, os.DirFS(from.Home())); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(home, "A", "bundles", filepath.Base(bundles[0]))
		if err := errors.Join(os.Remove(name), os.WriteFile(name, bad, 0o600)); err != nil {
			t.Fatal(err)
		}
		to := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{History: engine.HistoryCopied})
		c := connect(t, enginetest.Open(t, home, engine.Options{}), wire.Msgpack)
		done, err := ImportServer(t.Context(), to, c, ServerOptions{Policy: BlobsNone, Salvage: true})
		if err != nil || done.Damaged < 2 || done.Damaged > large/2 || done.Records+done.Damaged < large+small/2 {
			t.Errorf("frame %d: %+v, %v", part, done, err)
		}
		if last, want := to.LastTransaction(), from.LastTransaction(); last < want {
			t.Errorf("frame %d: copied up to %s of %s", part, last, want)
		}
	}
}
