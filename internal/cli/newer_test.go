package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/google/go-cmp/cmp"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// patched changes the one file below a HOME that matches a pattern.
func patched(t *testing.T, home, pattern string, change func(b []byte) []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(home, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(names[0], 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], change(b), 0o640); err != nil {
		t.Fatal(err)
	}
}

// resummed gives the manifest of a backup that was changed its sum.
func resummed(b []byte) []byte {
	body, _, _ := bytes.Cut(b, []byte(",\n  \"manifest_sha256\""))
	return fmt.Appendf(bytes.Clone(body), ",\n  \"manifest_sha256\": \"%x\"\n}\n", sha256.Sum256(body))
}

// newerHomes have a file of a newer version, by the words of its kind, with the fixture that it is made of.
var newerHomes = []struct {
	kind, fixture, pattern string
	change                 func(b []byte) []byte
}{
	{"version 0.12 of the format of a HOME, which is newer than 0.11", "bundled", "config/settings", func(b []byte) []byte {
		return bytes.Replace(b, []byte("0.11"), []byte("0.12"), 1)
	}},
	{"version 3 of the format of a bundle, which is newer than 2", "bundled", "A/bundles/*.zst", func(b []byte) []byte {
		f := b[len(b)-248:]
		binary.BigEndian.PutUint32(f[8:], 3)
		binary.BigEndian.PutUint32(f[236:], crc32.Checksum(f[:236], castagnoli))
		return b
	}},
	{"version 2 of the format of a list of removed members, which is newer than 1", "bundled-packed", "A/bundles/*.gone", func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[8:], 2)
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		return b
	}},
	{"version 2 of the format of a segment of the log, which is newer than 1", "bundled-log", "journal/log-*", func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[8:], 2)
		binary.BigEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
		return b
	}},
}

// TestHomeOfANewerReleaseIsRefused: each command names the versions and the way out, and changes nothing.
// No part of such a HOME is taken for damaged.
func TestHomeOfANewerReleaseIsRefused(t *testing.T) {
	t.Parallel()
	version := releases(t)[0]
	for _, tc := range newerHomes {
		t.Run(tc.kind, func(t *testing.T) {
			t.Parallel()
			home := unpackReleased(t, version, tc.fixture)
			patched(t, home, tc.pattern, tc.change)
			before := hometest.Dump(t, home)
			for _, name := range []string{"status", "log", "history", "show", "refs", "classes", "files", "export", "convert", "pack", "gc", "check", "recover", "backup full", "backup run", "serve"} {
				if tc.fixture == "bundled-log" && (name == "files" || strings.HasPrefix(name, "backup ")) {
					continue // they need a snapshot first
				}
				e, stdout, stderr := testEnv()
				got := run(t.Context(), e, call(withHome[name], t.TempDir(), home))
				text := stderr.String()
				if got != exitFailed || stdout.Len() > 0 || !strings.Contains(text, tc.kind) || !strings.Contains(text, "\nhint: this is dirstorage ") || strings.Contains(text, "salvage") {
					t.Errorf("%s: status %d, %s%s", name, got, stdout, text)
				}
			}
			r := examinedInside(t, home)
			if r.Findings[0].Kind != "version-newer" || !strings.Contains(r.Findings[0].Seen, tc.kind) {
				t.Errorf("doctor: %+v", r.Findings[0])
			}
			after := hometest.Dump(t, home)
			for _, d := range []map[string]hometest.File{before, after} {
				for _, name := range []string{"misc/lock", "misc/sublock", "misc", "journal", "B"} {
					delete(d, name)
				}
			}
			for name := range after {
				// Records of runs are no part of the database, but in a HOME that is newer as a whole.
				ofRuns := strings.HasPrefix(name, "misc/runs") && !strings.Contains(tc.kind, "of a HOME")
				if after[name] != before[name] && !strings.HasPrefix(name, "misc/current") && !ofRuns {
					t.Errorf("%s was changed or made", name)
				}
			}
			for name := range before {
				if _, there := after[name]; !there {
					t.Errorf("%s is gone", name)
				}
			}
		})
	}
}

