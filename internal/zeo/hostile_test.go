package zeo

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// conversation is a Python client's side of one connection, without the handshake.
type conversation struct {
	name     string
	encoding wire.Encoding
	messages [][]byte
}

// recordedConversations reads testdata/recorded; see the README there.
func recordedConversations(t testing.TB) []conversation {
	t.Helper()
	names, err := filepath.Glob("testdata/recorded/*.jsonl")
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded conversations: %v", err)
	}
	var all []conversation
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(filepath.Base(name), ".")
		said := make(map[int]*conversation)
		scanner := bufio.NewScanner(f)
		scanner.Buffer(nil, 32<<20)
		for first := true; scanner.Scan(); first = false {
			var m struct {
				Conn            int
				Dir, Hex, Event string
			}
			if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
			if first || m.Dir != "C>S" || m.Event != "" {
				continue
			}
			payload, err := hex.DecodeString(m.Hex)
			if err != nil {
				t.Fatal(err)
			}
			c := said[m.Conn]
			if c == nil { // its handshake
				said[m.Conn] = &conversation{name: filepath.Base(name), encoding: wire.Encoding(parts[1][0])}
				continue
			}
			if len(payload) < 200_000 {
				c.messages = append(c.messages, payload)
			}
		}
		if err := scanner.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for i := range 10 {
			if c := said[i]; c != nil && len(c.messages) > 0 {
				all = append(all, *c)
			}
		}
	}
	return all
}

// talk sends a stream on a connection of its own, reads the answers, and hangs up when the server
// has taken all or has closed.
func talk(ts *testServer, stream []byte) {
	mine, its := net.Pipe()
	ts.welcome(its)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 32<<10)
		for {
			if _, err := mine.Read(b); err != nil {
				return
			}
		}
	}()
	_ = mine.SetWriteDeadline(time.Now().Add(patience))
	_, _ = mine.Write(stream)
	mine.Close()
	<-done
}

// sound fails the test if a bug was met, connections stay, or locks do.
func (ts *testServer) sound(log *logBuffer, connections int) {
	ts.t.Helper()
	eventually(ts.t, "all connections ended", func() bool { return ts.Connections() == connections })
	if log.has("bug in the server") {
		ts.t.Fatalf("a panic: %s", log.b.String())
	}
	for _, so := range ts.o.Storages {
		h := ts.hubs[so.Name]
		if n := h.stats.active.Load(); n != 0 {
			ts.t.Errorf("%d transactions are open", n)
		}
		if n := h.stats.holding.Load(); n != 0 {
			ts.t.Errorf("%d transactions hold locks", n)
		}
	}
	free(ts.t.(*testing.T), ts, wire.Msgpack)
}

func TestGarbageHarmsNobody(t *testing.T) {
	t.Parallel()
	log := &logBuffer{}
	ts := serve(t, Options{Logger: log.logger()})
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	register := func(e wire.Encoding) []byte {
		b, err := wire.AppendRequest(nil, e, int64(1), false, "register", "1", false)
		if err != nil {
			t.Fatal(err)
		}
		return append(frameOf([]byte{byte(e), '5'}), frameOf(b)...)
	}
	streams := map[string][]byte{
		"nothing":        nil,
		"http":           []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"zeros":          make([]byte, 4096),
		"ones":           bytes.Repeat([]byte{0xff}, 4096),
		"noise":          noise,
		"half a length":  {0, 0},
		"half a hello":   {0, 0, 0, 2, 'Z'},
		"empty hello":    {0, 0, 0, 0},
		"old protocol":   frameOf([]byte("Z4")),
		"no encoding":    frameOf([]byte("X5")),
		"half a message": append(register('Z'), 0, 0, 1, 0, 0x80, 3),
		"empty message":  append(register('M'), 0, 0, 0, 0),
		"noise inside":   append(register('Z'), frameOf(noise)...),
		"noise in M":     append(register('M'), frameOf(noise)...),
		"deep":           append(register('Z'), frameOf(bytes.Repeat([]byte{'('}, 100_000))...),
		"deep in M":      append(register('M'), frameOf(bytes.Repeat([]byte{0x91}, 100_000))...),
		"wide in M":      append(register('M'), frameOf([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})...),
		"global":         append(register('Z'), frameOf([]byte("\x80\x03cos\nsystem\nX\x02\x00\x00\x00ls\x85R."))...),
		"twice":          append(register('Z'), register('Z')[6:]...),
	}
	var wait sync.WaitGroup
	for name, stream := range streams {
		wait.Go(func() {
			conn, err := net.Dial("tcp", ts.address)
			if err != nil {
				t.Error(name, err)
				return
			}
			defer conn.Close()
			_, _ = conn.Write(stream)
			if err := conn.(*net.TCPConn).CloseWrite(); err == nil {
				closedSoon(t, conn)
			}
		})
	}
	ts.servesOthers()
	wait.Wait()
	ts.sound(log, 0)
}

