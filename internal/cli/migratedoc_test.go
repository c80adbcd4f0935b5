package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// migrationBlocks returns the scripts of docs/migrate.md by their names.
func migrationBlocks(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "migrate.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^ *```sh\n *# ([a-z-]+)\n((?:.*\n)*?) *```$").FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]] = m[2]
	}
	if fences := strings.Count(string(text), "```sh"); fences != len(blocks) {
		t.Fatalf("docs/migrate.md has %d scripts, and %d names", fences, len(blocks))
	}
	return blocks
}

// TestMigrationDocument runs each script of docs/migrate.md, in the order of the page, with a server
// of this project in the place of the old one. bench/hour.py has the real one.
func TestMigrationDocument(t *testing.T) {
	t.Parallel()
	blocks := migrationBlocks(t)
	dir := hometest.FileStorage(t, "blobs")
	at := func(name string) string { return filepath.Join(dir, name) }
	old := at("old-home")
	want(t, exitOK, "imported", "import", "--blobs", at("blobs"), at("Data.fs"), old)
	s := startServeIn(t, dir, "--listen", "127.0.0.1:0", old)
	address := s.await(&s.log, `listening address=(127\.\S+)`)
	self, err := os.Executable()
	if err == nil {
		err = os.WriteFile(at("dirstorage"), []byte("#!/bin/sh\n"+asProgram+"=1 exec "+self+" \"$@\"\n"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(at("zeo.conf"), fmt.Appendf(nil, "<zeo>\n  address 127.0.0.1:0\n</zeo>\n<filestorage 1>\n  path %s\n</filestorage>\n", at("Data.fs")), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "OLD=zeo://"+address, "ZEOCONF="+at("zeo.conf"), "DATAFS="+at("Data.fs"), "BLOBS="+at("blobs"),
		"SITE="+at("site"), "REPO="+at("backups"), "BACK="+at("back"))
	settings := blocks["settings"]
	delete(blocks, "settings")
	for _, name := range []string{"OLD", "ZEOCONF", "DATAFS", "BLOBS", "SITE", "REPO", "BACK"} {
		if !strings.Contains(settings, name+"=") {
			t.Errorf("the settings of docs/migrate.md lack %s", name)
		}
	}
	start := func(name string) (*exec.Cmd, *output) {
		t.Helper()
		text := strings.TrimSpace(blocks[name])
		delete(blocks, name)
		var out output
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", "exec "+text)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &out
	}
	run := func(name string) string {
		t.Helper()
		text, ok := blocks[name]
		if !ok {
			t.Fatalf("docs/migrate.md has no script %s", name)
		}
		delete(blocks, name)
		cmd := exec.CommandContext(t.Context(), "sh", "-exc", text)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	stop := func(cmd *exec.Cmd, out *output, s os.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run("dry-run")
	run("first-copy")
	follow, said := start("follow")
	said.await(t, "caught up")
	last := commitTo(t, "zeo://"+address)
	for range 3000 {
		if _, out, _ := command(t.Context(), "log", at("site")); strings.Contains(out.String(), last.String()) {
			break
		}
	}
	stop(follow, said, os.Interrupt)
	if out := run("rest"); !strings.Contains(out, "imported 0 transactions") {
		t.Errorf("the rest: %s", out)
	}
	s.end()
	serve, log := start("serve")
	log.await(t, "Stop it with")
	m := regexp.MustCompile(`listening address=(127\.\S+)`).FindStringSubmatch(log.String())
	if m == nil {
		t.Fatalf("no address: %s", log)
	}
	run("check")
	run("backup")
	last = commitTo(t, "zeo://"+m[1])
	stop(serve, log, syscall.SIGTERM)
	run("back")
	for name := range blocks {
		t.Errorf("the script %s of docs/migrate.md was not run", name)
	}
	// The export has everything.
	again := at("again")
	want(t, exitOK, "imported", "import", "--blobs", at("back/blobstorage"), at("back/Data.fs"), again)
	want(t, exitOK, last.String(), "log", again)
	want(t, exitOK, "0 damaged", "check", again)
}

// commitTo commits a transaction over a connection.
func commitTo(t *testing.T, url string) zodb.TID {
	t.Helper()
	z, err := zeoclient.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := zeoclient.Dial(t.Context(), z)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	oids, err := c.NewOIDs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	txn, err := c.Begin(zodb.TxnMeta{Description: []byte("a page")}, zeoclient.BeginOptions{})
	if err == nil {
		err = txn.Store(oids[0], 0, []byte("\x80\x03cm\nC\n.\x80\x03N."))
	}
	if err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

// TestTheHourWithPython is a small one of bench/hour.py: Python's server and clients that write, to
// this server and back.
func TestTheHourWithPython(t *testing.T) {
	t.Parallel()
	python, _ := pythonSource()
	if python == "" {
		t.Skip("ZODB_SRC names no folder with the Python client")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "dirstorage"), []byte("#!/bin/sh\n"+asProgram+"=1 exec "+self+" \"$@\"\n"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("..", "..", "bench", "hour.py"), "--work", filepath.Join(dir, "work"), "--binary", filepath.Join(dir, "dirstorage"),
		"--megabytes", "1", "--blobs", "20", "--writers", "2", "--seconds", "0.5")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends its own processes then
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all are there") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(string(out))
}
