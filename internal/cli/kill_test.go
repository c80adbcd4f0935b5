package cli

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
)

// TestKilledCommandsLeaveRepositoryAndTargetGood kills backup, merge, prune and
// restore hard at random moments, on the real file system, while writers are at
// work. The rest is verified, and the next run gets through.
func TestKilledCommandsLeaveRepositoryAndTargetGood(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	l := loadtest.New(t, 200, engine.CreateOptions{})
	l.Start(t, 4)
	l.Write(t, 300)
	repo := filepath.Join(t.TempDir(), "repo")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	inTime := 0
	command := func(after time.Duration, args ...string) error {
		cmd := program(t, args...)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if after > 0 {
			timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
			defer timer.Stop()
		}
		err := cmd.Wait()
		if killed(err) {
			inTime++
			return nil
		}
		if err != nil {
			return errors.New(strings.Join(args, " ") + ": " + err.Error() + ": " + said.String())
		}
		return nil
	}
	must := func(args ...string) {
		t.Helper()
		if err := command(0, args...); err != nil {
			t.Fatal(err)
		}
	}
	must("backup", "full", "-t", "300", "-s", "0.01", l.Home, repo)
	targets := t.TempDir()
	target := filepath.Join(targets, "home")
	rounds, enough := hometest.Rounds(t, 5), 5
	if testing.Short() {
		rounds, enough = 2, 3
	}
	// About how long each command takes on this machine at this time.
	takes := make(map[string]time.Duration)
	for round := 0; round < rounds || inTime < enough; round++ {
		l.Budget.Store(20)
		for _, args := range [][]string{
			{"backup", "run", "-t", "300", "-s", "0.01", l.Home, repo},
			{"backup", "merge", repo},
			{"backup", "prune", "--keep-chains", "2", repo},
			{"restore", repo, target},
			{"restore", "--delta", repo, target},
		} {
			// The obstacles of a command that was not killed are no concern here:
			// nothing to merge, a target that is there already, or none.
			name := strings.Join(args[:2], " ")
			if takes[name] == 0 {
				takes[name] = 400 * time.Millisecond
			}
			began, before := time.Now(), inTime
			err := command(time.Duration(rnd.Int64N(int64(takes[name])))+time.Millisecond, args...)
			if inTime == before {
				takes[name] = time.Since(began)
			} else {
				takes[name] += takes[name] / 2
			}
			expected := err != nil && (args[1] == "merge" || args[0] == "restore")
			if err != nil && !expected {
				t.Fatal(err)
			}
			must("backup", "verify", "--data", repo)
			if _, err := os.Stat(target); err == nil {
				must("check", target)
			}
		}
	}
	t.Logf("%d commands were killed in time", inTime)
	l.Write(t, 1)
	l.End()
	must("backup", "run", "-t", "300", "-s", "0.01", l.Home, repo)
	if _, err := os.Stat(target); err == nil {
		must("restore", "--delta", repo, target)
	} else {
		must("restore", repo, target)
	}
	if err := l.Compare(target, l.Storage.LastTransaction()); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(targets)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the target there is something left: %v, %v", entries, err)
	}
}
