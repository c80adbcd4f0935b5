package salvage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// TestAPointerToAnOlderRevisionIsSaid: the pointer of an object is lost, and so is its newest revision. The one before
// it becomes the current one, and the plan names the missing ones. Where all revisions are there, nothing is.
func TestAPointerToAnOlderRevisionIsSaid(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bushy", "packed"} {
		for _, lost := range []bool{true, false} {
			w := newWreck(t, name)
			format := layout.Bushy
			var pointers []layout.Name
			revisions := make(map[layout.Name][]layout.Name) // by pointer, ascending
			for _, file := range sortedNames(w.files()) {
				n, ok := format.Parse(strings.TrimPrefix(file, "A/"))
				switch {
				case ok && n.Kind == layout.KindPointer:
					pointers = append(pointers, n)
				case ok && n.Kind == layout.KindRevision:
					p := layout.Pointer(n.OID)
					revisions[p] = append(revisions[p], n)
				}
			}
			said := 0
			for _, p := range pointers {
				if len(revisions[p]) < 2 {
					continue
				}
				if err := os.Remove(filepath.Join(w.dir, "home/A", format.Path(p))); err != nil {
					t.Fatal(err)
				}
				newest := slices.MaxFunc(revisions[p], func(a, b layout.Name) int { return strings.Compare(a.String(), b.String()) })
				if lost {
					if err := os.Remove(filepath.Join(w.dir, "home/A", format.Path(newest))); err != nil {
						t.Fatal(err)
					}
				}
				said++
				actions := w.salvage()
				k := slices.IndexFunc(actions, func(a Action) bool { return a.Name == p })
				if k < 0 || actions[k].Verb != Make || actions[k].Older != lost || lost != strings.Contains(actions[k].Detail, "transaction "+newest.TID.String()+" wrote a later one") {
					t.Errorf("%s, lost %t, %s: %+v", name, lost, newest, actions)
				}
			}
			if said == 0 {
				t.Errorf("%s: no object has two revisions", name)
			}
		}
	}
}
