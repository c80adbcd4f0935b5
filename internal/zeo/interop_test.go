package zeo_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Tests with the Python client. They need the sources, or an installation, of
// ZEO and ZODB with their tests:
//
//	ZODB_SRC=/srv/src go test -timeout 40m -run Interop ./internal/zeo
//
// ZODB_SRC is a folder with the source trees ZEO, ZODB, ZConfig and zdaemon, or one
// with the packages themselves. INTEROP_PYTHON is the interpreter, or else python3 or
// /usr/bin/python3, whichever has the other modules. INTEROP_SERVER is a binary to
// test instead of this module's. INTEROP_SECONDS is how long the soak test takes.

// interop is the surroundings of the scripts.
type interop struct {
	python, server, scripts string
	env                     []string
}

const (
	needed   = "import ZEO.tests.forker, ZODB.tests.racetest, ZConfig, persistent, BTrees, transaction, zope.testing"
	perSuite = 20 * time.Minute
)

func newInterop(t *testing.T) *interop {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -short: takes minutes")
	}
	src := os.Getenv("ZODB_SRC")
	if src == "" {
		t.Skip("skipped: ZODB_SRC names no folder with the sources of ZEO, ZODB, ZConfig and zdaemon")
	}
	path := []string{src}
	for _, name := range []string{"ZEO", "ZODB", "ZConfig", "zdaemon"} {
		path = append(path, filepath.Join(src, name, "src"))
	}
	scripts, err := filepath.Abs("testdata/interop")
	if err != nil {
		t.Fatal(err)
	}
	in := &interop{scripts: scripts, server: os.Getenv("INTEROP_SERVER")}
	in.env = append(os.Environ(), "PYTHONPATH="+strings.Join(path, string(os.PathListSeparator)),
		"PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0")
	var why []byte
	for _, python := range []string{os.Getenv("INTEROP_PYTHON"), "python3", "/usr/bin/python3"} {
		if python == "" || in.python != "" {
			continue
		}
		c := exec.CommandContext(t.Context(), python, "-c", needed)
		c.Env = in.env
		if out, err := c.CombinedOutput(); err == nil {
			in.python = python
		} else {
			lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
			why = lines[len(lines)-1]
		}
	}
	if in.python == "" {
		t.Skipf("skipped: no python3 with the modules of ZEO's tests: %s", why)
	}
	if in.server == "" {
		in.server = filepath.Join(openTempDir(t), "dirstorage")
		c := exec.CommandContext(t.Context(), "go", "build", "-o", in.server, "github.com/dirstorage/dirstorage/cmd/dirstorage")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	in.env = append(in.env, "DIRSTORAGE="+in.server)
	return in
}

// openTempDir returns a directory that others may go into: tests that are run by root
// become another user.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs a script, and returns its standard output and error.
func (in *interop) run(t *testing.T, script string, args ...string) (out, errs string) {
	t.Helper()
	return in.runFor(t, perSuite, script, args...)
}

// runFor is run with another limit.
func (in *interop) runFor(t *testing.T, limit time.Duration, script string, args ...string) (out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, in.python, append([]string{filepath.Join(in.scripts, script)}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Env = append(slices.Clone(in.env), "TMPDIR="+openTempDir(t))
	c.Stdout, c.Stderr, c.WaitDelay = &stdout, &stderr, 5*time.Second
	c.Dir = t.TempDir()
	if err := c.Run(); err != nil {
		t.Errorf("%s %s: %v", script, strings.Join(args, " "), err)
	}
	return stdout.String(), stderr.String()
}

// outcome is one line of a script's report.
type outcome struct{ verdict, name string }

// outcomes reads the lines. Without the last one the script did not come to its end.
func outcomes(t *testing.T, text string) []outcome {
	t.Helper()
	var list []outcome
	ended := false
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case f[0] == "end":
			ended = true
		case len(f) == 3:
			list = append(list, outcome{f[0], f[1]})
		}
	}
	if !ended || len(list) == 0 {
		t.Errorf("the script did not come to its end; %d tests were run", len(list))
	}
	return list
}

// passes runs a script each of whose tests has to pass.
func (in *interop) passes(t *testing.T, script string) {
	t.Helper()
	out, errs := in.run(t, script)
	for _, o := range outcomes(t, out) {
		if o.verdict != "pass" {
			t.Errorf("%s: %s", o.name, o.verdict)
		}
	}
	if t.Failed() {
		t.Logf("%s%s", out, errs)
	}
}

func TestInteropBasic(t *testing.T) {
	newInterop(t).passes(t, "basic.py")
}

// TestInteropCopies copies to and from FileStorages and Python's server, twice.
func TestInteropCopies(t *testing.T) {
	newInterop(t).passes(t, "copies.py")
}

// TestInteropSnapshots packs while a client reads an older snapshot: with the same outcome as at
// Python's server.
func TestInteropSnapshots(t *testing.T) {
	newInterop(t).passes(t, "snapshots.py")
}

