package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
)

// TestConfigurationsOfSites has the unchanged Python client connect by the configurations that
// sites have, commit, and read back: ZConfig as buildout's recipe and the container image write
// it, and URIs as Pyramid has them, if zodburi is there.
func TestConfigurationsOfSites(t *testing.T) {
	t.Parallel()
	python, env := pythonSource()
	if python == "" {
		t.Skip("ZODB_SRC names no folder with the Python client")
	}
	dir := t.TempDir()
	for _, name := range []string{"home", "main", "frozen"} {
		home := filepath.Join(dir, name)
		if err := engine.Create(home, engine.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		fillHome(t, home)
	}
	file := filepath.Join(dir, "dirstorage.toml")
	conf := "[[storage]]\nname = \"1\"\nhome = \"home\"\n\n[[storage]]\nname = \"main\"\nhome = \"main\"\nblob-dir = \"shared\"\n"
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServeIn(t, dir, "--config", file, "--listen", "127.0.0.1:0", "--listen", filepath.Join(dir, "zeo.sock"))
	address := s.await(&s.log, `listening address=(127\.\S+)`)
	s.await(&s.out, "Stop it with")
	f := startServeIn(t, dir, "--read-only", "--listen", "127.0.0.1:0", "frozen")
	frozen := f.await(&f.log, `listening address=(\S+)`)

	c := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "sites.py"), dir, address, frozen, filepath.Join(dir, "zeo.sock"), filepath.Join(dir, "shared"))
	c.Env = env
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, &errs)
	}
	want := "least 2\nrecipe 2\nimage 2\nshared 2\nsocket 2\nseveral 2\ncache 2\ndemo 1\nfallback refuses\nread-only refuses\n"
	uris := "uri 2\nuri storage 2\nuri database 2\nuri socket 2\nuri demo 1\nuri file 2\nuri read_only refuses\n"
	got := out.String()
	if got != want && got != want+uris {
		t.Errorf("the client prints\n%s\nwant\n%s%s\n%s", got, want, uris, &errs)
	}
	t.Logf("with zodburi: %t", strings.Contains(got, "uri "))
	s.end()
	f.end()
}
