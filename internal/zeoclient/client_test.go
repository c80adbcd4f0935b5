package zeoclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestAnswersMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		const n = 100
		o := registered(t, func(f *fake) {
			var asked []wire.Message
			for range n {
				asked = append(asked, f.expect("getTid"))
			}
			for _, m := range slices.Backward(asked) {
				f.reply(m, m.Args.(wire.Tuple)[0])
			}
			f.drain()
		})
		o.Encoding = e
		c := dial(t, o)
		var wg sync.WaitGroup
		for i := range zodb.OID(n) {
			wg.Go(func() {
				if tid, err := c.GetTid(t.Context(), i); err != nil || tid != zodb.TID(i) {
					t.Errorf("answer %s, %v to call %d", tid, err, i)
				}
			})
		}
		wg.Wait()
	})
}

func TestAnnouncementsMoveTheLastTIDInTheirOrder(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		o := registered(t, func(f *fake) {
			f.expect("tpc_begin")
			f.reply(f.expect("vote"), wire.List{})
			finish := f.expect("tpc_finish")
			_ = f.call("invalidateTransaction", zodb.TID(101), wire.List{zodb.OID(1), zodb.OID(2)})
			_ = f.call("info", wire.Dict{{Key: "length", Value: 5}})
			f.reply(finish, zodb.TID(102))
			_ = f.call("invalidateTransaction", zodb.TID(103), wire.List{})
			f.reply(f.expect("ping"), nil)
			f.drain()
		})
		o.Encoding = e
		var c *zeoclient.Client
		var seen []string
		dialed := make(chan struct{})
		note := func(what string, tid zodb.TID, rest any) {
			<-dialed
			seen = append(seen, fmt.Sprintf("%s %d after %d: %v", what, tid, c.LastTID(), rest))
		}
		o.OnInvalidate = func(tid zodb.TID, oids []zodb.OID) { note("other", tid, len(oids)) }
		o.OnInfo = func(d wire.Dict) { note("info", 0, d.Get("length")) }
		c = dial(t, o)
		close(dialed)
		txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := txn.Vote(t.Context()); err != nil {
			t.Fatal(err)
		}
		tid, err := txn.Finish(t.Context(), func(tid zodb.TID) { note("own", tid, "") })
		if err != nil || tid != 102 {
			t.Errorf("finish: %s, %v", tid, err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{"other 101 after 100: 2", "info 0 after 101: 5", "own 102 after 101: ", "other 103 after 102: 0"}
		if !slices.Equal(seen, want) || c.LastTID() != 103 {
			t.Errorf("seen %q, last %d", seen, c.LastTID())
		}
	})
}

func TestBrokenOrderEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		script func(f *fake)
	}{
		{"the same tid again", func(f *fake) { _ = f.call("invalidateTransaction", zodb.TID(100), wire.List{}) }},
		{"a tid that goes back", func(f *fake) { _ = f.call("invalidateTransaction", zodb.TID(99), wire.List{}) }},
		{"a reply to nothing", func(f *fake) { f.reply(wire.Message{RawID: []byte{'K', 77}}, nil) }},
		{"a second reply", func(f *fake) { f.reply(wire.Message{RawID: []byte{'K', 1}}, nil) }},
		{"an unknown call", func(f *fake) { _ = f.call("dance") }},
		{"a blob that nobody asked for", func(f *fake) { _ = f.call("receiveBlobStart", zodb.OID(1), zodb.TID(2)) }},
		{"an oid of seven bytes", func(f *fake) { _ = f.call("invalidateTransaction", zodb.TID(101), wire.List{[]byte("1234567")}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, registered(t, func(f *fake) {
				tc.script(f)
				f.drain()
			}))
			wait(t, "the end of the connection", c.Done())
			if err := c.Ping(t.Context()); !isProtocolError(err) {
				t.Errorf("ping: %v", err)
			}
			if _, ok := errors.AsType[*zeoclient.LostError](c.Err()); !ok {
				t.Errorf("the connection ended by %v", c.Err())
			}
		})
	}
}

