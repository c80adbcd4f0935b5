//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// Kinds of work that a child does.
const (
	workStorage  = "storage"
	workSynced   = "synced"
	workUnsynced = "unsynced"
	// workNeighbours is workSynced, while somebody makes and removes files in the same
	// directories and syncs nothing.
	workNeighbours = "neighbours"
)

// childMain is a child of powercut. Its arguments: work or verify, the mount, the file of events;
// then for work the kind, a limit and a seed, and for verify the kind.
func childMain(args []string) error {
	mount, name := args[1], args[2]
	home := mount + "/home"
	switch args[0] {
	case "create":
		return createHome(home, args[3])
	case "work":
		events, err := openEvents(name)
		if err != nil {
			return err
		}
		limit, err := strconv.ParseInt(args[4], 10, 64)
		if err != nil {
			return err
		}
		seed, err := strconv.ParseUint(args[5], 10, 64)
		if err != nil {
			return err
		}
		if limit == 0 {
			for n, dir := range []string{home, mount} {
				go func() { _ = stir(mount, dir, rand.New(rand.NewPCG(seed, 200+uint64(n)))) }()
			}
		}
		if args[3] == workStorage {
			err = work(home, events, limit, seed)
		} else {
			if args[3] == workNeighbours {
				go func() { _ = neighbours(mount, rand.New(rand.NewPCG(seed, 300))) }()
			}
			err = control(mount, events, args[3] != workUnsynced, rand.New(rand.NewPCG(seed, 0)))
		}
		if err != nil {
			return fmt.Errorf("%w", events.put(event{Wrong: err.Error()}))
		}
		return nil
	case "verify":
		var wrong []string
		var err error
		if args[3] == workStorage {
			wrong, err = verify(home, name)
		} else {
			wrong, err = verifyControl(name)
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(wrong)
	}
	return fmt.Errorf("no such child: %s", args[0])
}

// child starts this program as a child.
func child(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"child"}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// kill ends a child at once and waits for its end.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// waitOpened waits for n events by which children report that they have opened their storage or
// files, or that something is wrong.
func waitOpened(name string, n int, limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		events, err := readEvents(name)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		found := 0
		for _, e := range events {
			if e.Opened {
				found++
			}
			if e.Wrong != "" {
				return nil
			}
		}
		if found >= n {
			return nil
		}
	}
	return fmt.Errorf("a child did not open the storage within %v", limit)
}
