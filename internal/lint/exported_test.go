package lint

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A name of an internal package is exported if another package uses it: directly, or
// through a name that is used and shows it, in a signature or a field. Values of an
// enumeration are used where its type is; so are errors where a caller may match them, as
// their names say. A method is used where a selector of its name stands in another
// package, or where an interface has it. Black-box tests are another package.

// standardMethods are methods that the standard library and dependencies call through
// interfaces of theirs.
const standardMethods = " String Error Is As Unwrap Timeout MarshalJSON UnmarshalJSON MarshalText UnmarshalText" +
	" Read Write Close Seek ReadAt WriteTo ReadFrom ReadByte Len Less Swap Enabled Handle WithAttrs WithGroup LogValue Format" +
	" Set Type Describe Collect Accept Addr Push Pop "

// exportedAnyway are exceptions, by package and name, with their reasons.
var exportedAnyway = map[string]string{
	"internal/bundle.DefaultFrameSize":      "the default of an option",
	"internal/bundle.FooterSize":            "a part of the format, for tools that read bundles",
	"internal/bundle.Version":               "a part of the format, for tools that read bundles",
	"internal/current.Name":                 "a part of the format, for tools that read HOME",
	"internal/current.VersionsName":         "a part of the format, for tools that read HOME",
	"internal/current.PagesName":            "a part of the format, for tools that read HOME",
	"internal/engine.HistoryOwn":            "one of the meanings of an Open, beside the others",
	"internal/engine/txn.BlobWriter":        "a part of the transaction, beside the others that the engine takes",
	"internal/store/classic.Edit.Right":     "the whole of an edit, beside its other methods",
	"internal/store/classic.MaxLanes":       "the limit of a setting",
	"internal/store/classic.Redo.Lane":      "the whole of a redo, beside its other methods",
	"internal/store/classic.Removal":        "the whole of an edit, beside its other methods",
	"internal/store/classic.Removal.Unlink": "the whole of an edit, beside its other methods",
	"internal/store/classic.Store.NewEdit":  "the whole of an edit, beside its other methods",
	"internal/store/classic.Store.ReadsB":   "tests of the store look at it",
}

// declared is a top-level name of a package, or a method.
type declared struct {
	source
	name  *ast.Ident
	typ   string     // of a constant
	shows []ast.Node // in which another package sees names
	recv  string     // of a method
}

func (d declared) key() string {
	if d.recv != "" {
		return d.recv + "." + d.name.Name
	}
	return d.name.Name
}

// declarations returns the top-level names and methods of a file.
func declarations(s source) (all []declared) {
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			one := declared{source: s, name: d.Name, shows: []ast.Node{d.Type}}
			if d.Recv != nil {
				t := d.Recv.List[0].Type
				if star, ok := t.(*ast.StarExpr); ok {
					t = star.X
				}
				switch generic := t.(type) {
				case *ast.IndexExpr:
					t = generic.X
				case *ast.IndexListExpr:
					t = generic.X
				}
				one.recv = t.(*ast.Ident).Name
			}
			all = append(all, one)
		case *ast.GenDecl:
			typ := "" // of the constant before, which one without a value repeats
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					all = append(all, declared{source: s, name: spec.Name, shows: []ast.Node{spec}})
				case *ast.ValueSpec:
					if t, ok := spec.Type.(*ast.Ident); ok {
						typ = t.Name
					} else if len(spec.Values) > 0 {
						typ = ""
					}
					for _, n := range spec.Names {
						one := declared{source: s, name: n}
						if spec.Type != nil {
							one.shows = append(one.shows, spec.Type)
						}
						for _, v := range spec.Values {
							one.shows = append(one.shows, v)
						}
						if d.Tok == token.CONST {
							one.typ = typ
						}
						all = append(all, one)
					}
				}
			}
		}
	}
	return all
}

// importedAs maps the local names of a file's imports of the project to directories.
func importedAs(s source) map[string]string {
	names := make(map[string]string)
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		dir, ok := strings.CutPrefix(p, module+"/")
		if !ok {
			continue
		}
		local := path.Base(dir)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = dir
	}
	return names
}

// inTemplates matches a name after a dot.
var inTemplates = regexp.MustCompile(`\.([A-Z]\w*)`)

// templateNames returns the names that templates use: methods of the data, which no code calls.
func templateNames(t testing.TB) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "internal", "*", "templates", "*.html"))
	if err != nil || len(files) == 0 {
		t.Fatal("there are no templates", err)
	}
	names := make(map[string]bool)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inTemplates.FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
	}
	return names
}

