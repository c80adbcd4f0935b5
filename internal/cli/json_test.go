package cli

import (
	"bufio"
	"bytes"
	"encoding"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

// documents are what the commands print with --json.
var documents = map[string][]any{
	"create":          {createReport{}},
	"import":          {transfer.Imported{}},
	"export":          {transfer.Exported{}},
	"convert":         {converted{}},
	"status":          {homeStatus{}},
	"log":             {logLine{}},
	"history":         {historyLine{}},
	"show":            {shownRevision{}, shownTransaction{}, shownValue{}, shownSegment{}, shownBundle{}, shownGone{}},
	"refs":            {refsAnswer{}, refsIndexReport{}},
	"files":           {filesLine{}},
	"version":         {versionReport{}},
	"config":          {configReport{}},
	"pack":            {zodb.PackResult{}, zodb.UndeleteResult{}, engine.ReclaimResult{}},
	"gc":              {zodb.PackResult{}},
	"snapshot enter":  {snapfile.Record{}},
	"snapshot leave":  {leaveReport{}},
	"snapshot status": {snapshotReport{}},
	"backup full":     {backup.Result{}},
	"backup inc":      {backup.Result{}},
	"backup run":      {backup.Result{}},
	"backup list":     {listReport{}},
	"backup verify":   {verifyReport{}},
	"backup prune":    {backup.Pruned{}},
	"backup merge":    {backup.Manifest{}},
	"restore":         {restore.Result{}, restorePlan{}, check.FindingFields{}},
	"check":           {check.FindingFields{}, checkSummary{}},
	"recover":         {recoverReport{}},
	"salvage":         {salvage.Action{}},
	"bench":           {benchReport{}},
}

// withoutJSON are the commands that have no --json, with the reason.
var withoutJSON = map[string]string{
	"serve": "its log is JSON with --log-format json", "snapshot run": "the output is that of COMMAND", "demo": "it is there to be read",
}

// fieldNames collects the names of the fields of a document and of those within it. What
// prints itself (oids, times) has none.
func fieldNames(t reflect.Type, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		fieldNames(t.Elem(), into)
		return
	case reflect.Struct:
	default:
		return
	}
	for _, i := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return
		}
	}
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
		case name == "":
			into[f.Name] = true
		default:
			into[name] = true
		}
		fieldNames(f.Type, into)
	}
}

// fieldsOf returns the fields of a command, in alphabetical order.
func fieldsOf(name string) []string {
	found := make(map[string]bool)
	for _, d := range documents[name] {
		fieldNames(reflect.TypeOf(d), found)
	}
	return slices.Sorted(maps.Keys(found))
}

// documentedFields reads the list of fields in docs/cli.md.
func documentedFields(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "\n## Fields of JSON\n")
	if !ok {
		t.Fatal("docs/cli.md has no part “Fields of JSON”")
	}
	part, _, _ = strings.Cut(part, "\n## ")
	found := make(map[string][]string)
	for _, item := range regexp.MustCompile("(?m)^- `([a-z ]+)`((?:, `[a-z ]+`)*): ([a-z0-9_,\\s]+)\\.$").FindAllStringSubmatch(part, -1) {
		fields := strings.FieldsFunc(item[3], func(r rune) bool { return strings.ContainsRune(", \n", r) })
		for name := range strings.SplitSeq(strings.ReplaceAll(item[1]+item[2], "`", ""), ", ") {
			found[name] = fields
		}
	}
	return found
}

