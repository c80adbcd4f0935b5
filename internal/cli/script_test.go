package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// asProgram, in the environment, makes the test binary the program.
const asProgram = "DIRSTORAGE_TEST_MAIN"

// everyUpdate, in the environment, has the program of the tests show all progress, and
// not only a few times a second.
const everyUpdate = "DIRSTORAGE_TEST_EVERY_UPDATE"

// TestMain lets the test binary be the program: as a command of the scripts,
// and as the writer that demo starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "demo-writer" || os.Args[1] == "try-lock") {
		os.Exit(Main(os.Args[1:]))
	}
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		if os.Getenv(everyUpdate) != "" {
			os.Unsetenv(everyUpdate)
			os.Exit(mainWith(os.Args[1:], func(ctx context.Context, e *env) { onTestPlace(ctx, e); e.ProgressEvery = time.Nanosecond }))
		}
		if os.Getenv(pauseAtOutput) != "" {
			os.Unsetenv(pauseAtOutput)
			os.Exit(mainWith(os.Args[1:], pausing))
		}
		os.Exit(mainWith(os.Args[1:], onTestPlace))
	}
	// Who runs the tests may ignore signals, and the programs that they start would too.
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	// The race detector waits a second before the end of each command, if it is not told.
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=10"))
	testscript.Main(hometest.M{M: m}, map[string]func(){
		"dirstorage": func() { os.Exit(mainWith(os.Args[1:], onTestPlace)) },
	})
}

// onTestPlace hides that the tests may run in memory, which is a fault of a place. Other mounts, and
// those in memory that a test makes, are seen as they are.
func onTestPlace(_ context.Context, e *env) {
	e.Mount = func(path string) (vfs.Mount, bool) {
		m, known := vfs.MountInfo(path)
		if of, ok := vfs.MountInfo(os.TempDir()); ok && m.Type == "tmpfs" && (of.Point == m.Point || of.Source == m.Source && m.Source != "none") {
			m.Type = "ext4"
		}
		return m, known
	}
}

// program is the test binary as the program, called with arguments.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// killed reports whether the error of a command tells that it was killed.
func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() == -1
}

// TestScripts runs the scripts of testdata/script. Beside the usual commands
// they have:
//
//	golden NAME          unpack a golden home, NAME or corrupt/NAME
//	filestorage NAME     copy a golden Data.fs, or the directory blobs
//	status N CMD...      run a command that must end with that exit status
//	await FILE           wait until FILE holds something
//	flip FILE OFFSET     invert a byte
//	gzip FILE            write FILE.gz
//	certificate, signal  see moreScriptCommands
//	word VAR N           set $VAR to the N-th word of stdout, from 0; -1 is the last
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Files: hometest.Today(t, hometest.OneOf(1, 1, 2), files),
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: withMore(moreScriptCommands(t), map[string]func(*testscript.TestScript, bool, []string){
			"golden": func(ts *testscript.TestScript, _ bool, args []string) {
				copyInto(ts, hometest.Unpack(t, args[0]))
			},
			"filestorage": func(ts *testscript.TestScript, _ bool, args []string) {
				copyInto(ts, hometest.FileStorage(t, args[0]))
			},
			"status": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec(args[1], args[2:]...)
				got := 0
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if (got == want) == neg {
					ts.Fatalf("exit status %d of %v", got, args[1:])
				}
			},
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 30_000 {
					if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				ts.Fatalf("%s stays empty", args[0])
			},
			"flip": func(ts *testscript.TestScript, _ bool, args []string) {
				b := []byte(ts.ReadFile(args[0]))
				at, err := strconv.Atoi(args[1])
				ts.Check(err)
				b[at] ^= 0xFF
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
			},
			"gzip": func(ts *testscript.TestScript, _ bool, args []string) {
				var packed bytes.Buffer
				w := gzip.NewWriter(&packed)
				_, err := w.Write([]byte(ts.ReadFile(args[0])))
				ts.Check(errors.Join(err, w.Close()))
				ts.Check(os.WriteFile(ts.MkAbs(args[0]+".gz"), packed.Bytes(), 0o644))
			},
			"word": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				words := strings.Fields(ts.ReadFile("stdout"))
				if n < 0 {
					n += len(words)
				}
				ts.Setenv(args[0], words[n])
			},
		}),
	})
}

// withMore adds commands to others.
func withMore[F any](more, all map[string]F) map[string]F {
	maps.Copy(all, more)
	return all
}

// copyInto moves the unpacked files of a test helper into the directory of the script.
func copyInto(ts *testscript.TestScript, from string) {
	ts.Check(os.Rename(from, ts.MkAbs(filepath.Base(from))))
}
