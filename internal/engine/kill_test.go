package engine_test

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

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// writerEnv makes the test binary a writer on the HOME that it names; with packsEnv it packs,
// and takes packs back, meanwhile.
const (
	writerEnv = "DIRSTORAGE_TEST_WRITER"
	packsEnv  = "DIRSTORAGE_TEST_WRITER_PACKS"
)

func TestMain(m *testing.M) {
	if home := os.Getenv(writerEnv); home != "" {
		if err := writeUntilKilled(home, os.Getenv(packsEnv) != ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(hometest.M{M: m}.Run())
}

// writeUntilKilled commits with four writers, enters and leaves snapshot mode,
// and prints a line for each transaction that was acknowledged.
func writeUntilKilled(home string, packs bool) error {
	ctx := context.Background()
	s, err := engine.Open(ctx, home, engine.Options{SegmentSize: 64 << 10, RetryInterval: time.Millisecond})
	if err != nil {
		return err
	}
	var out sync.Mutex
	failed := make(chan error, 6)
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
				c := []enginetest.Change{{OID: oids[0], Data: pickletest.Record(text)}, {OID: shared, Data: pickletest.Record(text + " shared")}}
				if n%7 == 0 {
					c[0].Blob = strings.Repeat(text, 100)
				}
				tid, err := enginetest.TryCommit(s, zodb.TxnMeta{Description: []byte(text)}, c...)
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
	if packs {
		go func() { failed <- packAndTakeBack(ctx, s) }()
	}
	return <-failed
}

// packedLine is the line that a writer prints after a pack.
const packedLine = "packed"

// packAndTakeBack packs until it fails, and after each third pack brings back the removed files.
func packAndTakeBack(ctx context.Context, s *engine.Storage) error {
	for i := 1; ; i++ {
		if _, err := s.Pack(ctx, zodb.PackOptions{NoGC: true}); err != nil {
			return fmt.Errorf("pack: %w", err)
		}
		fmt.Println(packedLine)
		if i%3 > 0 {
			continue
		}
		if _, err := s.Undelete(ctx, 0); err != nil {
			return fmt.Errorf("undelete: %w", err)
		}
	}
}

// ack is a transaction that a writer was told of: the n-th of writer w, with an object of its own.
type ack struct {
	tid  zodb.TID
	oid  zodb.OID
	n, w int
}

func (a ack) text() string { return fmt.Sprintf("%d of %d", a.n, a.w) }

// killWriter runs a writer on a HOME, kills it a while after the first acknowledgement, and the first
// pack, and returns the acknowledged transactions.
func killWriter(t *testing.T, home string, packs bool, after time.Duration) (acked []ack) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+home)
	if packs {
		cmd.Env = append(cmd.Env, packsEnv+"=1")
	}
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
	packed := false
	go func() {
		select {
		case <-first:
		case <-time.After(5 * time.Minute):
		}
		time.Sleep(after)
		_ = cmd.Process.Kill()
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		packed = packed || lines.Text() == packedLine
		if packed && len(acked) > 0 {
			once.Do(func() { close(first) })
		}
		var a ack
		var tid, oid string
		if c, err := fmt.Sscan(lines.Text(), &tid, &oid, &a.n, &a.w); err != nil || c != 4 {
			continue // cut off
		}
		a.tid, _ = zodb.ParseTID(tid)
		a.oid, _ = zodb.ParseOID(oid)
		acked = append(acked, a)
		if packed || !packs {
			once.Do(func() { close(first) })
		}
	}
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) || cmd.ProcessState.ExitCode() >= 0 {
		t.Fatalf("the writer was not killed: %v", err)
	}
	once.Do(func() { close(first) })
	return acked
}

// shared are the objects that each writer changes again and again.
func shared(w int) zodb.OID { return zodb.OID(w + 1) }

// hasAcked looks for all acknowledged changes. Where packs took old revisions, it looks for the
// newest revisions of the objects that the writers share.
func hasAcked(t *testing.T, s *engine.Storage, acked []ack, packs bool) {
	t.Helper()
	newest := make(map[int]ack)
	for _, a := range acked {
		text := a.text()
		got, err := s.LoadSerial(t.Context(), a.oid, a.tid)
		if err != nil || string(got) != string(pickletest.Record(text)) {
			t.Fatalf("object %s at %s: %q, %v", a.oid, a.tid, got, err)
		}
		if a.n%7 == 0 {
			if got := engine.ReadBlob(t, s, a.oid, a.tid); got != strings.Repeat(text, 100) {
				t.Fatalf("blob of object %s at %s: %.30q", a.oid, a.tid, got)
			}
		}
		if newest[a.w].tid < a.tid {
			newest[a.w] = a
		}
		if packs {
			continue
		}
		if got, err := s.LoadSerial(t.Context(), shared(a.w), a.tid); err != nil || string(got) != string(pickletest.Record(text+" shared")) {
			t.Fatalf("shared object at %s: %q, %v", a.tid, got, err)
		}
	}
	for w, a := range newest {
		r, err := s.Load(t.Context(), shared(w))
		if err != nil || r.Serial < a.tid || r.Serial == a.tid && string(r.Data) != string(pickletest.Record(a.text()+" shared")) {
			t.Fatalf("what writer %d changes is of %s: %q, %v; transaction %s was acknowledged", w, r.Serial, r.Data, err, a.tid)
		}
	}
}

// TestKilledProcessLosesNothing kills a process with four writers, again and
// again on one storage, and looks for all that it had acknowledged.
func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for name, c := range map[string]struct {
		set   map[string]string
		packs bool
	}{
		"commits":                            {nil, false},
		"packs that put aside, undeletes":    {map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "3600"}, true},
		"packs that remove, reclaim, merges": {map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedAgainAndAgain(t, hometest.Rounds(t, 6/hometest.OneOf(1, 2, 3)), c.set, c.packs)
		})
	}
}

func killedAgainAndAgain(t *testing.T, n int, set map[string]string, packs bool) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	home := engine.NewHome(t, engine.CreateOptions{Set: set})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")}, enginetest.Change{OID: 1, Data: pickletest.Record("")}, enginetest.Change{OID: 2, Data: pickletest.Record("")}, enginetest.Change{OID: 3, Data: pickletest.Record("")}, enginetest.Change{OID: 4, Data: pickletest.Record("")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var acked []ack
	for i := range n {
		acked = append(acked, killWriter(t, home, packs, time.Duration(rnd.IntN(150))*time.Millisecond)...)
		// Half of the time the next writer recovers.
		if rnd.IntN(2) == 0 && i < n-1 {
			continue
		}
		s := engine.OpenHome(t, home, engine.Options{})
		hasAcked(t, s, acked, packs)
		if err := errors.Join(s.WaitPack(t.Context()), s.WaitNormal(t.Context()), s.Close()); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		dir, err := vfs.OS(home)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Sound(t.Context(), dir, false); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	t.Logf("%d transactions acknowledged in %d rounds", len(acked), n)
	if len(acked) < n {
		t.Errorf("only %d transactions in %d rounds", len(acked), n)
	}
}