// TestFieldsOfJSONAreDocumented compares the fields that each command can print with
// docs/cli.md, in both directions, and looks at how they are spelt.
func TestFieldsOfJSONAreDocumented(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	documented := documentedFields(t)
	spelling := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for name, c := range leaves(e) {
		has := c.Flags().Lookup("json") != nil
		if has == (withoutJSON[name] != "") || has != (documents[name] != nil) {
			t.Errorf("%s: --json is %t, and the tables of this test say another thing", name, has)
		}
		if !has {
			continue
		}
		fields := fieldsOf(name)
		if !slices.Equal(fields, documented[name]) {
			t.Errorf("docs/cli.md has other fields of %s; want:\n%s", name, wrapped("- `"+name+"`: "+strings.Join(fields, ", ")+"."))
		}
		for _, f := range fields {
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

// wrapped breaks a line of the document.
func wrapped(s string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(s) {
		if i > 0 && column+1+len(word) > 100 {
			b.WriteString("\n ")
			column = 1
		}
		if b.Len() > 0 {
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// keysOf collects the keys of a document that was printed. The names of backups are keys
// of what is damaged.
func keysOf(v any, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			keysOf(one, into)
		}
	case map[string]any:
		for key, one := range v {
			into[key] = true
			if key != "damaged" {
				keysOf(one, into)
			}
		}
	}
}

// TestPrintedJSONHasOnlyDocumentedFields runs the commands.
func TestPrintedJSONHasOnlyDocumentedFields(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	home, repo := at("home"), at("repo")
	url, _ := served(t, "", nil)
	documented := documentedFields(t)
	ran := make(map[string]bool)
	for _, args := range [][]string{
		{"create", at("new")}, {"import", hometest.FileStorage(t, "undo.fs"), at("whole")},
		{"export", "--to", "03F6ED2440000000", at("whole"), at("part.fs")}, {"import", at("part.fs"), home},
		{"status", home}, {"status", "--count", home}, {"log", "--oids", home}, {"history", home, "1"},
		{"show", home, "1"}, {"show", filepath.Join(home, "A/x.serial")}, {"show", filepath.Join(home, "config/settings")},
		{"refs", "--write-index", home}, {"refs", home, "1"}, {"files", "--since", "0x0", home}, {"version"}, {"config", home},
		{"backup", "full", home, repo}, {"recover", home}, {"import", hometest.FileStorage(t, "undo.fs"), home}, {"backup", "inc", home, repo},
		{"backup", "run", home, repo}, {"backup", "list", repo}, {"backup", "verify", repo}, {"backup", "list", repo}, {"backup", "merge", repo},
		{"gc", "--report", home}, {"pack", "--keep", "0", home}, {"pack", "--undelete", "all", home},
		{"backup", "prune", "--keep-chains", "1", "--dry-run", repo},
		{"convert", home, at("converted")}, {"restore", "--dry-run", repo, at("restored")}, {"restore", repo, at("restored")}, {"check", "--refs", home}, {"recover", home},
		{"salvage", "--dry-run", dir, home}, {"snapshot", "enter", home}, {"snapshot", "status", home}, {"snapshot", "leave", home},
		{"bench", "--only", "load-1x1", "--duration", "1s", "--objects", "200", url + "/main"},
	} {
		e, stdout, stderr := testEnv()
		got := run(t.Context(), e, append(slices.Clone(args), "--json"))
		name := args[0]
		if name == "backup" || name == "snapshot" {
			name += " " + args[1]
		}
		ran[name] = true
		if got != exitOK {
			t.Errorf("%v: status %d, %s", args, got, stderr)
			continue
		}
		keys := make(map[string]bool)
		for d := json.NewDecoder(bufio.NewReader(bytes.NewReader(stdout.Bytes()))); ; {
			var v any
			err := d.Decode(&v)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("%v prints what is not JSON: %v\n%s", args, err, stdout)
				break
			}
			keysOf(v, keys)
		}
		for key := range keys {
			if !slices.Contains(documented[name], key) {
				t.Errorf("%v prints %q, which is not in docs/cli.md", args, key)
			}
		}
	}
	for name := range documents {
		if !ran[name] {
			t.Errorf("this test does not run %s", name)
		}
	}
}

// TestDocumentsOfJSONHaveTypes keeps documents out of which a test cannot see the fields.
func TestDocumentsOfJSONHaveTypes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`print(JSON|Line)\((map|struct)|[.]Encode\((map|struct)`).Find(b); found != nil && name != "json_test.go" {
			t.Errorf("%s: %s: give the document a type, and put that into the table of this test", name, found)
		}
	}
}
