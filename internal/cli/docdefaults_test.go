package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDefaultsInTheDocumentAreThoseOfTheFlags compares the defaults that docs/cli.md states with those of the flags.
func TestDefaultsInTheDocumentAreThoseOfTheFlags(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Join(strings.Fields(string(text)), " ")
	root := newRoot(&env{Stdout: io.Discard, Stderr: io.Discard})
	for _, d := range []struct {
		command, flag string
		sentence      string // DEFAULT stands for the value
		written       string // the value of the flag, if the document writes it in another way
	}{
		{"pack", "keep", "`--keep` (days, a time or a TID; DEFAULT), `--gc` (on or off)", ""},
		{"snapshot run", "sleep", "every `-s` seconds (DEFAULT)", ""},
		{"snapshot run", "timeout", "until `-t` seconds (DEFAULT) are over", ""},
		{"backup run", "full-after", "`--full-after` (DEFAULT)", ""},
		{"status", "backup-age", "`--backup-age` (DEFAULT)", ""},
		{"status", "verify-age", "`--verify-age` (DEFAULT)", ""},
		{"status", "interval", "looks again every `--interval` (DEFAULT)", "2 seconds=2s"},
		{"top", "sort", "by default those with most DEFAULT a second first", ""},
		{"certs renew", "within", "`--within NUMBER` of days (DEFAULT)", ""},
		{"bench", "duration", "takes `--duration` (DEFAULT)", ""},
		{"bench", "blob-size", "`--blob-size` (DEFAULT)", "100 MB=100000000"},
	} {
		c, _, err := root.Find(strings.Fields(d.command))
		if err != nil {
			t.Fatal(err)
		}
		f := c.Flags().Lookup(d.flag)
		if f == nil {
			t.Errorf("%s has no flag --%s", d.command, d.flag)
			continue
		}
		value := f.DefValue
		if written, of, ok := strings.Cut(d.written, "="); ok && of == value {
			value = written
		}
		if want := strings.Replace(d.sentence, "DEFAULT", value, 1); !strings.Contains(doc, want) {
			t.Errorf("docs/cli.md does not say %q, the default of %s --%s", want, d.command, d.flag)
		}
	}
}
