package cli

import (
	"fmt"
	"strings"
	"testing"
)

// TestWrongNumbersOfArgumentsAreNamed calls each command with too few and too many arguments: the
// error names the missing ones as the usage does, the variables that could give them, and the
// meaning of the others.
func TestWrongNumbersOfArgumentsAreNamed(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		forms := chosenForms(c)
		least, most := forms[0].needed(), 0
		for _, f := range forms {
			least, most = min(least, f.needed()), max(most, len(f))
		}
		say := func(n int) string {
			t.Helper()
			args := strings.Fields(name)
			for i := range n {
				args = append(args, fmt.Sprintf("given%d", i))
			}
			e, stdout, stderr := testEnv()
			if got := run(t.Context(), e, args); got != exitUsage {
				t.Errorf("%q: status %d, %s%s", args, got, stdout, stderr)
			}
			text := stderr.String()
			if strings.Contains(text, "arg(s)") || !strings.Contains(text, "; usage: dirstorage "+name) {
				t.Errorf("%q: says %q", args, text)
			}
			for i := range min(n, most) {
				if want := fmt.Sprintf("%q is taken for ", fmt.Sprintf("given%d", i)); !strings.Contains(text, want) {
					t.Errorf("%q: says %q, want %q", args, text, want)
				}
			}
			return text
		}
		if least > 0 {
			for n := range least {
				text := say(n)
				for i, p := range forms[0] {
					missing, _, _ := strings.Cut(text, " missing")
					if i >= n && !p.optional && (!strings.Contains(missing, p.name) || !strings.Contains(text, " missing")) {
						t.Errorf("%s with %d arguments says %q, want %s", name, n, text, p.name)
					}
					if i >= n && !p.optional && p.variable != "" && !strings.Contains(text, "\nhint: the variable "+p.variable+" can give ") {
						t.Errorf("%s with %d arguments says %q, want %s", name, n, text, p.variable)
					}
				}
			}
		}
		if !strings.Contains(c.Use, "...") {
			if text := say(most + 1); !strings.Contains(text, fmt.Sprintf("%q is one argument too many", fmt.Sprintf("given%d", most))) {
				t.Errorf("%s with %d arguments says %q", name, most+1, text)
			}
		}
	}
}

// TestArgumentsBesideVariables: one argument is missing although a variable gives another, and an
// argument is taken for the one that a variable has, too.
func TestArgumentsBesideVariables(t *testing.T) {
	t.Parallel()
	vars := map[string]string{homeVariable: "/none/home", repositoryVariable: ""}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"convert"}, []string{"NEW is missing", `HOME is "/none/home", of DIRSTORAGE_HOME`}},
		{[]string{"history"}, []string{"OID is missing", `HOME is "/none/home", of DIRSTORAGE_HOME`}},
		{[]string{"show"}, []string{"FILE or OID is missing"}},
		{[]string{"refs", "--write-index", "a", "b"}, []string{`"b" is one argument too many; "a" is taken for HOME`}},
		{[]string{"backup", "run", "/none/repo"}, []string{"/none/repo does not exist", `hint: "/none/repo" is taken for HOME, as an argument counts before DIRSTORAGE_HOME`, "dirstorage backup run /none/home /none/repo\n"}},
		{[]string{"status", "/none/other"}, []string{"/none/other does not exist"}},
	} {
		e, _, stderr := testEnv()
		e.Getenv = func(name string) string { return vars[name] }
		if got := run(t.Context(), e, c.args); got == exitOK {
			t.Errorf("%q: status %d", c.args, got)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q says %q, want %q", c.args, stderr, want)
			}
		}
	}
}
