package zeo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// packStorage is newStorage for one whose packs go to when they are told to, and put nothing aside.
func packStorage(t testing.TB, home string) *engine.Storage {
	t.Helper()
	return packStorageOf(t, "", home)
}

// packStorageOf makes it in a format; the default one, if that is empty.
func packStorageOf(t testing.TB, format layout.Format, home string) *engine.Storage {
	t.Helper()
	set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}
	if err := engine.Create(home, engine.CreateOptions{Format: string(format), Set: set}); err != nil {
		t.Fatal(err)
	}
	return newStorage(t, home)
}

// servePacks serves such a storage.
func servePacks(t testing.TB, o Options) (*testServer, *engine.Storage) {
	t.Helper()
	return servePacksOf(t, "", o)
}

// inFiles is a format with a file for each revision, where a test damages one.
const inFiles = layout.Chunky

// formats runs a test over bundles and over files.
func formats(t *testing.T, f func(t *testing.T, format layout.Format, e wire.Encoding)) {
	t.Helper()
	for _, format := range []layout.Format{layout.Bundled, inFiles} {
		t.Run(format.String(), func(t *testing.T) {
			encodings(t, func(t *testing.T, e wire.Encoding) { f(t, format, e) })
		})
	}
}

// storeAlone is store for a transaction that shares no bundle.
func (c *rawClient) storeAlone(s *engine.Storage, records map[zodb.OID]string) zodb.TID {
	c.t.Helper()
	if err := s.Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return c.store(records)
}

func servePacksOf(t testing.TB, format layout.Format, o Options) (*testServer, *engine.Storage) {
	t.Helper()
	s := packStorageOf(t, format, memoryHome(t))
	o.Storages = []StorageOptions{{Name: "1", Storage: s}}
	return serve(t, o), s
}

func now() float64 { return float64(time.Now().UnixNano()) / 1e9 }

// refers is a record that refers to other objects.
func refers(text string, oids ...zodb.OID) string {
	b := "\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03](X" + string([]byte{byte(len(text)), 0, 0, 0}) + text
	for _, oid := range oids {
		b += "C\x08" + string(oid.Bytes()) + "Q"
	}
	return b + "e."
}

// store commits whole records in one transaction; serials are looked up.
func (c *rawClient) store(records map[zodb.OID]string) zodb.TID {
	c.t.Helper()
	const ttid = int64(1<<40 + 2)
	serials := make(map[zodb.OID]zodb.TID)
	for oid := range records {
		if v, err := c.try("getTid", oid); err == nil {
			serials[oid] = zodb.TIDFromBytes(v.([]byte))
		}
	}
	c.begin(ttid)
	for oid, data := range records {
		c.oneWay("storea", oid, serials[oid], []byte(data), ttid)
	}
	c.want(wire.List{}, c.call("vote", ttid))
	return zodb.TIDFromBytes(c.call("tpc_finish", ttid).([]byte))
}

// garden is the tests' input for packs: the root refers to object 1, and did to object 2, which
// referred to 3 and 4.
func (c *rawClient) garden() {
	c.t.Helper()
	c.store(map[zodb.OID]string{0: refers("root", 1, 2), 1: refers("kept"), 2: refers("gone", 3, 4), 3: refers("gone too"), 4: refers("gone as well", 2)})
	c.store(map[zodb.OID]string{1: refers("kept 2")})
	c.store(map[zodb.OID]string{0: refers("root 2", 1)})
}

// weeded fails the test unless a pack has cleared the garden.
func (c *rawClient) weeded() {
	c.t.Helper()
	for _, oid := range []zodb.OID{2, 3, 4} {
		c.want(wire.Tuple{oid.Bytes()}, c.fails(classPOSKey, "loadBefore", oid, zodb.TID(1<<62)))
	}
	for _, oid := range []zodb.OID{0, 1} {
		if h := tuples(c.call("history", oid, 10)).(wire.Tuple); len(h) != 1 {
			c.t.Errorf("object %s has %d revisions after the pack, want 1", oid, len(h))
		}
	}
}

