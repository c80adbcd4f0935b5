package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// crowdServer is a server that runs as a process of its own in a group with little memory.
type crowdServer struct {
	t       *testing.T
	group   memoryGroup
	cmd     *exec.Cmd
	log     string
	address string
	tls     *tls.Config // nil: plain
	program string
	home    string

	stranger    *tls.Config // with a certificate that the server does not know
	connections int         // that may register
	blob        zodb.TID    // of the blob that all may ask for
}

// newCrowdServer starts a server with room for so many connections.
func newCrowdServer(t *testing.T, limit int64, secure bool, connections int) *crowdServer {
	t.Helper()
	dir := t.TempDir()
	s := &crowdServer{t: t, group: newMemoryGroup(t, limit), log: filepath.Join(dir, "log"), connections: connections}
	args := []string{"serve", filepath.Join(dir, "home"), "--listen", "127.0.0.1:0", "--max-connections", strconv.Itoa(connections)}
	if secure {
		certificate, key := pair(t, "server")
		own, ownKey := pair(t, "client")
		args = append(args, "--tls-certificate", certificate, "--tls-key", key, "--tls-authenticate", own)
		p, err := tls.LoadX509KeyPair(own, ownKey)
		if err != nil {
			t.Fatal(err)
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{p}, InsecureSkipVerify: true} // the test is not about whom the client trusts
		if p, err = tls.LoadX509KeyPair(pair(t, "client")); err != nil {
			t.Fatal(err)
		}
		s.stranger = &tls.Config{Certificates: []tls.Certificate{p}, InsecureSkipVerify: true}
	}
	s.program, s.home = plainProgram(t, dir), filepath.Join(dir, "home")
	s.cmd = s.group.command(t, s.program, args...)
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	})
	listening := regexp.MustCompile(`listening address=(\S+)`)
	s.eventually("it listens", func() bool {
		b, err := os.ReadFile(s.log)
		m := listening.FindSubmatch(b)
		if err == nil && m != nil {
			s.address = string(m[1])
		}
		return m != nil
	})
	return s
}

// eventually waits for an event that has to come; the limit of the whole run ends it if it does not.
func (s *crowdServer) eventually(what string, f func() bool) {
	s.t.Helper()
	for range 60_000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	b, _ := os.ReadFile(s.log)
	s.t.Fatalf("%s: does not happen; the log:\n%s", what, b[max(0, len(b)-4000):])
}

// proc reads a file of the process.
func (s *crowdServer) proc(name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, name))
	if err != nil {
		s.t.Fatalf("the server is gone: %v", err)
	}
	return string(b)
}

// flush has everything flushed and synced: without a journal of the file system a file that was
// removed is kept open until then.
func (s *crowdServer) flush() {
	s.t.Helper()
	s.eventually("snapshot run", func() bool {
		out, err := exec.CommandContext(s.t.Context(), s.program, "snapshot", "run", s.home, "--", "true").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "the storage is in it already") { // by one of the hostile programs
			s.t.Fatalf("snapshot run: %v\n%s", err, out)
		}
		return err == nil
	})
}

// descriptors is how many files the server has open, but for bundles, of which there are more the
// more was committed, and removed files that a file system without a journal has it keep for a while.
func (s *crowdServer) descriptors() (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	openedWith := regexp.MustCompile(`flags:\s+([0-7]+)`)
	for _, e := range list {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		info, ierr := os.ReadFile(fmt.Sprintf("%sinfo/%s", dir, e.Name()))
		if err != nil || ierr != nil { // closed meanwhile
			continue
		}
		if m := openedWith.FindSubmatch(info); m != nil {
			flags, _ := strconv.ParseInt(string(m[1]), 8, 64)
			if flags&unix.O_PATH != 0 && strings.HasSuffix(to, "(deleted)") {
				continue
			}
		}
		if filepath.Dir(to) != filepath.Join(s.home, "A", "bundles") {
			n++
		}
	}
	return n
}

// peak is the highest memory of the process, in bytes.
func (s *crowdServer) peak() int64 {
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(s.proc("status"))
	if m == nil {
		s.t.Fatal("no VmHWM")
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	return n << 10
}

// cpu is the processor time that it took, in ticks of the kernel (1/100 s).
func (s *crowdServer) cpu() int64 {
	text := s.proc("stat")
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return user + system
}

// ownTicks is the processor time of the test, in ticks of 1/100 s.
func ownTicks(t *testing.T) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return (u.Utime.Nano() + u.Stime.Nano()) / 1e7
}

