package lint

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"testing"
)

// level tells how high a package of the project stands, by its directory. A package imports only
// lower ones. A new package needs a line here; the lowest level that works is the right one.
var level = map[string]int{
	"dist":             0,
	"zodb":             0,
	"internal/budget":  0,
	"internal/human":   0,
	"internal/lint":    0,
	"internal/logging": 0,

	"internal/vfs": 1,

	"internal/layout":    2,
	"internal/record":    2,
	"internal/pickle":    2,
	"internal/oidlock":   2,
	"internal/oidset":    2,
	"internal/refindex":  2,
	"internal/archive":   2,
	"internal/objstore":  2,
	"internal/certs":     2,
	"internal/current":   2,
	"internal/listen":    2,
	"internal/snapfile":  2,
	"internal/runs":      2,
	"internal/histfile":  2,
	"internal/zeo/stage": 2,
	"internal/zeo/wire":  2,

	"internal/control":     3,
	"internal/settings":    3,
	"internal/filestorage": 3,
	"internal/journal":     3,
	"internal/zeoclient":   3,
	"internal/bundle":      3,

	"internal/store":         3,
	"internal/store/classic": 4,
	"internal/store/bundled": 5,
	"internal/store/formats": 6,
	"internal/pack":          4,
	// Deliberately beside stores and below the engine, so that their bugs can't hide from them.
	"internal/check":   4,
	"internal/salvage": 4,
	"internal/bench":   4,

	"internal/engine/cache": 3,
	"internal/engine/state": 4,
	"internal/engine/home":  4,

	"internal/engine/lineage": 5,
	"internal/engine/read":    5,
	"internal/engine/space":   5,

	"internal/engine/packing": 6,

	"internal/engine/flush": 7,
	"internal/engine/txn":   7,

	"internal/engine": 8,

	".": 9,

	"internal/transfer": 9,
	"internal/snapshot": 9,
	"internal/sample":   9,
	"internal/zeo":      9,
	"internal/ops":      9,

	"internal/backup":   10,
	"internal/config":   10,
	"internal/estimate": 10,
	"internal/doctor":   10,

	"internal/inspect": 11,
	"internal/restore": 11,
	"internal/metrics": 11,

	"internal/web": 12,

	"internal/cli": 13,

	"bench/gen":      14,
	"bench/loads":    14,
	"cmd/dirstorage": 14,
}

// testOnly reports whether only tests may import a package: file systems that
// fail on purpose, suites and helpers of tests.
func testOnly(pkg string) bool {
	base := path.Base(pkg)
	return base == "crashfs" || base == "errfs" || base == "formatbench" || base == "powercut" || strings.HasSuffix(base, "test")
}

// projectImports returns the packages of the project that a file imports, as directories.
func projectImports(s source) []string {
	var dirs []string
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		if p == module {
			dirs = append(dirs, ".")
		} else if dir, ok := strings.CutPrefix(p, module+"/"); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// upwardImports finds imports that do not point down.
func upwardImports(s source) []finding {
	if s.test() || testOnly(s.pkg) {
		return nil
	}
	own, known := level[s.pkg]
	if !known {
		return []finding{s.at(s.file.Name, "package "+s.pkg+" has no level in internal/lint")}
	}
	var found []finding
	for _, dir := range projectImports(s) {
		to, known := level[dir]
		switch {
		case testOnly(dir):
			found = append(found, s.at(s.file.Name, fmt.Sprintf("%s imports %s, which is for tests only", s.pkg, dir)))
		case !known:
			found = append(found, s.at(s.file.Name, "package "+dir+" has no level in internal/lint"))
		case to >= own:
			found = append(found, s.at(s.file.Name, fmt.Sprintf("%s (level %d) imports %s (level %d): imports point downwards only", s.pkg, own, dir, to)))
		}
	}
	return found
}

func TestImportsPointDownwardsOnly(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, upwardImports(s))
	}
}

func TestUpwardImportIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, imports string
		want                int
	}{
		{"down", "internal/store/classic/a.go", module + "/internal/vfs", 0},
		{"to the engine", "internal/store/classic/a.go", module, 1},
		{"sideways", "internal/check/a.go", module + "/internal/store/classic", 1},
		{"unknown importer", "internal/novel/a.go", "os", 1},
		{"unknown imported", "internal/store/classic/a.go", module + "/internal/novel", 1},
		{"test file", "internal/store/classic/a_test.go", module, 0},
		{"tests' file system", "internal/store/classic/a.go", module + "/internal/vfs/crashfs", 1},
		{"outside the project", "zodb/a.go", "fmt", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, tc.file, "package a\nimport _ "+strconv.Quote(tc.imports)+"\n")
			if got := upwardImports(s); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
