package lint

import (
	"fmt"
	"go/ast"
	"testing"
)

// unlimitedLoggers finds gates for a flood of log lines: packages whose options have a Logger that
// nobody gives a limit, loggers that are made past the limit, and the logger of the process. all
// are the files of one package.
func unlimitedLoggers(all []source) []finding {
	var fields, found []finding
	limits := false
	for _, s := range all {
		if s.test() || testOnly(s.pkg) || s.pkg == "internal/logging" {
			continue
		}
		s.uses("log/slog", func(n ast.Node, name string) {
			switch name {
			case "DiscardHandler":
				found = append(found, s.at(n, "slog.DiscardHandler in "+s.pkg+": logging.Limit makes a logger that writes nothing out of nil"))
			case "Default", "Debug", "Info", "Warn", "Error", "Log", "LogAttrs":
				found = append(found, s.at(n, fmt.Sprintf("slog.%s in %s: lines go to the Logger of the options", name, s.pkg)))
			}
		})
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				limits = limits || isCall(n, "logging", "Limit")
			case *ast.StructType:
				for _, f := range n.Fields.List {
					for _, name := range f.Names {
						if name.Name == "Logger" {
							fields = append(fields, s.at(f, "the Logger of "+s.pkg+" has no limit: its default is logging.Limit(o.Logger)"))
						}
					}
				}
			}
			return true
		})
	}
	if !limits {
		found = append(found, fields...)
	}
	return found
}

// TestEveryLoggerHasALimit: a client that can cause a line can cause as many as it likes.
func TestEveryLoggerHasALimit(t *testing.T) {
	t.Parallel()
	packages := make(map[string][]source)
	for _, s := range project(t) {
		packages[s.pkg] = append(packages[s.pkg], s)
	}
	for _, all := range packages {
		report(t, unlimitedLoggers(all))
	}
}

func TestUnlimitedLoggerIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"no limit", "internal/zeo/a.go", `type Options struct { Logger *slog.Logger }`, 1},
		{"limit", "internal/zeo/a.go", `type Options struct { Logger *slog.Logger }; func f(o Options) { o.Logger = logging.Limit(o.Logger) }`, 0},
		{"made", "internal/zeo/a.go", `import "log/slog"; func f() { slog.New(slog.DiscardHandler) }`, 1},
		{"of the process", "internal/zeo/a.go", `import "log/slog"; func f() { slog.Warn("") }`, 1},
		{"a test", "internal/zeo/a_test.go", `type Options struct { Logger *slog.Logger }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := unlimitedLoggers([]source{parse(t, tc.file, "package a\n"+tc.code)}); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
