package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// examined calls doctor as a process of its own, which starts another one for the lock.
func examined(t *testing.T, code int, args ...string) doctor.Report {
	t.Helper()
	c := program(t, append([]string{"doctor", "--json"}, args...)...)
	out, err := c.Output()
	if err != nil && c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		t.Fatalf("%q: %v, %s", args, err, out)
	}
	var r doctor.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

func kindsOf(r doctor.Report) (list []string) {
	for _, f := range r.Findings {
		list = append(list, f.Kind)
	}
	return list
}

// TestDoctorOfAHomeAndOfADirectory: of a storage that is not running and of one that is, of an empty
// directory, and of a place that does not exist yet.
func TestDoctorOfAHomeAndOfADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	before := hometest.Dump(t, home)
	r := examined(t, exitOK, home)
	if got := kindsOf(r); !r.Storage || r.Version != "0.11" || r.Format != "bundled" || !slices.Contains(got, "lock") || !slices.Contains(got, "rename") || !slices.Contains(got, "version") {
		t.Errorf("%+v", r)
	}
	after := hometest.Dump(t, home)
	delete(before, "misc/lock")
	delete(after, "misc/lock")
	for name := range after {
		if before[name] != after[name] {
			t.Errorf("doctor changed %s", name)
		}
	}
	for _, place := range []string{dir, filepath.Join(dir, "nowhere")} {
		if r := examined(t, exitOK, place); r.Storage || r.Path != dir || len(r.Findings) < 8 {
			t.Errorf("%+v", r)
		}
	}
	want(t, exitFailed, "there is no directory", "doctor", filepath.Join(dir, "no", "where"))
	if text := want(t, exitOK, "", "doctor", home); !strings.Contains(text, "\nstorage "+home+": 0 faults, ") || !strings.Contains(text, "ok       rename: 50 of 50") {
		t.Error(text)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestDoctorFindsTheLimitsOfTheServer, which may differ from those of the command.
func TestDoctorFindsTheLimitsOfTheServer(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	s := startServe(t, "--listen", "127.0.0.1:0", home)
	s.await(&s.log, "listening address=(.*)")
	filesOf(t, s.cmd.Process.Pid, 900)
	r := examined(t, exitOK, home)
	s.end()
	if !slices.Contains(kindsOf(r), "descriptors-few") {
		t.Errorf("%+v", r.Findings)
	}
	if r := examined(t, exitOK, home); slices.Contains(kindsOf(r), "descriptors-few") {
		t.Errorf("%+v", r.Findings)
	}
}

// TestDoctorOfAReadOnlyMount: it is a fault, with its own status, and serve has the way out.
func TestDoctorOfAReadOnlyMount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	mnt := mountedReadOnly(t, dir)
	r := examined(t, exitDamage, filepath.Join(mnt, "home"))
	if r.Grade != doctor.Fault || r.Findings[0].Kind != "read-only" {
		t.Errorf("%+v", r)
	}
}

// TestLeftoversOfAKilledDoctorAreKnown: check names them, an empty directory with them counts as empty,
// and the next start of the server removes them.
func TestLeftoversOfAKilledDoctorAreKnown(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	left := filepath.Join(home, ".doctor")
	for _, dir := range []string{home, left} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(left, "sync"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(t.TempDir(), "repo")
	want(t, exitOK, "created", "create", home)
	want(t, exitOK, `note leftover ".doctor": of doctor, or a start of the server, that was interrupted`, "check", home)
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	s := startServe(t, "--listen", "127.0.0.1:0", home)
	s.await(&s.log, "listening address=(.*)")
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error("the start of the server did not remove it")
	}
	s.end()
	to := filepath.Join(t.TempDir(), "to")
	if err := os.MkdirAll(filepath.Join(to, ".doctor"), 0o750); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "restored", "restore", repo, to)
}

// TestSecondDoctorHasTheStatusOfALock.
func TestSecondDoctorHasTheStatusOfALock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Mkdir(".doctor"); err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock(".doctor/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	want(t, exitLocked, "another doctor", "doctor", dir)
}

// TestServeSaysWhatItFoundAtThePlace: one line each, and it serves all the same.
func TestServeSaysWhatItFoundAtThePlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := startServe(t, "--listen", "127.0.0.1:0", filepath.Join(dir, "home"))
	s.await(&s.log, "listening address=(.*)")
	s.end()
	text := s.log.String()
	if strings.Count(text, "kind=memory-file-system") != 1 || !strings.Contains(text, " ERROR examined the place of a storage ") {
		t.Error(text)
	}
}
