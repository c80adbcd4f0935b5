package settings

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pythonCase is a file and what Python's ConfigParser made of it.
type pythonCase struct {
	Name     string
	Text     string
	Error    string // the file can't be read
	Sections map[string]map[string]pythonValue
}

type pythonValue struct {
	Value string
	Error string // the value can't be interpolated
}

func pythonCases(t testing.TB) []pythonCase {
	t.Helper()
	b, err := os.ReadFile("testdata/configparser.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []pythonCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 50 {
		t.Fatalf("only %d cases", len(cases))
	}
	return cases
}

// values returns all values of all sections but DEFAULT, as Python lists them.
// An error stands for Python's, whatever its name.
func (f *ini) values() map[string]map[string]pythonValue {
	all := make(map[string]map[string]pythonValue)
	for _, s := range f.sections {
		if s.name == defaultSection {
			continue
		}
		all[s.name] = make(map[string]pythonValue)
		for _, o := range append(s.options[:len(s.options):len(s.options)], f.defaults.options...) {
			v, _, err := f.get(s.name, o.name)
			if err != nil {
				all[s.name][o.name] = pythonValue{Error: "error"}
				continue
			}
			all[s.name][o.name] = pythonValue{Value: v}
		}
	}
	return all
}

func TestFilesReadAsPythonReadsThem(t *testing.T) {
	t.Parallel()
	for _, tc := range pythonCases(t) {
		t.Run(tc.Name, func(t *testing.T) {
			t.Parallel()
			f, err := parseINI([]byte(tc.Text), "p")
			if (err != nil) != (tc.Error != "") {
				t.Fatalf("error is %v, Python's is %q", err, tc.Error)
			}
			if err != nil {
				return
			}
			want := make(map[string]map[string]pythonValue)
			for name, options := range tc.Sections {
				want[name] = make(map[string]pythonValue)
				for option, v := range options {
					if v.Error != "" {
						v.Error = "error"
					}
					want[name][option] = v
				}
			}
			if diff := cmp.Diff(want, f.values()); diff != "" {
				t.Errorf("-Python +here:\n%s", diff)
			}
		})
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"before a section", "# c\nx: 1\n", "p line 2: it comes before the first [section]"},
		{"no sign", "[a]\n\nx\n", `p line 3: [a]: "x" is not an option: want “name: value”`},
		{"no name", "[a]\n: 1\n", "p line 2: [a]: the option has no name"},
		{"section twice", "[a]\n[b]\n[a]\n", "p line 3: [a]: the section comes twice"},
		{"option twice", "[a]\nx: 1\nx: 1\n", "p line 3: [a] x: the option comes twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseINI([]byte(tc.text), "p")
			if err == nil || err.Error() != tc.want {
				t.Errorf("error is %v, want %s", err, tc.want)
			}
		})
	}
}

// TestReferencesCannotExplode reads values that would have billions of
// characters, or take as many steps to find out that they have none.
func TestReferencesCannotExplode(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"", "text%%"} {
		var b strings.Builder
		b.WriteString("[a]\n")
		for _, c := range "abcdefghi" {
			b.WriteString(string(c) + ": " + strings.Repeat("%("+string(c+1)+")s", 20) + "\n")
		}
		b.WriteString("j: " + last + "\n")
		f, err := parseINI([]byte(b.String()), "p")
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if v, _, err := f.get("a", "a"); err == nil || time.Since(begun) > 10*time.Second {
			t.Errorf("%d bytes, %v", len(v), err)
		}
	}
}
