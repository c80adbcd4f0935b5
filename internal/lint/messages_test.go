package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// An error of the command line has one form: the place (option, path or address), the fault, and the
// remedy. The remedy is “want …” after the value, stands after a semicolon, or is a hint.

// withoutRemedy are new errors of the command line for which nobody can do anything at once.
var withoutRemedy = map[string]string{
	"internal/cli/checkrefs.go errOverlooked": "the command prints it as a part of a line",
	"internal/cli/demo.go":                    "an error of the demonstration is a fault of the program",
	"internal/cli/health.go":                  "the answer of the server names the fault",
	"internal/cli/pidfile.go":                 "the caller adds the hint",
	"internal/cli/refs.go run":                "it is the answer to the question",
	"internal/cli/usage.go unknownCommand":    "suggestions follow",
	"internal/cli/usage.go unknownHelp":       "suggestions follow",
}

// hedges are beginnings that say nothing, and ends that do not belong into a chain of errors.
var hedges = regexp.MustCompile(`(?i)^(error|failed|failure|unable|could not)\b|\bfailed to\b|[.!]$`)

// sentence begins with a capital letter as a sentence does. Names such as HOME, TLS or x.oid are none.
var sentence = regexp.MustCompile(`^[A-Z][a-z]+ `)

// names are words with a capital letter that may begin a message.
var names = regexp.MustCompile(`^(Data|Full|Minimal|Unix|Python|Linux|Ctrl)\b`)

// newError is a call that makes an error: its function and its text, empty if that is not a literal.
func newError(call *ast.CallExpr) (function, text string) {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			function = x.Name + "." + f.Sel.Name
		}
	case *ast.Ident:
		function = f.Name
	}
	if function != "errors.New" && function != "fmt.Errorf" && function != "usage" || len(call.Args) == 0 {
		return "", ""
	}
	ast.Inspect(call.Args[0], func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			part, _ := strconv.Unquote(lit.Value)
			text += part
		}
		return true
	})
	return function, text
}

// messages finds errors in another form.
func messages(s source) []finding {
	if s.test() || testOnly(s.pkg) {
		return nil
	}
	var found []finding
	advised := make(map[ast.Node]bool) // calls within hint(…)
	name, end := "", token.NoPos       // of the declaration, and of the last function
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			if len(n.Specs) == 1 && n.Tok == token.VAR && n.Pos() >= end {
				name = n.Specs[0].(*ast.ValueSpec).Names[0].Name
			}
		case *ast.FuncDecl:
			end = n.End()
			name = n.Name.Name
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "hint" && len(n.Args) > 0 {
				ast.Inspect(n.Args[0], func(inner ast.Node) bool {
					if inner != nil {
						advised[inner] = true
					}
					return true
				})
			}
			function, text := newError(n)
			switch {
			case text == "":
			case hedges.MatchString(text), sentence.MatchString(text) && !names.MatchString(text):
				found = append(found, s.at(n, "the error “"+text+"” begins or ends as a sentence, or with a hedge; name the fault"))
			case s.pkg != "internal/cli" || advised[n] || strings.Contains(text, "%w") || withoutRemedy[s.name] != "" || withoutRemedy[s.name+" "+name] != "":
			case strings.Contains(text, "; ") || function == "usage" && strings.Contains(text, "want "):
			default:
				found = append(found, s.at(n, "the error “"+text+"” has no remedy: add “: want …”, “; …”, or a hint"))
			}
		}
		return true
	})
	return found
}

func TestErrorsHaveOneForm(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, messages(s))
	}
}

func TestErrorsInAnotherFormAreFound(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{
		`errors.New("no room")`: 1, `errors.New("no room; pack")`: 0, `hint(errors.New("no room"), "pack")`: 0,
		`status(3, hint(errors.New("no room"), "pack"))`: 0, `fmt.Errorf("open %s: %w", a, err)`: 0,
		`usage("-n %d: want 0 or more", n)`: 0, `usage("-n is wrong")`: 1, `fmt.Errorf("failed to open: %w", err)`: 1,
		`fmt.Errorf("%s is full.", a)`: 1, `errors.New("There is no room; pack")`: 1, `errors.New("HOME is " + "not there; make it")`: 0,
	} {
		s := parse(t, "internal/cli/a.go", "package cli\nfunc f() error { return "+code+" }\n")
		if got := messages(s); len(got) != want {
			t.Errorf("%s: %v, want %d", code, got, want)
		}
	}
	if got := messages(parse(t, "internal/zeo/a.go", "package zeo\nvar e = errors.New(\"no room\")\n")); len(got) != 0 {
		t.Error(got)
	}
}
