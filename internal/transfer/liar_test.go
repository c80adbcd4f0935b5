package transfer

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// liar stands before a server, and changes its answers.
type liar struct {
	t      testing.TB
	server string
	// answer changes the result of a call, or makes it an error of a class.
	answer func(name string, args, result any) (any, string)

	mu    sync.Mutex
	calls map[string]int // guarded by mu: by names
	conns []net.Conn     // guarded by mu
	hung  int            // guarded by mu: how many of conns hang
}

// lie serves a storage through a liar, and returns that and its address.
func lie(t testing.TB, s *engine.Storage, answer func(name string, args, result any) (any, string)) (*liar, string) {
	t.Helper()
	address, _ := serveOn(t, s, "127.0.0.1:0")
	l := &liar{t: t, server: address, answer: answer, calls: make(map[string]int)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { l.connection(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		connections.Wait()
	})
	return l, listener.Addr().String()
}

// called returns how often a method was called.
func (l *liar) called(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[name]
}

// hang has it pass nothing on any more on the connections that there are.
func (l *liar) hang() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hung = len(l.conns)
}

// hangUp ends the connections.
func (l *liar) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		conn.Close()
	}
}

func (l *liar) connection(client net.Conn) {
	defer client.Close()
	l.mu.Lock()
	l.conns = append(l.conns, client)
	number := len(l.conns)
	l.mu.Unlock()
	silent := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return number <= l.hung
	}
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		l.t.Error(err)
		return
	}
	var mu sync.Mutex
	var e wire.Encoding // guarded by mu
	asked := make(map[any]wire.Message)
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		pass(server, client, func(frame []byte) []byte {
			if silent() {
				return nil
			}
			mu.Lock()
			if e == 0 { // its greeting
				mu.Unlock()
				return frame
			}
			m, err := wire.Decode(e, bytes.Clone(frame))
			if err != nil {
				l.t.Error(err)
			}
			request, known := asked[m.ID]
			delete(asked, m.ID)
			mu.Unlock()
			if !known || m.Failed() {
				return frame
			}
			v, class := l.answer(request.Name, request.Args, m.Args)
			var out []byte
			if class != "" {
				out, err = wire.AppendError(nil, e, m.RawID, class, v)
			} else {
				out, err = wire.AppendReply(nil, e, m.RawID, v)
			}
			if err != nil {
				l.t.Error(err)
			}
			return out
		})
	})
	pass(client, server, func(frame []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if e == 0 {
			e = wire.Encoding(frame[0])
			return frame
		}
		m, err := wire.Decode(e, bytes.Clone(frame))
		if err != nil {
			l.t.Error(err)
		}
		l.mu.Lock()
		l.calls[m.Name]++
		l.mu.Unlock()
		if !m.OneWay() {
			asked[m.ID] = m
		}
		return frame
	})
	server.Close()
	back.Wait()
}

// pass passes messages on as change returns them, if it returns any.
func pass(from, to net.Conn, change func(frame []byte) []byte) {
	for in := wire.NewReader(from, 1<<30); ; {
		frame, err := in.Next()
		if err != nil {
			return
		}
		out := change(frame)
		if out == nil {
			continue
		}
		b, err := wire.AppendFrame(nil, func(b []byte) ([]byte, error) { return append(b, out...), nil })
		if err == nil {
			_, err = to.Write(b)
		}
		if err != nil {
			return
		}
	}
}

// honest changes nothing.
func honest(_ string, _, result any) (any, string) { return result, "" }

// endsAt is a server that ends the records of a transaction before that of an object.
func endsAt(tid zodb.TID, oid zodb.OID) func(name string, args, result any) (any, string) {
	return func(name string, _, result any) (any, string) {
		if rec, ok := sequence(result); ok && name == "iterator_record_next" && isRevision(rec, tid, oid) {
			return nil, ""
		}
		return result, ""
	}
}

// sequence returns the members of a tuple or list.
func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case wire.Tuple:
		return v, true
	case wire.List:
		return v, true
	}
	return nil, false
}

func isRevision(rec []any, tid zodb.TID, oid zodb.OID) bool {
	return string(rec[0].([]byte)) == string(oid.Bytes()) && string(rec[1].([]byte)) == string(tid.Bytes())
}

// dialAt connects to a server.
func dialAt(t testing.TB, address string) *zeoclient.Client {
	t.Helper()
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address, ReadOnly: true, Encoding: wire.Msgpack})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