func (s *crowdServer) logSize() int64 {
	info, err := os.Stat(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	return info.Size()
}

// crowdClient is a connection that speaks freely. Its errors end its work.
type crowdClient struct {
	net.Conn
	in *wire.Reader
	id int64
}

// connect opens a connection, with TLS where the server has it, and says nothing more.
func (s *crowdServer) connect(ctx context.Context) (*crowdClient, error) {
	var d interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = new(net.Dialer)
	if s.tls != nil {
		d = &tls.Dialer{Config: s.tls}
	}
	conn, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return &crowdClient{Conn: conn, in: wire.NewSmallReader(conn, 1<<30)}, nil
}

// hello connects and says hello.
func (s *crowdServer) hello(ctx context.Context) (*crowdClient, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = c.in.Next(); err == nil {
		_, err = c.Write(frameOf([]byte("Z5")))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// errTurnedAway: the server did not let a client in.
var errTurnedAway = errors.New("turned away")

// client is registered.
func (s *crowdServer) client(ctx context.Context) (*crowdClient, error) {
	c, err := s.hello(ctx)
	if err != nil {
		return nil, errors.Join(errTurnedAway, err)
	}
	if _, err := c.call("register", "1", false); err != nil {
		c.Close()
		return nil, errors.Join(errTurnedAway, err)
	}
	return c, nil
}

func frameOf(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

func (c *crowdClient) request(oneWay bool, name string, args ...any) []byte {
	c.id++
	b, err := wire.AppendRequest(nil, wire.Pickle, c.id, oneWay, name, args...)
	if err != nil {
		panic(err) // a test that asks for something unknown
	}
	return frameOf(b)
}

var errRefused = errors.New("refused")

// call waits for the answer.
func (c *crowdClient) call(name string, args ...any) (any, error) {
	if _, err := c.Write(c.request(false, name, args...)); err != nil {
		return nil, err
	}
	for {
		b, err := c.in.Next()
		if err != nil {
			return nil, err
		}
		m, err := wire.Decode(wire.Pickle, b)
		if err != nil {
			return nil, err
		}
		if m.Name != ".reply" {
			continue
		}
		if m.Failed() {
			return nil, fmt.Errorf("%s: %w: %v", name, errRefused, m.Args)
		}
		return m.Args, nil
	}
}

// many sends so many messages in large pieces.
func (c *crowdClient) many(n int, f func(i int) []byte) error {
	var b []byte
	for i := range n {
		if b = append(b, f(i)...); len(b) > 1<<18 || i == n-1 {
			if _, err := c.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return nil
}

// prepared makes so many messages once, for all connections that send them again and again. Their
// numbers are beyond those of other messages.
func prepared(n int, f func(c *crowdClient, i int) []byte) func(i int) []byte {
	all := sync.OnceValue(func() [][]byte {
		c := &crowdClient{id: 1 << 20}
		list := make([][]byte, n)
		for i := range list {
			list[i] = f(c, i)
		}
		return list
	})
	return func(i int) []byte { return all()[i] }
}

const (
	crowdTxn  = int64(7)    // the handle of each transaction
	crowdBlob = zodb.OID(3) // the blob that all may ask for
)

func (c *crowdClient) begin() []byte {
	return c.request(true, "tpc_begin", crowdTxn, []byte("u"), []byte("d"), wire.Dict{}, nil, " ")
}

// commit stores one object.
func (c *crowdClient) commit(oid zodb.OID, serial zodb.TID, data []byte) (zodb.TID, error) {
	if _, err := c.Write(append(c.begin(), c.request(true, "storea", oid, serial, data, crowdTxn)...)); err != nil {
		return 0, err
	}
	return c.finish()
}

// attack is a hostile program. It is run again and again until ctx ends, and ends early
// when the server cuts it off.
type attack struct {
	name string
	run  func(ctx context.Context, s *crowdServer) error
}

// filled is a frame that begins as a call and goes on with one byte.
func filled(n int, op byte) []byte {
	b := bytes.Repeat([]byte{op}, n)
	copy(b, "\x80\x03(K\x01\x89X\x04\x00\x00\x00ping(")
	return frameOf(b)
}

// unread asks and reads nothing until the server, or the test, has had enough of it.
func unread(n int, name string, args ...any) func(ctx context.Context, s *crowdServer) error {
	messages := prepared(n, func(c *crowdClient, _ int) []byte { return c.request(false, name, args...) })
	return func(ctx context.Context, s *crowdServer) error {
		c, err := s.client(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.many(n, messages); err != nil {
			return err
		}
		return pause(ctx, time.Second)
	}
}

// steps puts operations without end into a transaction.
func steps(n int, name string, args func(i int) []any) func(ctx context.Context, s *crowdServer) error {
	messages := prepared(n, func(c *crowdClient, i int) []byte { return c.request(true, name, args(i)...) })
	return func(ctx context.Context, s *crowdServer) error {
		c, err := s.client(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(c.begin()); err != nil {
			return err
		}
		if err := c.many(n, messages); err != nil {
			return err
		}
		_, err = c.call("vote", crowdTxn)
		return err
	}
}

// message sends one frame on a connection of its own.
func message(payload []byte) func(ctx context.Context, s *crowdServer) error {
	return func(ctx context.Context, s *crowdServer) error {
		c, err := s.client(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(payload); err != nil {
			return err
		}
		_, err = c.in.Next()
		return err
	}
}

// pause waits, shorter if ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// attacks are all hostile programs, in small.
func attacks() []attack {
	integer := append([]byte("\x80\x03(K\x01\x89X\x04\x00\x00\x00ping(\x8b"), binary.LittleEndian.AppendUint32(nil, 16<<20)...)
	integer = append(integer, bytes.Repeat([]byte{0x7f}, 16<<20)...)
	return []attack{
		{"undo logs that nobody reads", unread(64, "undoLog", int64(0), int64(-100_000))},
		{"histories that nobody reads", unread(64, "history", zodb.OID(1), int64(100_000))},
		{"records that nobody reads", unread(2_000, "loadBefore", zodb.OID(2), zodb.MaxTID)},
		{"blobs that are not there", unread(500, "sendBlob", zodb.OID(2), zodb.TID(1))},
		{"iterators", func(ctx context.Context, s *crowdServer) error {
			c, err := s.client(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			for range 600 {
				if _, err := c.call("iterator_start", nil, nil); err != nil {
					return err
				}
			}
			return nil
		}},
		{"checks", steps(200_000, "checkCurrentSerialInTransaction", func(i int) []any { return []any{zodb.OID(1<<40) + zodb.OID(i), zodb.TID(0), crowdTxn} })},
		{"deletions", steps(200_000, "deleteObject", func(i int) []any { return []any{zodb.OID(1<<40) + zodb.OID(i), zodb.TID(0), crowdTxn} })},
		{"stores", steps(50_000, "storea", func(i int) []any { return []any{zodb.OID(1<<41) + zodb.OID(i), zodb.TID(0), []byte("x"), crowdTxn} })},
		{"dictionaries", message(filled(8<<20, '}'))},
		{"lists", message(filled(8<<20, ']'))},
		{"marks", message(filled(8<<20, '('))},
		{"an integer", message(frameOf(integer))},
		{"a handle of 4 MB", message(frameOf(must(wire.AppendRequest(nil, wire.Pickle, int64(1), false, "vote", bytes.Repeat([]byte("h"), 4<<20)))))},
		{"half a frame", func(ctx context.Context, s *crowdServer) error {
			c, err := s.client(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write(append([]byte{0x3f, 0xff, 0xff, 0xff}, make([]byte, 4<<20)...)); err != nil {
				return err
			}
			return pause(ctx, time.Second)
		}},
		{"registers", func(ctx context.Context, s *crowdServer) error {
			c, err := s.hello(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			return c.many(20_000, func(int) []byte { return c.request(false, "register", "no such storage", false) })
		}},
		{"silent connections", func(ctx context.Context, s *crowdServer) error {
			var list []net.Conn
			defer func() {
				for _, c := range list {
					c.Close()
				}
			}()
			for range 300 {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
				if err != nil {
					return err
				}
				list = append(list, c)
			}
			return pause(ctx, 100*time.Millisecond)
		}},
		{"strangers", func(ctx context.Context, s *crowdServer) error {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
			return err
		}},
		{"locks of a connection that dies, and a vote that waits for them", func(ctx context.Context, s *crowdServer) error {
			holder, err := s.client(ctx)
			if err != nil {
				return err
			}
			defer holder.Close()
			waiter, err := s.client(ctx)
			if err != nil {
				return err
			}
			defer waiter.Close()
			if _, err := holder.commitVoted(zodb.OID(1 << 42)); err != nil && !errors.Is(err, errRefused) {
				return err
			}
			if _, err := waiter.Write(waiter.begin()); err != nil {
				return err
			}
			err = waiter.many(5_000, func(i int) []byte {
				return waiter.request(true, "checkCurrentSerialInTransaction", zodb.OID(1<<42)+zodb.OID(i), zodb.TID(0), crowdTxn)
			})
			if err == nil {
				_, err = waiter.Write(waiter.request(false, "vote", crowdTxn))
			}
			return errors.Join(err, pause(ctx, 100*time.Millisecond))
		}},
	}
}

// commitVoted stores an object and votes.
func (c *crowdClient) commitVoted(oid zodb.OID) (any, error) {
	if _, err := c.Write(append(c.begin(), c.request(true, "storea", oid, zodb.TID(0), []byte("x"), crowdTxn)...)); err != nil {
		return nil, err
	}
	return c.call("vote", crowdTxn)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// worst is the longest time of each kind of call.
type worst struct{ commit, load, undoLog time.Duration }

func (w worst) String() string {
	return fmt.Sprintf("commit %v, load %v, undo log %v", w.commit.Round(time.Millisecond), w.load.Round(time.Millisecond), w.undoLog.Round(time.Millisecond))
}

// innocent works as long as it takes, and at least so many rounds.
func (c *crowdClient) innocent(t *testing.T, serial *zodb.TID, done func(rounds int) bool) (w worst) {
	t.Helper()
	timed := func(d *time.Duration, f func() error) {
		begun := time.Now()
		if err := f(); err != nil {
			t.Fatalf("an innocent client: %v", err)
		}
		*d = max(*d, time.Since(begun))
	}
	for rounds := 0; !done(rounds); rounds++ {
		data := []byte(fmt.Sprintf("round %d", rounds))
		timed(&w.commit, func() (err error) {
			*serial, err = c.commit(1, *serial, data)
			return err
		})
		timed(&w.load, func() error {
			v, err := c.call("loadBefore", zodb.OID(1), zodb.MaxTID)
			if l, ok := v.(wire.Tuple); err == nil && (!ok || len(l) != 3 || !bytes.Equal(l[0].([]byte), data)) {
				err = fmt.Errorf("loadBefore answers %v", v)
			}
			return err
		})
		timed(&w.undoLog, func() error {
			_, err := c.call("undoLog", int64(0), int64(-3))
			return err
		})
	}
	return w
}

// TestServerInLittleMemoryInAHostileCrowd runs the server where the kernel kills who takes
// more than 128 MiB, lets all hostile programs attack it at once, beside many connections,
// and looks at its memory, descriptors, log, processor time, and at the view of an innocent client
// sees. One half of the programs attacks a plain server, the other one a server with TLS.
// With the race detector, it is one of the two each day.
// With $DIRSTORAGE_ROUNDS all attack, and there are 64, 1,000 and 10,000 connections, each
// plain and with TLS.
func TestServerInLittleMemoryInAHostileCrowd(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a server, and all of the machine")
	}
	type crowd struct {
		connections int
		secure      bool
		attacks     []attack
	}
	crowds := []crowd{{64, false, attacks()}, {64, true, moreAttacks()}}
	if os.Getenv("DIRSTORAGE_ROUNDS") != "" {
		crowds = nil
		for _, n := range []int{64, 1_000, 10_000} {
			all := append(attacks(), moreAttacks()...)
			crowds = append(crowds, crowd{n, false, all}, crowd{n, true, all})
		}
	}
	for _, c := range hometest.Today(t, hometest.OneOf(1, 2, 2), crowds) {
		t.Run(fmt.Sprintf("%d connections, TLS %t", c.connections, c.secure), func(t *testing.T) {
			underAttack(t, c.connections, c.secure, c.attacks)
		})
	}
}

// crowdSpare is how many bytes the server leaves to the kernel at least.
const crowdSpare = 16 << 20

func underAttack(t *testing.T, connections int, secure bool, list []attack) {
	const limit = 128 << 20
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < uint64(connections)+2_000 {
		t.Skipf("%d connections need more than %d descriptors", connections, files.Cur)
	}
	s := newCrowdServer(t, limit, secure, connections+1_000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	me, err := s.client(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var serial zodb.TID
	if _, err := me.commit(2, 0, bytes.Repeat([]byte("r"), 256<<10)); err != nil { // for those who load without reading
		t.Fatal(err)
	}
	if s.blob, err = me.commitBlob(crowdBlob, 64); err != nil {
		t.Fatal(err)
	}
	alone := me.innocent(t, &serial, func(rounds int) bool { return rounds >= 30 })

	var idle []*crowdClient
	for range connections {
		if c, err := s.client(ctx); err == nil {
			idle = append(idle, c)
			go func() { // reads, as clients do
				for err == nil {
					_, err = c.in.Next()
				}
			}()
		}
	}
	in := len(idle)
	if in < connections { // the server is full: without some places the attackers would stay outside
		for _, c := range idle[max(0, in-100):] {
			c.Close()
		}
	}
	before, cpu, own, begun := s.descriptors(), s.cpu(), ownTicks(t), time.Now()
	attacking, stop := context.WithCancel(ctx)
	defer stop()
	memory := s.watchMemory(attacking)
	var wait sync.WaitGroup
	rounds := make([]atomic.Int64, len(list))
	for i, a := range list {
		wait.Go(func() {
			for attacking.Err() == nil {
				if err := a.run(attacking, s); !errors.Is(err, errTurnedAway) { // else cut off, as a rule
					rounds[i].Add(1)
				}
				_ = pause(attacking, time.Millisecond)
			}
		})
	}
	highest := 0
	w := me.innocent(t, &serial, func(n int) bool {
		highest = max(highest, s.descriptors())
		for i := range rounds {
			if rounds[i].Load() == 0 {
				return false
			}
		}
		return n >= 30
	})
	stop()
	wait.Wait()
	took := time.Since(begun)
	ticks, spent := s.cpu()-cpu, ownTicks(t)-own
	most := <-memory
	t.Logf("%d of %d connections, %v: peak %d MiB, %d descriptors, log of %d KiB, %d.%02d s of processor; innocent client alone: %v; in the crowd: %v",
		in, connections, took.Round(time.Millisecond), s.peak()>>20, highest, s.logSize()>>10, ticks/100, ticks%100, alone, w)
	t.Logf("when most was anonymous: %v", most)
	for i, a := range list {
		t.Logf("%6d × %s", rounds[i].Load(), a.name)
	}

	if in < min(connections, 64) {
		t.Errorf("%d of %d connections were let in", in, connections)
	}
	// The kernel needs the rest: for its own tables, and for the pages of the program,
	// which it can read again. They are in the peak, so that is no measure.
	if most.anonymous == 0 || most.anonymous > limit-crowdSpare {
		t.Errorf("%v: of %d MiB, %d MiB may be anonymous", most, limit>>20, (limit-crowdSpare)>>20)
	}
	if allowed := 2*s.connections + 1_000; highest > allowed { // registered, as many in the lobby, and files
		t.Errorf("%d descriptors, that is more than %d", highest, allowed)
	}
	if ticks > 4*spent+1_000 { // nothing is cheap for who sends it and dear for who reads it
		t.Errorf("%d.%02d s of processor, and the attackers took %d.%02d s", ticks/100, ticks%100, spent/100, spent%100)
	}
	if n := s.logSize(); n > 2<<20 {
		t.Errorf("the log has %d bytes", n)
	}
	// The part that is over when its connections are: neither descriptors nor processor time.
	me.innocent(t, &serial, func(n int) bool { return n >= 1 })
	s.flush()
	s.eventually("the descriptors are back", func() bool { return s.descriptors() <= before+8 })
	rest, last := 0, s.cpu()
	s.eventually("it is at rest", func() bool { // looked at each 5 ms
		now := s.cpu()
		if rest++; now > last+1 {
			rest = 0
		}
		last = now
		return rest > 100
	})
	me.innocent(t, &serial, func(n int) bool { return n >= 3 })
	cancel()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
	s.group.nobodyWasKilled(t, "serve")
}
