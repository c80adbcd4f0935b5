package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// asReference, in the environment, has the program do the reference work and nothing else.
const asReference = "TESTTIME_REFERENCE"

// reference returns the processor time of the reference work on this machine as it is now: as many
// programs as there are processors do it at once, as tests run beside each other, and the result is
// for one of them. A slow processor, one that shares its core, and one of a busy machine take longer
// for it, as they do for tests.
func reference() (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	n := runtime.NumCPU()
	took, errs := make([]time.Duration, n), make([]error, n)
	done := make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), asReference+"=1")
			cmd.Stderr = os.Stderr
			if errs[i] = cmd.Run(); errs[i] == nil {
				took[i] = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
		}()
	}
	for range n {
		<-done
	}
	sum := time.Duration(0)
	for _, t := range took {
		sum += t
	}
	return sum / time.Duration(n), errors.Join(errs...)
}

// work is the reference work. As tests do, it fills maps, sorts, copies, and makes, renames and
// removes files.
func work() error {
	dir, err := os.MkdirTemp("", "testtime")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	content := make([]byte, 8<<10)
	for round := range 40 {
		names := make(map[string]int)
		for i := range 20_000 {
			names[strconv.Itoa(i*7919%100_003)] = i
		}
		sorted := make([]string, 0, len(names))
		for name := range names {
			sorted = append(sorted, name)
		}
		slices.Sort(sorted)
		for i, name := range sorted[:100] {
			content[i] = byte(names[name])
			at := filepath.Join(dir, name)
			if err := os.WriteFile(at, content, 0o600); err != nil {
				return err
			}
			if err := os.Rename(at, at+".new"); err != nil {
				return err
			}
			read, err := os.ReadFile(at + ".new")
			if err != nil {
				return err
			}
			if read[i] != byte(names[name]) {
				return fmt.Errorf("%s.new has other bytes than were written in round %d", at, round)
			}
			if err := os.Remove(at + ".new"); err != nil {
				return err
			}
		}
	}
	return nil
}
