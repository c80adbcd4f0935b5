//go:build unix

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// owned are directories of different users, in which root works.
type owned struct {
	t      *testing.T
	dir    string            // of root
	owners map[string]uint32 // of the directories in dir
}

func newOwned(t *testing.T, owners map[string]uint32) *owned {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	o := &owned{t: t, dir: t.TempDir(), owners: owners}
	for name, uid := range owners {
		if err := os.MkdirAll(o.path(name), 0o750); err != nil {
			t.Fatal(err)
		}
		o.give(name, uid)
	}
	return o
}

func (o *owned) path(name string) string { return filepath.Join(o.dir, name) }

// give makes a user the owner of a directory and of all that is in it.
func (o *owned) give(name string, uid uint32) {
	o.t.Helper()
	err := filepath.WalkDir(o.path(name), func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, int(uid), int(uid)+1)
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// check looks for files that do not belong to whom their directory belongs.
func (o *owned) check(after string) {
	o.t.Helper()
	for name, uid := range o.owners {
		err := filepath.WalkDir(o.path(name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != uid+1 {
				o.t.Errorf("after %s: %s belongs to %d:%d, not to %d:%d", after, path, st.Uid, st.Gid, uid, uid+1)
			}
			return nil
		})
		if err != nil {
			o.t.Fatal(err)
		}
	}
}

// run runs a command as root; names in arguments are those of files in dir. It
// must end with one of the statuses, 0 if none is named.
func (o *owned) run(args []string, statuses ...int) string {
	o.t.Helper()
	cmd := program(o.t, args...)
	cmd.Dir = o.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || !slices.Contains(append(statuses, exitOK)[:max(1, len(statuses))], cmd.ProcessState.ExitCode()) {
		o.t.Fatalf("%q: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	o.check(strings.Join(args, " "))
	return stdout.String()
}

// commandNames returns the names of all commands that do something themselves.
func commandNames(c *cobra.Command) []string {
	if !c.HasSubCommands() {
		return []string{strings.TrimPrefix(c.CommandPath(), "dirstorage ")}
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, commandNames(sub)...)
	}
	return names
}

// notOwned are the commands that need no HOME.
var notOwned = map[string]string{
	"bench":           "a client of a server",
	"config":          "shows settings",
	"completion":      "prints",
	"certs authority": "certificates", "certs server": "certificates", "certs client": "certificates",
	"certs renew": "certificates", "certs revoke": "certificates", "certs list": "certificates", "certs show": "certificates",
	"demo":        "works in a directory of its own",
	"demo-writer": "works in the directory of demo",
	"try-lock":    "the one of doctor",
	"every":       "as the command that it repeats",
	"health":      "a client of a server",
	"top":         "a client of a server",
	"man":         "prints",
	"version":     "prints",
}

// TestFilesBelongToTheOwnerOfTheirDirectory: after any work of root on a storage, on its backups and
// beside them, the service that owns them can go on.
func TestFilesBelongToTheOwnerOfTheirDirectory(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	o := newOwned(t, map[string]uint32{"srv": 4711, "repo": 4811, "blobs": 4711, "out": 5011, "run": 5111})
	data := hometest.FileStorage(t, "blobs")
	golden := hometest.Unpack(t, "chunky")
	if out, err := exec.Command("cp", "-a", golden, o.path("srv/crashed")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	o.give("srv", 4711)
	if err := os.Mkdir(o.path("lost"), 0o700); err != nil {
		t.Fatal(err)
	}

	ran := make(map[string]bool)
	run := func(name string, args ...string) string {
		ran[name] = true
		return o.run(append(strings.Fields(name), args...))
	}
	run("create", "srv/new")
	run("estimate", "--blobs", data+"/blobs", data+"/Data.fs", "srv/home")
	run("import", "--blobs", data+"/blobs", data+"/Data.fs", "srv/home")
	run("status", "srv/home")
	run("doctor", "srv/home")
	run("log", "srv/home")
	run("history", "srv/home", "0x0")
	run("show", "srv/home", "0x0")
	run("files", "--since", "0000000000000000", "srv/home")
	run("check", "--refs", "srv/home")
	run("refs", "--write-index", "srv/home")
	run("classes", "srv/home")
	run("backup full", "srv/home", "repo/in")
	run("backup run", "srv/home")
	serveOwned(o, "srv/home", "blobs/shared")
	ran["serve"] = true
	run("recover", "srv/home")
	run("recover", "srv/crashed")
	run("backup full", "srv/home", "repo/in") // the first start after an import begins a history
	serveOwned(o, "srv/home", "blobs/shared")
	run("backup inc", "srv/home", "repo/in")
	run("backup merge", "repo/in")
	run("pack", "--keep", "0", "--refs", "srv/home")
	run("pack", "--undelete", "all", "srv/home")
	run("gc", "--report", "srv/home")
	run("backup run", "srv/home", "repo/in")
	run("backup list", "repo/in")
	run("backup verify", "--restore", "repo/in")
	run("backup prune", "--keep-chains", "1", "repo/in")
	run("restore", "repo/in", "srv/copy")
	run("restore", "--delta", "repo/in", "srv/copy")
	run("export", "--blobs", "out/blobs", "srv/home", "out/Data.fs")
	run("export", "--blobs", "out/blobs.new", "--force", "srv/home", "out/Data.fs")
	run("convert", "srv/home", "srv/converted")
	run("convert", "srv/home", "srv/converted")
	run("snapshot run", "srv/home", "--", "true")
	run("snapshot enter", "srv/home")
	run("snapshot status", "srv/home")
	run("snapshot leave", "srv/home")
	run("salvage", "lost", "srv/home")
	// A HOME, and a repository, in a directory of root's keep their owners.
	for _, name := range []string{"srv/home", "repo/in"} {
		if err := os.Rename(o.path(name), o.path(filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
		o.owners[filepath.Base(name)] = o.owners[filepath.Dir(name)]
	}
	run("pack", "--keep", "0", "home")
	run("backup full", "home", "in")
	run("restore", "--delta", "in", "home")

	missing := maps.Clone(notOwned)
	for _, name := range commandNames(newRoot(&env{})) {
		if _, out := notOwned[name]; !ran[name] && !out {
			t.Errorf("%s is not among the commands of this test", name)
		}
		delete(missing, name)
	}
	for name := range missing {
		t.Errorf("there is no command %s", name)
	}
}

// serveOwned serves a HOME with a shared blob directory, commits, looks at the sockets, and
// leaves a storage that was killed.
func serveOwned(o *owned, home, blobs string) {
	t := o.t
	t.Helper()
	socket := o.path("run/zeo.sock")
	s := startServe(t, "--listen", socket, "--pid-file", o.path("run/pid"), "--blob-dir", o.path(blobs), o.path(home))
	s.await(&s.out, `Stop it with`)
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Network: "unix", Address: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	current, err := c.GetTid(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	commitOne(t, zeoclient.Options{Network: "unix", Address: socket}, current)
	o.check("serve")
	o.run([]string{"snapshot", "run", home, "--", "true"})
	o.run([]string{"pack", "--keep", "0", home})
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.cmd.Wait()
	o.check("a serve that was killed")
}

// TestRootFollowsNoLinkOfAnotherUser: the owner of HOME cannot let root write elsewhere.
func TestRootFollowsNoLinkOfAnotherUser(t *testing.T) {
	t.Parallel()
	o := newOwned(t, map[string]uint32{"srv": 4711})
	o.run([]string{"create", "srv/home"})
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock := o.path("srv/home/misc/lock")
	if err := errors.Join(os.Remove(lock), os.Symlink(precious, lock)); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(o.path("srv/home/misc/lock"), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	o.run([]string{"recover", "srv/home"}, exitFailed)
	if b, err := os.ReadFile(precious); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestFilesOfRootAreNamed: each command that cannot open a file that root left in HOME prints the
// command that gives all of them back, and that does it.
func TestFilesOfRootAreNamed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can leave files")
	}
	self, as := asSomebodyElse(t)
	dir := filepath.Join(filepath.Dir(self), "it's theirs")
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "imported", "import", "--format", "chunky", hometest.FileStorage(t, "undo.fs"), home)
	chown := func(uid int, paths ...string) {
		t.Helper()
		for _, path := range paths {
			if err := os.Chown(path, uid, uid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	nobody := int(as.Credential.Uid)
	if out, err := exec.Command("chown", "-R", fmt.Sprint(nobody), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := func(args []string) (string, int) {
		c := exec.CommandContext(t.Context(), self, call(args, dir, home)...)
		c.Env = append(os.Environ(), asProgram+"=1")
		c.Dir = "/"
		c.SysProcAttr = as
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	command := fmt.Sprintf("as root: chown -R --reference=%[1]s %[1]s\n", shellWord(home))
	var all []string
	for name := range withHome {
		if name != "snapshot leave" && name != "top" { // which look at the locks, or at the socket, first
			all = append(all, name)
		}
	}
	revisions, err := filepath.Glob(filepath.Join(home, "A/o000/000/000/000/0001.03*"))
	if err != nil || len(revisions) == 0 {
		t.Fatal("no revision of object 1:", err)
	}
	revision, err := filepath.Rel(home, slices.Max(revisions))
	if err != nil {
		t.Fatal(err)
	}
	for place, failing := range map[string][]string{
		revision:          {"pack", "check", "export"},
		"config/settings": all,
		"config":          all,
		"A/x":             {"status", "log", "refs", "export", "pack", "recover", "check", "backup full", "serve", "gc"},
		"misc":            {"pack", "recover", "backup full", "serve"},
	} {
		for _, name := range failing {
			chown(0, filepath.Join(home, place))
			out, status := run(withHome[name])
			if !strings.Contains(out, command) || status == exitOK {
				t.Errorf("%s, %s: status %d, says %q, want %q", place, name, status, out, command)
			}
			chown(nobody, filepath.Join(home, place))
		}
	}
	chown(0, filepath.Join(home, "config"), filepath.Join(home, "config/settings"), filepath.Join(home, "A/x"))
	out, _ := run(withHome["status"])
	_, line, _ := strings.Cut(out, "as root: ")
	if said, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v, %s", line, err, said)
	}
	if out, status := run(withHome["check"]); status != exitOK {
		t.Errorf("after %q: status %d, %s", line, status, out)
	}
	own := filepath.Join(home, "A", "own")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	chown(nobody, own)
	err = fmt.Errorf("storage 1: %w", &fs.PathError{Op: "open", Path: own, Err: syscall.EACCES})
	if got := advice(newRoot(&env{}), err); !strings.Contains(got, "run it as the user") {
		t.Errorf("a file of the owner of HOME: %q", got)
	}
}
