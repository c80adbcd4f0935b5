package cli

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// documented holds the scripts of docs/backup.md, and runs them.
type documented struct {
	dir  string // with the scripts and dirstorage
	env  []string
	left map[string]bool // scripts that were not run yet
}

func documentedScripts(t *testing.T) *documented {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "backup.md"))
	if err != nil {
		t.Fatal(err)
	}
	d := &documented{dir: t.TempDir(), left: make(map[string]bool)}
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`(?m)^# (\S+\.sh) `).FindStringSubmatch(block[1])
		if name == nil {
			t.Fatalf("a script without a name: %s", block[1])
		}
		if err := os.WriteFile(filepath.Join(d.dir, name[1]), []byte(block[1]), 0o755); err != nil {
			t.Fatal(err)
		}
		d.left[name[1]] = true
	}
	self, err := os.Executable()
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "dirstorage"), []byte("#!/bin/sh\n"+asProgram+"=1 exec "+self+" \"$@\"\n"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.env = append(os.Environ(), "PATH="+d.dir+":"+os.Getenv("PATH"))
	return d
}

func (d *documented) run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, ok := d.left[name]; !ok {
		t.Fatalf("docs/backup.md has no %s", name)
	}
	d.left[name] = false
	d.command(t, filepath.Join(d.dir, name), args...)
}

func (d *documented) command(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = d.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out.String())
	}
}

func have(tools ...string) bool {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	return true
}

// TestScriptsOfTheDocumentMakeGoodCopies runs every script of docs/backup.md
// against a storage under load, and compares the restored data with the model of
// its writers.
func TestScriptsOfTheDocumentMakeGoodCopies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("most of its time is that of other programs")
	}
	for _, format := range hometest.Today(t, hometest.OneOf(1, 2, 2), []string{"bundled", "chunky"}) {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			scriptsMakeGoodCopies(t, format)
		})
	}
}

