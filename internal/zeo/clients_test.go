package zeo

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestMain makes the binary a server when a test started it as one.
func TestMain(m *testing.M) {
	if home := os.Getenv(serverEnv); home != "" {
		os.Exit(serveUntilKilled(home))
	}
	os.Exit(hometest.M{M: m}.Run())
}

// firstSeed is the seed of the first round: $DIRSTORAGE_SEED, or another one each time.
func firstSeed(t testing.TB) uint64 {
	t.Helper()
	if text := os.Getenv("DIRSTORAGE_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return seed
	}
	return rand.Uint64() >> 16
}

// encodingOf takes turns.
func encodingOf(i int) wire.Encoding {
	if i%2 == 0 {
		return wire.Pickle
	}
	return wire.Msgpack
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	hometest.Eventually(t, what, holds)
}

// logBuffer is a log that tests look into.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), part)
}

func (l *logBuffer) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

func (l *logBuffer) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Len()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// refusals is an Observer that counts the refusals of limits.
type refusals struct {
	nobody
	mu    sync.Mutex
	count map[string]int
}

func (r *refusals) Refused(limit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[string]int)
	}
	r.count[limit]++
}

func (r *refusals) of(limit string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[limit]
}

// openStorage is newStorage with options.
func openStorage(t testing.TB, home string, o engine.Options) *engine.Storage {
	t.Helper()
	newStorageAt(t, home)
	return enginetest.Open(t, home, o)
}

// newStorageAt makes a HOME unless it is there.
func newStorageAt(t testing.TB, home string) {
	t.Helper()
	if _, err := os.Stat(home); err == nil {
		return
	}
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func tempHome(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "home")
}

// memoryHome is tempHome in memory where there is such a file system, for tests of
// much that is committed and nothing that has to be durable.
func memoryHome(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dirstorage-test")
	if err != nil {
		return tempHome(t)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "home")
}

// dialCache connects a client with a cache, until the end of the test.
func (ts *testServer) dialCache(e wire.Encoding) *cachetest.Cache {
	ts.t.Helper()
	c, err := cachetest.Dial(ts.t.Context(), zeoclient.Options{Address: ts.address, Encoding: e}, true)
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.t.Cleanup(func() { c.Close() })
	return c
}

// stop ends the server now.
func (ts *testServer) stop() {
	ts.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ts.Shutdown(ctx); err != nil {
		ts.t.Errorf("shutdown: %v", err)
	}
}

// committed returns the transactions of a storage after a tid, in their order.
func committed(t testing.TB, s *engine.Storage, after zodb.TID) []*zodb.Transaction {
	t.Helper()
	var list []*zodb.Transaction
	for tx, err := range s.TransactionsBackward(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if tx.TID <= after {
			break
		}
		list = append(list, tx)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// servesOthers is a client that commits and loads while something is done to the
// server by others.
func (ts *testServer) servesOthers() {
	ts.t.Helper()
	c := ts.client(wire.Msgpack)
	defer c.conn.Close()
	oid := zodb.OIDFromBytes(elements(c.call("new_oids", 1))[0].([]byte))
	tid := c.commit(oid, 0, "served")
	got := elements(c.call("loadBefore", oid, tid+1))
	if !bytes.Equal(got[0].([]byte), record("served")) {
		ts.t.Fatalf("loaded %v", got)
	}
}

// elements returns the members of a list or tuple.
func elements(v any) []any {
	switch v := v.(type) {
	case wire.List:
		return v
	case wire.Tuple:
		return v
	}
	return nil
}

// frameOf is a payload with its length.
func frameOf(payload []byte) []byte {
	b, _ := wire.AppendFrame(nil, func(b []byte) ([]byte, error) { return append(b, payload...), nil })
	return b
}

// closedSoon waits until the other side closes a connection.
func closedSoon(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	for {
		if _, err := conn.Read(b); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("the connection stays open")
			}
			return
		}
	}
}

func isNotFound(err error) bool { return errors.Is(err, zodb.ErrNotFound) }