// certificate makes a certificate that signs itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, _, _ := identity(t, "zodb.org")
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	return cert, pool
}

func TestTLSAndPlainDoNotMix(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	stranger, _ := certificate(t)
	client := func(c tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c}, RootCAs: pool, ServerName: "zodb.org"}
	}
	t.Run("plain client", func(t *testing.T) {
		t.Parallel()
		log := &logBuffer{}
		ts := serve(t, Options{Logger: log.logger(), TLS: &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}})
		plain := ts.connect()
		plain.send([]byte("Z5"))
		closedSoon(t, plain.conn)
		reset := ts.connect()
		if err := reset.conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		reset.conn.Close()
		half := ts.connect()
		if _, err := half.conn.Write([]byte{22, 3, 1, 2}); err != nil {
			t.Fatal(err)
		}
		half.conn.Close()
		for _, o := range []*tls.Config{client(stranger), {RootCAs: pool, ServerName: "zodb.org"}} {
			if c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: o}); err == nil {
				c.Close()
				t.Error("a client without the right certificate was let in")
			}
		}
		c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: client(cert)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		eventually(t, "the others are gone", func() bool { return ts.Connections() == 1 })
		if log.has("bug in the server") {
			t.Error("a panic")
		}
	})
	t.Run("plain server", func(t *testing.T) {
		t.Parallel()
		log := &logBuffer{}
		ts := serve(t, Options{Logger: log.logger()})
		if c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: client(cert)}); err == nil {
			c.Close()
			t.Error("TLS with a plain server")
		}
		ts.servesOthers()
		ts.sound(log, 0)
	})
}

// mutate changes a conversation a little.
func mutate(rnd *rand.Rand, messages [][]byte) []byte {
	var stream []byte
	target := rnd.IntN(len(messages))
	for i, m := range messages {
		frame := frameOf(m)
		if i == target || rnd.IntN(20) == 0 {
			switch rnd.IntN(7) {
			case 0:
				frame[rnd.IntN(len(frame))] ^= 1 << rnd.IntN(8)
			case 1:
				for range 1 + rnd.IntN(5) {
					frame[4+rnd.IntN(max(1, len(frame)-4))%max(1, len(frame)-4)] = byte(rnd.Uint32())
				}
			case 2:
				frame = frameOf(m[:rnd.IntN(len(m)+1)])
			case 3:
				frame = append(frame, frame...)
			case 4:
				frame = nil
			case 5:
				other := messages[rnd.IntN(len(messages))]
				at := rnd.IntN(len(m) + 1)
				frame = frameOf(append(append(bytes.Clone(m[:at]), other[min(at, len(other)):]...), m[at:]...))
			default:
				frame = frame[:rnd.IntN(len(frame)+1)]
			}
		}
		stream = append(stream, frame...)
	}
	return stream
}

func TestChangedConversationsHarmNobody(t *testing.T) {
	t.Parallel()
	log := &logBuffer{}
	all := recordedConversations(t)
	first := firstSeed(t)
	n := hometest.Rounds(t, 600)
	ts := serve(t, Options{Logger: log.logger(), Limits: Limits{Message: 1 << 20},
		Storages: []StorageOptions{{Name: "1", Storage: openStorage(t, memoryHome(t), engine.Options{})}}})
	witness := ts.dialCache(wire.Pickle)
	oid := zodb.OID(1)
	work := make(chan uint64)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for seed := range work {
				rnd := rand.New(rand.NewPCG(seed, 7))
				c := all[rnd.IntN(len(all))]
				stream := append(frameOf([]byte{byte(c.encoding), '5'}), mutate(rnd, c.messages)...)
				talk(ts, stream)
			}
		})
	}
	for i := range n {
		work <- first + uint64(i)
		if i%20 == 0 {
			if err := witness.Ping(t.Context()); err != nil {
				t.Fatalf("seeds %d to %d: %v", first, first+uint64(i), err)
			}
			if _, err := witness.Load(t.Context(), oid, witness.LastTID()+1); err != nil && !isNotFound(err) {
				t.Fatalf("seeds %d to %d: %v", first, first+uint64(i), err)
			}
		}
	}
	close(work)
	wait.Wait()
	if err := witness.Broken(); err != nil {
		t.Error(err)
	}
	witness.Close()
	ts.sound(log, 0)
	if t.Failed() {
		t.Logf("seeds %d to %d", first, first+uint64(n))
	}
}

