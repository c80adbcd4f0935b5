// Command testtime runs the tests of packages and prints how much time of the processor each takes,
// with the programs that it calls: wall time says little on a busy machine. Run it in the root of
// the repository:
//
//	go run tools/testtime/*.go [-budget 100] [-each] [-top 25] [-short=false] [PACKAGE...]
//
// Without packages it is all of them. -each runs every test by itself, and lists tests; they take
// a little more than together. Beyond the budget the exit status is 1. The budget is no time: it is
// how often a processor could do the reference work meanwhile, which is measured before the tests
// and after them. So it is the same on slow machines and quick ones, busy ones and quiet ones.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// asWrapper, in the environment, names the file for the results of the tests of one package: go
// test -exec calls this program for each.
const asWrapper = "TESTTIME_RESULTS"

// oneByOne, in the environment, has each test run by itself.
const oneByOne = "TESTTIME_EACH"

func main() {
	if file := os.Getenv(asWrapper); file != "" {
		os.Unsetenv(asWrapper)
		os.Exit(wrap(file, os.Args[1:]))
	}
	if os.Getenv(asReference) != "" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, "testtime: the reference work:", err)
			os.Exit(1)
		}
		return
	}
	budget := flag.Float64("budget", 0, "`number` of reference works beyond which the exit status is 1; 0: no limit")
	each := flag.Bool("each", false, "run each test by itself")
	top := flag.Int("top", 25, "how many to print")
	short := flag.Bool("short", true, "run the tests with -short")
	flag.Parse()
	if err := run(*budget, *each, *short, *top, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "testtime:", err)
		os.Exit(1)
	}
}

func run(budget float64, each, short bool, top int, packages []string) error {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "testtime")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "results")
	cmd := exec.Command("go", append([]string{"test", "-short=" + strconv.FormatBool(short), "-count=1", "-timeout=30m", "-exec", self}, packages...)...)
	cmd.Env = append(os.Environ(), asWrapper+"="+file)
	if each {
		cmd.Env = append(cmd.Env, oneByOne+"=1")
	}
	cmd.Stderr = os.Stderr
	before, err := reference()
	if err != nil {
		return err
	}
	out, failed := cmd.Output()
	for line := range strings.Lines(string(out)) {
		if failed != nil && !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "? ") {
			fmt.Print(line)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return errors.Join(failed, err)
	}
	results, sum, err := read(string(text))
	if err != nil {
		return errors.Join(failed, err)
	}
	for _, r := range results[:min(top, len(results))] {
		fmt.Printf("%8.2f s  %s\n", r.took.Seconds(), r.name)
	}
	fmt.Printf("%8.2f s  all %d\n", sum.Seconds(), len(results))
	if failed != nil {
		return failed
	}
	after, err := reference()
	if err != nil {
		return err
	}
	times := 2 * sum.Seconds() / (before + after).Seconds()
	fmt.Printf("%8.2f    times the reference work, which took %.2f s before and %.2f s after\n", times, before.Seconds(), after.Seconds())
	if budget > 0 && times > budget {
		return fmt.Errorf("the tests take as much of a processor as %.0f times the reference work, more than %g; -each says which", times, budget)
	}
	return nil
}

// result is the processor time of a package or a test.
type result struct {
	name string
	took time.Duration
}

// read returns the results of a file, the longest first, and their sum.
func read(text string) (results []result, sum time.Duration, err error) {
	for line := range strings.Lines(text) {
		took, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		d, err := time.ParseDuration(took)
		if err != nil {
			return nil, 0, err
		}
		results = append(results, result{name, d})
		sum += d
	}
	slices.SortFunc(results, func(a, b result) int { return int(b.took - a.took) })
	return results, sum, nil
}

// wrap runs the tests of a package as go test would, with the command that go test gave, and
// appends their times to the file.
func wrap(file string, command []string) int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testtime:", err)
		return 1
	}
	_, pkg, inside := strings.Cut(dir, "/internal/")
	if !inside {
		pkg = filepath.Base(dir)
	}
	if os.Getenv(oneByOne) == "" {
		return measured(file, pkg, command)
	}
	os.Unsetenv(oneByOne)
	tests, err := exec.Command(command[0], "-test.list=^(Test|Fuzz|Example)").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testtime: list the tests:", err)
		return 1
	}
	status := 0
	for _, test := range strings.Fields(string(tests)) {
		status |= measured(file, pkg+" "+test, append(slices.Clone(command), "-test.run=^"+test+"$"))
	}
	return status
}

// measured runs a command, appends its time to the file, and returns its exit status.
func measured(file, name string, command []string) int {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "testtime:", err)
		return 1
	}
	took := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, took, name)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testtime:", err)
		return 1
	}
	if status := cmd.ProcessState.ExitCode(); status >= 0 {
		return status
	}
	return 1 // a signal ended it
}
