package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// printedOn runs a command with its output on a terminal of some columns, and returns the lines.
func printedOn(t *testing.T, dir string, columns uint16, args ...string) []string {
	t.Helper()
	master, terminal := openTerminal(t, columns)
	c := program(t, args...)
	c.Env = append(c.Env, "TERM=xterm", "NO_COLOR=1", "PAGER=cat")
	c.Dir = dir
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = terminal, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	var written bytes.Buffer
	_, _ = written.ReadFrom(master) // it ends with EIO when nobody has the terminal any more
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, &stderr)
	}
	return strings.Split(strings.TrimRight(strings.ReplaceAll(written.String(), "\r\n", "\n"), "\n"), "\n")
}

// TestTablesFitTheirTerminal: the values that an operator looks for are there, and no line is broken by the terminal.
func TestTablesFitTheirTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	data := hometest.FileStorage(t, "undo.fs")
	want(t, exitOK, "imported", "import", data, in("home"))
	want(t, exitOK, "full backup", "backup", "full", in("home"), in("repo"))
	want(t, exitOK, "is good", "backup", "verify", in("repo"))
	want(t, exitOK, "authority", "certs", "authority", in("ca"))
	want(t, exitOK, "server", "certs", "server", in("ca"), "zodb.intern.example.org", "127.0.0.1", "::1")
	want(t, exitOK, "client", "certs", "client", in("ca"), "zope1")
	want(t, exitOK, "imported", "import", data, in("long"))
	long := enginetest.Open(t, in("long"), engine.Options{})
	meta := zodb.TxnMeta{User: []byte("alice@example.org of the editors"), Description: []byte("/Plone/news/2026/a-long-name-of-a-page/edit of the title")}
	enginetest.CommitWith(t, long, enginetest.Options{Meta: meta}, enginetest.Change{OID: 0, Data: emptyRoot}, enginetest.Change{OID: 1, Data: anyRecord})
	if err := long.Close(); err != nil {
		t.Fatal(err)
	}
	for _, columns := range []uint16{80, 60} {
		for _, tc := range []struct {
			args []string
			want []string
		}{
			{[]string{"backup", "list", "repo"}, []string{"BACKUP", "TAKEN", "VERIFIED", "Z-full", "structure", "can restore to"}},
			{[]string{"certs", "list", "ca"}, []string{"END", "DAYS", "zodb.intern.example.org", "ca/zodb.intern.example.org.pem", "ca/zope1.pem"}},
			{[]string{"classes", "home"}, []string{"OBJECTS", "CLASS", "persistent.mapping.PersistentMapping"}},
			{[]string{"config", "home"}, []string{"SETTING", "SOURCE", "max-transaction", "default"}},
			{[]string{"refs", "home", "1"}, []string{"refers to:", "0000000000000009", "(strong)"}},
			{[]string{"show", "home", "1"}, []string{"reference:", "0000000000000009", "(strong)"}},
			{[]string{"pack", "--dry-run", "--keep", "0", "home"}, []string{"would remove 5 objects", "of class BTrees.OOBTree.OOBucket"}},
			{[]string{"check", "home"}, []string{"28 objects", "03F6ED2545555555", "0 damaged"}},
			{[]string{"log", "home"}, []string{"03F6ED2545555555", "2024-03-01 10:13:16", "1 object"}},
			{[]string{"log", "--oids", "long"}, []string{"2 objects 97 B", "alice@example.org of the editors", "/Plone/news/2026/a-long-name-of-a-page/edit of the "}},
			{[]string{"history", "home", "1"}, []string{"2024-03-01"}},
			{[]string{"history", "long", "1"}, []string{"alice@example.org of the editors", "/Plone/news/2026/a-long-name-of-a-page/edit of the "}},
			{[]string{"status", "home"}, []string{"28 objects", "03F6ED2545555555"}},
		} {
			lines := printedOn(t, dir, columns, tc.args...)
			text := strings.Join(lines, "\n")
			words := strings.Join(strings.Fields(text), " ")
			for _, line := range lines {
				if n := columnsOf(line); n > int(columns) && !strings.Contains(line, "persistent ref ") && !strings.Contains(line, dir) {
					t.Errorf("%d columns, and a line of %q has %d: %s", columns, tc.args[:2], n, line)
				}
			}
			for _, part := range tc.want {
				if !strings.Contains(words, part) {
					t.Errorf("%d columns: %q does not show %q:\n%s", columns, tc.args[:2], part, text)
				}
			}
		}
	}
}
