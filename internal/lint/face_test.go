package lint

import (
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// faces are the packages that other programs import.
func faces() []string { return []string{module, module + "/zodb"} }

// loadTypes returns packages of the project as other packages see them.
func loadTypes(tb testing.TB, paths ...string) []*types.Package {
	tb.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-export", "-f", "{{.ImportPath}} {{.Export}}"}, paths...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	exports := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			exports[path] = file
		}
	}
	from := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	var pkgs []*types.Package
	for _, path := range paths {
		pkg, err := from.Import(path)
		if err != nil {
			tb.Fatal(err)
		}
		pkgs = append(pkgs, pkg)
	}
	return pkgs
}

// shown walks through all types that an exported name of a package shows.
type shown struct {
	seen  map[types.Type]bool
	found []string
}

func (s *shown) look(where string, t types.Type) {
	if t == nil || s.seen[t] {
		return
	}
	s.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		s.named(where, t.Obj())
		s.look(where, types.Unalias(t))
	case *types.Named:
		s.named(where, t.Obj())
		for arg := range t.TypeArgs().Types() {
			s.look(where, arg)
		}
		if p := t.Obj().Pkg(); p == nil || !strings.HasPrefix(p.Path(), module) {
			return
		}
		for m := range t.Methods() {
			if m.Exported() {
				s.look(where+"."+m.Name(), m.Type())
			}
		}
		s.look(where, t.Underlying())
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() {
				s.look(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			s.look(where+"."+m.Name(), m.Type())
		}
	case *types.Signature:
		for _, list := range []*types.Tuple{t.Params(), t.Results()} {
			for v := range list.Variables() {
				s.look(where, v.Type())
			}
		}
	case *types.Map:
		s.look(where, t.Key())
		s.look(where, t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		s.look(where, t.Elem())
	}
}

func (s *shown) named(where string, o *types.TypeName) {
	if o.Pkg() != nil && strings.HasPrefix(o.Pkg().Path(), module+"/internal/") {
		s.found = append(s.found, fmt.Sprintf("%s shows %s.%s", where, o.Pkg().Path(), o.Name()))
	}
}

// showsInternal finds exported names that show a type of an internal package.
func showsInternal(pkg *types.Package) []string {
	s := &shown{seen: make(map[types.Type]bool)}
	for _, name := range pkg.Scope().Names() {
		if o := pkg.Scope().Lookup(name); o.Exported() {
			s.look(pkg.Name()+"."+name, o.Type())
		}
	}
	return s.found
}

func TestFacesShowNoInternalTypes(t *testing.T) {
	t.Parallel()
	for _, pkg := range loadTypes(t, faces()...) {
		if len(pkg.Scope().Names()) < 5 {
			t.Errorf("%s has %v: not all of it", pkg.Path(), pkg.Scope().Names())
		}
		for _, text := range showsInternal(pkg) {
			t.Error(text)
		}
	}
}

func TestInternalTypeIsFound(t *testing.T) {
	t.Parallel()
	if found := showsInternal(loadTypes(t, module+"/internal/engine")[0]); len(found) == 0 {
		t.Error("nothing is found in the engine, whose Storage.Settings shows a type of internal/settings")
	}
}
