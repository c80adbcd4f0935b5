package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// releasesDir has a directory for each release, made by tools/fixtures.
var releasesDir = filepath.Join("..", "..", "testdata", "releases")

// released are the expected values in such a directory.
type released struct {
	Program      string                  `json:"program"`
	Homes        map[string]checkSummary `json:"homes"`
	Repositories map[string]listReport   `json:"repositories"`
}

func readReleased(t *testing.T, version string) (r released) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(releasesDir, version, "expected.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func releases(t *testing.T) (versions []string) {
	t.Helper()
	entries, err := os.ReadDir(releasesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			versions = append(versions, e.Name())
		}
	}
	if len(versions) == 0 {
		t.Fatal("there are no fixtures")
	}
	return versions
}

// unpackReleased unpacks a fixture.
func unpackReleased(t *testing.T, version, name string) (dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(releasesDir, version, name+".tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if b, err = z.DecodeAll(b, nil); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	hometest.Untar(t, dir, b)
	return dir
}

// exported returns an export of a HOME: its bytes, and those of its blobs.
func exported(t *testing.T, home string) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	want(t, exitOK, "", "export", "--blobs", filepath.Join(dir, "blobs"), home, filepath.Join(dir, "Data.fs"))
	return hometest.Contents(t, dir)
}

// summaryOf returns the summary of a check, which must find no damage.
func summaryOf(t *testing.T, home string) check.Summary {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(want(t, exitOK, "", "check", "--json", home)), "\n")
	var s checkSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatal(err)
	}
	return contentsOf(s.Summary)
}

// contentsOf leaves out the part of a summary that has to do with the moment, or with the files.
func contentsOf(s check.Summary) check.Summary {
	return check.Summary{Class: s.Class, Format: s.Format, LastTID: s.LastTID, MaxOID: s.MaxOID, Packed: s.Packed, Objects: s.Objects, Revisions: s.Revisions,
		Transactions: s.Transactions, Blobs: s.Blobs, UndoneObjects: s.UndoneObjects, Dangling: s.Dangling, Damage: s.Damage}
}

// sources are exports of the golden files that the fixtures were made of.
func sources(t *testing.T) (undo, blobs map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	fromUndo, fromBlobs := filepath.Join(dir, "undo"), filepath.Join(dir, "blobs")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), fromUndo)
	from := hometest.FileStorage(t, "blobs")
	want(t, exitOK, "imported", "import", "--blobs", filepath.Join(from, "blobs"), filepath.Join(from, "Data.fs"), fromBlobs)
	return exported(t, fromUndo), exported(t, fromBlobs)
}

// TestHomesOfEachReleaseAreRead: this program reads each HOME that a release has left, closed, killed,
// packed and in snapshot mode, as that release read it, goes on with it, and reads it again.
func TestHomesOfEachReleaseAreRead(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	undo, blobs := sources(t)
	for _, version := range releases(t) {
		r := readReleased(t, version)
		for _, format := range []string{"bundled", "bushy", "chunky", "lawn", "flat"} {
			if _, ok := r.Homes[format]; !ok {
				t.Errorf("%s: there is no HOME of format %s", version, format)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.Homes)) {
			t.Run(version+"/"+name, func(t *testing.T) {
				t.Parallel()
				home := unpackReleased(t, version, name)
				wanted := contentsOf(r.Homes[name].Summary)
				if wanted.Transactions == 0 || wanted.Damage != 0 {
					t.Fatalf("expected is %+v", wanted)
				}
				if got := summaryOf(t, home); got != wanted {
					t.Errorf("before it is opened: %+v, want %+v", got, wanted)
				}
				state := name[strings.LastIndexByte(name, '-')+1:]
				compare := func(when string) {
					t.Helper()
					got := exported(t, home)
					switch {
					case state == "packed" || state == "snapshot":
						if len(got["Data.fs"]) == 0 {
							t.Errorf("%s: %d files", when, len(got))
						}
					case state == "blobs" && !reflect.DeepEqual(got, blobs), state != "blobs" && !reflect.DeepEqual(got, undo):
						t.Errorf("%s: an export differs from that of the source", when)
					}
				}
				compare("as it was")
				if state == "log" {
					want(t, exitProblem, "the log has to be rolled forward", "status", home)
				} else {
					want(t, exitOK, "", "status", home)
				}
				want(t, exitOK, "", "recover", home)
				if state == "packed" {
					want(t, exitOK, "", "pack", "--undelete", "all", home)
					if got := summaryOf(t, home); got.Revisions <= wanted.Revisions {
						t.Errorf("nothing came back: %+v", got)
					}
				}
				compare("opened")
				if state == "snapshot" {
					want(t, exitOK, "", "import", hometest.FileStorage(t, "undo.fs"), home)
				}
				want(t, exitOK, "", "pack", "--keep", "0", home)
				want(t, exitOK, "0 damaged", "check", home)
			})
		}
	}
}