// untouched fails the test unless everything is there.
func (c *rawClient) untouched() {
	c.t.Helper()
	for oid := range zodb.OID(5) {
		if c.call("loadBefore", oid, zodb.TID(1<<62)) == nil {
			c.t.Errorf("object %s is gone", oid)
		}
	}
	if h := tuples(c.call("history", zodb.OID(0), 10)).(wire.Tuple); len(h) != 2 {
		c.t.Errorf("the root has %d revisions, want 2", len(h))
	}
}

// holdPack makes packs wait for a transaction that was voted for, until release is called.
func holdPack(ts *testServer, e wire.Encoding) (release func()) {
	c := ts.client(e)
	if _, err := c.try("getTid", zodb.OID(0)); err != nil {
		c.store(map[zodb.OID]string{0: refers("root")}) // a storage without one has nothing to pack
	}
	c.begin(other)
	c.oneWay("storea", zodb.OID(77), zodb.TID(0), []byte(refers("held")), other)
	c.call("vote", other)
	return func() { c.call("tpc_abort", other) }
}

func waiting(t testing.TB, s *engine.Storage, phase string) {
	t.Helper()
	eventually(t, "the pack is "+phase, func() bool { return s.PackProgress().Phase == phase })
}

func idle(t testing.TB, ts *testServer) {
	t.Helper()
	eventually(t, "the pack has ended", func() bool { return !ts.hubs["1"].packing.Load() })
}

// damage breaks the file of a revision, or the first frame of the bundle that has it, and makes sure
// that it is in A.
func damage(t testing.TB, s *engine.Storage, oid zodb.OID, tid zodb.TID) {
	t.Helper()
	damageMember(t, s, layout.Revision(oid, tid), tid)
}

// damageTransaction does so to a transaction.
func damageTransaction(t testing.TB, s *engine.Storage, tid zodb.TID) {
	t.Helper()
	damageMember(t, s, layout.Transaction(tid), tid)
}

func damageMember(t testing.TB, s *engine.Storage, n layout.Name, tid zodb.TID) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	format := s.Settings().Structure.Format
	if format == layout.Bundled {
		damageBundle(t, s.Home(), tid)
		return
	}
	name := filepath.Join(s.Home(), "A", filepath.FromSlash(format.Path(n)))
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func damageBundle(t testing.TB, home string, tid zodb.TID) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if first, last, _ := strings.Cut(filepath.Base(name)[:33], "-"); first > tid.String() || tid.String() > last {
			continue
		}
		b, err := os.ReadFile(name)
		if err == nil {
			b[40] ^= 0xFF
			err = errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, b, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no bundle has %s", tid)
}

// filesBelow lists the files in A.
func filesBelow(t testing.TB, s *engine.Storage) (list []string) {
	t.Helper()
	if err := filepath.WalkDir(filepath.Join(s.Home(), "A"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// sound closes a storage and checks its HOME.
func sound(t testing.TB, s *engine.Storage) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	home, err := vfs.OS(s.Home())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checktest.Undamaged(context.WithoutCancel(t.Context()), home); err != nil {
		t.Error(err)
	}
}

// sizes are the info calls among those that came.
func sizes(told []wire.Message) (list []wire.Dict) {
	for _, m := range told {
		if m.Name == "info" {
			list = append(list, m.Args.(wire.Tuple)[0].(wire.Dict))
		}
	}
	return list
}

func TestPackRemovesWhatNobodyReaches(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, s := servePacks(t, Options{})
		c := ts.client(e)
		c.garden()
		cache := ts.dialCache(e)
		for oid := range zodb.OID(5) {
			if rev, err := cache.Load(t.Context(), oid, 1<<62); err != nil || rev == nil {
				t.Fatalf("load %s: %v, %v", oid, rev, err)
			}
		}
		log := c.call("undoLog", 0, 100)
		c.want(nil, c.call("pack", now(), true))
		c.weeded()
		for oid := range zodb.OID(5) {
			cache.Forget(oid)
			_, err := cache.Load(t.Context(), oid, 1<<62)
			if gone := errors.Is(err, zodb.ErrNotFound); gone != (oid > 1) || err != nil && !gone {
				t.Errorf("load %s by a client that had it in its cache: %v", oid, err)
			}
		}
		if before, after := len(tuples(log).(wire.Tuple)), len(tuples(c.call("undoLog", 0, 100)).(wire.Tuple)); before != 3 || after >= before {
			t.Errorf("the undo log has %d entries, then %d", before, after)
		}
		// There is nothing to do for another one, nor for those to the past and the future.
		for _, at := range []any{now(), now() + 1e6, 0, int64(1), 1.5} {
			c.want(nil, c.call("pack", at)) // without the second argument it waits too
		}
		c.weeded()
		c.store(map[zodb.OID]string{0: refers("root 3", 1)})
		sound(t, s)
	})
}

