package zeo

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

func TestLobbyTurnsOutTheOldestOfTheMostFrequentAddress(t *testing.T) {
	t.Parallel()
	l := newLobby()
	var all []*conn
	for _, host := range []string{"a", "b", "b", "c", "b", "c"} {
		c := &conn{host: host}
		all = append(all, c)
		l.enter(c)
	}
	l.leave(all[1])
	l.leave(all[1])
	var order []int
	for c := l.evict(); c != nil; c = l.evict() {
		order = append(order, slices.Index(all, c))
	}
	if want := []int{2, 3, 0, 4, 5}; !slices.Equal(order, want) {
		t.Errorf("they go in the order %v, want %v", order, want)
	}
	if len(l.hosts)+len(l.places)+l.order.Len() != 0 {
		t.Errorf("something is left: %v", l.hosts)
	}
}

func TestAddressesThatCountAsOne(t *testing.T) {
	t.Parallel()
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711} }
	for _, tc := range []struct {
		addr net.Addr
		want string
	}{
		{tcp("10.1.2.3"), "10.1.2.3/32"}, {tcp("::ffff:10.1.2.3"), "10.1.2.3/32"},
		{tcp("2001:db8::1"), "2001:db8::/64"}, {tcp("2001:db8:0:0:ffff::1"), "2001:db8::/64"},
		{&net.TCPAddr{}, "tcp"}, {&net.UnixAddr{Name: "@", Net: "unix"}, "unix"},
	} {
		if got := host(tc.addr); got != tc.want {
			t.Errorf("%v counts as %s, want %s", tc.addr, got, tc.want)
		}
	}
}

// dialFrom connects from an address of the loopback network.
func dialFrom(t *testing.T, ip, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	c, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// withCertificates is a server whose clients need a certificate, and the way in.
func withCertificates(t *testing.T, l Limits, more ...func(*Options)) (*testServer, *refusals, *logBuffer, *tls.Config) {
	t.Helper()
	cert, pool := certificate(t)
	ts, refused, log := limited(t, l, append(more, func(o *Options) {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	})...)
	return ts, refused, log, &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: "zodb.org"}
}

// served fails the test unless a client with a certificate gets in.
func (ts *testServer) served(o *tls.Config) {
	ts.t.Helper()
	c, err := zeoclient.Dial(ts.t.Context(), zeoclient.Options{Address: ts.address, TLS: o})
	if err != nil {
		ts.t.Fatalf("a client that has a certificate: %v", err)
	}
	defer c.Close()
	if err := c.Ping(ts.t.Context()); err != nil {
		ts.t.Error(err)
	}
}

// TestSilentConnectionsLockNobodyOut has many connections that never register: clients
// get in, those that are served go on, and no more hang there than the lobby holds.
func TestSilentConnectionsLockNobodyOut(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, tc := range []struct {
		name        string
		n, room     int
		long        bool
		say         string // by each; "TLS" = a whole handshake
		servedLimit int
	}{
		{name: "nothing", n: 1000, room: 1000, servedLimit: 1000},
		{name: "nothing, by 10,000", n: 10_000, room: 1000, long: true, servedLimit: 1000},
		{name: "the beginning of a handshake", n: 300, room: 100, say: "\x16\x03\x01\x02", servedLimit: 5},
		{name: "a whole handshake", n: 100, room: 20, say: "TLS", servedLimit: 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var files syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
				t.Fatal(err)
			}
			if tc.long && (testing.Short() || files.Cur < 16_000) {
				t.Skip("it takes long, or needs more descriptors than there may be")
			}
			ts, refused, log, mine := withCertificates(t, Limits{Connections: tc.servedLimit, Unregistered: tc.room, Hello: time.Hour})
			before, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: mine})
			if err != nil {
				t.Fatal(err)
			}
			defer before.Close()
			for range tc.n {
				c := dialFrom(t, "127.0.0.1", ts.address)
				if tc.say == "TLS" {
					if err := tls.Client(c, mine).Handshake(); err != nil {
						t.Fatal(err)
					}
				} else if _, err := io.WriteString(c, tc.say); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				ts.served(mine)
			}
			if err := before.Ping(t.Context()); err != nil {
				t.Errorf("a client that was served before: %v", err)
			}
			eventually(t, "no more hang there than the lobby holds", func() bool { return ts.Connections() <= tc.room+1 })
			if n, least := refused.of("unregistered"), tc.n-tc.room; n < least {
				t.Errorf("%d were turned out, want %d at least", n, least)
			}
			if n := log.count("before it registered"); n > 230 {
				t.Errorf("%d lines in the log", n)
			}
		})
	}
}

