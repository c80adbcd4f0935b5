package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestAHomeThatWasNotAskedForIsNotMade: a variable or a file with a typing error, or a volume that
// is not mounted, must not give clients an empty database.
func TestAHomeThatWasNotAskedForIsNotMade(t *testing.T) {
	t.Parallel()
	source := hometest.FileStorage(t, "undo.fs")
	for name, c := range map[string]struct {
		vars  map[string]string
		file  string // of settings
		args  []string
		empty bool // HOME is an empty directory
		place string
		made  bool
	}{
		"argument":                    {args: []string{"serve", "HOME"}, made: true},
		"flag":                        {args: []string{"serve", "--storage", "1=HOME"}, made: true},
		"variable":                    {vars: map[string]string{"DIRSTORAGE_HOME": "HOME"}, args: []string{"serve"}, place: "environment DIRSTORAGE_HOME"},
		"variable, empty directory":   {vars: map[string]string{"DIRSTORAGE_HOME": "HOME"}, args: []string{"serve"}, empty: true, made: true},
		"variable and --create":       {vars: map[string]string{"DIRSTORAGE_HOME": "HOME"}, args: []string{"serve", "--create"}, made: true},
		"variable and variable":       {vars: map[string]string{"DIRSTORAGE_HOME": "HOME", "DIRSTORAGE_CREATE": "true"}, args: []string{"serve"}, made: true},
		"storages of the environment": {vars: map[string]string{"DIRSTORAGE_STORAGE": "main=HOME"}, args: []string{"serve"}, place: "environment DIRSTORAGE_STORAGE"},
		"file":                        {file: "[[storage]]\nname = \"1\"\nhome = \"HOME\"\n", args: []string{"serve"}, place: "settings.toml:1"},
		"file with create":            {file: "create = true\n[[storage]]\nname = \"1\"\nhome = \"HOME\"\n", args: []string{"serve"}, made: true},
		"zeo.conf":                    {file: "<zeo>\naddress 1\n</zeo>\n<filestorage 1>\npath /x/Data.fs\n</filestorage>\n", vars: map[string]string{"DIRSTORAGE_HOME": "HOME"}, args: []string{"serve"}, place: "zeo.conf:4"},
		"zeo.conf and argument":       {file: "<zeo>\naddress 1\n</zeo>\n<filestorage 1>\npath /x/Data.fs\n</filestorage>\n", args: []string{"serve", "HOME"}, made: true},
		"import":                      {args: []string{"import", source, "HOME"}, made: true},
		"import, variable":            {vars: map[string]string{"DIRSTORAGE_HOME": "HOME"}, args: []string{"import", source}, place: "environment DIRSTORAGE_HOME"},
		"import, empty directory":     {vars: map[string]string{"DIRSTORAGE_HOME": "HOME"}, args: []string{"import", source}, empty: true, made: true},
		"no directory above":          {args: []string{"serve", "HOME/below"}, place: "there is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "made") // short enough for a socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			home := filepath.Join(dir, "home")
			if c.empty {
				if err := os.Mkdir(home, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			e, _, stderr := testEnv()
			e.Getenv = func(name string) string { return strings.ReplaceAll(c.vars[name], "HOME", home) }
			args := make([]string, len(c.args))
			for i, a := range c.args {
				args[i] = strings.ReplaceAll(a, "HOME", home)
			}
			if args[0] == "serve" {
				args = append(args, "--listen", filepath.Join(dir, "socket"))
			}
			if c.file != "" {
				flag, file := "--config", filepath.Join(dir, "settings.toml")
				if strings.HasPrefix(c.file, "<") {
					flag, file = "--zeo-conf", filepath.Join(dir, "zeo.conf")
				}
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(c.file, "HOME", home)), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, flag, file)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if c.made { // it ends when it begins to serve
				e.Stdout = writerFunc(func(p []byte) (int, error) { stop(); return len(p), nil })
			}
			got := run(ctx, e, args)
			_, err = os.Lstat(filepath.Join(home, "config/settings"))
			if made := err == nil; made != c.made {
				t.Errorf("made: %t; status %d, says %s", made, got, stderr)
			}
			if text := stderr.String(); !c.made && (!strings.Contains(text, c.place) || !strings.Contains(text, "hint: ") || got == exitOK) {
				t.Errorf("status %d, says %q", got, text)
			}
		})
	}
}

// writerFunc is a writer that is a function.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