func TestErrorsOfTheServerAreZODBs(t *testing.T) {
	t.Parallel()
	conflict := wire.Dict{{Key: "message", Value: "x"}, {Key: "oid", Value: zodb.OID(5)}, {Key: "class_name", Value: nil}, {Key: "serials", Value: wire.Tuple{zodb.TID(7), zodb.TID(6)}}}
	for _, tc := range []struct {
		class   string
		details any
		is      error
		text    string
	}{
		{"ZODB.POSException.POSKeyError", wire.Tuple{zodb.OID(5)}, zodb.ErrNotFound, "server: no object 0000000000000005"},
		{"ZODB.POSException.POSKeyError", wire.Tuple{"No blob file", zodb.OID(5), zodb.TID(6)}, zodb.ErrNotFound, "server: no object 0000000000000005 at tid 0000000000000006: No blob file"},
		{"ZODB.POSException.ConflictError", conflict, zodb.ErrConflict, "server: write conflict on object 0000000000000005: client had serial 0000000000000006, current is 0000000000000007"},
		{"ZODB.POSException.ReadConflictError", conflict, zodb.ErrConflict, "server: read conflict on object 0000000000000005: client had serial 0000000000000006, current is 0000000000000007"},
		{"ZODB.POSException.ReadOnlyError", wire.Tuple{}, zodb.ErrReadOnly, "server: storage is read-only"},
		{"ZODB.POSException.StorageTransactionError", wire.Tuple{nil, 5}, zodb.ErrState, "server: wrong state of transaction: [<nil> 5]"},
		{"ZODB.POSException.MultipleUndoErrors", wire.Dict{{Key: "_errs", Value: wire.List{wire.Tuple{zodb.OID(5), "why"}}}}, zodb.ErrUndo, "server: cannot undo transaction 0000000000000000: [[0000000000000005 why]]"},
		{"builtins.KeyError", wire.Tuple{7}, nil, "server: builtins.KeyError [7]"},
		{"builtins.ValueError", wire.Tuple{"unknown storage: 2"}, nil, "server: builtins.ValueError [unknown storage: 2]"},
	} {
		both(t, func(t *testing.T, e wire.Encoding) {
			o := registered(t, func(f *fake) {
				f.fail(f.expect("ping"), tc.class, tc.details)
				f.drain()
			})
			o.Encoding = e
			err := dial(t, o).Ping(t.Context())
			if err == nil || err.Error() != tc.text || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%s: %v, want %s", tc.class, err, tc.text)
			}
			if s, ok := errors.AsType[*zeoclient.ServerError](err); !ok || s.Class != tc.class {
				t.Errorf("%s is %#v", tc.class, err)
			}
		})
	}
}

func TestLostConnectionFailsEveryCall(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, func(f *fake) {
		f.expect("ping")
		f.expect("ping")
	}))
	a, b := c.Start("ping"), c.Start("ping")
	for _, p := range []*zeoclient.Pending{a, b, c.Start("ping")} {
		_, err := p.Wait(t.Context())
		if _, ok := errors.AsType[*zeoclient.LostError](err); !ok {
			t.Errorf("a call after the end: %v", err)
		}
	}
	wait(t, "the end", c.Done())
	if err := c.OneWay("ping"); err == nil {
		t.Error("a one-way call after the end succeeds")
	}
	c.Close()
	if err := c.Err(); errors.Is(err, zeoclient.ErrClosed) {
		t.Error("the first cause is not kept")
	}
}

func TestClosedClientSaysSo(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, (*fake).drain))
	p := c.Start("ping")
	c.Close()
	if _, err := p.Wait(t.Context()); !errors.Is(err, zeoclient.ErrClosed) {
		t.Errorf("a call under way: %v", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, zeoclient.ErrClosed) {
		t.Errorf("a later call: %v", err)
	}
}

