package zeo

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// bomb is a small message that would be something large, deep, slow or dangerous.
type bomb struct {
	name     string
	encoding wire.Encoding
	payload  []byte
	answered bool // it is harmless, and has an answer; else the connection ends
}

// numbered joins n pieces.
func numbered(n int, piece func(b []byte, i int) []byte) (b []byte) {
	for i := range n {
		b = piece(b, i)
	}
	return b
}

func little[N int | uint32](b []byte, op byte, n N) []byte {
	return binary.LittleEndian.AppendUint32(append(b, op), uint32(n))
}

func wide[N int | uint32](op byte, n N) []byte {
	return binary.BigEndian.AppendUint32([]byte{op}, uint32(n))
}

// bombs returns all of them. n is how many parts the wide and the deep ones have.
func bombs(n int) []bomb {
	again := func(s string, n int) []byte { return bytes.Repeat([]byte(s), n) }
	pickled := func(name string, parts ...[]byte) []byte {
		b := append(little([]byte("\x80\x03(K\x01\x89"), 'X', len(name)), name+"("...)
		return append(append(b, bytes.Join(parts, nil)...), "tt."...)
	}
	packed := func(name string, args int, parts ...[]byte) []byte {
		b := append([]byte{0x94, 1, 0xc2, 0xa0 + byte(len(name))}, name...)
		return append(append(b, 0x90+byte(args)), bytes.Join(parts, nil)...)
	}
	long := append(little(nil, 0x8b, 4*n), again("\x55", 4*n)...)
	large := append(little(nil, 'B', 4*n), make([]byte, 4*n)...)
	padding := append(little(nil, 'B', 16*n), make([]byte, 16*n)...)
	text := again("t", 2<<20)
	lists := append([]byte("](K\x01e"), numbered(60, func(b []byte, i int) []byte {
		return append(append(append(b, 'q', byte(i), ']', '('), again(string([]byte{'h', byte(i)}), 10)...), 'e')
	})...)
	pairs := append([]byte("K\x01"), numbered(200, func(b []byte, i int) []byte { return append(b, 'q', byte(i), 'h', byte(i), 0x86) })...)
	counts := func(behind string) []byte {
		return numbered(n, func(b []byte, i int) []byte { return append(little(b, 'J', i), behind...) })
	}
	keys := func(before string) []byte {
		return numbered(n, func(b []byte, i int) []byte { return append(append(append(b, before...), wide(0xce, i)...), 0xc0) })
	}
	return []bomb{
		{"lists that grow tenfold", wire.Pickle, pickled("ping", lists), false},
		{"pairs that double", wire.Pickle, pickled("ping", pairs), false},
		{"deep lists", wire.Pickle, pickled("ping", again("](", n), again("e", n)), false},
		{"deep tuples", wire.Pickle, pickled("ping", []byte("N"), again("\x85", n)), false},
		{"lists that are deep, but not too deep", wire.Pickle, pickled("ping", again("](", 90), again("e", 90)), true},
		{"a list that holds itself", wire.Pickle, pickled("ping", []byte("]q\x00h\x00a")), false},
		{"bytes that are there many times", wire.Pickle, pickled("ping", large, []byte("q\x00("), again("h\x00", n), []byte("l")), false},
		{"an integer as the name of a transaction", wire.Pickle, pickled("tpc_begin", long, []byte("C\x01uC\x01d}N")), false},
		{"an integer as an id", wire.Pickle, append(append([]byte("\x80\x03("), long...), "\x89X\x04\x00\x00\x00ping)t."...), false},
		{"a memo with gaps", wire.Pickle, pickled("ping", []byte("N"), numbered(n, func(b []byte, i int) []byte { return little(b, 'r', i*4001+7) })), false},
		{"a call", wire.Pickle, pickled("ping", []byte("cos\nsystem\n(X\x02\x00\x00\x00lstR")), false},
		{"a large dictionary", wire.Pickle, pickled("undoInfo", []byte("K\x00K\x0a}("), counts("N"), []byte("u")), false},
		{"keys that equal nothing", wire.Pickle, pickled("undoInfo", []byte("K\x00K\x0a}("), again("G\x7f\xf8\x00\x00\x00\x00\x00\x00N", n), []byte("u")), false},
		{"keys that are tuples", wire.Pickle, pickled("undoInfo", []byte("K\x00K\x0a}("), counts("\x85N"), []byte("u")), false},
		{"a large set", wire.Pickle, pickled("tpc_begin", []byte("K\x07C\x01uC\x01d}X\x01\x00\x00\x00acbuiltins\nset\n]("), counts(""), []byte("e\x85RsN")), false},
		{"many Nones", wire.Pickle, pickled("ping", []byte("]("), again("N", 4*n), []byte("e")), false},
		{"many lists of a text", wire.Pickle, pickled("ping", []byte("]("), again("](X\x04\x00\x00\x00abcde", n), []byte("e")), false},
		{"the length of bytes is a claim", wire.Pickle, pickled("ping", little(nil, 'B', uint32(1<<32-1))), false},
		{"the length of a text is a claim", wire.Pickle, pickled("ping", little(nil, 'X', uint32(1<<32-1))), false},
		{"the length of an integer is a claim", wire.Pickle, pickled("ping", little(nil, 0x8b, 1<<31-1)), false},

		// Each of these is stopped by one limit alone.
		{"lists that are a little too deep", wire.Pickle, pickled("ping", again("](", 99), again("e", 99)), false},
		{"tuples that are a little too deep", wire.Pickle, pickled("ping", []byte("N"), again("\x85", 200)), false},
		{"long bytes that are there a thousand times", wire.Pickle, pickled("ping", large, []byte("q\x00("), again("h\x00", 1000), []byte("l")), false},
		{"dictionaries beside long bytes", wire.Pickle, pickled("ping", padding, []byte("]("), again("}", 4*n), []byte("e")), false},
		{"a place of the memo with a long number", wire.Pickle, pickled("ping", []byte("Np"), again("0", 300), []byte("\n")), false},
		{"arrays that are a little too deep", wire.Msgpack, packed("ping", 1, again("\x91", 100), []byte{0xc0}), false},
		{"maps beside long bytes", wire.Msgpack, packed("ping", 2, wide(0xc6, 16*n), make([]byte, 16*n), wide(0xdd, 4*n), again("\x80", 4*n)), false},
		{"a long text", wire.Pickle, pickled("ping", little(nil, 'X', len(text)), text), false},
		{"a long text", wire.Msgpack, packed("ping", 1, wide(0xdb, len(text)), text), false},

		{"the length of an array is a claim", wire.Msgpack, append([]byte("\x94\x01\xc2\xa4ping"), wide(0xdd, uint32(1<<32-1))...), false},
		{"the length of a map is a claim", wire.Msgpack, packed("ping", 1, wide(0xdf, uint32(1<<32-1))), false},
		{"the length of bytes is a claim", wire.Msgpack, packed("ping", 1, wide(0xc6, uint32(1<<32-1))), false},
		{"the length of a text is a claim", wire.Msgpack, append([]byte{0x94, 1, 0xc2}, wide(0xdb, uint32(1<<32-1))...), false},
		{"the length of an extension is a claim", wire.Msgpack, packed("ping", 1, wide(0xc9, uint32(1<<32-1)), []byte{1}), false},
		{"deep arrays", wire.Msgpack, packed("ping", 1, again("\x91", n), []byte{0xc0}), false},
		{"many Nones", wire.Msgpack, packed("ping", 1, wide(0xdd, 4*n), again("\xc0", 4*n)), false},
		{"many lists of a text", wire.Msgpack, packed("ping", 1, wide(0xdd, n), again("\x91\xa4abcd", n)), false},
		{"arrays in arrays, whose lengths are claims", wire.Msgpack, packed("ping", 1, wide(0xdd, n), again("\xdd\x00\x10\x00\x00", n)), false},
		{"arrays that are deep, but not too deep", wire.Msgpack, packed("ping", 1, again("\x91", 90), []byte{0xc0}), true},
		{"a large dictionary", wire.Msgpack, packed("undoInfo", 3, []byte{0, 10}, wide(0xdf, n), keys("")), false},
		{"keys that are tuples", wire.Msgpack, packed("undoInfo", 3, []byte{0, 10}, wide(0xdf, n), keys("\x91")), false},
		{"keys that equal nothing", wire.Msgpack, packed("undoInfo", 3, []byte{0, 10}, wide(0xdf, n), again("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xc0", n)), false},
		{"bytes as an id", wire.Msgpack, append(append(append([]byte{0x94}, wide(0xc6, 4*n)...), make([]byte, 4*n)...), "\xc2\xa4ping\x90"...), false},
	}
}