func TestPackOfAnEmptyStorage(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, _ := servePacks(t, Options{})
		c := ts.client(e)
		c.want(nil, c.call("pack", now(), true))
		c.commit(1, 0, "no root") // nothing is unreachable then
		c.want(nil, c.call("pack", now(), true))
		if c.call("loadBefore", zodb.OID(1), zodb.TID(1<<62)) == nil {
			t.Error("an object of a storage without a root is gone")
		}
	})
}

// TestPackOnReadOnlyServers: it changes nothing that clients see.
func TestPackOnReadOnlyServers(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		s := packStorage(t, memoryHome(t))
		so := []StorageOptions{{Name: "1", Storage: s}}
		first := serve(t, Options{Storages: so})
		first.client(e).garden()
		if err := first.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := serve(t, Options{Storages: so, ReadOnly: true}).dial(e)
		c.call("register", "1", true)
		c.want(nil, c.call("pack", now(), true))
		c.weeded()
	})
	t.Run("a storage that is open for reading", func(t *testing.T) {
		t.Parallel()
		home := memoryHome(t)
		packStorage(t, home)
		s := openStorage(t, home, engine.Options{ReadOnly: true})
		c := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}, ReadOnly: true}).dial(wire.Pickle)
		c.call("register", "1", true)
		c.want(wire.Tuple{}, c.fails(classReadOnly, "pack", now(), true))
		c.want(nil, c.call("pack", now(), false))
		c.want(nil, c.call("ping"))
	})
}

// TestPackOfAMinimalStorage: it has no history.
func TestPackOfAMinimalStorage(t *testing.T) {
	t.Parallel()
	home := memoryHome(t)
	if err := engine.Create(home, engine.CreateOptions{Class: zodb.ClassMinimal}); err != nil {
		t.Fatal(err)
	}
	c := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: newStorage(t, home)}}}).client(wire.Msgpack)
	c.want(wire.Tuple{someText{}}, withSomeText(c.fails(classStorage, "pack", now(), true)))
}

// withSomeText puts someText in place of the one text of an error.
func withSomeText(details any) any {
	if t, ok := details.(wire.Tuple); ok && len(t) == 1 {
		if s, ok := t[0].(string); ok && s != "" {
			return wire.Tuple{someText{}}
		}
	}
	return details
}

// TestPackTellsEverybodyTheNewSize: the caller before its answer, and also if
// somebody else than a client asked for it.
func TestPackTellsEverybodyTheNewSize(t *testing.T) {
	t.Parallel()
	for _, asked := range []string{"by a client", "by an administrator"} {
		t.Run(asked, func(t *testing.T) {
			t.Parallel()
			ts, s := servePacks(t, Options{})
			c := ts.client(wire.Pickle)
			c.garden()
			before := s.Counts()
			var others []*rawClient
			for i := range 6 {
				others = append(others, ts.client(encodingOf(i)))
			}
			c.told = nil
			if asked == "by a client" {
				c.want(nil, c.call("pack", now(), true))
			} else {
				if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
					t.Fatal(err)
				}
				c.call("get_info") // earlier announcements are read with its answer
			}
			after := s.Counts()
			if after.Objects != 2 || before.Objects != 5 || after.Bytes >= before.Bytes {
				t.Errorf("counts %+v, then %+v", before, after)
			}
			want := wire.Dict{{Key: "length", Value: after.Objects}, {Key: "size", Value: after.Bytes}}
			if d := cmp.Diff([]wire.Dict{want}, sizes(c.told)); d != "" {
				t.Errorf("told to the first client: -want +got\n%s", d)
			}
			for _, o := range others {
				if m := o.message(); m.Name != "info" || !m.OneWay() || cmp.Diff(want, m.Args.(wire.Tuple)[0]) != "" {
					t.Errorf("told to another client: %v", m)
				}
			}
		})
	}
}