// TestBackupsOfEachReleaseAreRestored: each backup in each repository.
func TestBackupsOfEachReleaseAreRestored(t *testing.T) {
	t.Parallel()
	undo, _ := sources(t)
	for _, version := range releases(t) {
		r := readReleased(t, version)
		if len(r.Repositories) == 0 {
			t.Errorf("%s: there are no repositories", version)
		}
		for name, list := range r.Repositories {
			t.Run(version+"/"+name, func(t *testing.T) {
				t.Parallel()
				repo := unpackReleased(t, version, name)
				want(t, exitOK, "", "backup", "verify", repo)
				if len(list.Storages) != 1 || len(list.Storages[0].Backups) != 2 {
					t.Fatalf("expected is %+v", list)
				}
				var kinds []backup.Kind
				for _, b := range list.Storages[0].Backups {
					kinds = append(kinds, b.Kind)
					home := filepath.Join(t.TempDir(), "home")
					want(t, exitOK, "restored", "restore", "--to", b.Name, repo, home)
					if got := summaryOf(t, home); got.LastTID != b.TID || got.LastTID == 0 {
						t.Errorf("backup %s: %s, want %s", b.Name, got.LastTID, b.TID)
					}
				}
				if !slices.Equal(kinds, []backup.Kind{backup.Full, backup.Incremental}) {
					t.Errorf("%q", kinds)
				}
				home := filepath.Join(t.TempDir(), "home")
				want(t, exitOK, "restored", "restore", repo, home)
				if !reflect.DeepEqual(exported(t, home), undo) {
					t.Error("an export of the newest differs from that of the source")
				}
				// It goes on there.
				want(t, exitOK, "", "backup", "merge", repo)
			})
		}
	}
}

// TestEachReleaseHasFixtures: each release in the changelog. Between releases its first part is
// “Unreleased”, which needs none.
func TestEachReleaseHasFixtures(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	if missing := withoutFixtures(string(text), releases(t)); len(missing) > 0 {
		t.Errorf("no fixtures of %q; before the tag of a release: go -C tools run ./fixtures -version VERSION", missing)
	}
	if got := withoutFixtures("# Changes\n\n## 1.1.0\n\n### Added\n\n## 1.0.0 (2026-03-01)\n\n## Unreleased\n", []string{"1.0.0"}); !slices.Equal(got, []string{"1.1.0"}) {
		t.Errorf("a release without fixtures: %q", got)
	}
	size := int64(0)
	err = filepath.WalkDir(releasesDir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, ierr := d.Info()
			size, err = size+info.Size(), ierr
		}
		return err
	})
	if most := int64(len(releases(t))) * 300_000; err != nil || size > most {
		t.Errorf("%d bytes, %d at most; %v", size, most, err)
	}
}

// withoutFixtures returns the releases of a changelog that have none.
func withoutFixtures(changelog string, fixtures []string) (missing []string) {
	for _, m := range regexp.MustCompile(`(?m)^## v?(\d+\.\d+\.\d+\S*)`).FindAllStringSubmatch(changelog, -1) {
		if !slices.Contains(fixtures, m[1]) {
			missing = append(missing, m[1])
		}
	}
	return missing
}
