//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// plan is the course of events before a cut.
type plan int

const (
	planWork    plan = iota // a program works
	planKilled              // it is killed, and another begins
	planOpening             // cut in the open and recovery after a cut
	planBoth                // killed, another begins; cut; cut in the recovery
	plans
)

func (p plan) String() string {
	return [...]string{"work", "killed", "recovery", "killed, recovery"}[p]
}

// campaign is a number of cuts of one file system.
type campaign struct {
	dev     *device
	kind    string // of work
	format  string
	dir     string        // for the events, not on the disk
	keep    string        // where to put images of disks with findings; empty: nowhere
	chain   int           // cuts before the disk is new again
	latency time.Duration // of the disk, about
	rnd     *rand.Rand
	report  func(format string, args ...any)

	acknowledged int // in this chain
	result       result
}

// result is a line of the table.
type result struct {
	name         string
	cuts         int
	acknowledged int // transactions, or files
	dropped      int // units that cuts have dropped
	bad          int // cuts with findings
	findings     []string
}

func (c *campaign) events() string { return c.dir + "/events" }

// prepare makes the file system and a storage with a past.
func (c *campaign) prepare() error {
	// Its events are of another disk.
	if err := os.Remove(c.events()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.dev.Format(); err != nil {
		return err
	}
	if err := c.dev.Mount(false); err != nil {
		return err
	}
	if c.kind == workStorage {
		for _, args := range [][]string{
			{"create", c.dev.mount, c.events(), c.format},
			{"work", c.dev.mount, c.events(), c.kind, "300", fmt.Sprint(c.rnd.Uint64())},
		} {
			if err := child(args...).Run(); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
		}
	} else if err := os.WriteFile(c.events(), nil, 0o600); err != nil {
		return err
	}
	if err := c.dev.Unmount(); err != nil {
		return err
	}
	c.dev.Save()
	b, err := os.ReadFile(c.events())
	if err != nil {
		return err
	}
	return os.WriteFile(c.events()+".template", b, 0o600)
}

// run makes n cuts.
func (c *campaign) run(n int) error {
	if err := c.prepare(); err != nil {
		return err
	}
	for left := 0; c.result.cuts < n; left-- {
		if left == 0 {
			left = c.chain
			c.dev.Reset()
			c.acknowledged = 0
			b, err := os.ReadFile(c.events() + ".template")
			if err == nil {
				err = os.WriteFile(c.events(), b, 0o600)
			}
			if err != nil {
				return err
			}
		}
		sound, err := c.round()
		if err != nil {
			return err
		}
		if !sound {
			left = 1
		}
	}
	return nil
}

// round makes one cut, or two, and compares.
func (c *campaign) round() (sound bool, err error) {
	p := plan(c.rnd.IntN(int(plans)))
	if c.kind != workStorage {
		p = planWork
	}
	c.dev.SetLatency(c.latency * time.Duration(pick(c.rnd, 1, 4, 20)) / 4)
	c.dev.repairs = nil
	if err := c.dev.Mount(false); err != nil {
		return false, err
	}
	story := []string{p.String()}
	if p == planKilled || p == planBoth {
		after, err := c.work(100+c.rnd.IntN(600), true)
		if err != nil {
			return false, err
		}
		story = append(story, fmt.Sprintf("killed after %v", after))
	}
	limits := [...]int{planWork: 900, planKilled: 250, planOpening: 500, planBoth: 250}
	acked, cutStory, err := c.cut(c.rnd.IntN(limits[p]), p == planKilled || p == planBoth)
	if err != nil {
		return false, err
	}
	story = append(story, cutStory)
	if p == planOpening || p == planBoth {
		if err := c.dev.Mount(true); err != nil {
			return c.found(story, []string{err.Error()}, nil)
		}
		acked, cutStory, err = c.cut(c.rnd.IntN(150), true)
		if err != nil {
			return false, err
		}
		story = append(story, cutStory)
	}
	image := c.dev.Durable()
	c.dev.SetLatency(0)
	if err := c.dev.Mount(true); err != nil {
		return c.found(story, []string{err.Error()}, image)
	}
	if err := os.WriteFile(c.events(), acked, 0o600); err != nil {
		return false, err
	}
	var wrong []string
	out, err := child("verify", c.dev.mount, c.events(), c.kind).Output()
	if err == nil {
		err = json.Unmarshal(out, &wrong)
	}
	if err = errors.Join(err, c.dev.Unmount()); err != nil {
		return false, fmt.Errorf("verify: %w", err)
	}
	return c.found(story, wrong, image)
}

// work starts a child and kills it after some milliseconds, which count from
// the start, or from when it had opened the storage.
func (c *campaign) work(milliseconds int, fromStart bool) (time.Duration, error) {
	stop, err := c.startWork(milliseconds, fromStart)
	if err != nil {
		return 0, err
	}
	stop()
	return time.Duration(milliseconds) * time.Millisecond, nil
}

func (c *campaign) startWork(milliseconds int, fromStart bool) (stop func(), err error) {
	opened := 1
	events, err := readEvents(c.events())
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if e.Opened {
			opened++
		}
	}
	cmd := child("work", c.dev.mount, c.events(), c.kind, "0", fmt.Sprint(c.rnd.Uint64()))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if !fromStart {
		if err := waitOpened(c.events(), opened, time.Minute); err != nil {
			kill(cmd)
			return nil, err
		}
	}
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	return func() { kill(cmd) }, nil
}