// TestPackWithoutWaitingIsAnsweredAtOnce, and at most one is under way.
func TestPackWithoutWaitingIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format layout.Format, e wire.Encoding) {
		var log logBuffer
		ts, s := servePacksOf(t, format, Options{Logger: log.logger()})
		c := ts.client(e)
		c.garden()
		c.call("set_client_label", "gardener")
		release := holdPack(ts, e)
		c.told = nil
		c.want(nil, c.call("pack", now(), false))
		waiting(t, s, "waiting for transactions")
		// FileStorage says the same. A caller that does not wait is not told.
		c.want(wire.Tuple{"Already packing"}, c.fails(classStorage, "pack", now(), true))
		c.want(nil, c.call("pack", now(), nil))
		if !log.has("pack refused") {
			t.Error("nothing in the log of a pack that was refused")
		}
		c.untouched()
		if len(c.told) > 0 {
			t.Errorf("told during the pack: %v", c.told)
		}
		release()
		if m := c.message(); m.Name != "info" {
			t.Errorf("after the pack came %v", m)
		}
		idle(t, ts)
		c.weeded()
		// A failure is for the log, with the label.
		damage(t, s, 1, c.storeAlone(s, map[zodb.OID]string{1: refers("kept 3")}))
		c.told = nil
		c.want(nil, c.call("pack", now(), false))
		eventually(t, "the failure is in the log", func() bool { return log.has(`msg="pack failed"`) })
		if !log.has(`client="gardener `) {
			t.Error("the log does not say who wanted it")
		}
		idle(t, ts)
		c.want(nil, c.call("ping"))
		if len(c.told) > 0 {
			t.Errorf("told after a pack that failed: %v", c.told)
		}
	})
}

// TestPackWaitsForOneThatIsNotAClients, such as that of a command on the same machine.
func TestPackWaitsForOneThatIsNotAClients(t *testing.T) {
	t.Parallel()
	ts, s := servePacks(t, Options{})
	c := ts.client(wire.Pickle)
	c.garden()
	release := holdPack(ts, wire.Pickle)
	first := make(chan error, 1)
	go func() {
		_, err := s.Pack(context.WithoutCancel(t.Context()), zodb.PackOptions{NoGC: true})
		first <- err
	}()
	waiting(t, s, "waiting for transactions")
	id := c.request("pack", now(), true)
	eventually(t, "the second one waits", ts.hubs["1"].packing.Load)
	release()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if v, err := c.wait(id); v != nil || err != nil {
		t.Fatal(v, err)
	}
	c.weeded()
}

// TestOthersGoOnDuringAPack: loads, commits, undo and the undo log, of the caller too.
func TestOthersGoOnDuringAPack(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, s := servePacks(t, Options{})
		c := ts.client(e)
		c.garden()
		release := holdPack(ts, e)
		pack := c.request("pack", now(), true)
		waiting(t, s, "waiting for transactions")
		goOn := func(c *rawClient, oid zodb.OID) {
			t.Helper()
			c.store(map[zodb.OID]string{oid: refers("new")})
			tid := c.store(map[zodb.OID]string{oid: refers("newer")})
			rev := tuples(c.call("loadBefore", oid, zodb.TID(1<<62))).(wire.Tuple)
			c.want(tid.Bytes(), rev[1])
			entries := tuples(c.call("undoLog", 0, 1)).(wire.Tuple)
			c.want(undoID(tid), entries[0].(wire.Dict).Get("id"))
			c.begin(mine)
			c.oneWay("undoa", undoID(tid), mine)
			c.want(wire.Tuple{oid.Bytes()}, tuples(c.call("vote", mine)))
			c.call("tpc_finish", mine)
			rev = tuples(c.call("loadBefore", oid, zodb.TID(1<<62))).(wire.Tuple)
			c.want([]byte(refers("new")), rev[0])
		}
		goOn(c, 10)
		goOn(ts.client(e), 11)
		// Former garbage is referred to again.
		c.store(map[zodb.OID]string{0: refers("root 3", 1, 2, 10, 11)})
		if s.PackProgress().Phase != "waiting for transactions" {
			t.Error("the pack did not wait")
		}
		release()
		if v, err := c.wait(pack); v != nil || err != nil {
			t.Fatal(v, err)
		}
		for _, oid := range []zodb.OID{0, 1, 2, 3, 4, 10, 11} {
			if c.call("loadBefore", oid, zodb.TID(1<<62)) == nil {
				t.Errorf("object %s is gone", oid)
			}
		}
		sound(t, s)
	})
}

