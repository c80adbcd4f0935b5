package settings

import (
	"maps"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/google/go-cmp/cmp"
)

// FuzzParse asserts that settings which can be read are written so that they
// read the same.
func FuzzParse(f *testing.F) {
	f.Add(string(newFile()))
	f.Add("[structure]\nversion: 0.11\nformat: flat\n[DEFAULT]\nwrite: 1\n")
	for _, tc := range pythonCases(f) {
		f.Add(tc.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, _, err := Parse([]byte(text), "p")
		if err != nil {
			return
		}
		// An odd name of a class is legal in a file and not worth to be written.
		maps.DeleteFunc(s.KeepClass, func(class, _ string) bool { return strings.ContainsAny(class, "#;[]%\n") })
		again, warnings, err := Parse(s.Render(), "p")
		if s.KeepClass == nil && err == nil {
			again.KeepClass = nil
		}
		if diff := cmp.Diff(s, again); diff != "" || err != nil || len(warnings) > 0 {
			t.Errorf("%v, %v (-first +second):\n%s", err, warnings, diff)
		}
	})
}

// FuzzUpdate asserts that an option gets just the value that was wanted and that
// all others keep theirs.
func FuzzUpdate(f *testing.F) {
	for _, tc := range pythonCases(f) {
		f.Add(tc.Text, "a", "x", "50%")
		f.Add(tc.Text, "a", "new", "")
		f.Add(tc.Text, "c", "x", "1")
	}
	f.Add(string(Default(ClassFull, layout.Lawn).Render()), "journal", "backlog", "7")
	f.Fuzz(func(t *testing.T, text, sectionName, name, value string) {
		before, err := parseINI([]byte(text), "p")
		if err != nil {
			return
		}
		out, err := Update([]byte(text), sectionName, name, value)
		if err != nil {
			return
		}
		after, err := parseINI(out, "p")
		if err != nil {
			t.Fatal(err)
		}
		want, got := before.raws(), after.raws()
		if want[sectionName] == nil {
			want[sectionName] = make(map[string]string)
		}
		want[sectionName][name] = escape(value)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if comments(before) != comments(after) {
			t.Errorf("comments are %q, were %q", comments(after), comments(before))
		}
	})
}

// raws returns all values without interpolation, DEFAULT included.
func (f *ini) raws() map[string]map[string]string {
	all := make(map[string]map[string]string)
	for _, s := range f.sections {
		all[s.name] = make(map[string]string)
		for _, o := range s.options {
			all[s.name][o.name] = o.value
		}
	}
	return all
}

func comments(f *ini) string {
	var all strings.Builder
	for _, line := range f.lines {
		if isComment(line) {
			all.WriteString(strings.TrimFunc(line, isSpace) + "\n")
		}
	}
	return all.String()
}

func FuzzSnapshotConf(f *testing.F) {
	f.Add("socket\nhttp http://localhost/x f\nnodirect\n")
	f.Add("# c\ndirect now\n")
	f.Fuzz(func(t *testing.T, text string) {
		methods, problems := ParseSnapshotConf([]byte(text))
		if lines := len(splitLines(text)); len(methods)+len(problems) > lines+1 {
			t.Errorf("%d methods and %d problems out of %d lines", len(methods), len(problems), lines)
		}
		for _, m := range methods {
			if (m.Kind == MethodHTTP) != (m.URL != "" && m.AccessFile != "") {
				t.Errorf("method %+v", m)
			}
		}
	})
}
