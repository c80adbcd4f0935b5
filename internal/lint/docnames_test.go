package lint

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"unicode"
)

// A document that names a part of the code, such as `state.Job` or `Copies.Over`, is right only
// while there is one.

// qualified is such a name in a document: a package or a type, and a part of it.
var qualified = regexp.MustCompile("`\\*?([A-Za-z]\\w*)\\.([A-Z]\\w*)(?:\\(\\))?`")

// foreignNames are those of other programs.
var foreignNames = []string{"BTrees.Length"}

// parts has the names that stand behind a dot: by package, those that it declares; by type, its
// methods and fields.
type parts map[string]map[string]bool

func (p parts) add(of, name string) {
	if p[of] == nil {
		p[of] = make(map[string]bool)
	}
	p[of][name] = true
}

func partsOf(all []source) parts {
	p := make(parts)
	for _, s := range all {
		if s.test() {
			continue
		}
		for _, d := range declarations(s) {
			of := s.file.Name.Name
			if d.recv != "" {
				of = d.recv
			}
			p.add(of, d.name.Name)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			t, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			var fields *ast.FieldList
			switch t := t.Type.(type) {
			case *ast.StructType:
				fields = t.Fields
			case *ast.InterfaceType:
				fields = t.Methods
			default:
				return true
			}
			for _, f := range fields.List {
				for _, name := range f.Names {
					p.add(t.Name.Name, name.Name)
				}
			}
			return true
		})
	}
	return p
}

// missingNames returns the names in a text that the code lacks. Other lower-case words before the dot
// than packages are names of files.
func missingNames(p parts, text string) (missing []string) {
	for _, m := range qualified.FindAllStringSubmatch(text, -1) {
		of, known := p[m[1]]
		if known && !of[m[2]] || !known && unicode.IsUpper(rune(m[1][0])) {
			missing = append(missing, m[1]+"."+m[2])
		}
	}
	return missing
}

func TestNamesOfCodeInDocumentsExist(t *testing.T) {
	t.Parallel()
	p := partsOf(project(t))
	found := 0
	for _, pattern := range []string{"docs/*.md", "docs/decisions/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found += len(qualified.FindAll(b, -1))
			for _, m := range missingNames(p, string(b)) {
				if slices.Contains(foreignNames, m) {
					continue
				}
				t.Errorf("%s names %s, and there is none", name, m)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d names of code: not all documents", found)
	}
}

func TestMissingNameOfCodeIsFound(t *testing.T) {
	t.Parallel()
	p := partsOf([]source{parse(t, "internal/store/store.go", "package store\ntype Copies interface{ Over() }\ntype Space struct{ Free int }\nfunc (Space) Sum() {}")})
	const text = "`store.Copies`, `Copies.Over()`, `*Space.Free`, `Space.Sum`, `x.Serial`; `store.Gone`, `Copies.Count`, `Space.Used`, `Nobody.Knows`, store.None"
	if got, want := fmt.Sprint(missingNames(p, text)), "[store.Gone Copies.Count Space.Used Nobody.Knows]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
