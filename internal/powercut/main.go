//go:build linux

package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace tells the program that it has a mount namespace of its own.
const inNamespace = "POWERCUT_NAMESPACE"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		exit(childMain(os.Args[2:]))
	}
	if os.Getenv(inNamespace) == "" {
		os.Exit(again())
	}
	exit(cutPower())
}

// again runs this program in a mount namespace of its own, with which
// everything that it mounts goes away, however it ends.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // with whose end the signal comes
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "powercut must be run as root:", err)
		}
		return 1
	}
	return 0
}

func cutPower() error {
	var names []string
	for _, fs := range filesystems() {
		names = append(names, fs.name)
	}
	chosen := flag.String("fs", strings.Join(names, ","), "file systems")
	cuts := flag.Int("cuts", 100, "cuts for each file system")
	kind := flag.String("work", workStorage, "kind of work that is cut: storage; or, to measure the file systems, synced files, synced files with neighbours that nobody syncs, unsynced files: storage, synced, neighbours, unsynced")
	format := flag.String("format", "chunky,bushy", "formats of the storage, the cuts are shared out among them")
	chain := flag.Int("chain", 4, "rounds before the disk is new again")
	size := flag.Int64("size", 400, "size of the disk in MiB")
	latency := flag.Duration("latency", 500*time.Microsecond, "a write takes up to this, a flush up to four times as long; some rounds have a quarter, others five times as much")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the order of events; the kernel's part does not repeat")
	dir := flag.String("dir", "", "scratch directory that is not a network file system; default a temporary one")
	keep := flag.String("keep", "", "directory for the images of disks with findings")
	flag.Parse()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("powercut must be run as root: %w", err)
	}
	if *dir == "" {
		var err error
		if *dir, err = os.MkdirTemp("", "powercut"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	}
	fmt.Printf("seed %d\n", *seed)
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "file system\tcuts\tacknowledged\tunits dropped\trounds with findings")
	bad := 0
	var failed error
	for _, fs := range filesystems() {
		if !slices.Contains(strings.Split(*chosen, ","), fs.name) {
			continue
		}
		c := &campaign{kind: *kind, dir: filepath.Join(*dir, fs.name), keep: *keep, chain: *chain, rnd: rand.New(rand.NewPCG(*seed, 0)), result: result{name: fs.name}}
		c.report = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
		formats := strings.Split(*format, ",")
		for i, format := range formats {
			c.format = format
			if err := c.on(fs, *size<<20, *latency, *cuts*(i+1)/len(formats)); err != nil {
				failed = fmt.Errorf("%s, format %s: %w", fs.name, format, err)
				fmt.Println(failed)
			}
		}
		r := c.result
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", r.name, r.cuts, r.acknowledged, r.dropped, r.bad)
		bad += r.bad
	}
	table.Flush()
	if failed == nil && bad > 0 && *kind != workUnsynced {
		failed = fmt.Errorf("%d rounds with findings", bad)
	}
	return failed
}

// on runs a campaign on a new disk, until there were so many cuts.
func (c *campaign) on(fs filesystem, size int64, latency time.Duration, cuts int) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	c.latency = latency
	dev, err := newDevice(newDisk(size, fs.unit), fs, c.dir)
	if err != nil {
		return err
	}
	defer dev.Close()
	c.dev = dev
	return c.run(cuts)
}