// cut lets a child work for some milliseconds and cuts. It returns the events
// that were there before the cut.
func (c *campaign) cut(milliseconds int, fromStart bool) (acked []byte, story string, err error) {
	stop, err := c.startWork(milliseconds, fromStart)
	if err != nil {
		return nil, "", err
	}
	story = fmt.Sprintf("after %d ms", milliseconds)
	if c.kind == workStorage && c.rnd.IntN(2) == 0 {
		delay := c.rnd.IntN(100) * (1 + c.rnd.IntN(4))
		if err := c.waitMaintenance(delay); err != nil {
			stop()
			return nil, "", err
		}
		story += fmt.Sprintf(" and %d ms of a pack or undelete", delay)
	}
	r := c.dev.Cut(cut(c.rnd.IntN(int(cutKinds))), c.rnd, c.rnd.IntN(20), c.rnd.IntN(2)*(1+c.rnd.IntN(40)), 100*time.Millisecond, func() { acked, err = os.ReadFile(c.events()) })
	stop()
	err = errors.Join(err, c.dev.Unmount())
	c.dev.PowerOn()
	c.result.cuts++
	c.result.dropped += r.lost
	if err == nil {
		err = os.WriteFile(c.events(), acked, 0o600)
	}
	return acked, story + " " + r.String(), err
}

// waitMaintenance waits until a pack or an undelete has begun, and some
// milliseconds more. It does not wait long.
func (c *campaign) waitMaintenance(milliseconds int) error {
	info, err := os.Stat(c.events())
	if err != nil {
		return err
	}
	for range 200 {
		b, err := os.ReadFile(c.events())
		if err != nil {
			return err
		}
		if maintains(b[min(info.Size(), int64(len(b))):]) {
			time.Sleep(time.Duration(milliseconds) * time.Millisecond)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// found notes the result of a round.
func (c *campaign) found(story, wrong []string, image map[int64][]byte) (sound bool, err error) {
	events, err := readEvents(c.events())
	if err != nil {
		return false, err
	}
	n, snapshots, ended := 0, 0, 0
	for _, e := range events {
		switch {
		case e.Ack != nil, e.File != nil:
			n++
		case e.Snapshot != nil:
			snapshots++
		case e.Ended:
			ended++
		}
	}
	c.result.acknowledged += n - c.acknowledged
	c.acknowledged = n
	text := strings.Join(story, "; ")
	c.report("%s, cut %d: %s; %d acknowledged, %d snapshots, %d packs and such ended; %d findings", c.result.name, c.result.cuts, text, n, snapshots, ended, len(wrong))
	if len(wrong) == 0 {
		return true, nil
	}
	c.result.bad++
	c.result.findings = append(c.result.findings, fmt.Sprintf("cut %d (%s): %d findings, first %s", c.result.cuts, text, len(wrong), wrong[0]))
	for i, w := range wrong {
		if i < 10 && (i < 1 || c.kind == workStorage) {
			c.report("    %s", w)
		}
	}
	return false, c.keepImage(image)
}

// keepImage writes the disk as it was after the cut, the events, and the output of repairs.
func (c *campaign) keepImage(image map[int64][]byte) error {
	if c.keep == "" || image == nil || c.kind != workStorage {
		return nil
	}
	name := fmt.Sprintf("%s/%s-%d", c.keep, c.result.name, c.result.cuts)
	f, err := os.Create(name + ".img")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(c.dev.size()); err != nil {
		return err
	}
	zero := make([]byte, chunkSize)
	for at := int64(0); at < c.dev.size(); at += chunkSize {
		chunk, ok := image[at/chunkSize]
		if !ok {
			chunk = c.dev.template[at:min(at+chunkSize, c.dev.size())]
		}
		if string(chunk) != string(zero[:len(chunk)]) {
			if _, err := f.WriteAt(chunk, at); err != nil {
				return err
			}
		}
	}
	b, err := os.ReadFile(c.events())
	if err != nil {
		return err
	}
	err = os.WriteFile(name+".events", b, 0o600)
	if len(c.dev.repairs) > 0 {
		err = errors.Join(err, os.WriteFile(name+".repairs", []byte(strings.Join(c.dev.repairs, "\n")), 0o600))
	}
	return err
}
