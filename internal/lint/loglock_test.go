package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A reader of the log may be slow: a line that is written while a lock is held stops everybody who
// wants that lock. By syntax alone: a lock is the object of a call of Lock or RLock whose name ends
// in mu; a function with “mu must be held” in its description holds it; and a function logs if it
// calls a method of something called log or Logger, or another function of the package that does,
// of a small name that is there once.

// quietPackages are those in which nothing is logged under a lock.
var quietPackages = []string{"internal/engine", "internal/engine/state", "internal/engine/flush", "internal/engine/home", "internal/engine/lineage", "internal/engine/packing", "internal/engine/read", "internal/engine/space", "internal/engine/txn", "internal/journal", "internal/store/classic", "internal/control", "internal/pack"}

var (
	lockName = regexp.MustCompile(`(?:^|\.)[a-z]*[mM]u$`)
	// Of a transaction, of the counts of a flush, and of the history: only Close, or the worker
	// itself, waits for these.
	ownLock = regexp.MustCompile(`(?:^t\.mu|\.countsMu|\.copyMu)$`)
	heldDoc = regexp.MustCompile(`\b(?:mu|modeMu)\s+must\s+be\s+held`)
	// The state tells the events once its own lock is given back.
	stateCall = regexp.MustCompile(`(?:^|\.)[sS]tate\.(?:Fail|StepFailed|StepSucceeded|Flushed|RunTask)$`)
	logCall   = regexp.MustCompile(`(?:^|\.)(?:log|logger|Logger)(?:\(\))?\.(?:Debug|Info|Warn|Error|Log|DebugContext|InfoContext|WarnContext|ErrorContext)$`)
)

// dotted is the text of a chain of names, such as s.worker.log.Warn; other parts are left out.
func dotted(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x := dotted(e.X); x != "" {
			return x + "." + e.Sel.Name
		}
		return "." + e.Sel.Name
	case *ast.CallExpr:
		return dotted(e.Fun) + "()"
	}
	return ""
}

// lineWriters are the functions of a package that write to the log, by name.
func lineWriters(files []source) map[string]bool {
	bodies := make(map[string][]*ast.BlockStmt)
	for _, s := range files {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				bodies[f.Name.Name] = append(bodies[f.Name.Name], f.Body)
			}
		}
	}
	writers := make(map[string]bool)
	for grown := true; grown; {
		grown = false
		for name, list := range bodies {
			if len(list) == 1 && !ast.IsExported(name) && !writers[name] && writesLine(list[0], writers) != nil {
				writers[name], grown = true, true
			}
		}
	}
	return writers
}

// writesLine returns the first call in a piece of code that writes to the log, function
// literals left out.
func writesLine(n ast.Node, writers map[string]bool) (found ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.GoStmt:
			return false
		case *ast.CallExpr:
			name := dotted(n.Fun)
			if logCall.MatchString(name) || stateCall.MatchString(name) || writers[name[strings.LastIndexByte(name, '.')+1:]] {
				found = n
			}
		}
		return found == nil
	})
	return found
}

// lockedLines walks through statements in their order, with the locks that are held.
type lockedLines struct {
	s       source
	writers map[string]bool
	found   []finding
}

// lockOf returns the lock that a statement takes or gives back.
func lockOf(st ast.Stmt) (name, method string) {
	e, ok := st.(*ast.ExprStmt)
	if !ok {
		return "", ""
	}
	call, ok := e.X.(*ast.CallExpr)
	if !ok {
		return "", ""
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Lock", "RLock", "Unlock", "RUnlock"}, sel.Sel.Name) {
		return "", ""
	}
	if name = dotted(sel.X); !lockName.MatchString(name) || ownLock.MatchString(name) {
		return "", ""
	}
	return name, sel.Sel.Name
}

func (l *lockedLines) block(list []ast.Stmt, held []string) {
	held = slices.Clone(held)
	for _, st := range list {
		name, method := lockOf(st)
		switch method {
		case "Lock", "RLock":
			held = append(held, name)
			continue
		case "Unlock", "RUnlock":
			held = slices.DeleteFunc(held, func(h string) bool { return h == name || h == "mu" })
			continue
		}
		l.statement(st, held)
	}
}

func (l *lockedLines) statement(st ast.Stmt, held []string) {
	switch st := st.(type) {
	case nil, *ast.DeferStmt, *ast.GoStmt:
	case *ast.BlockStmt:
		l.block(st.List, held)
	case *ast.IfStmt:
		l.statement(st.Init, held)
		l.look(st.Cond, held)
		l.block(st.Body.List, held)
		l.statement(st.Else, held)
	case *ast.ForStmt:
		l.block(st.Body.List, held)
	case *ast.RangeStmt:
		l.look(st.X, held)
		l.block(st.Body.List, held)
	case *ast.SwitchStmt:
		l.statement(st.Init, held)
		l.block(st.Body.List, held)
	case *ast.TypeSwitchStmt:
		l.block(st.Body.List, held)
	case *ast.SelectStmt:
		l.block(st.Body.List, held)
	case *ast.CaseClause:
		l.block(st.Body, held)
	case *ast.CommClause:
		l.block(st.Body, held)
	case *ast.LabeledStmt:
		l.statement(st.Stmt, held)
	default:
		l.look(st, held)
	}
}