// TestInteropHistory brings storages back to an earlier state in all ways that there are:
// clients whose caches have seen more read and commit as if they had not.
func TestInteropHistory(t *testing.T) {
	newInterop(t).passes(t, "history.py")
}

// TestInteropSoak kills the server of Python clients while it is packed and backed up, for a
// minute or for INTEROP_SECONDS; then as long while it is put back to earlier states.
func TestInteropSoak(t *testing.T) {
	in := newInterop(t)
	seconds := cmp.Or(os.Getenv("INTEROP_SECONDS"), "60")
	soak, err := time.ParseDuration(seconds + "s")
	if err != nil {
		t.Fatalf("INTEROP_SECONDS: %v", err)
	}
	for _, args := range [][]string{{"soak.py", seconds}, {"history.py", "--soak", seconds}} {
		out, errs := in.runFor(t, soak+perSuite, args[0], args[1:]...)
		for _, o := range outcomes(t, out) {
			if o.verdict != "pass" {
				t.Errorf("%s: %s", o.name, o.verdict)
			}
		}
		t.Logf("%s%s", out, errs)
	}
}

// TestInteropSuite runs ZEO's own tests, in both encodings. Those that cannot pass are
// in a table.
func TestInteropSuite(t *testing.T) {
	in := newInterop(t)
	table := readExpected(t, filepath.Join(in.scripts, "expected.txt"))
	suites := []struct {
		name string
		args []string
	}{
		{"Race", []string{"--level", "2", "testZEO:FileStorageTests", "race"}},
		{"Blob", []string{"testZEO:BlobAdaptedFileStorageTests"}},
		{"SharedBlob", []string{"testZEO:BlobWritableCacheTests"}},
		{"TLS", []string{"testZEO:FileStorageSSLTests"}},
		{"Connection", []string{"testConnection"}},
		{"Memory", []string{"testZEO:MappingStorageTests"}},
		// Without the classes above, those about the Python server's scripts, and one that
		// demands that a client whose cache is ahead of the server stays away.
		{"Others", []string{"testZEO", `^(?!Blob(Adapted|Writable)|FileStorageSSL|MappingStorage|zdoptions|.*\.(runzeo_logrotate|runzeo_without|client_has_newer_data))`}},
		{"TLSSettings", []string{"testssl", `^SSLConfigTest\.`}},
		{"Settings", []string{"testConfig"}},
	}
	for _, encoding := range []string{"pickle", "msgpack"} {
		in := *in
		if encoding == "msgpack" {
			in.env = append(slices.Clone(in.env), "ZEO_MSGPACK=1")
		}
		t.Run(encoding, func(t *testing.T) {
			for _, suite := range suites {
				t.Run(suite.name, func(t *testing.T) {
					t.Parallel()
					in.suite(t, table, suite.args)
				})
			}
		})
	}
}

// suite runs some of ZEO's tests and compares their outcomes with the table.
func (in *interop) suite(t *testing.T, table expectations, args []string) {
	t.Helper()
	output := filepath.Join(t.TempDir(), "outcomes")
	args = slices.Clone(args)
	for i, a := range args { // the first that is neither an option nor its value
		if strings.HasPrefix(a, "test") {
			args = append(args[:i:i], append([]string{output}, args[i:]...)...)
			break
		}
	}
	_, errs := in.run(t, "zeosuite.py", args...)
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	counts := make(map[string]int)
	for _, o := range outcomes(t, string(text)) {
		want, known := table.of(o.name)
		switch {
		case !known && o.verdict == "pass":
			counts["passed"]++
		case known && (want.verdict == o.verdict || want.verdict == "any"):
			counts["as the table says"]++
		case known:
			counts["failed"]++
			t.Errorf("%s: %s, but the table (line %d) says %s", o.name, o.verdict, want.line, want.verdict)
		default:
			counts["failed"]++
			t.Errorf("%s: %s\n%s", o.name, o.verdict, report(errs, o))
		}
	}
	t.Logf("%v", counts)
}

// report returns a script's lines about a test.
func report(errs string, o outcome) string {
	_, after, found := strings.Cut(errs, fmt.Sprintf("=== %s %s\n", o.verdict, o.name))
	if !found {
		return ""
	}
	before, _, _ := strings.Cut(after, "\n=== ")
	return before
}

// expectation is a line of the table: tests, by a regular expression for the whole
// name, that fail or are skipped here ("any": now and then), and the reason.
type expectation struct {
	line    int
	verdict string
	name    *regexp.Regexp
}

type expectations []expectation

func (list expectations) of(name string) (expectation, bool) {
	for _, e := range list {
		if e.name.MatchString(name) {
			return e, true
		}
	}
	return expectation{}, false
}

func readExpected(t *testing.T, path string) (list expectations) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 || (f[0] != "fail" && f[0] != "skip" && f[0] != "any") {
			t.Fatalf("%s:%d: want: fail|skip|any NAME REASON", path, n)
		}
		re, err := regexp.Compile("^(?:" + f[1] + ")$")
		if err != nil {
			t.Fatalf("%s:%d: %v", path, n, err)
		}
		list = append(list, expectation{n, f[0], re})
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}