// TestWhoComesAgainAndAgainTurnsOutItself has attackers at one address that connect as
// fast as they can, while a client comes from another.
func TestWhoComesAgainAndAgainTurnsOutItself(t *testing.T) {
	t.Parallel()
	ts, refused, _, mine := withCertificates(t, Limits{Unregistered: 20, Hello: time.Hour})
	var wait sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		wait.Go(func() {
			var last []net.Conn
			for !stop.Load() {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
				if c, err := d.Dial("tcp", ts.address); err == nil {
					last = append(last, c)
				}
				if len(last) > 20 {
					last[0].Close()
					last = last[1:]
				}
			}
			for _, c := range last {
				c.Close()
			}
		})
	}
	eventually(t, "the lobby is full", func() bool { return refused.of("unregistered") > 0 })
	for range 20 {
		ts.served(mine)
	}
	stop.Store(true)
	wait.Wait()
}

// TestRefusedRegisterIsNotRepeatedForEver: the connection ends, and the log does not grow with the
// calls of clients.
func TestRefusedRegisterIsNotRepeatedForEver(t *testing.T) {
	t.Parallel()
	ts, _, log := limited(t, Limits{})
	c := ts.dial(wire.Pickle)
	for range maxRefusals {
		c.fails("builtins.ValueError", "register", strings.Repeat("x", 5000), false)
	}
	c.request("register", "nothing", false)
	c.closed()
	for range 300 {
		c := ts.dial(wire.Pickle)
		c.fails("builtins.ValueError", "register", "nothing", false)
		c.conn.Close()
	}
	eventually(t, "all are gone", func() bool { return ts.Connections() == 0 })
	if n := log.count("unknown storage asked for"); n > 210 {
		t.Errorf("%d lines about 310 refusals", n)
	}
	if n := log.len(); n > 150_000 {
		t.Errorf("%d bytes in the log", n)
	}
	ts.servesOthers()
}

// TestStrangersDoNotFillTheLog: TLS clients without the right certificate.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	ts, _, log, mine := withCertificates(t, Limits{})
	for range 300 {
		c := dialFrom(t, "127.0.0.1", ts.address)
		if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		closedSoon(t, c)
		c.Close()
	}
	eventually(t, "all are gone", func() bool { return ts.Connections() == 0 })
	if n := log.count("\n"); n > 230 {
		t.Errorf("%d lines about 300 clients", n)
	}
	ts.served(mine)
}

// TestReadOnlyConnectionsLeaveSnapshotModeAlone: also those of a server that is read-only.
func TestReadOnlyConnectionsLeaveSnapshotModeAlone(t *testing.T) {
	t.Parallel()
	for name, readOnly := range map[string]bool{"connection": false, "server": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStorage(t, memoryHome(t))
			ts := serve(t, Options{ReadOnly: readOnly, Storages: []StorageOptions{{Name: "1", Storage: s}}})
			c := ts.dial(wire.Pickle)
			c.call("register", "1", true)
			c.fails(classReadOnly, "enter_snapshot", "mine")
			if got := c.call("get_snapshot_code"); got != nil {
				t.Errorf("the code is %v", got)
			}
			if err := s.EnterSnapshot(t.Context(), "another"); err != nil {
				t.Fatal(err)
			}
			c.fails(classReadOnly, "leave_snapshot", "another")
			if got := c.call("get_snapshot_code"); got != "another" {
				t.Errorf("the code is %v", got)
			}
			if err := s.LeaveSnapshot(t.Context(), "another"); err != nil {
				t.Error(err)
			}
		})
	}
}