func (l *lockedLines) look(n ast.Node, held []string) {
	if len(held) == 0 || n == nil {
		return
	}
	if call := writesLine(n, l.writers); call != nil {
		l.found = append(l.found, l.s.at(call, "a line for the log is written while "+held[0]+" is held: whoever reads the log may be slow"))
	}
}

// linesUnderLocks finds them in the files of a package.
func linesUnderLocks(files []source) []finding {
	l := &lockedLines{writers: lineWriters(files)}
	for _, s := range files {
		l.s = s
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			var held []string
			if f.Doc != nil && heldDoc.MatchString(f.Doc.Text()) {
				held = []string{"mu"}
			}
			l.block(f.Body.List, held)
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if lit, ok := n.(*ast.FuncLit); ok {
					l.block(lit.Body.List, nil)
				}
				return true
			})
		}
	}
	slices.SortFunc(l.found, func(a, b finding) int { return comparePositions(a.at, b.at) })
	return slices.CompactFunc(l.found, func(a, b finding) bool { return a.at == b.at })
}

func comparePositions(a, b token.Position) int {
	if c := strings.Compare(a.Filename, b.Filename); c != 0 {
		return c
	}
	return a.Offset - b.Offset
}

func TestNoLineIsWrittenUnderALock(t *testing.T) {
	t.Parallel()
	packages := make(map[string][]source)
	for _, s := range project(t) {
		if slices.Contains(quietPackages, s.pkg) && !s.test() {
			packages[s.pkg] = append(packages[s.pkg], s)
		}
	}
	for _, pkg := range quietPackages {
		if len(packages[pkg]) == 0 {
			t.Errorf("there is no package %s", pkg)
		}
		report(t, linesUnderLocks(packages[pkg]))
	}
}

func TestLineUnderALockIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, code string
		want       int
	}{
		{"under a lock", `func (s *S) f() { s.mu.Lock(); s.log.Info("x"); s.mu.Unlock() }`, 1},
		{"under a lock for reading", `func (s *S) f() { s.mu.RLock(); s.log.Info("x"); s.mu.RUnlock() }`, 1},
		{"until the end", `func (s *S) f() { s.mu.Lock(); defer s.mu.Unlock(); if s.x { s.log.Info("x") } }`, 1},
		{"in a branch", `func (s *S) f() { s.mu.Lock(); if s.x { s.o.Logger.Warn("x"); s.mu.Unlock(); return }; s.mu.Unlock() }`, 1},
		{"in a condition", `func (s *S) f() { s.mu.Lock(); if g(); s.x { }; s.mu.Unlock() }; func g() bool { logger.Error("x"); return true }`, 1},
		{"of another name", `func (s *S) f() { s.syncMu.Lock(); defer s.syncMu.Unlock(); s.log.Info("x") }`, 1},
		{"for which only its owner waits", `func (s *S) f() { s.countsMu.Lock(); defer s.countsMu.Unlock(); s.log.Info("x") }`, 0},
		{"by the description", "// f says something. mu must be held.\nfunc (s *S) f() { s.log.Info(\"x\") }", 1},
		{"through another function", `func (s *S) f() { s.mu.Lock(); s.g(); s.mu.Unlock() }; func (s *S) g() { s.h() }; func (s *S) h() { s.log.Info("x") }`, 1},
		{"in an expression", `func (s *S) f() { s.mu.Lock(); defer s.mu.Unlock(); return s.g() }; func (s *S) g() int { s.log.Info("x"); return 1 }`, 1},
		{"in a function in a function", `func (s *S) f() { go func() { s.mu.Lock(); s.log.Info("x"); s.mu.Unlock() }() }`, 1},
		{"after it", `func (s *S) f() { s.mu.Lock(); s.mu.Unlock(); s.log.Info("x") }`, 0},
		{"after it in a branch", `func (s *S) f() { s.mu.Lock(); if s.x { s.mu.Unlock(); s.log.Info("x"); return }; s.mu.Unlock() }`, 0},
		{"kept for later", `func (s *S) f() { s.mu.Lock(); s.mu.Say(1, "x"); s.mu.Unlock() }`, 0},
		{"another goroutine", `func (s *S) f() { s.mu.Lock(); go s.g(); s.mu.Unlock() }; func (s *S) g() { s.log.Info("x") }`, 0},
		{"that the storage failed", `func (s *S) f() { s.modeMu.Lock(); defer s.modeMu.Unlock(); s.state.Fail(nil) }`, 1},
		{"that it failed, by the description", "// f fails. modeMu must be held.\nfunc (s *S) f() { s.state.Fail(nil) }", 1},
		{"that it failed, kept for later", `func (s *S) f() { s.modeMu.Lock(); defer s.modeMu.Unlock(); s.state.FailUnder(&s.modeMu, nil) }`, 0},
		{"before it", `func (s *S) f() { s.log.Info("x"); s.mu.Lock(); s.mu.Unlock() }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := linesUnderLocks([]source{parse(t, "a/a.go", "package a\n"+tc.code)}); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
