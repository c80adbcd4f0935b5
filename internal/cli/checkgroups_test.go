package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestDamageOfABundleIsOneLine: the fault of the bundle comes first, its members are counted, and
// --verbose and --json have each of them.
func TestDamageOfABundleIsOneLine(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	names, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.zst"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	copy(b[60:], "xxxx")
	if err := os.Chmod(names[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	name := regexp.QuoteMeta(filepath.Base(names[0]))
	said := want(t, exitDamage, "damage bundle-frame", "check", home)
	lines := strings.Split(said, "\n")
	counted := regexp.MustCompile(`^damage unreadable "A/bundles/` + name + `": (\d+) revisions and (\d+) transactions?, the first is oid [0-9A-F]{16} tid [0-9A-F]{16}: a frame has the checksum .* \(--verbose lists all\)$`)
	if !strings.HasPrefix(lines[0], "damage bundle-frame ") || !counted.MatchString(lines[1]) || strings.Contains(lines[2], "damage ") {
		t.Fatalf("says\n%s", said)
	}
	members := regexp.MustCompile(`(?m)^damage unreadable `)
	verbose := want(t, exitDamage, "damage bundle-frame", "check", "--verbose", home)
	if n := len(members.FindAllString(verbose, -1)); n < 3 || strings.Contains(verbose, "lists all") {
		t.Errorf("--verbose lists %d members:\n%s", n, verbose)
	}
	if text := want(t, exitDamage, `"kind":"bundle-frame"`, "check", "--json", home); strings.Count(text, `"kind":"unreadable"`) < 3 {
		t.Errorf("--json says\n%s", text)
	}
}

// TestDoctorSaysFirstThatAPlaceIsMissing: it looks at the directory above.
func TestDoctorSaysFirstThatAPlaceIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	said := want(t, exitOK, " does not exist", "doctor", filepath.Join(dir, "typo"))
	if first, _, _ := strings.Cut(said, "\n"); first != filepath.Join(dir, "typo")+" does not exist: the directory above it, "+dir+", is examined" {
		t.Errorf("says first %q", first)
	}
	want(t, exitOK, `"missing": "`+filepath.Join(dir, "typo")+`"`, "doctor", "--json", filepath.Join(dir, "typo"))
	if text := want(t, exitOK, "directory "+dir, "doctor", dir); strings.Contains(text, "does not exist") || regexp.MustCompile(`\b1 (fault|warning|note)s`).MatchString(text) {
		t.Errorf("says %s", text)
	}
}

// TestAMissingSourceHasANextStep calls estimate and import without the file.
func TestAMissingSourceHasANextStep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"estimate", "import"} {
		want(t, exitFailed, "hint: look whether the name is right", name, filepath.Join(dir, "nothing"), filepath.Join(dir, "home"))
	}
}

// TestClassesAreCounted compares the command with the objects of a file, and with a dry run of a pack.
func TestClassesAreCounted(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	said := want(t, exitOK, "PACK REMOVES", "classes", home)
	rows := regexp.MustCompile(`(?m)^ *\d[\d,]* +[\d.]+ [KMG]?i?B +[\d.]+% +\d[\d,]* +[\d.]+ [KMG]?i?B +\S+$`).FindAllString(said, -1)
	if total := regexp.MustCompile(`(?m)^(\d+) objects? of (\d+) class(es)?, `).FindStringSubmatch(said); total == nil || total[2] != strconv.Itoa(len(rows)) {
		t.Errorf("%d rows, says\n%s", len(rows), said)
	}
	without := want(t, exitOK, "CLASS", "classes", "--no-pack", "-n", "1", home)
	if strings.Contains(without, "PACK REMOVES") || strings.Count(without, "%") != 1 {
		t.Errorf("--no-pack -n 1 says\n%s", without)
	}
	want(t, exitOK, `"no_pack": "--no-pack was given; leave it out"`, "classes", "--no-pack", "--json", home)
	want(t, exitUsage, "--number -1", "classes", "-n", "-1", home)
}
