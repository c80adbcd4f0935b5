package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestTwoCommandsAtOnceMakeOneHome: two processes make the same HOME at the same time. One makes it;
// the other one comes in time and is told so, or after the end. It is whole, and nothing else is there.
func TestTwoCommandsAtOnceMakeOneHome(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	data := hometest.FileStorage(t, "undo.fs")
	want(t, exitOK, "imported", "import", "--format", "chunky", data, in("home"))
	want(t, exitOK, "full backup", "backup", "full", in("home"), in("repo"))
	rounds := hometest.Rounds(t, 2)
	for name, c := range map[string]struct {
		before [][]string
		one    []string
		other  []string
		late   string // the words of the other one then; "": it succeeds, too
	}{
		"restore":            {nil, []string{"restore", in("repo"), "TARGET"}, []string{"restore", in("repo"), "TARGET"}, "the target exists"},
		"restore --to":       {nil, []string{"restore", in("repo"), "TARGET"}, []string{"restore", "--to", "03F6ED2440000000", in("repo"), "TARGET"}, "the target exists"},
		"restore --format":   {nil, []string{"restore", "--format", "lawn", in("repo"), "TARGET"}, []string{"restore", "--format", "lawn", in("repo"), "TARGET"}, "the target exists"},
		"restore --format x": {nil, []string{"restore", "--format", "lawn", in("repo"), "TARGET"}, []string{"restore", "--format", "bundled", in("repo"), "TARGET"}, "the target exists"},
		"restore --delta": {
			[][]string{{"restore", in("repo"), "TARGET"}},
			[]string{"restore", "--delta", in("repo"), "TARGET"}, []string{"restore", "--delta", in("repo"), "TARGET"}, "",
		},
		// Between the birth of a HOME and the mark in it, it is not known to be one of convert.
		"convert": {nil, []string{"convert", "--format", "lawn", in("home"), "TARGET"}, []string{"convert", "--format", "lawn", in("home"), "TARGET"}, "was not made by convert from"},
		"import":  {nil, []string{"import", data, "TARGET"}, []string{"import", data, "TARGET"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range rounds {
				parent := t.TempDir()
				target := filepath.Join(parent, "home")
				at := func(args []string) []string {
					args = slices.Clone(args)
					args[len(args)-1] = target
					return args
				}
				for _, args := range c.before {
					want(t, exitOK, "", at(args)...)
				}
				cmds := []*exec.Cmd{program(t, at(c.one)...), program(t, at(c.other)...)}
				said := make([]bytes.Buffer, len(cmds))
				for i, cmd := range cmds {
					cmd.Stdout, cmd.Stderr = &said[i], &said[i]
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
				}
				succeeded := 0
				for i, cmd := range cmds {
					err := cmd.Wait()
					switch code := cmd.ProcessState.ExitCode(); {
					case code == exitOK:
						succeeded++
					case code == exitLocked:
					case code == exitFailed && c.late != "" && strings.Contains(said[i].String(), c.late):
					default:
						t.Errorf("%q: %v: %s", cmd.Args[1:], err, &said[i])
					}
				}
				if succeeded == 0 || succeeded > 1 && c.late == "the target exists" {
					t.Errorf("%d succeeded: %s\n%s", succeeded, &said[0], &said[1])
				}
				want(t, exitOK, "0 damaged, 0 warnings", "check", target)
				entries, err := os.ReadDir(parent)
				if err != nil || len(entries) != 1 {
					t.Errorf("beside it: %v, %v", entries, err)
				}
			}
		})
	}
}

// TestARestoreBesideAnotherSaysSo, for each plan.
func TestARestoreBesideAnotherSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), in("home"))
	want(t, exitOK, "full backup", "backup", "full", in("home"), in("repo"))
	if err := os.Mkdir(in("volume"), 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := f.Lock("new.restoring.lock") // as a restore in another process has it
	if err != nil {
		t.Fatal(err)
	}
	within, err := f.LockDir("volume")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"new", "volume"} {
		for _, more := range [][]string{nil, {"--format", "lawn"}, {"--delta"}, {"--accept-damage"}} {
			args := append([]string{"restore", in("repo"), in(target)}, more...)
			e, _, stderr := testEnv()
			status := run(t.Context(), e, args)
			if said := stderr.String(); status != exitLocked || !strings.Contains(said, "restore "+in(target)+": another restore into it runs: ") ||
				!strings.Contains(said, "\nhint: wait until the other one has ended") {
				t.Errorf("%q: status %d, %s", args, status, said)
			}
		}
	}
	if _, err := f.Stat("new"); err == nil {
		t.Error("there is a target")
	}
	if err := beside.Close(); err != nil {
		t.Fatal(err)
	}
	if err := within.Close(); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"new", "volume"} {
		want(t, exitOK, "restored "+in(target), "restore", in("repo"), in(target))
	}
	if _, err := f.Stat("new.restoring.lock"); err == nil {
		t.Error("the file of the lock is left")
	}
}
