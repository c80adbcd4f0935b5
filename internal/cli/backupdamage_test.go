package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestIncrementalBackupUponADamagedOne has status 3, whichever file of the backup is damaged. The record of the
// run tells it in one line, and not as damage of HOME.
func TestIncrementalBackupUponADamagedOne(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*-full.json", "*-full.index.zst"} {
		home, repository := importedHome(t), filepath.Join(t.TempDir(), "repository")
		want(t, exitOK, "full backup", "backup", "full", home, repository)
		cutFile(t, filepath.Join(repository, pattern))
		code, _, stderr := command(t.Context(), "backup", "inc", home, repository)
		if code != exitDamage || !strings.Contains(stderr.String(), "there is no backup to build upon") {
			t.Errorf("%s: status %d, %s", pattern, code, stderr)
		}
		codes, _, text := toldBy(t, exitProblem, home, "--repository", repository)
		if slices.Contains(codes, "damaged") || !slices.Contains(codes, "run_failed") || !strings.Contains(text, "there is no backup to build upon; ") {
			t.Errorf("%s: %v\n%s", pattern, codes, text)
		}
	}
}

// TestABackupThatIsKnownAsBadIsNotOffered: not for a restore, and not to build upon.
func TestABackupThatIsKnownAsBadIsNotOffered(t *testing.T) {
	t.Parallel()
	home, repo := importedHome(t), filepath.Join(t.TempDir(), "repo")
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	want(t, exitOK, "you can restore to", "backup", "list", repo)
	flip(t, filepath.Join(repo, "*-full.tar.zst"))
	want(t, exitDamage, "", "backup", "verify", "--data", repo)
	code, out, _ := command(t.Context(), "backup", "list", repo)
	if text := out.String(); code != exitDamage || strings.Contains(text, "you can restore") || !strings.Contains(text, "-full can't be restored: damaged: backup ") {
		t.Errorf("status %d\n%s", code, text)
	}
	if code, _, stderr := command(t.Context(), "backup", "inc", home, repo); code != exitDamage || !strings.Contains(stderr.String(), "was bad when it was verified") {
		t.Errorf("status %d, %s", code, stderr)
	}
}

// TestAnOldVerificationIsOfUnknownBytes: one that has no sum of the archive is told with that.
func TestAnOldVerificationIsOfUnknownBytes(t *testing.T) {
	t.Parallel()
	home, repo := importedHome(t), filepath.Join(t.TempDir(), "repo")
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	want(t, exitOK, "", "backup", "verify", repo)
	const unknown = "of which bytes is not known"
	if _, out, _ := command(t.Context(), "backup", "list", repo); strings.Contains(out.String(), unknown) {
		t.Error(out)
	}
	notes, err := filepath.Glob(filepath.Join(repo, "*.verified.json"))
	if err != nil || len(notes) != 1 {
		t.Fatal(notes, err)
	}
	if err := os.WriteFile(notes[0], []byte(`{"when":"2026-11-01T00:00:00Z","level":"data","ok":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, unknown, "backup", "list", repo)
}

// TestABackupBesideADamagedManifest is good, and recorded as such; its status is that of damage, also when
// nothing has changed, until the damaged backup is put away.
func TestABackupBesideADamagedManifest(t *testing.T) {
	t.Parallel()
	home, repo := importedHome(t), filepath.Join(t.TempDir(), "repo")
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	cutFile(t, filepath.Join(repo, "*-full.json"))
	for _, said := range []string{"full backup", "nothing has changed since backup"} {
		code, stdout, stderr := command(t.Context(), "backup", "run", home, repo)
		if code != exitDamage || !strings.Contains(stdout.String(), said) || !strings.Contains(stderr.String(), "this run did its work, but the repository has damage: the manifest of ") || !strings.Contains(stderr.String(), "hint: dirstorage backup verify ") {
			t.Errorf("status %d, %s%s", code, stdout, stderr)
		}
		codes, st, text := toldBy2(t, home)
		if slices.Contains(codes, "run_failed") || slices.Contains(codes, damagedCode) {
			t.Errorf("%q\n%s", codes, text)
		}
		for _, j := range st.Jobs {
			if j.Job == runs.Backup && (j.Good == nil || j.Last == nil || !j.Good.Ended.Equal(j.Last.Ended)) {
				t.Errorf("the last run is not a good one: %+v", j)
			}
		}
	}
	var result backup.Result
	if _, stdout, _ := command(t.Context(), "backup", "run", "--json", home, repo); json.Unmarshal([]byte(stdout.String()), &result) != nil || len(result.Damaged) != 1 {
		t.Errorf("--json prints %s", stdout)
	}
	bad, err := filepath.Glob(filepath.Join(repo, result.Damaged[0]+".*"))
	if err != nil || len(bad) < 2 {
		t.Fatal(bad, err)
	}
	away := t.TempDir()
	for _, name := range bad {
		if err := os.Rename(name, filepath.Join(away, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	want(t, exitOK, "nothing has changed", "backup", "run", home, repo)
	want(t, exitOK, "", "backup", "verify", "--data", repo)
}

// TestAMissingRepositoryHasARemedy in place of the name of a system call.
func TestAMissingRepositoryHasARemedy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, args := range withRepository {
		args = call(args, dir, "")
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "REPOSITORY", filepath.Join(dir, "nowhere"))
		}
		code, _, stderr := command(t.Context(), args...)
		if text := stderr.String(); code != exitFailed || strings.Contains(text, "stat ") || !strings.Contains(text, "nowhere does not exist\nhint: look whether the name is right") {
			t.Errorf("%s: status %d, %s", name, code, text)
		}
	}
}

// TestALockedHomeIsNotCalledFree: another process holds misc/lock of a HOME that was closed cleanly.
func TestALockedHomeIsNotCalledFree(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	want(t, exitOK, "shutdown: nobody has it open", "snapshot", "status", home)
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock("misc/lock")
	if err != nil {
		t.Fatal(err)
	}
	if vfs.LockHolder(f, "misc/lock") == 0 {
		t.Skip("this system does not tell who holds a lock")
	}
	for _, c := range []string{"status", "enter"} {
		want(t, exitOK, "shutdown: it was closed cleanly, and process "+strconv.Itoa(os.Getpid())+" has it open now", "snapshot", c, home)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "shutdown: nobody has it open", "snapshot", "enter", home)
}
