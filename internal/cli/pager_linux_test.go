package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestLongListsGoThroughThePager: on a terminal, and not with --no-pager, PAGER=cat, or where it cannot be
// started. A user who leaves it early is no error.
func TestLongListsGoThroughThePager(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if out, err := program(t, "import", hometest.FileStorage(t, "undo.fs"), home).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, tc := range map[string]struct {
		pager string
		args  []string
		paged bool
	}{
		"a command of the shell": {"sed 's/^/paged $LESS: /'", []string{"log", home}, true},
		"another list":           {"sed 's/^/paged $LESS: /'", []string{"files", "--since", "0", home}, true},
		"with --no-pager":        {"sed s/^/paged:/", []string{"log", "--no-pager", home}, false},
		"cat":                    {"cat", []string{"log", home}, false},
		"none there":             {"/no/such/pager", []string{"log", home}, false},
		"no list":                {"sed s/^/paged:/", []string{"status", home}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := tc.args
			if args[0] == "files" {
				args = []string{"files", "--since", "0000000000000000", home}
			}
			d := newDisplay(t, 80, []string{"PAGER=" + tc.pager, "LESS="}, args...)
			text := d.end()
			if paged := strings.Contains(text, "paged"); paged != tc.paged || !tc.paged && len(text) < 20 {
				t.Errorf("paged: %t, want %t: %q", paged, tc.paged, text)
			}
			if strings.Contains(tc.pager, "$LESS") && strings.Count(text, "paged") < 3 {
				t.Errorf("%q", text)
			}
		})
	}
	t.Run("left early", func(t *testing.T) {
		t.Parallel()
		d := newDisplay(t, 80, []string{"PAGER=head -n 1"}, "log", home)
		if text := d.end(); strings.Count(text, "\n") != 1 || strings.Contains(text, "broken pipe") {
			t.Errorf("%q", text)
		}
	})
	t.Run("errors beside it", func(t *testing.T) {
		t.Parallel()
		d := newDisplay(t, 80, []string{"PAGER=sed s/^/paged:/"}, "log", filepath.Join(dir, "nowhere"))
		err := d.cmd.Wait()
		d.terminal.Close()
		<-d.read
		if text := d.all(); err == nil || strings.Contains(text, "paged") || !strings.Contains(text, "nowhere") {
			t.Errorf("%v: %q", err, text)
		}
	})
}

// TestColours are shown on terminals, and not with NO_COLOR, on dumb ones, or in files.
func TestColours(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if out, err := program(t, "create", home).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, tc := range map[string]struct {
		env  []string
		want bool
	}{
		"a terminal": {nil, true}, "NO_COLOR": {[]string{"NO_COLOR=1"}, false}, "an empty NO_COLOR": {[]string{"NO_COLOR="}, true}, "dumb": {[]string{"TERM=dumb"}, false},
	} {
		d := newDisplay(t, 80, append([]string{"NO_COLOR="}, tc.env...), "status", home)
		if text := d.end(); strings.Contains(text, "\x1b[32m") != tc.want || !tc.want && strings.Contains(text, "\x1b") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// TestStatusFitsATerminal: no line of words is wider than the terminal; paths stay whole, to be copied.
func TestStatusFitsATerminal(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s") // short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	home := filepath.Join(dir, "h")
	if out, err := program(t, "import", hometest.FileStorage(t, "undo.fs"), home).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, columns := range []int{40, 59, 60, 80, 300} {
		d := newDisplay(t, uint16(columns), []string{"NO_COLOR=1"}, "status", home)
		for line := range strings.SplitSeq(strings.ReplaceAll(d.end(), "\r", ""), "\n") {
			if words := strings.Fields(line); columnsOf(line) > columns && len(words) > 2 {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
	}
}

// TestProgressAtEachWidth: one line of progress at each width, with a terminal that changes its size
// meanwhile; no line is as wide as the narrowest one that it had.
func TestProgressAtEachWidth(t *testing.T) {
	t.Parallel()
	for _, columns := range []int{20, 40, 80, 300} {
		dir := t.TempDir()
		d := newDisplay(t, uint16(columns), []string{everyUpdate + "=1"}, "import", "--format", "chunky", hometest.FileStorage(t, "undo.fs"), filepath.Join(dir, "home"))
		d.cmd.Stdout = nil
		shown := 0
		for part := range strings.SplitSeq(d.end(), "\r") {
			line, ok := strings.CutSuffix(part, eraseToEnd)
			if !ok {
				continue
			}
			if line != "" {
				shown++
			}
			if columnsOf(line) >= columns {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
		if shown == 0 {
			t.Errorf("%d columns: no progress: %q", columns, d.all())
		}
	}
}
