// Command house measures the source in a directory: how large the rooms are, and how much
// one has to keep in mind in each. It prints a table, one column for each directory:
//
//	go run ./tools/house BEFORE AFTER
//
// Tests are counted apart. A place that locks is a call of Lock or RLock without arguments.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// measures are of one directory.
type measures struct {
	files, lines, over400    int
	testFiles, testLines     int
	packages                 map[string]bool
	exported, locks          int
	longest, largest         int
	longestName, largestName string
	lockFiles                int
}

func main() {
	var all []measures
	for _, dir := range os.Args[1:] {
		m, err := measure(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "house:", err)
			os.Exit(1)
		}
		all = append(all, m)
	}
	row := func(name string, f func(m measures) string) {
		fmt.Printf("| %s |", name)
		for _, m := range all {
			fmt.Printf(" %s |", f(m))
		}
		fmt.Println()
	}
	number := func(f func(m measures) int) func(m measures) string {
		return func(m measures) string { return fmt.Sprint(f(m)) }
	}
	row("packages", number(func(m measures) int { return len(m.packages) }))
	row("files, without tests", number(func(m measures) int { return m.files }))
	row("lines", number(func(m measures) int { return m.lines }))
	row("files over 400 lines", number(func(m measures) int { return m.over400 }))
	row("exported names", number(func(m measures) int { return m.exported }))
	row("longest function", func(m measures) string { return fmt.Sprintf("%d (%s)", m.longest, m.longestName) })
	row("fields of the largest struct", func(m measures) string { return fmt.Sprintf("%d (%s)", m.largest, m.largestName) })
	row("places that lock", func(m measures) string { return fmt.Sprintf("%d in %d files", m.locks, m.lockFiles) })
	row("files of tests", number(func(m measures) int { return m.testFiles }))
	row("lines of tests", number(func(m measures) int { return m.testLines }))
}

func measure(dir string) (measures, error) {
	m := measures{packages: make(map[string]bool)}
	fset := token.NewFileSet()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "tools") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		lines := strings.Count(string(b), "\n")
		if strings.HasSuffix(name, "_test.go") {
			m.testFiles++
			m.testLines += lines
			return nil
		}
		file, err := parser.ParseFile(fset, name, b, 0)
		if err != nil {
			return err
		}
		m.packages[filepath.Dir(name)] = true
		m.files++
		m.lines += lines
		if lines > 400 {
			m.over400++
		}
		before := m.locks
		m.file(fset, file)
		if m.locks > before {
			m.lockFiles++
		}
		return nil
	})
	return m, err
}

// file adds the measures of one file.
func (m *measures) file(fset *token.FileSet, file *ast.File) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() {
				m.exported++
			}
			if n := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1; n > m.longest {
				m.longest, m.longestName = n, file.Name.Name+"."+d.Name.Name
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						m.exported++
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() {
							m.exported++
						}
					}
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if t, ok := n.Type.(*ast.StructType); ok && t.Fields.NumFields() > m.largest {
				m.largest, m.largestName = t.Fields.NumFields(), file.Name.Name+"."+n.Name.Name
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 0 && (sel.Sel.Name == "Lock" || sel.Sel.Name == "RLock") {
				m.locks++
			}
		}
		return true
	})
}
