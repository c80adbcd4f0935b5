// Command rooms draws the packages of the project with their imports: the highest
// first, so that each arrow points down. Run it in the root of the repository:
//
//	go run ./tools/rooms -w docs/architecture.md
//
// writes the drawing between its two markers there; without -w it is printed. It fails if
// imports go round in a circle, which the compiler does not allow in the first place.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

const (
	module = "github.com/dirstorage/dirstorage"
	begin  = "<!-- rooms: made by tools/rooms -->\n"
	end    = "<!-- end of rooms -->\n"
	width  = 98
)

func main() {
	file := flag.String("w", "", "the file to write into, between the markers")
	flag.Parse()
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, "rooms:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		return err
	}
	drawing, err := draw(string(out))
	if err != nil || file == "" {
		fmt.Print(drawing)
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(old, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return fmt.Errorf("%s has not both markers %q and %q", file, begin, end)
	}
	text := string(head) + begin + drawing + end + string(tail)
	return os.WriteFile(file, []byte(text), 0o644)
}

// draw draws the output of go list.
func draw(list string) (string, error) {
	imports := make(map[string][]string)
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if !inside(f[0]) || testOnly(short(f[0])) {
			continue
		}
		imports[short(f[0])] = nil
		for _, to := range f[1:] {
			if inside(to) && !testOnly(short(to)) {
				imports[short(f[0])] = append(imports[short(f[0])], short(to))
			}
		}
	}
	level := make(map[string]int)
	for len(level) < len(imports) {
		before := len(level)
		for pkg, to := range imports {
			at := 0
			for _, p := range to {
				l, known := level[p]
				if !known {
					at = -1
					break
				}
				at = max(at, l+1)
			}
			if _, done := level[pkg]; !done && at >= 0 {
				level[pkg] = at
			}
		}
		if len(level) == before {
			return "", fmt.Errorf("imports go round in a circle: %d packages have no level", len(imports)-len(level))
		}
	}
	var pkgs []string
	for pkg := range imports {
		pkgs = append(pkgs, pkg)
	}
	slices.SortFunc(pkgs, func(a, b string) int {
		if level[a] != level[b] {
			return level[b] - level[a]
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	b.WriteString("```\n")
	last := -1
	for _, pkg := range pkgs {
		if level[pkg] != last {
			if last >= 0 {
				b.WriteString("\n")
			}
			last = level[pkg]
		}
		to := imports[pkg]
		slices.Sort(to)
		line := fmt.Sprintf("%2d  %-18s", last, pkg)
		if len(to) > 0 {
			line += " →"
		}
		for _, p := range to {
			if len([]rune(line))+1+len(p) > width {
				b.WriteString(line + "\n")
				line = strings.Repeat(" ", 24)
			}
			line += " " + p
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	b.WriteString("```\n")
	return b.String(), nil
}

func inside(p string) bool { return p == module || strings.HasPrefix(p, module+"/") }

// short is the name of a package in the drawing.
func short(p string) string {
	p = strings.TrimPrefix(strings.TrimPrefix(p, module), "/")
	if p == "" {
		return "dirstorage"
	}
	return strings.TrimPrefix(p, "internal/")
}

// testOnly reports whether only tests import a package.
func testOnly(p string) bool {
	switch base := path.Base(p); base {
	case "crashfs", "errfs", "formatbench", "powercut", "lint", "rooms":
		return true
	default:
		return strings.HasSuffix(base, "test")
	}
}
