package zeo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// serverEnv makes the test binary a server of the HOME that it names.
const serverEnv = "DIRSTORAGE_TEST_ZEO_SERVER"

// serveUntilKilled prints its address and serves.
func serveUntilKilled(home string) int {
	ctx := context.Background()
	s, err := engine.Open(ctx, home, engine.Options{SegmentSize: 64 << 10, RetryInterval: time.Millisecond})
	if err == nil {
		var srv *Server
		srv, err = New(ctx, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}, Clock: time.Now, InvalidationQueueSize: 20})
		if err == nil {
			var l net.Listener
			if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
				fmt.Println("listening", l.Addr())
				err = srv.Serve(l)
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// startServer starts a server process.
func startServer(t *testing.T, home string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+home)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the server says %q, %v", line, err)
	}
	return cmd, address
}

// survivor is a client that outlives servers.
type survivor struct {
	n       int
	oid     zodb.OID // its own
	last    zodb.TID
	carried map[zodb.OID]zodb.TID // the current revisions of its cache
	acked   map[zodb.TID]string   // its commits with an answer
	count   int
	queued  int // reconnections that were told the missed transactions
}

const shared = zodb.OID(1)

func (v *survivor) oids() []zodb.OID { return []zodb.OID{shared, v.oid} }

// live works until the connection is lost, and verifies the cache first.
func (v *survivor) live(ctx context.Context, address string) error {
	c, err := cachetest.Dial(ctx, zeoclient.Options{Address: address, Encoding: encodingOf(v.n)}, true)
	if err != nil {
		return lostOr(err)
	}
	defer func() {
		c.Close()
		v.last = max(v.last, c.LastTID())
		v.carried = make(map[zodb.OID]zodb.TID)
		for _, oid := range v.oids() {
			if rev, err := c.Load(ctx, oid, c.LastTID()+1); err == nil && rev != nil && rev.End == 0 {
				v.carried[oid] = rev.Serial
			}
		}
	}()
	if c.LastTID() < v.last {
		return fmt.Errorf("the last transaction went back from %s to %s", v.last, c.LastTID())
	}
	upTo, missed, ok, err := c.GetInvalidations(ctx, v.last)
	if err != nil {
		return lostOr(err)
	}
	if ok {
		v.queued++
		for _, oid := range missed {
			delete(v.carried, oid)
		}
		for oid, serial := range v.carried {
			rev, err := c.LoadBefore(ctx, oid, upTo+1)
			if err == nil && rev.Serial != serial {
				err = fmt.Errorf("stale: object %s is of %s, and was said to be unchanged since %s", oid, rev.Serial, serial)
			}
			if err != nil {
				return lostOr(err)
			}
		}
	}
	for {
		err := v.commit(ctx, c)
		if broken := c.Broken(); broken != nil {
			return broken
		}
		if err != nil {
			return lostOr(err)
		}
	}
}

// lostOr is nil for an error that the end of the server explains.
func lostOr(err error) error {
	var lost *zeoclient.LostError
	var op *net.OpError
	if errors.As(err, &lost) || errors.As(err, &op) || strings.Contains(err.Error(), "EOF") {
		return nil
	}
	return err
}

func (v *survivor) commit(ctx context.Context, c *cachetest.Cache) error {
	v.count++
	text := fmt.Sprintf("%d of %d", v.count, v.n)
	stored := make(map[zodb.OID][]byte)
	txn, err := c.Begin(zodb.TxnMeta{Description: []byte(text)}, zeoclient.BeginOptions{})
	if err != nil {
		return err
	}
	for _, oid := range v.oids() {
		serial := zodb.TID(0)
		rev, err := c.Load(ctx, oid, c.LastTID()+1)
		if err != nil && !isNotFound(err) {
			return err
		}
		if rev != nil {
			serial = rev.Serial
		}
		stored[oid] = record(text)
		if err := txn.Store(oid, serial, stored[oid]); err != nil {
			return err
		}
	}
	for {
		_, conflicts, err := txn.Vote(ctx)
		if err != nil {
			return err
		}
		if len(conflicts) == 0 {
			break
		}
		for _, k := range conflicts {
			if err := txn.Store(k.OID, k.Committed, stored[k.OID]); err != nil {
				return err
			}
		}
	}
	tid, err := c.Finish(ctx, txn, stored, nil)
	if err != nil {
		return err
	}
	v.acked[tid] = text
	return nil
}

// TestKilledServerLosesNothing kills a server with four clients at work, again
// and again, and looks for all that was acknowledged.
func TestKilledServerLosesNothing(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	n := hometest.Rounds(t, 6)
	if testing.Short() {
		n = 2
	}
	seed := firstSeed(t)
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	home := tempHome(t)
	newStorageAt(t, home)
	clients := make([]*survivor, 4)
	for i := range clients {
		clients[i] = &survivor{n: i, oid: shared + 1 + zodb.OID(i), carried: make(map[zodb.OID]zodb.TID), acked: make(map[zodb.TID]string)}
	}
	for range n {
		cmd, address := startServer(t, home)
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		var wait sync.WaitGroup
		for _, v := range clients {
			wait.Go(func() {
				if err := v.live(ctx, address); err != nil {
					t.Errorf("client %d: %v", v.n, err)
				}
			})
		}
		time.Sleep(time.Duration(100+rnd.IntN(400)) * time.Millisecond)
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() >= 0 {
			t.Errorf("the server was not killed: %v", err)
		}
		wait.Wait()
		cancel()
		if t.Failed() {
			return
		}
	}
	s := openStorage(t, home, engine.Options{})
	total, queued := 0, 0
	for _, v := range clients {
		queued += v.queued
		if last := s.LastTransaction(); last < v.last {
			t.Errorf("client %d was told of %s, and the last one is %s", v.n, v.last, last)
		}
		for tid, text := range v.acked {
			total++
			for _, oid := range v.oids() {
				if data, err := s.LoadSerial(t.Context(), oid, tid); err != nil || !bytes.Equal(data, record(text)) {
					t.Errorf("object %s at %s: %q, %v; want %q", oid, tid, data, err, text)
				}
			}
		}
	}
	t.Logf("%d transactions acknowledged in %d rounds, %d reconnections were told what they missed", total, n, queued)
	if total == 0 {
		t.Error("nothing was committed")
	}
}
