package lint

import (
	"go/ast"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// inBackticks is a piece that a document sets as code.
var inBackticks = regexp.MustCompile("`([^`\n]+)`")

// goFile and goName are the names of files and of their declarations, as docs/architecture.md has
// them: put.go, zeo/vote.go; Store.Put, (*conn).vote, TestKeepClass.
var (
	goFile = regexp.MustCompile(`^[a-z_/]+\.go$`)
	goName = regexp.MustCompile(`^(?:[a-z/]+\.)?(?:\(?\*?([A-Za-z]+)\)?\.)?([A-Za-z]+)$`)
)

// TestNamesInTheArchitectureExist: each name in the document leads to a place.
func TestNamesInTheArchitectureExist(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(root + "/docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "<!-- end of rooms -->")
	files, names := make(map[string]bool), make(map[string]bool)
	for _, s := range project(t) {
		short := strings.TrimPrefix(s.name, "internal/")
		files[s.name], files[short], files[path.Base(short)] = true, true, true
		declaredIn(s.file, names)
	}
	found := 0
	for _, m := range inBackticks.FindAllStringSubmatch(text, -1) {
		word := m[1]
		if goFile.MatchString(word) {
			found++
			if !files[word] {
				t.Errorf("docs/architecture.md: there is no file %s", word)
			}
			continue
		}
		n := goName.FindStringSubmatch(word)
		if n == nil || word == "x.serial" || strings.ToLower(word) == word && !strings.Contains(word, ".") {
			continue // prose, the name of a package or that of a variable
		}
		found++
		want := n[2]
		if n[1] != "" {
			want = n[1] + "." + n[2]
		}
		if !names[want] {
			t.Errorf("docs/architecture.md: nothing is declared as %s", word)
		}
	}
	if found < 60 {
		t.Errorf("only %d names were looked for", found)
	}
}

// declaredIn adds the declarations of a file: functions, types and methods by their names, methods
// as T.M too.
func declaredIn(file *ast.File, names map[string]bool) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names[d.Name.Name] = true
			if d.Recv == nil {
				continue
			}
			typ := d.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				names[id.Name+"."+d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					names[ts.Name.Name] = true
					if i, ok := ts.Type.(*ast.InterfaceType); ok {
						for _, f := range i.Methods.List {
							for _, n := range f.Names {
								names[n.Name], names[ts.Name.Name+"."+n.Name] = true, true
							}
						}
					}
				}
			}
		}
	}
}