func scriptsMakeGoodCopies(t *testing.T, format string) {
	if !have("flock", "tar", "rsync", "stat", "sync") {
		t.Skip("flock, tar and rsync are not on this machine")
	}
	d := documentedScripts(t)
	l := loadtest.New(t, 60, engine.CreateOptions{Format: format})
	l.Start(t, 4)
	l.Write(t, 40)
	work := t.TempDir()
	at := func(name string) string { return filepath.Join(work, name) }
	same := func(what, dir string) {
		t.Helper()
		s, err := engine.Open(t.Context(), dir, engine.Options{ReadOnly: true})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		tid := s.LastTransaction()
		s.Close()
		if err := l.Compare(dir, tid); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	rounds := []string{"1", "2", "3"}
	for _, round := range rounds {
		l.Budget.Store(250) // while the copies are made
		d.run(t, "tar-backup.sh", l.Home, at("tar"))
		d.run(t, "rsync-backup.sh", l.Home, at("rsync"))
		d.run(t, "cp-al-backup.sh", l.Home, at("cp"+round))
		l.Pause()
		d.run(t, "tar-restore.sh", at("tar"), at("tar-restored"+round))
		same("tar "+round, at("tar-restored"+round))
		same("rsync "+round, at("rsync/last"))
		same("cp -al "+round, at("cp"+round))
	}
	copies, err := filepath.Glob(at("rsync/2*"))
	if err != nil || len(copies) != len(rounds) {
		t.Fatalf("rsync made %v, %v", copies, err)
	}
	for _, round := range rounds[:len(rounds)-1] {
		copies = append(copies, at("cp"+round))
	}
	for _, dir := range copies {
		same("later, "+dir, dir) // hard links of files that changed since are still good
	}
	if have("restic") {
		d.env = append(d.env, "RESTIC_REPOSITORY="+at("restic"), "RESTIC_PASSWORD=test", "XDG_CACHE_HOME="+at("cache"))
		d.command(t, "restic", "--quiet", "init")
		for range 2 {
			l.Budget.Store(500)
			d.run(t, "restic-backup.sh", l.Home)
		}
		l.Pause()
		d.command(t, "restic", "--quiet", "restore", "latest", "--target", at("restic-restored"))
		same("restic", at("restic-restored"))
	}
	if have("borg") {
		d.env = append(d.env, "BORG_REPO="+at("borg"), "BORG_BASE_DIR="+at("borgbase"))
		d.command(t, "borg", "init", "--encryption=none")
		l.Budget.Store(500)
		d.run(t, "borg-backup.sh", l.Home)
		l.Pause()
		if err := os.Mkdir(at("borg-restored"), 0o777); err != nil {
			t.Fatal(err)
		}
		d.command(t, "sh", "-c", "cd '"+at("borg-restored")+"' && borg extract ::$(borg list --short | tail -1)")
		same("borg", at("borg-restored"))
	}
	d.command(t, filepath.Join(d.dir, "dirstorage"), "backup", "run", l.Home, at("repo"))
	d.command(t, "cp", "-a", at("cp1"), at("site"))     // an older state, in the place of a broken one
	d.run(t, "put-back.sh", at("repo"), at("site")+"/") // as completion by a shell has it
	same("put back", at("site"))
	same("put aside", at("site.broken"))
	d.fileSystemSnapshot(t, format)
	d.wreckage(t, format)
	for name, left := range d.left {
		switch {
		case left && (name == "restic-backup.sh" || name == "borg-backup.sh" || name == "btrfs-backup.sh"):
			t.Logf("%s was not run: its tool is not on this machine, not allowed, or slow and the run a short one", name)
		case left:
			t.Errorf("%s was not run", name)
		}
	}
}

// fileSystemSnapshot makes a btrfs of a file, if that is possible here, and a
// snapshot of a running HOME in it.
func (d *documented) fileSystemSnapshot(t *testing.T, format string) {
	if !have("mkfs.btrfs", "mount", "btrfs") || os.Getuid() != 0 {
		return
	}
	image, mounted := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(256 << 20)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.command(t, "mkfs.btrfs", "-q", image)
	if exec.Command("mount", "-o", "loop", image, mounted).Run() != nil {
		return // no loop devices here
	}
	defer func() {
		if out, err := exec.Command("umount", mounted).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	}()
	d.command(t, "btrfs", "-q", "subvolume", "create", filepath.Join(mounted, "sub"))
	l := loadtest.NewIn(t, filepath.Join(mounted, "sub", "home"), 40, engine.CreateOptions{Format: format})
	defer l.Storage.Close()
	l.Start(t, 4)
	l.Write(t, 100)
	before := l.Storage.LastTransaction()
	l.Budget.Store(1000)
	d.run(t, "btrfs-backup.sh", filepath.Join(mounted, "sub"), filepath.Join(mounted, "picture"))
	l.Budget.Store(0)
	l.End()
	elsewhere := filepath.Join(t.TempDir(), "copy")
	d.command(t, "cp", "-a", filepath.Join(mounted, "picture", "home"), elsewhere)
	d.rolledForward(t, l, elsewhere, before)
}

// wreckage kills a writer hard, copies everything, and looks for each transaction
// that was acknowledged to it.
func (d *documented) wreckage(t *testing.T, format string) {
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{Format: format}); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "wreck.tar")
	writer := exec.CommandContext(t.Context(), filepath.Join(d.dir, "dirstorage"), "demo-writer", home)
	out, err := writer.StdoutPipe()
	if err == nil {
		err = writer.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var acknowledged []zodb.TID
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		tid, err := zodb.ParseTID(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		acknowledged = append(acknowledged, tid)
		if len(acknowledged) == 100 {
			running := exec.Command(filepath.Join(d.dir, "wreckage-backup.sh"), home, archive)
			if out, err := running.CombinedOutput(); err == nil || !strings.Contains(string(out), "is running") {
				t.Errorf("wreckage of a running storage: %v %s", err, out)
			}
			if err := writer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writer.Wait(); err == nil {
		t.Fatal("the writer was not killed")
	}
	d.run(t, "wreckage-backup.sh", home, archive)
	restored := t.TempDir()
	d.command(t, "tar", "-C", restored, "-xf", archive)
	d.command(t, filepath.Join(d.dir, "dirstorage"), "recover", restored)
	d.command(t, filepath.Join(d.dir, "dirstorage"), "check", restored)
	s, err := engine.Open(t.Context(), restored, engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tid := range acknowledged {
		if _, err := s.Transaction(t.Context(), tid); err != nil {
			t.Errorf("acknowledged: %v", err)
		}
	}
}

// rolledForward recovers a copy, which has to hold all up to a transaction at
// least, and compares it with the model.
func (d *documented) rolledForward(t *testing.T, l *loadtest.Load, home string, least zodb.TID) {
	t.Helper()
	d.command(t, filepath.Join(d.dir, "dirstorage"), "recover", home)
	s, err := engine.Open(t.Context(), home, engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	tid := s.LastTransaction()
	s.Close()
	if tid < least {
		t.Errorf("it ends with %s, and %s was acknowledged before", tid, least)
	}
	if err := l.Compare(home, tid); err != nil {
		t.Error(err)
	}
}

// TestTarScriptIsRunOnceAtATime: two jobs that share a directory share the stamp in it, and
// the archive under its first name.
func TestTarScriptIsRunOnceAtATime(t *testing.T) {
	t.Parallel()
	if !have("flock", "tar", "stat", "sync") {
		t.Skip("flock and tar are not on this machine")
	}
	d := documentedScripts(t)
	home, copies := filepath.Join(t.TempDir(), "home"), t.TempDir()
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(copies)
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.Lock(".lock")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(d.dir, "tar-backup.sh"), home, copies)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another job makes a copy in "+copies) {
		t.Errorf("a second job: %v, %s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(copies, "[^.]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("a second job left %v, %v", left, err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	d.run(t, "tar-backup.sh", home, copies)
	d.run(t, "tar-restore.sh", copies, filepath.Join(t.TempDir(), "restored"))
}