func TestCallThatIsGivenUpHarmsNobody(t *testing.T) {
	t.Parallel()
	c := dial(t, registered(t, func(f *fake) {
		slow := f.expect("lastTransaction")
		f.reply(f.expect("ping"), nil)
		f.reply(slow, zodb.TID(100))
		f.reply(f.expect("ping"), nil)
		f.drain()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	p := c.Start("lastTransaction")
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	for range 2 {
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if v, err := p.Wait(t.Context()); err != nil || string(v.([]byte)) != string(zodb.TID(100).Bytes()) {
		t.Errorf("waited for again: %v, %v", v, err)
	}
}

func TestValueThatCannotBeSentHarmsNobody(t *testing.T) {
	t.Parallel()
	o := registered(t, func(f *fake) {
		f.reply(f.expect("ping"), nil)
		f.drain()
	})
	c := dial(t, o)
	if _, err := c.Call(t.Context(), "ping", make(chan int)); err == nil {
		t.Error("a channel was sent")
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDialTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		script func(f *fake)
		ok     func(error) bool
	}{
		{"nothing is announced", func(f *fake) {}, func(err error) bool { return err != nil }},
		{"an older protocol", func(f *fake) {
			_ = f.write(func(b []byte) ([]byte, error) { return append(b, "Z310"...), nil })
		}, isProtocolError},
		{"an unknown encoding", func(f *fake) {
			_ = f.write(func(b []byte) ([]byte, error) { return append(b, "X5"...), nil })
		}, isProtocolError},
		{"read-only", func(f *fake) {
			f.hello()
			f.fail(f.expect("register"), "ZODB.POSException.ReadOnlyError", wire.Tuple{})
			f.drain()
		}, func(err error) bool { return errors.Is(err, zodb.ErrReadOnly) }},
		{"announced before registered", func(f *fake) {
			f.hello()
			_ = f.call("invalidateTransaction", zodb.TID(100), wire.List{})
			f.drain()
		}, isProtocolError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := zeoclient.Dial(t.Context(), serve(t, tc.script)); !tc.ok(err) {
				t.Errorf("dial: %v", err)
			}
		})
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o := serve(t, func(f *fake) {
		cancel()
		f.drain()
	})
	if _, err := zeoclient.Dial(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v", err)
	}
}

func TestDialWaitsForTheServer(t *testing.T) {
	t.Parallel()
	o := registered(t, (*fake).drain)
	path := t.TempDir() + "/s"
	early := zeoclient.Options{Network: "unix", Address: path, Wait: 20 * time.Millisecond}
	if _, err := zeoclient.Dial(t.Context(), early); err == nil {
		t.Error("a server that does not exist was found")
	}
	early.Wait = time.Minute
	time.AfterFunc(50*time.Millisecond, func() { forward(t, path, o.Address) })
	c := dial(t, early)
	if c.LastTID() != 100 {
		t.Errorf("the last transaction is %s", c.LastTID())
	}
}

// forward connects one connection to a socket with a TCP address.
func forward(t *testing.T, path, address string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Error(err)
		return
	}
	from, err := l.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	to, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	go pipe(from, to)
	go pipe(to, from)
	l.Close()
}

func pipe(from, to net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err == nil {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

func TestKeepAliveIsSent(t *testing.T) {
	t.Parallel()
	got := make(chan struct{})
	o := registered(t, func(f *fake) {
		for range 3 {
			if m := f.expect(".reply"); m.ID != int64(-1) {
				t.Errorf("the id is %v", m.ID)
			}
		}
		close(got)
		f.drain()
	})
	o.KeepAlive = time.Millisecond
	dial(t, o)
	wait(t, "the keep-alive", got)
}

func TestNamesOfServers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		url, network, address, storage string // no network: it is wrong
	}{
		{"zeo://localhost:8100", "tcp", "localhost:8100", ""},
		{"zeo://localhost", "tcp", "localhost:9991", ""},
		{"zeo://[::1]:8100/main", "tcp", "[::1]:8100", "main"},
		{"zeo://db:1?storage=main", "tcp", "db:1", "main"},
		{"zeo://db:1/main?storage=main", "tcp", "db:1", "main"},
		{"zeo:///run/zeo.sock", "unix", "/run/zeo.sock", ""},
		{"zeo:///run/zeo.sock?storage=a%20b", "unix", "/run/zeo.sock", "a b"},
		{"zeo://db:1/main?storage=other", "", "", ""},
		{"zeo://db:1?pause=1", "", "", ""},
		{"zeo://", "", "", ""},
		{"zeo:db", "", "", ""},
		{"zeo://me@db:1", "", "", ""},
		{"http://db:1", "", "", ""},
		{"zeo://db:port", "", "", ""},
	} {
		o, err := zeoclient.ParseURL(tc.url)
		if (err == nil) != (tc.network != "") || o.Network != tc.network || o.Address != tc.address || o.Storage != tc.storage {
			t.Errorf("%s: %+v, %v", tc.url, o, err)
		}
	}
}
