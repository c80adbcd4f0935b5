package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// writerEnv makes the test binary a writer on the HOME that it names.
const writerEnv = "DIRSTORAGE_TEST_WRITER"

func TestMain(m *testing.M) {
	if home := os.Getenv(writerEnv); home != "" {
		if err := writeUntilKilled(home); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(hometest.M{M: m}.Run())
}

// writeUntilKilled commits with four writers, enters and leaves snapshot mode,
// and prints a line for each transaction that was acknowledged.
func writeUntilKilled(home string) error {
	ctx := context.Background()
	s, err := Open(ctx, home, Options{SegmentSize: 64 << 10, RetryInterval: time.Millisecond})
	if err != nil {
		return err
	}
	var out sync.Mutex
	failed := make(chan error, 5)
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				oids, err := s.NewOIDs(1)
				if err != nil {
					failed <- err
					return
				}
				// An object of its own, and one that the writer changes again and again.
				text := fmt.Sprintf("%d of %d", n, w)
				shared := zodb.OID(w + 1)
				c := []change{{oid: oids[0], data: rec(text)}, {oid: shared, data: rec(text + " shared")}}
				if n%7 == 0 {
					c[0].blob = strings.Repeat(text, 100)
				}
				tid, err := tryCommit(s, zodb.TxnMeta{Description: []byte(text)}, c...)
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(tid, oids[0], n, w)
				out.Unlock()
			}
		}()
	}
	go func() {
		for i := 0; ; i++ {
			code := fmt.Sprint("code", i)
			err := s.EnterSnapshot(ctx, code)
			time.Sleep(5 * time.Millisecond)
			if err == nil {
				err = s.LeaveSnapshot(ctx, code)
			}
			if err != nil {
				failed <- err
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return <-failed
}

// TestKilledProcessLosesNothing kills a process with four writers, again and
// again on one storage, and looks for all that it had acknowledged.
func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	n := rounds(t, 12)
	if testing.Short() {
		n = 3
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	commit(t, s, change{oid: 0, data: rec("root")}, change{oid: 1, data: rec("")}, change{oid: 2, data: rec("")}, change{oid: 3, data: rec("")}, change{oid: 4, data: rec("")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	type ack struct {
		tid  zodb.TID
		oid  zodb.OID
		n, w int
	}
	var acked []ack
	for i := range n {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+home)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := make(chan struct{})
		var once sync.Once
		go func() {
			select {
			case <-first:
			case <-time.After(5 * time.Minute):
			}
			time.Sleep(time.Duration(rnd.IntN(150)) * time.Millisecond)
			_ = cmd.Process.Kill()
		}()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var a ack
			var tid, oid string
			if c, err := fmt.Sscan(lines.Text(), &tid, &oid, &a.n, &a.w); err != nil || c != 4 {
				continue // cut off
			}
			a.tid, _ = zodb.ParseTID(tid)
			a.oid, _ = zodb.ParseOID(oid)
			acked = append(acked, a)
			once.Do(func() { close(first) })
		}
		if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) || cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("round %d: the writer was not killed: %v", i, err)
		}
		once.Do(func() { close(first) })
		// Half of the time the next writer recovers.
		if rnd.IntN(2) == 0 && i < n-1 {
			continue
		}
		s := open(t, home, Options{})
		for _, a := range acked {
			text := fmt.Sprintf("%d of %d", a.n, a.w)
			got, err := s.LoadSerial(t.Context(), a.oid, a.tid)
			if err != nil || string(got) != string(rec(text)) {
				t.Fatalf("round %d: object %s at %s: %q, %v", i, a.oid, a.tid, got, err)
			}
			if a.n%7 == 0 {
				if got := readBlob(t, s, a.oid, a.tid); got != strings.Repeat(text, 100) {
					t.Fatalf("round %d: blob of object %s at %s: %.30q", i, a.oid, a.tid, got)
				}
			}
			if got, err := s.LoadSerial(t.Context(), zodb.OID(a.w+1), a.tid); err != nil || string(got) != string(rec(text+" shared")) {
				t.Fatalf("round %d: shared object at %s: %q, %v", i, a.tid, got, err)
			}
		}
		if err := errors.Join(s.WaitNormal(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
		dir, err := vfs.OS(home)
		if err != nil {
			t.Fatal(err)
		}
		if err := sound(t.Context(), dir, false); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	t.Logf("%d transactions acknowledged in %d rounds", len(acked), n)
	if len(acked) < n {
		t.Errorf("only %d transactions in %d rounds", len(acked), n)
	}
}
