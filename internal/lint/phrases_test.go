package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// phrases are turns that a reader stumbles over, with better ones.
var phrases = map[*regexp.Regexp]string{
	regexp.MustCompile(`\bso (many|often)\b`):     "a number, as in “at most N”",
	regexp.MustCompile(`\banother (one )?than\b`): "differs from",
	regexp.MustCompile(`\bexclude each other\b`):  "cannot be combined with",
	regexp.MustCompile(`\bby the way\b`):          "as a by-product",
	regexp.MustCompile(`\bnot really\b`):          "dry run, nothing changed",
	regexp.MustCompile(`\bby half\b`):             "partly",
	regexp.MustCompile(`\bis no finding\b`):       "is not reported",
	regexp.MustCompile(`\btells of\b`):            "a verb: reports, lists",
	regexp.MustCompile(`\b(is|are) no (ordinary|name|number|path|size|directory|file|address|section|option|snapshot|copy|tuple|pickle)\b`): "is not a …",
}

// stumbles returns the phrases in the messages and help texts of a file.
func stumbles(s source) []finding {
	if s.test() || testOnly(s.pkg) {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		text := strings.ReplaceAll(lit.Value, "\n", " ")
		for phrase, better := range phrases {
			at := phrase.FindStringIndex(text)
			if at == nil || strings.HasSuffix(text[:at[0]], "there ") { // that there is no file is said well
				continue
			}
			found = append(found, s.at(lit, "“"+text[at[0]:at[1]]+"”; say: "+better))
		}
		return true
	})
	return found
}

func TestPhrasesAreFound(t *testing.T) {
	t.Parallel()
	s := parse(t, "internal/x/x.go", "package x\nconst (\n\ta = \"keep so many days\"\n\tb = \"%s is no ordinary file\"\n\tc = \"there is no file\"\n\td = \"it differs\"\n)\n")
	if found := stumbles(s); len(found) != 2 {
		t.Errorf("found %v", found)
	}
}

// TestMessagesAreReadOnce looks for turns of messages and help texts that have to be read twice.
func TestMessagesAreReadOnce(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		for _, f := range stumbles(s) {
			t.Error(f)
		}
	}
}