// TestClientsWriteThroughManyPacks: clients with a cache, which check the rules of
// the protocol, write while one pack follows the other.
func TestClientsWriteThroughManyPacks(t *testing.T) {
	t.Parallel()
	ts, s := servePacks(t, Options{})
	c := ts.client(wire.Pickle)
	branches := []zodb.OID{10_000, 20_000, 30_000}
	c.store(map[zodb.OID]string{0: refers("root", branches...), branches[0]: refers("0"), branches[1]: refers("1"), branches[2]: refers("2")})
	var ended atomic.Bool
	var writers sync.WaitGroup
	for i, branch := range branches {
		w := ts.client(encodingOf(i))
		writers.Go(func() {
			for leaf := branch + 1; !ended.Load(); leaf++ {
				// A new object that is linked, and lost again by the next one.
				w.store(map[zodb.OID]string{branch: refers("branch", leaf), leaf: refers("leaf")})
				if w.call("loadBefore", leaf, zodb.TID(1<<62)) == nil {
					t.Error("what was just committed is not there")
				}
			}
		})
	}
	cache := ts.dialCache(wire.Msgpack)
	for range hometest.Rounds(t, 8) {
		c.want(nil, c.call("pack", now(), true))
		for _, oid := range branches {
			if _, err := cache.Load(t.Context(), oid, 1<<62); err != nil {
				t.Error(err)
			}
		}
	}
	ended.Store(true)
	writers.Wait()
	if err := cache.Broken(); err != nil {
		t.Error(err)
	}
	sound(t, s)
}

// TestPackThatFailsChangesNothing: the client gets a StorageError that says why.
func TestPackThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	formats(t, func(t *testing.T, format layout.Format, e wire.Encoding) {
		ts, s := servePacksOf(t, format, Options{})
		c := ts.client(e)
		c.garden()
		damage(t, s, 1, c.storeAlone(s, map[zodb.OID]string{1: refers("kept 3")}))
		c.store(map[zodb.OID]string{4: refers("the last transaction")})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := filesBelow(t, s)
		c.told = nil
		details := c.fails(classStorage, "pack", now(), true).(wire.Tuple)
		if text, _ := details[0].(string); len(details) != 1 || !strings.Contains(text, zodb.OID(1).String()) || !strings.Contains(text, "cannot be read") {
			t.Errorf("the error is %q", details)
		}
		if d := cmp.Diff(before, filesBelow(t, s)); d != "" {
			t.Errorf("A was changed:\n%s", d)
		}
		for _, oid := range []zodb.OID{0, 2, 3, 4} {
			if c.call("loadBefore", oid, zodb.TID(1<<62)) == nil {
				t.Errorf("object %s is gone", oid)
			}
		}
		if len(sizes(c.told)) > 0 {
			t.Error("a size was told")
		}
		if again := c.fails(classStorage, "pack", now(), true).(wire.Tuple); again[0] == "Already packing" {
			t.Error("the pack that failed is in the way of the next one")
		}
		c.store(map[zodb.OID]string{2: refers("not gone")})
	})
}

