package cli

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImportFromAPythonServerWhoseFileIsDamaged: the server lists a transaction without the records behind the damaged header, and
// answers no error. With the index that it wrote before, it has them all the same.
func TestImportFromAPythonServerWhoseFileIsDamaged(t *testing.T) {
	t.Parallel()
	python, env := pythonSource()
	if python == "" {
		t.Skip("ZODB_SRC names no folder with the Python client")
	}
	for _, tc := range []struct {
		name, field    string
		rounds, damage int
		differ         int // objects
	}{
		{"sound", "oid", 2, -1, 0},
		{"current revisions", "transaction", 2, 1, 5},
		{"new objects", "transaction", 1, 0, 5},
		{"another object", "oid", 2, 1, 1},
		{"another new object", "oid", 1, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "Data.fs")
			lines := pythonServer(t, python, env, file, fmt.Sprint(tc.rounds), fmt.Sprint(tc.damage), tc.field)
			url := "zeo://" + lines[len(lines)-1]
			if tc.damage < 0 {
				want(t, 0, fmt.Sprintf("imported %d transactions", 10*tc.rounds), "import", url, filepath.Join(dir, "sound"))
				return
			}
			oid, tid, _ := strings.Cut(lines[0], " ")
			for range 2 {
				_, stderr := wants(t, 3, "import", url, filepath.Join(dir, "home"))
				for _, text := range []string{fmt.Sprintf("of %d object", tc.differ), strings.ToUpper(oid), "hint: Python's server"} {
					if !strings.Contains(stderr, text) {
						t.Errorf("no %q: %s", text, stderr)
					}
				}
				if tc.field == "transaction" && !strings.Contains(stderr, strings.ToUpper(tid)) {
					t.Errorf("transaction %s is not named: %s", tid, stderr)
				}
			}
			want(t, 3, fmt.Sprintf(`"differing": %d,`, tc.differ), "import", "--json", "--salvage", url, filepath.Join(dir, "salvaged"))
			_, stderr := wants(t, 3, "import", "--follow", url, filepath.Join(dir, "followed"))
			if !strings.Contains(stderr, strings.ToUpper(oid)) || strings.Contains(stderr, "caught up") {
				t.Errorf("followed: %s", stderr)
			}
			if tc.field == "transaction" {
				want(t, 3, filepath.Base(file), "import", file, filepath.Join(dir, "of the file"))
			}
		})
	}
}

// wants runs a command that must end with a status.
func wants(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, out, errs := command(t.Context(), args...)
	if got != code {
		t.Errorf("%v: status %d, want %d\n%s%s", args, got, code, out, errs)
	}
	return out.String(), errs.String()
}

// pythonServer runs damagedserver.py, and returns its lines, of which the last one is its address.
func pythonServer(t *testing.T, python string, env []string, args ...string) (lines []string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), python, append([]string{filepath.Join("testdata", "damagedserver.py")}, args...)...)
	c.Env, c.WaitDelay = env, 10*time.Second
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs output
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = c.Wait()
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
		if strings.Contains(s.Text(), ":") {
			return lines
		}
	}
	t.Fatalf("the server did not begin: %s", &errs)
	return nil
}