// TestBombsCostLittle sends each on a connection of its own. It has an answer, or the
// connection ends; memory, descriptors and the log stay small, and an innocent client goes on.
func TestBombsCostLittle(t *testing.T) {
	all := bombs(bombParts())
	transports(t, Limits{Memory: 64 << 20, Files: 256, Connections: 100}, func(t *testing.T, ts *testServer, _ *refusals, log *logBuffer) {
		ts.servesOthers()
		eventually(t, "nobody is there", func() bool { return ts.Connections() == 0 })
		free, begin := ts.budgets.free(), inUse(t)
		grown := costs(t, ts, func() {
			for _, b := range all {
				if answered := ts.explode(b); answered != b.answered {
					t.Errorf("%c: %s: answered %v", b.encoding, b.name, answered)
				}
			}
		})
		if grown > 32<<20 {
			t.Errorf("%d bytes", grown)
		}
		t.Logf("%d bytes of memory, %d of log", grown, log.len())
		if n := log.len(); n > 40_000 || log.has("bug in the server") {
			t.Errorf("%d bytes of log", n)
		}
		runtime.KeepAlive(all)
		ts.servesOthers()
		eventually(t, "everything was given back", func() bool { return ts.Connections() <= 1 && ts.budgets.free() == free })
		begin.notMoreThan(t)
	})
}

