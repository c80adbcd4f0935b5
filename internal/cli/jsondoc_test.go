package cli

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/zodb"
)

// jsonSection is the part of docs/json.md about one type of Go.
type jsonSection struct {
	heading string
	rows    map[string]string // types by fields, such as “tid, optional”
}

// jsonPage is docs/json.md.
type jsonPage struct {
	sections map[string]jsonSection // by types of Go, such as zodb.PackResult
	printed  map[string][]string    // headings of the documents of each command
}

// readJSONPage reads docs/json.md. A heading of a document is followed by a comment with its type.
func readJSONPage(t *testing.T) jsonPage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := jsonPage{make(map[string]jsonSection), make(map[string][]string)}
	link := regexp.MustCompile(`\[([^\]]+)\]`)
	for _, part := range strings.Split("\n"+string(text), "\n#")[1:] {
		if m := regexp.MustCompile("^#+ (.*)\n\n<!-- ([A-Za-z.]+) -->\n").FindStringSubmatch(part); m != nil {
			s := jsonSection{m[1], make(map[string]string)}
			for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (.+?) \\| (.+) \\|$").FindAllStringSubmatch(part, -1) {
				if s.rows[row[1]] != "" {
					t.Errorf("docs/json.md: %s has two rows of %s", m[1], row[1])
				}
				s.rows[row[1]] = row[2]
			}
			page.sections[m[2]] = s
			continue
		}
		for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z -]+`(?:, `[a-z -]+`)*) \\| (.+) \\|$").FindAllStringSubmatch(part, -1) {
			for name := range strings.SplitSeq(strings.ReplaceAll(row[1], "`", ""), ", ") {
				for _, l := range link.FindAllStringSubmatch(row[2], -1) {
					page.printed[name] = append(page.printed[name], l[1])
				}
			}
		}
	}
	return page
}

// jsonFields returns the fields of a struct with the types of the page; those of embedded structs are
// its own.
func jsonFields(t reflect.Type, typeOf func(reflect.Type) string) map[string]string {
	fields := make(map[string]string)
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			maps.Copy(fields, jsonFields(embedded, typeOf))
		default:
			text := typeOf(f.Type)
			switch {
			case strings.Contains(options, "omit"):
				text += ", optional"
			case f.Type.Kind() == reflect.Pointer:
				text += " or null"
			}
			fields[name] = text
		}
	}
	return fields
}

// inside returns the struct in a type, nil if there is none that has fields in JSON.
func inside(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[check.Finding]():
		return reflect.TypeFor[check.FindingFields]()
	case t.Kind() != reflect.Struct || printsItself(t):
		return nil
	}
	return t
}

// structsIn yields the types of the documents in the fields of a struct, those of embedded structs too.
func structsIn(t reflect.Type) iter.Seq[reflect.Type] {
	return func(yield func(reflect.Type) bool) {
		for f := range t.Fields() {
			in, tag := inside(f.Type), f.Tag.Get("json")
			switch {
			case in == nil || tag == "-" || !f.IsExported() && !f.Anonymous:
			case f.Anonymous && tag == "":
				for deep := range structsIn(in) {
					if !yield(deep) {
						return
					}
				}
			case !yield(in):
				return
			}
		}
	}
}

// jsonType is the type of a field as the page has it.
func (p jsonPage) jsonType(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return p.jsonType(t.Elem())
	case t == reflect.TypeFor[zodb.OID]():
		return "oid"
	case t == reflect.TypeFor[zodb.TID]():
		return "tid"
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case inside(t) != nil && t.Kind() != reflect.Slice && t.Kind() != reflect.Map:
		heading := p.sections[inside(t).String()].heading
		return fmt.Sprintf("[%s](#%s)", heading, strings.ReplaceAll(strings.ToLower(heading), " ", "-"))
	case printsItself(t):
		return "string"
	case t.Kind() == reflect.Slice:
		return "list of " + p.jsonType(t.Elem())
	case t.Kind() == reflect.Map:
		return "object of " + p.jsonType(t.Elem())
	case t.Kind() == reflect.Bool || t.Kind() == reflect.String:
		return t.Kind().String()
	}
	return "number"
}

// TestJSONIsDocumentedFieldByField compares docs/json.md with the documents that commands print: the
// commands, the fields, and their types, in both directions.
func TestJSONIsDocumentedFieldByField(t *testing.T) {
	t.Parallel()
	page := readJSONPage(t)
	seen := make(map[string]bool)
	var compare func(t *testing.T, typ reflect.Type)
	compare = func(t *testing.T, typ reflect.Type) {
		name := typ.String()
		if seen[name] {
			return
		}
		seen[name] = true
		for in := range structsIn(typ) {
			compare(t, in)
		}
		s, fields := page.sections[name], jsonFields(typ, page.jsonType)
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			if s.rows[field] != fields[field] {
				t.Errorf("docs/json.md, section with <!-- %s -->: want the row\n| `%s` | %s | meaning |", name, field, fields[field])
			}
		}
		for field := range s.rows {
			if fields[field] == "" {
				t.Errorf("docs/json.md: %s has no field %s", name, field)
			}
		}
	}
	for command, list := range documents {
		var headings []string
		for _, d := range list {
			typ := reflect.TypeOf(d)
			compare(t, inside(typ))
			headings = append(headings, page.sections[typ.String()].heading)
		}
		slices.Sort(headings)
		if got := slices.Sorted(slices.Values(page.printed[command])); !slices.Equal(got, headings) {
			t.Errorf("docs/json.md: %s prints %q, and the table of commands has %q", command, headings, got)
		}
	}
	for command := range page.printed {
		if documents[command] == nil {
			t.Errorf("docs/json.md: %s prints no JSON", command)
		}
	}
	for name := range page.sections {
		if !seen[name] {
			t.Errorf("docs/json.md: no command prints %s", name)
		}
	}
}

// documentedFields are the fields of each command by docs/json.md, those of the documents within its
// documents included.
func documentedFields(t *testing.T) map[string][]string {
	t.Helper()
	page := readJSONPage(t)
	byHeading := make(map[string]jsonSection)
	for _, s := range page.sections {
		byHeading[s.heading] = s
	}
	link := regexp.MustCompile(`\[([^\]]+)\]\(#`)
	found := make(map[string][]string)
	for command, headings := range page.printed {
		seen := make(map[string]bool)
		var add func(heading string)
		add = func(heading string) {
			if seen[heading] {
				return
			}
			seen[heading] = true
			for field, typ := range byHeading[heading].rows {
				found[command] = append(found[command], field)
				if m := link.FindStringSubmatch(typ); m != nil {
					add(m[1])
				}
			}
		}
		for _, h := range headings {
			add(h)
		}
	}
	return found
}

// TestJSONHasOneSpelling looks at the names of fields.
func TestJSONHasOneSpelling(t *testing.T) {
	t.Parallel()
	spelling := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for name, s := range readJSONPage(t).sections {
		for f := range s.rows {
			if !spelling.MatchString(f) {
				t.Errorf("%s: the name %q is spelt in another way than the others", name, f)
			}
			for _, unit := range []string{"_s", "_sec", "_secs", "_ms", "_per_s", "_dur"} {
				if strings.HasSuffix(f, unit) {
					t.Errorf("%s: %q: the units are _seconds and _ns", name, f)
				}
			}
		}
	}
}

// printsItself reports whether a type has a form of its own in JSON: oids, times, checksums.
func printsItself(t reflect.Type) bool {
	for _, i := range []reflect.Type{reflect.TypeFor[json.Marshaler](), textMarshaler} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}