// TestPackGoesOnWithoutItsCaller, also if the pack waits for a transaction that
// the caller has voted for on the same connection: that ends with the connection.
func TestPackGoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	for _, voted := range []bool{false, true} {
		for _, wait := range []bool{true, false} {
			name := map[bool]string{true: "waiting", false: "not waiting"}[wait] + map[bool]string{true: ", voted", false: ""}[voted]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				encodings(t, func(t *testing.T, e wire.Encoding) {
					ts, s := servePacks(t, Options{})
					watcher := ts.client(e)
					watcher.garden()
					watcher.told = nil
					c := ts.client(e)
					release := func() {}
					if voted {
						c.begin(mine)
						c.oneWay("storea", zodb.OID(1), serialOf(c, 1), []byte(refers("never")), mine)
						c.call("vote", mine)
					} else {
						release = holdPack(ts, e)
					}
					c.request("pack", now(), wait)
					waiting(t, s, "waiting for transactions")
					c.conn.Close()
					eventually(t, "the connection has ended", func() bool { return ts.hubs["1"].connections() == map[bool]int{true: 1, false: 2}[voted] })
					release()
					idle(t, ts)
					if m := watcher.message(); m.Name != "info" {
						t.Errorf("the others are told %v", m)
					}
					watcher.weeded()
					free(t, ts, e)
				})
			})
		}
	}
}

func serialOf(c *rawClient, oid zodb.OID) zodb.TID {
	c.t.Helper()
	return zodb.TIDFromBytes(c.call("getTid", oid).([]byte))
}

// TestServerEndsDuringAPack: the pack stops, and leaves a storage that is sound
// and can be packed again.
func TestServerEndsDuringAPack(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"waiting for transactions", "removing objects"} {
		for _, wait := range []bool{true, false} {
			t.Run(phase+map[bool]string{true: "", false: ", nobody waits"}[wait], func(t *testing.T) {
				t.Parallel()
				ts, s := servePacks(t, Options{})
				c := ts.client(wire.Pickle)
				c.garden()
				if phase == "waiting for transactions" {
					holdPack(ts, wire.Pickle)
				} else { // in snapshot mode nothing is removed
					c.call("enter_snapshot", "test")
				}
				c.request("pack", now(), wait)
				if phase == "waiting for transactions" {
					waiting(t, s, phase)
				} else {
					eventually(t, "the plan is there", func() bool {
						_, err := os.Stat(filepath.Join(s.Home(), "misc", "pack"))
						return err == nil
					})
				}
				ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 50*time.Millisecond)
				defer cancel()
				ended := make(chan struct{})
				go func() {
					if err := ts.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					close(ended)
				}()
				select {
				case <-ended:
				case <-time.After(patience):
					t.Fatal("the server does not end")
				}
				if ts.hubs["1"].packing.Load() || s.PackProgress().Phase != "" {
					t.Error("the pack has not ended with the server")
				}
				if phase != "waiting for transactions" {
					if err := s.LeaveSnapshot(context.WithoutCancel(t.Context()), "test"); err != nil {
						t.Fatal(err)
					}
				}
				sound(t, s)
				s = newStorage(t, s.Home())
				c = serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}}).client(wire.Msgpack)
				c.want(nil, c.call("pack", now(), true))
				c.weeded()
				sound(t, s)
			})
		}
	}
}

// TestClientsThatWereAwayDuringAPackAreToldEverythingOrNothing: a pack may remove the transaction
// that a client has missed the change of an object by.
func TestClientsThatWereAwayDuringAPackAreToldEverythingOrNothing(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"detailed", "undoable"} {
		for _, queue := range []int{2, 1000} {
			for _, restarted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, queue of %d, restarted %t", policy, queue, restarted), func(t *testing.T) {
					t.Parallel()
					home := memoryHome(t)
					set := map[string]string{"storage.min_pack_time": "0", "storage.keep_policy": policy}
					if err := engine.Create(home, engine.CreateOptions{Set: set}); err != nil {
						t.Fatal(err)
					}
					o := Options{Storages: []StorageOptions{{Name: "1", Storage: newStorage(t, home)}}, InvalidationQueueSize: queue, InvalidationAge: time.Hour}
					ts := serve(t, o)
					c := ts.client(wire.Pickle)
					tids := []zodb.TID{c.store(map[zodb.OID]string{0: refers("root", 1, 2, 3, 4), 1: refers(""), 2: refers(""), 3: refers(""), 4: refers("")})}
					for oid := range zodb.OID(4) {
						tids = append(tids, c.store(map[zodb.OID]string{oid + 1: refers("new")}))
					}
					c.want(nil, c.call("pack", now(), true))
					tids = append(tids, c.store(map[zodb.OID]string{4: refers("newer")}))
					if restarted {
						if err := ts.Shutdown(t.Context()); err != nil {
							t.Fatal(err)
						}
						c = serve(t, o).client(wire.Pickle)
					}
					known := 0
					for i, since := range tids {
						v, ok := c.call("getInvalidations", since).(wire.Tuple)
						if !ok {
							continue
						}
						known++
						told := tuples(v[1]).(wire.Tuple)
						for oid := range zodb.OID(4) {
							changed := int(oid)+1 > i || oid == 3 && i < 5
							if has := slices.ContainsFunc(told, func(b any) bool { return zodb.OIDFromBytes(b.([]byte)) == oid+1 }); changed && !has {
								t.Errorf("who was away since transaction %d is not told of object %s, only of %q", i, oid+1, told)
							}
						}
					}
					// The transactions after the pack, and nothing else; a client that knows the
					// last one before it gets the same.
					if least := map[string]int{"detailed": len(tids), "undoable": 2}[policy]; known < least {
						t.Errorf("%d of %d could be told what they missed, want %d", known, len(tids), least)
					}
				})
			}
		}
	}
}