// FuzzServer sends anything after the hello. The server lets go of it in the
// end, with its locks, and goes on serving.
func FuzzServer(f *testing.F) {
	for _, c := range recordedConversations(f) {
		var stream []byte
		for _, m := range c.messages {
			stream = append(stream, frameOf(m)...)
		}
		if len(stream) < 20_000 {
			f.Add(c.encoding == wire.Pickle, stream)
		}
	}
	f.Fuzz(func(t *testing.T, pickle bool, stream []byte) {
		e := wire.Msgpack
		if pickle {
			e = wire.Pickle
		}
		log := &logBuffer{}
		ts := serve(t, Options{Logger: log.logger(), Limits: Limits{Message: 1 << 20},
			Storages: []StorageOptions{{Name: "1", Storage: openStorage(t, memoryHome(t), engine.Options{NoControlSocket: true})}}})
		talk(ts, append(frameOf([]byte{byte(e), '5'}), stream...))
		ts.sound(log, 0)
	})
}

// TestEndInEachStateFreesTheLocks ends connections in all states, from both sides.
func TestEndInEachStateFreesTheLocks(t *testing.T) {
	t.Parallel()
	begun := func(c *rawClient, ts *testServer) {
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
	}
	voted := func(c *rawClient, ts *testServer) { begun(c, ts); c.call("vote", mine) }
	uploading := func(c *rawClient, ts *testServer) {
		begun(c, ts)
		c.oneWay("storeBlobStart")
		c.oneWay("storeBlobChunk", make([]byte, blobPiece))
	}
	for _, st := range []struct {
		name  string
		reach func(c *rawClient, ts *testServer)
	}{
		{"begun", begun},
		{"voted", voted},
		{"uploading", uploading},
		{"uploaded", func(c *rawClient, ts *testServer) {
			uploading(c, ts)
			c.oneWay("storeBlobEnd", zodb.OID(1), zodb.TID(0), record("x"), mine)
			c.call("vote", mine)
		}},
		{"waiting", func(c *rawClient, ts *testServer) {
			holder := ts.client(c.enc)
			voted(holder, ts)
			begun(c, ts)
			c.request("vote", mine)
			c.call("ping")
			holder.conn.Close()
		}},
		{"in conflict", func(c *rawClient, ts *testServer) {
			other := ts.client(c.enc)
			other.commit(1, 0, "other")
			other.conn.Close()
			begun(c, ts)
			if got := elements(c.call("vote", mine)); len(got) != 1 {
				ts.t.Fatalf("voted %v", got)
			}
		}},
		{"finishing", func(c *rawClient, ts *testServer) { voted(c, ts); c.request("tpc_finish", mine) }},
	} {
		for _, end := range []struct {
			name string
			do   func(c *rawClient)
		}{
			{"hang up", func(c *rawClient) { c.conn.Close() }},
			{"reset", func(c *rawClient) { _ = c.conn.(*net.TCPConn).SetLinger(0); c.conn.Close() }},
			{"unknown method", func(c *rawClient) { c.oneWay("no_such_thing"); c.closed() }},
			{"wrong handle", func(c *rawClient) { c.oneWay("storea", zodb.OID(2), zodb.TID(0), record("y"), other); c.closed() }},
			{"garbage", func(c *rawClient) { c.send([]byte("garbage")); c.closed() }},
		} {
			t.Run(st.name+"/"+end.name, func(t *testing.T) {
				t.Parallel()
				encodings(t, func(t *testing.T, e wire.Encoding) {
					log := &logBuffer{}
					ts := serve(t, Options{Logger: log.logger(),
						Storages: []StorageOptions{{Name: "1", Storage: openStorage(t, memoryHome(t), engine.Options{})}}})
					c := ts.client(e)
					st.reach(c, ts)
					end.do(c)
					ts.sound(log, 0)
					if left := staged(t, ts.storages["1"]); len(left) > 0 {
						t.Errorf("%v stays behind", left)
					}
				})
			})
		}
	}
}