// bombParts is how many parts a bomb has.
func bombParts() int {
	if testing.Short() {
		return 1 << 14
	}
	return 1 << 17
}

// explode sends one, and reports whether it was answered.
func (ts *testServer) explode(b bomb) bool {
	ts.t.Helper()
	c := ts.client(b.encoding)
	defer c.conn.Close()
	var sent sync.WaitGroup
	sent.Go(func() { c.quiet(frameOf(b.payload)) })
	answer, err := c.read()
	c.conn.Close()
	sent.Wait()
	if err == nil && len(answer) > 2*maxText {
		ts.t.Errorf("%s: an answer of %d bytes", b.name, len(answer))
	}
	return err == nil
}

// TestHostileClientsTakeLittleOfTheProcessor compares with the cost of the same number of bytes of
// ordinary calls in the same process.
func TestHostileClientsTakeLittleOfTheProcessor(t *testing.T) {
	hometest.InTurn(t, 4)
	ts, _, _ := limited(t, Limits{Memory: 64 << 20, Files: 4096, Connections: 1000})
	ordinary := func(e wire.Encoding) (bytes int, took time.Duration) {
		c := ts.client(e)
		defer c.conn.Close()
		stream := bytesOf(c, 5000)
		return len(stream), processorTime(t, func() {
			var sent sync.WaitGroup
			sent.Go(func() { c.quiet(stream) })
			for range 5000 {
				c.message()
			}
			sent.Wait()
		})
	}
	honest := make(map[wire.Encoding]func(bytes int) time.Duration)
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		size, took := ordinary(e)
		honest[e] = func(bytes int) time.Duration { return took + time.Duration(float64(took)*float64(bytes)/float64(size)) }
	}
	const generous = 5
	for _, b := range bombs(bombParts()) {
		if took, most := processorTime(t, func() { ts.explode(b) }), generous*honest[b.encoding](len(b.payload)); took > most {
			t.Errorf("%c: %s: %s, where as many bytes of ordinary calls may take %s", b.encoding, b.name, took, most)
		}
	}
	text := strings.Repeat("x", 1<<20)
	for _, name := range []string{"vote", "tpc_abort", "set_client_label", "enter_snapshot", "iterator_gc", "undoa"} {
		took := processorTime(t, func() {
			c := ts.client(wire.Msgpack)
			defer c.conn.Close()
			c.request(name, text, text)
			_, _ = c.read()
		})
		if most := generous * honest[wire.Msgpack](2*len(text)); took > most {
			t.Errorf("%s of long texts: %s, more than %s", name, took, most)
		}
	}
	// Silent connections cost nothing while they are silent.
	for range 200 {
		ts.connect().next()
	}
	took := processorTime(t, func() {
		for range 20 {
			time.Sleep(10 * time.Millisecond) // the time that is measured
		}
	})
	if most := generous * honest[wire.Pickle](0); took > most {
		t.Errorf("200 silent connections: %s in a fifth of a second, more than %s", took, most)
	}
}

// bytesOf is a stream of n ordinary calls.
func bytesOf(c *rawClient, n int) (stream []byte) {
	for range n {
		stream = append(stream, c.frame(false, "ping")...)
	}
	return stream
}
