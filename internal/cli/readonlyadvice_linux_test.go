package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// onReadOnly are the calls of all commands at a file system that is mounted read-only, with the
// status; each that fails says how to go on. MNT is the mount point, with a HOME and a REPO; OUT is
// another directory.
var onReadOnly = []struct {
	status int
	args   string
}{
	{exitOK, "status MNT/home"}, {exitOK, "status --count MNT/home"}, {exitOK, "log MNT/home"},
	{exitOK, "history MNT/home 0x0"}, {exitOK, "show MNT/home 0x0"}, {exitOK, "refs MNT/home 0x0"},
	{exitOK, "files --since 0x0 MNT/home"}, {exitOK, "check MNT/home"}, {exitOK, "config MNT/home"},
	{exitOK, "export MNT/home OUT/Data.fs"}, {exitOK, "backup full MNT/home OUT/repo"},
	{exitOK, "backup inc MNT/home OUT/repo"}, {exitOK, "backup run MNT/home OUT/repo"},
	{exitOK, "backup list MNT/repo"}, {exitOK, "backup verify MNT/repo"}, {exitOK, "restore MNT/repo OUT/restored"},
	{exitOK, "snapshot run MNT/home -- true"}, {exitOK, "snapshot status MNT/home"},
	{exitOK, "snapshot enter MNT/home"}, {exitOK, "snapshot leave MNT/home"},
	{exitFailed, "create MNT/new"}, {exitOK, "estimate DATA MNT/new"}, {exitFailed, "import DATA MNT/new"}, {exitFailed, "import DATA MNT/home"},
	{exitFailed, "import DATA MNT/empty"}, {exitFailed, "create MNT/empty"},
	{exitFailed, "export MNT/home MNT/Data.fs"}, {exitFailed, "convert OUT/home MNT/new"}, {exitOK, "convert MNT/home OUT/converted"}, {exitFailed, "refs --write-index MNT/home"},
	{exitOK, "classes MNT/home"}, {exitFailed, "pack MNT/home"}, {exitFailed, "pack --dry-run MNT/home"}, {exitFailed, "pack --undelete all MNT/home"},
	{exitFailed, "gc --report MNT/home"}, {exitFailed, "recover MNT/home"}, {exitFailed, "salvage OUT MNT/home"},
	{exitFailed, "backup full MNT/home"}, {exitFailed, "backup run MNT/home"}, {exitFailed, "backup full MNT/home MNT/other"},
	{exitFailed, "backup inc OUT/home MNT/repo"}, {exitFailed, "backup run OUT/home MNT/repo"},
	{exitFailed, "backup prune --keep-chains 1 MNT/repo"}, {exitFailed, "backup merge MNT/repo"},
	{exitFailed, "restore OUT/repo MNT/new"}, {exitFailed, "restore OUT/repo MNT/empty"},
	{exitFailed, "restore --delta OUT/repo MNT/home"},
	{exitFailed, "serve --listen 127.0.0.1:0 MNT/home"}, {exitFailed, "serve --listen 127.0.0.1:0 MNT/new"},
	{exitFailed, "serve --listen 127.0.0.1:0 MNT/empty"},
	{exitFailed, "serve --listen 127.0.0.1:0 --pid-file MNT/pid OUT/home"},
	{exitFailed, "serve --listen 127.0.0.1:0 --blob-dir MNT/blobs OUT/home"},
	{exitFailed, "serve --listen MNT/socket OUT/home"},
}

// notOnReadOnly are the commands that the table does not have.
var notOnReadOnly = map[string]string{"bench": "a server", "top": "a server", "demo": "a temporary directory", "demo-writer": "the one of demo", "version": "prints",
	"man": "prints", "completion": "prints", "every": "as the command that it repeats", "health": "a server", "doctor": "TestDoctorOfAReadOnlyMount", "try-lock": "the one of doctor", "certs list": "reads", "certs show": "reads",
	"certs authority": "as certs server", "certs client": "as certs server", "certs renew": "as certs server", "certs revoke": "as certs server", "certs server": "TestCertificatesAreNeverOverwritten"}

// TestReadOnlyMountIsNamed calls each command, and each way in which it writes.
func TestReadOnlyMountIsNamed(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	data := hometest.FileStorage(t, "undo.fs")
	for _, place := range []string{home, filepath.Join(out, "home")} {
		want(t, exitOK, "imported", "import", data, place)
	}
	for _, place := range []string{repo, filepath.Join(out, "repo")} {
		want(t, exitOK, "full backup", "backup", "full", home, place)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	mnt := mountedReadOnly(t, dir)
	names := strings.NewReplacer("MNT", mnt, "OUT", out, "DATA", data)
	hint := fmt.Sprintf("hint: the file system at %[1]s is read-only: mount it read-write (mount -o remount,rw %[1]s;", mnt)
	missing := maps.Clone(notOnReadOnly)
	for _, name := range commandNames(newRoot(&env{})) {
		missing[name] = missing[name] + "has no call"
	}
	for name := range notOnReadOnly {
		delete(missing, name)
	}
	for _, call := range onReadOnly {
		args := strings.Fields(names.Replace(call.args))
		e, stdout, stderr := testEnv()
		status := run(t.Context(), e, args)
		text := stderr.String()
		switch {
		case status != call.status:
			t.Errorf("%s: status %d, want %d\n%s%s", call.args, status, call.status, stdout, text)
		case status == exitOK:
		case !strings.Contains(text, "read-only file system"):
			t.Errorf("%s does not say what is wrong: %s", call.args, text)
		case args[0] == "serve" && args[len(args)-1] == mnt+"/home":
			if !strings.Contains(text, "hint: serve it with --read-only, and nothing is written; or the file system at "+mnt) {
				t.Errorf("%s: %s", call.args, text)
			}
		case !strings.Contains(text, hint):
			t.Errorf("%s does not say what to do: %s", call.args, text)
		case strings.Contains(text, mnt+"/home/") != strings.Contains(text, "as it is, these work: "):
			t.Errorf("%s, what works there: %s", call.args, text)
		}
		words := slices.DeleteFunc(strings.Fields(call.args), func(w string) bool { return strings.HasPrefix(w, "-") })
		delete(missing, words[0])
		delete(missing, words[0]+" "+words[1])
	}
	for name, why := range missing {
		t.Errorf("%s %s", name, why)
	}
}