// TestPackFreesTheSharedBlobDirectory: the links there would keep the space.
func TestPackFreesTheSharedBlobDirectory(t *testing.T) {
	t.Parallel()
	for _, shape := range []filestorage.BlobLayout{filestorage.BlobBushy, filestorage.BlobLawn} {
		t.Run(string(shape), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(filepath.Dir(memoryHome(t)), "d")
			blobs := filepath.Join(dir, "blobs")
			if err := os.MkdirAll(blobs, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(blobs, ".layout"), []byte(shape), 0o600); err != nil {
				t.Fatal(err)
			}
			so := StorageOptions{Name: "1", Storage: packStorage(t, filepath.Join(dir, "home")), BlobDir: blobs}
			ts := serve(t, Options{Storages: []StorageOptions{so}})
			cache, c := ts.dialCache(wire.Msgpack), ts.client(wire.Msgpack)
			name := func(oid zodb.OID, tid zodb.TID) string {
				return filepath.Join(blobs, filepath.FromSlash(shape.Path(oid, tid)))
			}
			old := commitBlob(t, cache, 1, 0, "old", []byte("old"))
			garbage := commitBlob(t, cache, 0x102, 0, "garbage", []byte("garbage"))
			c.store(map[zodb.OID]string{0: refers("root", 1)})
			current := commitBlob(t, cache, 1, old, "current", []byte("current"))
			upload := filepath.Join(filepath.Dir(name(0x102, 1)), "upload.tmp")
			if err := os.WriteFile(upload, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if shape == filestorage.BlobBushy {
				c.want(nil, c.call("pack", now(), true))
			} else if _, err := so.Storage.Pack(t.Context(), zodb.PackOptions{}); err != nil { // an administrator's
				t.Fatal(err)
			}
			for file, want := range map[string]bool{name(1, old): false, name(0x102, garbage): false, name(1, current): true, upload: true,
				filepath.Join(blobs, ".layout"): true, filepath.Join(blobs, markFile): true} {
				if _, err := os.Stat(file); (err == nil) != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v, want that it is there: %t", file, err, want)
				}
			}
			wantBlob(t, cache, 1, current, []byte("current"))
		})
	}
}

// TestClientsPackKeepsWhatNothingRefersToIfToldSo is for databases that others refer to.
func TestClientsPackKeepsWhatNothingRefersToIfToldSo(t *testing.T) {
	t.Parallel()
	s := packStorage(t, memoryHome(t))
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s, NoGC: true}}})
	c := ts.client(wire.Msgpack)
	c.garden()
	c.want(nil, c.call("pack", now(), true))
	for oid := range zodb.OID(5) {
		if c.call("loadBefore", oid, zodb.TID(1<<62)) == nil {
			t.Errorf("object %s is gone", oid)
		}
	}
	if h := tuples(c.call("history", zodb.OID(0), 10)).(wire.Tuple); len(h) != 1 {
		t.Errorf("the root has %d revisions, want 1: old ones go all the same", len(h))
	}
}