// unusedExports finds exported names of internal packages that no other package uses. shown are the
// names of methods that templates use.
func unusedExports(all []source, shown map[string]bool) (found []finding) {
	used := make(map[string]map[string]bool)     // of packages, by directory: their names
	selected := make(map[string]map[string]bool) // by the name after a dot: the packages that have it
	interfaces := make(map[string]bool)          // names of methods
	for _, s := range all {
		self := s.pkg
		if strings.HasSuffix(s.file.Name.Name, "_test") {
			self += "_test"
		}
		names := importedAs(s)
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if selected[n.Sel.Name] == nil {
					selected[n.Sel.Name] = make(map[string]bool)
				}
				selected[n.Sel.Name][self] = true
				if x, ok := n.X.(*ast.Ident); ok && names[x.Name] != "" {
					dir := names[x.Name]
					if used[dir] == nil {
						used[dir] = make(map[string]bool)
					}
					used[dir][n.Sel.Name] = true
				}
			case *ast.InterfaceType:
				for _, m := range n.Methods.List {
					for _, name := range m.Names {
						interfaces[name.Name] = true
					}
				}
			}
			return true
		})
	}
	byPackage := make(map[string][]declared)
	for _, s := range all {
		if strings.HasPrefix(s.pkg, "internal/") && !s.test() && !testOnly(s.pkg) {
			byPackage[s.pkg] = append(byPackage[s.pkg], declarations(s)...)
		}
	}
	for pkg, names := range byPackage {
		kept := used[pkg]
		if kept == nil {
			kept = make(map[string]bool)
		}
		for again := true; again; {
			again = false
			keep := func(name string) {
				if !kept[name] {
					kept[name], again = true, true
				}
			}
			for _, d := range names {
				if d.recv == "" && (kept[d.typ] || matched(d.name.Name)) {
					keep(d.name.Name)
				}
				if d.recv == "" && kept[d.name.Name] || kept[d.recv] && d.name.IsExported() {
					for _, shown := range d.shows {
						exposed(shown, keep)
					}
				}
			}
		}
		for _, d := range names {
			outside := 0
			for where := range selected[d.name.Name] {
				if where != pkg {
					outside++
				}
			}
			switch {
			case !d.name.IsExported() || exportedAnyway[pkg+"."+d.key()] != "":
			case d.recv == "" && kept[d.name.Name]:
			case d.recv != "" && (outside > 0 || interfaces[d.name.Name] || shown[d.name.Name] || strings.Contains(standardMethods, " "+d.name.Name+" ")):
			default:
				found = append(found, d.at(d.name, pkg+"."+d.key()+" is exported, and no other package uses it"))
			}
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.String(), b.String()) })
	return found
}

// matched reports whether a name is that of an error, or of a type of errors.
func matched(name string) bool {
	return strings.HasPrefix(name, "Err") || strings.HasSuffix(name, "Error") && name != strings.ToLower(name)
}

// exposed calls keep with the names that another package sees in a declaration. Fields
// that are not exported are hidden.
func exposed(n ast.Node, keep func(string)) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			for _, f := range n.Fields.List {
				if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
					exposed(f.Type, keep)
				}
			}
			return false
		case *ast.FuncLit, *ast.SelectorExpr: // a body, a name of another package
			return false
		case *ast.Ident:
			keep(n.Name)
		}
		return true
	})
}

func TestExportedNamesAreUsedByOtherPackages(t *testing.T) {
	t.Parallel()
	report(t, unusedExports(project(t), templateNames(t)))
}

func TestUnusedExportIsFound(t *testing.T) {
	t.Parallel()
	user := parse(t, "internal/user/user.go", "package user\nimport \""+module+"/internal/p\"\nfunc f() { p.Used().Called() }\n")
	for _, tc := range []struct {
		name, code string
		want       int
	}{
		{"another package uses it", "func Used() T { return 0 }\ntype T int\nfunc (T) Called() {}\n", 0},
		{"nobody does", "func Unused() {}\n", 1},
		{"a method that nobody calls", "func Used() T { return 0 }\ntype T int\nfunc (T) Uncalled() {}\n", 1},
		{"a method of an interface", "func Used() T { return 0 }\ntype T int\nfunc (T) Uncalled() {}\ntype i interface{ Uncalled() }\n", 0},
		{"a hidden field", "func Used() T { return T{} }\ntype T struct{ f Hidden }\ntype Hidden int\n", 1},
		{"a field", "func Used() T { return T{} }\ntype T struct{ F Shown }\ntype Shown int\n", 0},
		{"a parameter", "func Used(p Shown) {}\ntype Shown int\n", 0},
		{"values of an enumeration", "func Used(p Kind) {}\ntype Kind int\nconst (\n\tOne Kind = iota\n\tTwo\n)\n", 0},
		{"another constant", "func Used() {}\nconst Limit = 3\n", 1},
		{"an error", "func Used() error { return ErrSome }\nvar ErrSome error\ntype SomeError struct{}\n", 0},
	} {
		if got := unusedExports([]source{user, parse(t, "internal/p/p.go", "package p\n"+tc.code)}, nil); len(got) != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
