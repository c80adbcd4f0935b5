package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestRefsNamesTheObjectsOfADamagedFrame: the error of the frame does not.
func TestRefsNamesTheObjectsOfADamagedFrame(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	names, err := filepath.Glob(filepath.Join(home, "A/bundles/*.tar.zst"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[40] ^= 0xFF
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, _, stderr := command(t.Context(), "refs", "--write-index", home)
	if named := regexp.MustCompile(`object [0-9A-F]{16}: .*A/bundles/`); code != exitDamage || !named.MatchString(stderr.String()) {
		t.Errorf("status %d, %s", code, stderr)
	}
}

// TestRefsWithAFlippedBitIsRightOrSaysDamage: of any file below A, or the index itself. Without damage in
// the files that an answer needs, it is the answer of the sound storage.
func TestRefsWithAFlippedBitIsRightOrSaysDamage(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, format := range []string{"bundled", "chunky"} {
		for _, indexed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, index %t", format, indexed), func(t *testing.T) {
				t.Parallel()
				flipBitsUnderRefs(t, importedHome(t, "--format", format), indexed)
			})
		}
	}
}

func flipBitsUnderRefs(t *testing.T, home string, indexed bool) {
	if indexed {
		want(t, exitOK, "misc/refs: ", "refs", "--write-index", home)
	}
	oids := []string{"2", "5"} // each is referred to by 1
	readEverything := regexp.MustCompile(`"index_tid":(null|"[0-9A-F]{16}")`)
	ask := func(oid string) (int, string) {
		code, stdout, _ := command(t.Context(), "refs", "--json", home, oid)
		return code, readEverything.ReplaceAllString(stdout.String(), "")
	}
	sound := make(map[string]string)
	for _, oid := range oids {
		code, text := ask(oid)
		if sound[oid] = text; code != exitOK || !strings.Contains(text, `"referred_to_by":1`) {
			t.Fatalf("status %d, %s", code, text)
		}
	}
	right, told := 0, 0
	for n, at := range bitsToFlip(t, home) {
		flip := func() {
			b, err := os.ReadFile(at.name)
			if err == nil {
				b[at.offset] ^= 1 << (n % 8)
				err = os.Chmod(at.name, 0o600)
			}
			if err == nil {
				err = os.WriteFile(at.name, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		flip()
		for _, oid := range oids {
			switch code, text := ask(oid); {
			case code == exitDamage:
				told++
			case code == exitOK && text == sound[oid]:
				right++
			default:
				t.Errorf("object %s, byte %d of %s: status %d, %s", oid, at.offset, at.name, code, text)
			}
		}
		flip()
	}
	if right == 0 || told == 0 {
		t.Errorf("%d answers were right, %d told of damage: not both kinds were tried", right, told)
	}
}

// byteOf is a byte of a file.
type byteOf struct {
	name   string
	offset int
}

// bitsToFlip returns some places of each file of the database but its marks, and of the index.
func bitsToFlip(t *testing.T, home string) (all []byteOf) {
	t.Helper()
	var names []string
	err := filepath.WalkDir(home, func(name string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(home, name); err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), "x.") &&
			(strings.HasPrefix(rel, "A/") && filepath.Dir(rel) != "A/x" || rel == "misc/refs") {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		few := max(1, 60/len(names))
		for k := range few {
			all = append(all, byteOf{name, (k*int(info.Size())/few + i) % int(info.Size())})
		}
	}
	if len(all) < 40 {
		t.Fatalf("%d places in %d files: too few", len(all), len(names))
	}
	return all
}
