package dirstorage

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestWritersAreSlowedDownByHowMuchOfTheBacklogIsUsed(t *testing.T) {
	t.Parallel()
	now := at("2026-05-01T12:00:00Z")
	admitted := func(used float64) int { // in a second of a flush that makes 10,000 files a second
		p := pace{}
		p.measure(measuredFrom-1, time.Hour) // says nothing
		p.measure(20_000, 2*time.Second)
		n := 0
		for clock := now; clock.Before(now.Add(time.Second)); n++ {
			clock = clock.Add(p.pause(clock, used, 10))
			if n > 100_000 {
				break
			}
		}
		return n
	}
	for _, tc := range []struct {
		used     float64
		min, max int
	}{{0.1, 100_000, 200_000}, {0.49, 100_000, 200_000}, {0.51, 1900, 2001}, {0.75, 990, 1010}, {0.99, 500, 540}} {
		if n := admitted(tc.used); n < tc.min || n > tc.max {
			t.Errorf("with %v of the backlog used %d transactions a second, want %d to %d", tc.used, n, tc.min, tc.max)
		}
	}
	p := pace{rate: 1}
	for range 100 {
		if d := p.pause(now, 0.9, 1000); d > maxPause {
			t.Fatalf("a pause of %v", d)
		}
	}
}

// TestWritersAreNeverStoppedForAWholeBatch has a disk on which a file takes a
// millisecond, and writers that want more: each waits a little, and none for long.
func TestWritersAreNeverStoppedForAWholeBatch(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Set: map[string]string{"filesystem.sync": "0",
		"journal.flush_transaction_threshold": "50", "journal.flush_file_threshold": "500"}})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	o := &observed{}
	s := open(t, home, Options{Observer: o, fs: errfs.New(f, func(op errfs.Op) error {
		if op.Kind == "rename" || op.Kind == "create" && op.Name[0] == 'A' {
			time.Sleep(time.Millisecond)
		}
		return nil
	})})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	end := time.Now().Add(6 * time.Second)
	for w := range 4 {
		wg.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				begun := time.Now()
				var list []change
				for k := range 5 {
					list = append(list, change{oid: zodb.OID(1 + w*1_000_000 + n*5 + k), data: rec(fmt.Sprint(n))})
				}
				if _, err := tryCommit(s, zodb.TxnMeta{}, list...); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	// A batch of 200 transactions takes more than two seconds here, and much more on
	// a machine that does other things.
	o.mu.Lock()
	defer o.mu.Unlock()
	if longest := took[len(took)-1]; longest > max(time.Second, o.longestFlush/2) {
		t.Errorf("a commit waited for %v, the longest flush took %v", longest, o.longestFlush)
	}
	if len(took) < 50 {
		t.Errorf("only %d commits", len(took))
	}
	t.Logf("%d commits, half within %v, the longest %v", len(took), took[len(took)/2], took[len(took)-1])
}

func TestPointerOfANewObjectReplacesWhatAnInterruptedFlushLeft(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 3} {
		home := newHome(t, CreateOptions{})
		f, err := vfs.OS(home)
		if err != nil {
			t.Fatal(err)
		}
		broken := false
		s := open(t, home, Options{lanes: lanes, lanesFrom: 1, RetryInterval: time.Hour, fs: errfs.New(f, func(op errfs.Op) error {
			if broken && op.Kind == "syncall" || broken && op.Kind == "rename" && op.Name == "A/x/oid" {
				return fmt.Errorf("broken: %w", zodb.ErrReadOnly)
			}
			return nil
		})})
		if err := s.WaitNormal(t.Context()); err != nil {
			t.Fatal(err)
		}
		var list []change
		for i := range 30 {
			list = append(list, change{oid: zodb.OID(i), data: rec(fmt.Sprint(i))})
		}
		commit(t, s, list...)
		broken = true
		if err := s.Flush(t.Context()); err == nil {
			t.Fatal("the flush did not fail")
		}
		if err := s.Close(); err != nil && !errors.Is(err, zodb.ErrReadOnly) {
			t.Fatal(err)
		}
		s = open(t, home, Options{lanes: lanes, lanesFrom: 1})
		if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
		s.forget(list[3].oid)
		for i := range list {
			if got := load(t, s, zodb.OID(i)); got != string(rec(fmt.Sprint(i))) {
				t.Errorf("object %d: %q", i, got)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for name, err := range vfs.Walk(f, "journal") {
			t.Errorf("left: %s, %v", name, err)
		}
		for e, err := range f.List("journal") {
			t.Errorf("left: %s, %v", e.Name, err)
		}
	}
}
