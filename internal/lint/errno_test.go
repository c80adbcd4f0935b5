package lint

import (
	"go/ast"
	"slices"
	"testing"
)

// passingErrnos are the errors of the system that pass by themselves. vfs.FaultOf alone says which
// they are; a question for one of them forgets the others.
var passingErrnos = []string{"ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM"}

// errnoUses finds decisions that are made elsewhere.
func errnoUses(s source) []finding {
	if s.test() || testOnly(s.pkg) || s.pkg == "internal/vfs" {
		return nil
	}
	var found []finding
	for _, importPath := range []string{"syscall", "golang.org/x/sys/unix"} {
		s.uses(importPath, func(n ast.Node, name string) {
			if slices.Contains(passingErrnos, name) {
				found = append(found, s.at(n, name+" in "+s.pkg+": vfs.FaultOf tells what passes"))
			}
		})
	}
	return found
}

func TestWhatPassesIsDecidedInOnePlace(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, errnoUses(s))
	}
}

func TestErrnoIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"no room", "a.go", `import "syscall"; var x = syscall.ENOSPC`, 1},
		{"no descriptor", "internal/store/classic/a.go", `import "golang.org/x/sys/unix"; var x = unix.EMFILE`, 1},
		{"what lasts", "a.go", `import "syscall"; var x = syscall.EXDEV`, 0},
		{"the door", "internal/vfs/a.go", `import "syscall"; var x = syscall.ENOSPC`, 0},
		{"a test", "a_test.go", `import "syscall"; var x = syscall.ENOSPC`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := errnoUses(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
