//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// control writes files as careful programs do, or without fsync. It is the yardstick of the disk:
// with fsync nothing may be lost, without it something must.
func control(dir string, events *eventLog, careful bool, rnd *rand.Rand) error {
	if err := events.put(event{Opened: true}); err != nil {
		return err
	}
	run := rnd.Uint64()
	for n := 0; ; n++ {
		sub := fmt.Sprintf("%s/d%d", dir, rnd.IntN(5))
		err := os.Mkdir(sub, 0o755)
		if err == nil && careful {
			err = syncFile(dir)
		}
		if err != nil && !os.IsExist(err) {
			return err
		}
		data := make([]byte, 1+rnd.IntN(20000))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		name := fmt.Sprintf("%s/%016x-%d", sub, run, n)
		aside := dir + "/aside"
		// After a cut in a rename a file may have both names, and must not be written into.
		if err := os.Remove(aside); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.WriteFile(aside, data, 0o644); err != nil {
			return err
		}
		if careful {
			if err := syncFile(aside); err != nil {
				return err
			}
		}
		if err := os.Rename(aside, name); err != nil {
			return err
		}
		if careful {
			if err := syncFile(sub); err != nil {
				return err
			}
		} else {
			time.Sleep(time.Millisecond)
		}
		if err := events.put(event{File: &file{name, hash(data)}}); err != nil {
			return err
		}
	}
}

// neighbours makes and removes files in the directories of control.
func neighbours(dir string, rnd *rand.Rand) error {
	var names []string
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s/d%d/neighbour-%016x-%d", dir, rnd.IntN(5), rnd.Uint64(), n)
		if err := os.WriteFile(name, make([]byte, rnd.IntN(2000)), 0o644); err == nil {
			names = append(names, name)
		}
		if len(names) > 300 {
			if err := os.Remove(names[0]); err != nil {
				return err
			}
			names = names[1:]
		}
		if n%3 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// verifyControl looks for the files.
func verifyControl(name string) (wrong []string, err error) {
	events, err := readEvents(name)
	for _, e := range events {
		if e.File == nil {
			continue
		}
		b, err := os.ReadFile(e.File.Name)
		switch {
		case err != nil:
			wrong = append(wrong, err.Error())
		case hash(b) != e.File.Hash:
			wrong = append(wrong, fmt.Sprintf("%s: %d bytes, not those that were written", e.File.Name, len(b)))
		}
	}
	return wrong, err
}