// TestDamagedVersionIsDamage: a flipped bit in the version of a bundle is not a newer release.
func TestDamagedVersionIsDamage(t *testing.T) {
	t.Parallel()
	home := unpackReleased(t, releases(t)[0], "bundled")
	patched(t, home, "A/bundles/*.zst", func(b []byte) []byte {
		b[len(b)-248+11] ^= 4
		return b
	})
	text := want(t, exitDamage, "the checksum of the footer", "check", home)
	if strings.Contains(text, "newer") {
		t.Error(text)
	}
}

// TestBackupOfANewerReleaseIsRefused: by its schema, by the version of its HOME, and by its format. No
// other backup is taken in its place, and prune leaves it alone.
func TestBackupOfANewerReleaseIsRefused(t *testing.T) {
	t.Parallel()
	for kind, change := range map[string][2]string{
		"version 2 of the format of a backup, which is newer than 1":     {`"schema": 1`, `"schema": 2`},
		"version 0.12 of the format of a HOME, which is newer than 0.11": {`"home_version": "0.11"`, `"home_version": "0.12"`},
		"unknown format \"quilted\"":                                     {`"format": "bundled"`, `"format": "quilted"`},
	} {
		for _, of := range []string{"full", "inc"} {
			t.Run(kind+" "+of, func(t *testing.T) {
				t.Parallel()
				repo := unpackReleased(t, releases(t)[0], "bundled-repository")
				patched(t, repo, "*-"+of+".json", func(b []byte) []byte {
					changed := bytes.Replace(b, []byte(change[0]), []byte(change[1]), 1)
					if bytes.Equal(changed, b) {
						t.Errorf("no %s in %s", change[0], b)
					}
					return changed
				})
				before := hometest.Contents(t, repo)
				to := filepath.Join(t.TempDir(), "to")
				e, stdout, stderr := testEnv()
				if got := run(t.Context(), e, []string{"restore", repo, to}); got != exitFailed || !strings.Contains(stderr.String(), kind) {
					t.Errorf("status %d, %s%s", got, stdout, stderr)
				}
				if _, err := os.Stat(to); err == nil {
					t.Error("something was restored")
				}
				want(t, exitFailed, "nothing was removed", "backup", "prune", "--broken", "--keep-chains", "1", repo)
				want(t, exitFailed, "nothing was removed", "backup", "prune", "--keep-chains", "1", repo)
				want(t, exitFailed, "nothing was verified", "backup", "verify", repo)
				want(t, exitFailed, kind, "backup", "list", repo)
				if diff := cmp.Diff(before, hometest.Contents(t, repo)); diff != "" {
					t.Errorf("the repository was changed: %s", diff)
				}
				if _, err := os.Stat(filepath.Join(repo, "runs")); err == nil {
					t.Error("runs was made")
				}
			})
		}
	}
}

// TestStatusLeavesABackupOfANewerReleaseAlone: it may be good, and is not to be moved away.
func TestStatusLeavesABackupOfANewerReleaseAlone(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	want(t, exitOK, "full backup", "backup", "full", home)
	schema := func(from, to string) {
		t.Helper()
		patched(t, filepath.Join(home, "backups"), "*-full.json", func(b []byte) []byte { return resummed(bytes.Replace(b, []byte(from), []byte(to), 1)) })
	}
	schema(`"schema": 1`, `"schema": 9`)
	codes, _, text := toldBy(t, exitProblem, home)
	if strings.Join(codes, " ") != "backup_unusable" || !strings.Contains(text, "is of a newer release") || strings.Contains(text, "move ") {
		t.Errorf("%q\n%s", codes, text)
	}
	schema(`"schema": 9`, `"schema":`)
	if codes, _, text := toldBy(t, exitProblem, home); strings.Join(codes, " ") != "backup_unusable" || !strings.Contains(text, "; then move "+filepath.Join(home, "backups")+"/2") {
		t.Errorf("%q\n%s", codes, text)
	}
}

// examinedInside calls doctor in this process.
func examinedInside(t *testing.T, home string) (r doctor.Report) {
	t.Helper()
	e, stdout, stderr := testEnv()
	if got := run(t.Context(), e, []string{"doctor", "--json", home}); got != exitDamage {
		t.Errorf("doctor: status %d, %s", got, stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || len(r.Findings) == 0 {
		t.Fatalf("%v: %s", err, stdout)
	}
	return r
}
