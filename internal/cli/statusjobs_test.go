package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// importedHome makes a HOME of the example.
func importedHome(t *testing.T, args ...string) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	want(t, exitOK, "imported", append(append([]string{"import"}, args...), hometest.FileStorage(t, "undo.fs"), home)...)
	return home
}

// toldBy returns the problems of status, and its lines.
func toldBy(t *testing.T, code int, home string, args ...string) (codes []string, st homeStatus, text string) {
	t.Helper()
	out := want(t, code, "", append([]string{"status", "--json", home}, args...)...)
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Problems {
		codes = append(codes, p.Code)
	}
	return codes, st, want(t, code, "", append([]string{"status", home}, args...)...)
}

// flip changes a byte in the middle of the last file of a pattern, and brings it back.
func flip(t *testing.T, pattern string) (back func()) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	before, err := os.ReadFile(names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		if err := errors.Join(os.Chmod(names[len(names)-1], 0o600), os.WriteFile(names[len(names)-1], b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	after := append([]byte(nil), before...)
	after[len(after)/2] ^= 1
	put(after)
	return func() { put(before) }
}

// TestDamageThatACheckFoundIsToldByStatus, first of all, with the status of damage, until a later check of
// everything is clean; a check of a part, or of another HOME, does not end it.
func TestDamageThatACheckFoundIsToldByStatus(t *testing.T) {
	t.Parallel()
	home := importedHome(t, "--format", "chunky")
	if codes, st, text := toldBy(t, exitOK, home); len(codes) != 0 || len(st.Jobs) != 0 || !strings.Contains(text, "last check:        none is known") {
		t.Errorf("before a check: %q, %+v\n%s", codes, st.Jobs, text)
	}
	last := formatLastTID(t, home)
	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	want(t, exitDamage, "damage ", "check", home)
	told := func() {
		t.Helper()
		codes, st, text := toldBy(t, exitDamage, home)
		if len(codes) != 1 || codes[0] != damagedCode || st.Jobs[0].Damage == nil || st.Jobs[0].Damage.Check.Damage == 0 {
			t.Fatalf("%q, %+v", codes, st.Jobs)
		}
		if !regexp.MustCompile(`^problems: +1\nERROR: +the check of 20.* found damage, 1 finding: object-checksum .*\n +remedy: dirstorage check `).MatchString(text) || !regexp.MustCompile(`(?m)^last check: .*: 1 finding of damage`).MatchString(text) {
			t.Error(text)
		}
	}
	told()
	want(t, exitOK, "0 damaged", "check", "--since", last, home)
	told()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := command(ended, "check", home); code != exitInterrupted {
		t.Errorf("status %d, %s", code, stderr)
	}
	if codes, _, _ := toldBy(t, exitDamage, home); strings.Join(codes, " ") != "damaged run_failed" {
		t.Errorf("after a check that was interrupted: %q", codes)
	}
	back()
	want(t, exitOK, "0 damaged", "check", home)
	if codes, _, text := toldBy(t, exitOK, home); len(codes) != 0 || !regexp.MustCompile(`(?m)^last check: .* ago, at 20.*, of all of HOME: clean$`).MatchString(text) {
		t.Errorf("after a clean check: %q\n%s", codes, text)
	}
}

// TestDanglingReferencesAreNotDamageForStatus: a FileStorage brings them along, so each check has them.
// Status tells them as a warning, and damage that comes later as damage.
func TestDanglingReferencesAreNotDamageForStatus(t *testing.T) {
	t.Parallel()
	good, at := dataFS("FS30", growing(5)...)
	dir := t.TempDir()
	source, home := filepath.Join(dir, "Data.fs"), filepath.Join(dir, "home")
	if err := os.WriteFile(source, append(slices.Clone(good[:at[0]]), danglingFS(good)...), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "imported", "import", "--format", "chunky", source, home)
	want(t, exitDamage, "damage dangling-reference", "check", home)
	codes, st, text := toldBy(t, exitProblem, home)
	if strings.Join(codes, " ") != "dangling" || st.Jobs[0].Damage.Check.Dangling != 1 {
		t.Errorf("%q, %+v", codes, st.Jobs)
	}
	if !regexp.MustCompile(`(?m)^WARNING: +objects are missing to which others refer; the check of 20.* has 1 finding: dangling-reference `).MatchString(text) || !regexp.MustCompile(`(?m)^last check: .*: clean, missing objects: 1$`).MatchString(text) {
		t.Error(text)
	}
	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	want(t, exitDamage, "damage object-", "check", home)
	if codes, _, text := toldBy(t, exitDamage, home); strings.Join(codes, " ") != damagedCode || strings.Contains(text, ": dangling") {
		t.Errorf("%q\n%s", codes, text)
	}
	back()
	want(t, exitDamage, "damage dangling-reference", "check", home)
	if codes, _, _ := toldBy(t, exitProblem, home); strings.Join(codes, " ") != "dangling" {
		t.Errorf("after the repair: %q", codes)
	}
}

// formatLastTID returns the last transaction of a HOME.
func formatLastTID(t *testing.T, home string) string {
	t.Helper()
	_, st, _ := toldBy(t, exitOK, home)
	return st.LastTID.String()
}

// TestDamageIsToldOfARunningStorage by status, metrics and page; a check of it that is clean ends that.
func TestDamageIsToldOfARunningStorage(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	home := importedHome(t)
	back := flip(t, filepath.Join(home, "A/bundles/*.tar*"))
	want(t, exitDamage, "damage ", "check", home)
	back()
	w := startWeb(t, home)
	codes, _, _ := toldBy(t, exitDamage, home)
	if len(codes) != 1 || codes[0] != damagedCode {
		t.Errorf("%q", codes)
	}
	hometest.Eventually(t, "the page tells it", func() bool {
		_, body := w.ask("/web/", nil)
		return strings.Contains(body, "found damage, 2 findings, the first: ") && strings.Contains(body, "<dt>Last check</dt>")
	})
	if _, body := w.ask("/metrics", nil); !regexp.MustCompile(`(?m)^dirstorage_check_damage\{storage="1"\} [1-9]`).MatchString(body) {
		t.Errorf("the metrics have\n%s", body)
	}
	want(t, exitOK, "0 damaged", "check", home)
	if codes, _, text := toldBy(t, exitOK, home); len(codes) != 0 || !regexp.MustCompile(`(?m)^last check: .*, of config and A: clean$`).MatchString(text) {
		t.Errorf("%q\n%s", codes, text)
	}
	w.end()
}

// TestFailedRunsAreToldByStatus: a backup that fails, and a pack of a damaged storage; the next good one
// ends it.
func TestFailedRunsAreToldByStatus(t *testing.T) {
	t.Parallel()
	home := importedHome(t, "--format", "chunky")
	repo := filepath.Join(t.TempDir(), "repo")
	want(t, exitOK, "full backup", "backup", "run", home, repo)
	if err := errors.Join(os.Rename(repo, repo+".away"), os.WriteFile(repo, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command(t.Context(), "backup", "run", home, repo); code != exitFailed || strings.Contains(stderr.String(), "no record") {
		t.Errorf("status %d, %s", code, stderr)
	}
	if err := errors.Join(os.Remove(repo), os.Rename(repo+".away", repo)); err != nil {
		t.Fatal(err)
	}
	codes, st, text := toldBy(t, exitProblem, home, "--repository", repo)
	if strings.Join(codes, " ") != "run_failed" || st.Jobs[0].Job != runs.Backup || st.Jobs[0].Good == nil {
		t.Errorf("%q, %+v", codes, st.Jobs)
	}
	if !regexp.MustCompile(`WARNING: +backup: the last run, of 20.*, failed: .*not a directory.*; the last good one is of 20.*\n +remedy: .*dirstorage backup run `).MatchString(text) {
		t.Error(text)
	}
	want(t, exitOK, "nothing has changed", "backup", "run", home, repo)
	toldBy(t, exitOK, home, "--repository", repo)

	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	want(t, exitDamage, "", "pack", home)
	if codes, _, text := toldBy(t, exitDamage, home, "--repository", repo); strings.Join(codes, " ") != damagedCode || !strings.Contains(text, "the pack of 20") {
		t.Errorf("%q\n%s", codes, text)
	}
	back()
	want(t, exitOK, "0 damaged", "check", home)
	if codes, _, _ := toldBy(t, exitProblem, home, "--repository", repo); strings.Join(codes, " ") != "run_failed" {
		t.Errorf("after a clean check: %q", codes)
	}
	want(t, exitOK, "packed to", "pack", home)
	toldBy(t, exitOK, home, "--repository", repo)
}

// TestDamageThatABackupMetIsDamage, with the status of damage and the alert for it, until a check of
// everything is clean: later runs of the backup do not end it, whether they fail or not.
func TestDamageThatABackupMetIsDamage(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	repo := filepath.Join(t.TempDir(), "repo")
	back := flip(t, filepath.Join(home, "A/bundles/*.tar*"))
	want(t, exitDamage, "full backup", "backup", "run", home, repo)
	told := func(also string) {
		t.Helper()
		codes, st, text := toldBy(t, exitDamage, home, "--repository", repo)
		if strings.Join(codes, " ") != damagedCode+also || len(st.Jobs) == 0 || st.Jobs[0].Job != runs.Check || st.Jobs[0].Damage.FoundBy() != runs.Backup || !regexp.MustCompile(`^problems: +[12]\nERROR: +the backup of 20.* found damage, 1 finding: corrupt data in .*\n +remedy: dirstorage check `).MatchString(text) {
			t.Errorf("%q, %+v\n%s", codes, st.Jobs, text)
		}
	}
	told("")
	if err := os.WriteFile(repo+".not", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command(t.Context(), "backup", "run", home, repo+".not"); code != exitFailed {
		t.Errorf("status %d, %s", code, stderr)
	}
	told(" run_failed")
	w := startWeb(t, home)
	if _, body := w.ask("/metrics", nil); !strings.Contains(body, "\ndirstorage_check_damage{storage=\"1\"} 1\n") {
		t.Error("the metrics have no damage")
	}
	w.end()
	back()
	want(t, exitOK, "", "backup", "run", home, repo)
	told("")
	want(t, exitOK, "0 damaged", "check", home)
	toldBy(t, exitOK, home, "--repository", repo)
}

// TestDamageThatAPackPassedOverIsDamage: with --skip-broken it does its work.
func TestDamageThatAPackPassedOverIsDamage(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	flip(t, filepath.Join(home, "A/bundles/*.tar*"))
	want(t, exitDamage, "packed to", "pack", "--skip-broken", home)
	if codes, st, text := toldBy(t, exitDamage, home); codes[0] != damagedCode || st.Jobs[0].Damage.FoundBy() != runs.Pack || !regexp.MustCompile(`the pack of 20.* found damage, 1 finding: object 00`).MatchString(text) {
		t.Errorf("%q, %+v\n%s", codes, st.Jobs, text)
	}
}

// TestDamageThatCannotBeRecordedIsNotLost: no file can be made in misc/runs, as on a full disk or one that
// is read-only. The command says so, also with --quiet; a server tells the damage until a check is clean.
func TestDamageThatCannotBeRecordedIsNotLost(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	home := importedHome(t, "--format", "chunky")
	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	if err := os.WriteFile(filepath.Join(home, "misc/runs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	finds := func(where string) {
		t.Helper()
		code, _, stderr := command(t.Context(), "--quiet", "check", home)
		if code != exitDamage || !strings.Contains(stderr.String(), "damage was found and is in no record, since that cannot be written: ") || !strings.Contains(stderr.String(), where) || !strings.Contains(stderr.String(), "\nhint: keep this output; ") {
			t.Errorf("status %d, %s", code, stderr)
		}
	}
	finds("neither status nor an alert knows of it")
	back()
	w := startWeb(t, home)
	back = flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	finds("status and the metrics tell it until the server ends")
	tells := func(number int) {
		t.Helper()
		hometest.Eventually(t, "the metrics", func() bool {
			_, body := w.ask("/metrics", nil)
			return strings.Contains(body, fmt.Sprintf("\ndirstorage_check_damage{storage=\"1\"} %d\n", number))
		})
	}
	tells(1)
	if codes, _, text := toldBy2(t, home); codes[0] != damagedCode || !strings.Contains(text, "ERROR:             the check of 20") {
		t.Errorf("%q\n%s", codes, text)
	}
	hometest.Eventually(t, "the page", func() bool {
		_, body := w.ask("/web/", nil)
		return strings.Contains(body, "found damage, 1 finding")
	})
	back()
	if err := os.Remove(filepath.Join(home, "misc/runs")); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "0 damaged", "check", home)
	tells(0)
	toldBy(t, exitOK, home)
	w.end()
}

// dial returns a client of the server.
func (w *webServer) dial(t *testing.T) *zeoclient.Client {
	t.Helper()
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Network: "tcp", Address: w.await(&w.log, `listening address=(127\.\S+)`)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPacksOfClientsAreRecorded, and those that give back space.
func TestPacksOfClientsAreRecorded(t *testing.T) {
	t.Parallel()
	home := importedHome(t, "--format", "chunky")
	w := startWeb(t, home)
	c := w.dial(t)
	pack := func() error { return c.Pack(t.Context(), time.Now(), true) }
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	recorded := func(job runs.Job) runs.State {
		t.Helper()
		s, err := runs.Read(f, runs.InHome, job, "")
		if err != nil || s.Last == nil || s.Running {
			t.Fatalf("%s: %+v, %v", job, s, err)
		}
		return s
	}
	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	if err := pack(); err == nil {
		t.Error("a damaged storage was packed")
	}
	if s := recorded(runs.Pack); !s.Last.Damaged {
		t.Errorf("%+v", s.Last)
	}
	toldBy(t, exitDamage, home)
	back()
	if err := pack(); err != nil {
		t.Fatal(err)
	}
	if s := recorded(runs.Pack); s.Good == nil {
		t.Errorf("%+v", s.Last)
	}
	want(t, exitOK, "gave back", "pack", "--reclaim", home)
	if s := recorded(runs.Reclaim); s.Good == nil {
		t.Errorf("%+v", s.Last)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	w.end()
}

// TestDamageThatAClientMeetsIsTold: the server does not only log it. A check that is clean ends it.
func TestDamageThatAClientMeetsIsTold(t *testing.T) {
	t.Parallel()
	home := importedHome(t, "--format", "chunky")
	w := startWeb(t, home)
	c := w.dial(t)
	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	if _, err := c.LoadBefore(t.Context(), 0, zodb.MaxTID); err == nil {
		t.Error("a damaged object was loaded")
	}
	codes, _, text := toldBy(t, exitDamage, home)
	if strings.Join(codes, " ") != damagedCode || !strings.Contains(text, "ERROR:             a client's read of 20") || !strings.Contains(text, "found damage, 1 finding: corrupt data in A/") {
		t.Errorf("%q\n%s", codes, text)
	}
	hometest.Eventually(t, "the metrics", func() bool {
		_, body := w.ask("/metrics", nil)
		return strings.Contains(body, "\ndirstorage_check_damage{storage=\"1\"} 1\n")
	})
	back()
	want(t, exitOK, "0 damaged", "check", home)
	toldBy(t, exitOK, home)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	w.end()
}

// TestDamageIsToldWithoutTheRecordOfCheck: that of the job that met it has it, too.
func TestDamageIsToldWithoutTheRecordOfCheck(t *testing.T) {
	t.Parallel()
	home := importedHome(t, "--format", "chunky")
	back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
	if code, _, stderr := command(t.Context(), "pack", home); code == exitOK {
		t.Fatalf("a damaged storage was packed: %s", stderr)
	}
	if err := os.Truncate(filepath.Join(home, "misc/runs/check"), 20); err != nil {
		t.Fatal(err)
	}
	codes, _, text := toldBy(t, exitDamage, home)
	if strings.Join(codes, " ") != damagedCode+" record" || !strings.Contains(text, "ERROR:             the pack of 20") {
		t.Errorf("%q\n%s", codes, text)
	}
	back()
	want(t, exitOK, "0 damaged", "check", home)
	if codes, _, text := toldBy(t, exitProblem, home); strings.Join(codes, " ") != "run_failed" {
		t.Errorf("%q\n%s", codes, text)
	}
}

// TestRecordOfAnotherUserHasItsRemedy: another run would not write it again.
func TestRecordOfAnotherUserHasItsRemedy(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ err error }{{&fs.PathError{Op: "open", Path: "/nowhere/misc/runs/check", Err: fs.ErrPermission}}} {
		refuses := func(f vfs.FS) vfs.FS {
			return errfs.New(f, func(op errfs.Op) error {
				if strings.HasSuffix(op.Name, "runs/check") {
					return tc.err
				}
				return nil
			})
		}
		home := importedHome(t)
		want(t, exitOK, "", "check", home)
		f, err := vfs.OS(home)
		if err != nil {
			t.Fatal(err)
		}
		st := homeStatus{Jobs: readJobs(refuses(f), "", nil)}
		st.findProblems(time.Now(), problemLimits{})
		i := slices.IndexFunc(st.Problems, func(p problem) bool { return p.Code == "record" })
		if i < 0 || !strings.Contains(st.Problems[i].Remedy, "run this as the user to whom it belongs") || strings.Contains(st.Problems[i].Remedy, "writes it again") {
			t.Errorf("%+v", st.Problems)
		}
	}
}

// TestLinesOfStatusAreShort: a text of a damaged file, or an error of many lines, is one short line.
func TestLinesOfStatusAreShort(t *testing.T) {
	t.Parallel()
	long := "damage x: " + strings.Repeat("word\n\tand ", 200) + "\x1b[31m"
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	check := runs.Result{Check: &runs.Checked{Extent: runs.Whole, Complete: true, Damage: 7, First: []string{long, long}}}
	for name, st := range map[string]homeStatus{
		"damage":   {Jobs: []jobState{{Job: runs.Check, Damage: &runs.Run{Ended: at, Result: check}}}},
		"run":      {Jobs: []jobState{{Job: runs.Backup, Last: &runs.Run{Ended: at, Result: runs.Result{Failed: long}}}}},
		"record":   {Jobs: []jobState{{Job: runs.Backup, Error: long}}},
		"verified": {Backup: &backupState{Failed: []failedBackup{{"b", at, long}}}},
		"backups":  {Backup: &backupState{Repository: "/r", Error: long}},
		"failure":  {Status: zodb.Status{Failure: long}},
		"trouble":  {Status: zodb.Status{Trouble: long}},
	} {
		st.Running = true
		st.findProblems(at, problemLimits{})
		if len(st.Problems) != 1 {
			t.Fatalf("%s: %+v", name, st.Problems)
		}
		if text := st.Problems[0].Text; len(text) > 300 || strings.ContainsAny(text, "\n\t\x1b\\") || !strings.Contains(text, "x: word and word") {
			t.Errorf("%s: %d bytes: %q", name, len(text), text)
		}
	}
}

// TestVerificationThatDoesNotEndIsToldByStatus: its record is in the repository.
func TestVerificationThatDoesNotEndIsToldByStatus(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	repo := filepath.Join(t.TempDir(), "repo")
	want(t, exitOK, "full backup", "backup", "run", home, repo)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := command(ended, "backup", "verify", repo); code != exitInterrupted {
		t.Errorf("status %d, %s", code, stderr)
	}
	codes, _, text := toldBy(t, exitProblem, home, "--repository", repo)
	if strings.Join(codes, " ") != "run_failed" || !regexp.MustCompile(`verify: the last run, of 20.*, was interrupted; no good one is recorded`).MatchString(text) {
		t.Errorf("%q\n%s", codes, text)
	}
	want(t, exitOK, "is good", "backup", "verify", repo)
	toldBy(t, exitOK, home, "--repository", repo)
	empty := t.TempDir()
	want(t, exitFailed, "no backups in "+empty+": nothing was verified", "backup", "verify", empty)
	want(t, exitFailed, "no backups in "+empty+": nothing was pruned", "backup", "prune", "--keep-chains", "1", empty)
	want(t, exitFailed, "no backups in "+empty+": nothing was pruned", "backup", "prune", "--dry-run", "--keep-chains", "1", empty)
	want(t, exitFailed, "no such backup", "backup", "verify", repo, "20010101T000000Z-full")
	toldBy(t, exitOK, home, "--repository", repo)
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Errorf("a record was left in a directory without backups: %v, %v", entries, err)
	}
	want(t, exitFailed, "is a storage", "backup", "verify", home)
	if _, err := os.Stat(filepath.Join(home, "runs")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a record was left in HOME", err)
	}
}

// TestFailedVerificationIsToldByTheMetrics, and a bad backup that it finds, until that is gone.
func TestFailedVerificationIsToldByTheMetrics(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	repo := filepath.Join(home, "backups")
	tells := func(lines ...string) {
		t.Helper()
		w := startWeb(t, home)
		_, body := w.ask("/metrics", nil)
		for _, line := range lines {
			if !strings.Contains(body, "\n"+line+"\n") {
				t.Errorf("no line %s in\n%s", line, strings.Join(regexp.MustCompile(`(?m)^dirstorage_(last_run_failed|bad).*`).FindAllString(body, -1), "\n"))
			}
		}
		w.end()
	}
	want(t, exitOK, "full backup", "backup", "run", home)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := command(ended, "backup", "verify", repo); code != exitInterrupted {
		t.Errorf("status %d, %s", code, stderr)
	}
	tells(`dirstorage_last_run_failed{run="verify",storage="1"} 1`, `dirstorage_bad_backups{storage="1"} 0`)
	back := flip(t, filepath.Join(repo, "*-full.index*"))
	want(t, exitDamage, "is not good", "backup", "verify", repo)
	tells(`dirstorage_last_run_failed{run="verify",storage="1"} 0`, `dirstorage_bad_backups{storage="1"} 1`)
	back()
	want(t, exitOK, "is good", "backup", "verify", repo)
	tells(`dirstorage_bad_backups{storage="1"} 0`)
}

// TestKilledRunIsToldByStatus: while it runs, status says so; after kill -9 it ended without a word.
func TestKilledRunIsToldByStatus(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	still, err := f.Lock("misc/sublock") // the pack waits for A
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "pack", home)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hometest.Eventually(t, "the pack has begun", func() bool {
		s, err := runs.Read(f, runs.InHome, runs.Pack, "")
		return err == nil && s.Running
	})
	if _, st, text := toldBy2(t, home); !regexp.MustCompile(`(?m)^pack runs: +since .*, pid [0-9]+$`).MatchString(text) || len(st.Jobs) != 1 || !st.Jobs[0].Running {
		t.Errorf("%+v\n%s", st.Jobs, text)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !killed(err) {
		t.Fatal(err)
	}
	if err := still.Close(); err != nil {
		t.Fatal(err)
	}
	if codes, _, text := toldBy2(t, home); !strings.Contains(strings.Join(codes, " "), "run_failed") || !strings.Contains(text, "pack: the run of 20") || !strings.Contains(text, "ended without a word: it was killed") {
		t.Errorf("%q\n%s", codes, text)
	}
	want(t, exitOK, "packed to", "pack", home)
	toldBy(t, exitOK, home)
}

// toldBy2 is toldBy for any exit status.
func toldBy2(t *testing.T, home string) (codes []string, st homeStatus, text string) {
	t.Helper()
	_, out, _ := command(t.Context(), "status", "--json", home)
	if err := json.Unmarshal([]byte(out.String()), &st); err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Problems {
		codes = append(codes, p.Code)
	}
	_, out, _ = command(t.Context(), "status", home)
	return codes, st, out.String()
}

// TestRecordsStayWhereTheyAre: a copy of config and A gets none, and says so; a restored HOME begins without;
// a restore in the place of a HOME ends the damage in it.
func TestRecordsStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	repo, bare := filepath.Join(t.TempDir(), "repo"), filepath.Join(t.TempDir(), "bare")
	want(t, exitOK, "full backup", "backup", "run", home, repo)
	want(t, exitOK, "", "check", home)
	for _, part := range []string{"A", "config"} {
		if err := os.CopyFS(filepath.Join(bare, part), os.DirFS(filepath.Join(home, part))); err != nil {
			t.Fatal(err)
		}
	}
	want(t, exitOK, "no record of this run is left for status: this is a copy without misc", "check", bare)
	if _, err := os.Stat(filepath.Join(bare, "misc")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("misc was made: %v", err)
	}
	again := filepath.Join(t.TempDir(), "again")
	want(t, exitOK, "restored", "restore", repo, again)
	if _, st, _ := toldBy(t, exitOK, again); len(st.Jobs) != 0 {
		t.Errorf("%+v", st.Jobs)
	}
	flip(t, filepath.Join(home, "A/bundles/*.tar*"))
	want(t, exitDamage, "damage ", "check", home)
	toldBy(t, exitDamage, home)
	want(t, exitOK, "restored", "restore", "--delta", repo, home)
	if codes, st, _ := toldBy(t, exitOK, home); len(st.Jobs) != 0 {
		t.Errorf("after the restore: %q, %+v", codes, st.Jobs)
	}
}

// TestHolderOfTheLockIsNamed where nobody answers at the control socket.
func TestHolderOfTheLockIsNamed(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(home, "misc/snapshot")); err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock("misc/lock")
	if err != nil {
		t.Fatal(err)
	}
	if vfs.LockHolder(f, "misc/lock") == 0 {
		t.Skip("the system does not list locks")
	}
	if _, st, text := toldBy(t, exitOK, home); st.LockedBy != os.Getpid() || !regexp.MustCompile(`(?m)^state: +process [0-9]+ holds misc/lock, and has no control socket$`).MatchString(text) {
		t.Errorf("%d\n%s", st.LockedBy, text)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if codes, st, _ := toldBy(t, exitProblem, home); st.LockedBy != 0 || strings.Join(codes, " ") != "unclean" {
		t.Errorf("%d, %q", st.LockedBy, codes)
	}
}

// TestManifestHasTheTimeOfTheBackup, and not the note in HOME, if both have the same last transaction.
func TestManifestHasTheTimeOfTheBackup(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	var b backupState
	b.note(0, time.Time{})
	if b.Time != nil {
		t.Errorf("a note of no backup is one: %+v", b)
	}
	b.note(7, made.Add(time.Hour)) // HOME
	b.note(7, made)                // the manifest
	if b.Time == nil || !b.Time.Equal(made) {
		t.Errorf("%+v", b)
	}
	b.note(6, made.Add(2*time.Hour))
	if b.TID != zodb.TID(7) || !b.Time.Equal(made) {
		t.Errorf("%+v", b)
	}
}

// TestStatusKnowsTheBackupOfAnEmptyStorage, and that it has nothing when there are transactions.
func TestStatusKnowsTheBackupOfAnEmptyStorage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	want(t, exitOK, "", "create", home)
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	want(t, exitOK, "it has every transaction", "status", "--repository", repo, home)
	now := time.Now()
	b := &backupState{Repository: repo}
	b.note(0, now.Add(-48*time.Hour))
	b.compare(zodb.TIDFromTime(now), now)
	st := homeStatus{Backup: b}
	var said string
	st.backupProblems(now, problemLimits{backupAge: 26 * time.Hour}, func(code string, _ severity, _, format string, args ...any) {
		said += code + ": " + fmt.Sprintf(format, args...) + "\n"
	})
	if !strings.Contains(said, "backup_old: the last backup is of ") || !strings.Contains(said, "it is empty, and no transaction is in any") {
		t.Errorf("%q", said)
	}
	var rows rowList
	if st.backupRows(&rows, now); !strings.HasSuffix(rows[0].text, "it is empty, and no transaction is in any") {
		t.Errorf("%q", rows[0].text)
	}
}
