package cli

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
