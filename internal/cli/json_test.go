package cli

import (
	"bufio"
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/estimate"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// documents are the output of the commands with --json.
var documents = map[string][]any{
	"create":          {createReport{}},
	"estimate":        {estimate.Report{}},
	"import":          {transfer.Imported{}, followState{}, estimate.Report{}},
	"export":          {transfer.Exported{}},
	"convert":         {converted{}},
	"status":          {homeStatus{}},
	"top":             {topReport{}},
	"log":             {logLine{}},
	"history":         {historyLine{}},
	"show":            {shownRevision{}, shownTransaction{}, shownValue{}, shownSegment{}, shownBundle{}, shownGone{}},
	"refs":            {referrer{}, refsSummary{}, refsIndexReport{}},
	"classes":         {classesReport{}},
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
	"restore":         {restore.Result{}, restorePlan{}},
	"check":           {check.FindingFields{}, checkSummary{}},
	"recover":         {recoverReport{}},
	"salvage":         {salvage.Action{}},
	"doctor":          {doctor.Report{}},
	"bench":           {benchReport{}},
	"certs authority": {certificateLine{}},
	"certs server":    {certificateLine{}},
	"certs client":    {certificateLine{}},
	"certs renew":     {certificateLine{}},
	"certs revoke":    {certificateLine{}},
	"certs list":      {certificateLine{}},
	"certs show":      {certificateLine{}},
}

// withoutJSON are the commands that have no --json, with the reason.
var withoutJSON = map[string]string{
	"serve": "its log is JSON with --log-format json", "snapshot run": "the output is that of COMMAND", "demo": "it is there to be read",
	"man": "prints a page", "completion": "prints a script", "every": "the output is that of COMMAND", "health": "the answer of /ready is JSON",
}

// textMarshaler is implemented by ids and checksums.
var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

// TestCommandsWithJSONAreListed compares the flags of the commands with the tables above.
func TestCommandsWithJSONAreListed(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		has := c.Flags().Lookup("json") != nil
		if has == (withoutJSON[name] != "") || has != (documents[name] != nil) {
			t.Errorf("%s: --json is %t, and the tables of this test say another thing", name, has)
		}
	}
}

// keysOf collects the keys of a document that was printed. The names of backups are keys
// of the damaged parts.
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
	server := startServe(t, "--listen", "127.0.0.1:0", at("served"))
	address := server.await(&server.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	client, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	documented := documentedFields(t)
	ran := make(map[string]bool)
	for _, args := range [][]string{
		{"create", at("new")}, {"estimate", hometest.FileStorage(t, "undo.fs"), at("whole")}, {"import", hometest.FileStorage(t, "undo.fs"), at("whole")},
		{"export", "--to", "03F6ED2440000000", at("whole"), at("part.fs")}, {"import", at("part.fs"), home},
		{"status", home}, {"status", "--count", home}, {"status", at("served")}, {"top", "--once", "--interval", "100ms", at("served")}, {"log", "--oids", home}, {"history", home, "1"},
		{"show", home, "1"}, {"show", filepath.Join(home, "A/x.serial")}, {"show", filepath.Join(home, "config/settings")},
		{"refs", "--write-index", home}, {"refs", home, "1"}, {"files", "--since", "0x0", home}, {"version"}, {"config", home},
		{"backup", "full", home, repo}, {"recover", home}, {"import", hometest.FileStorage(t, "undo.fs"), home}, {"backup", "inc", home, repo},
		{"backup", "run", home, repo}, {"backup", "list", repo}, {"backup", "verify", repo}, {"backup", "list", repo}, {"backup", "merge", repo},
		{"classes", home}, {"gc", "--report", home}, {"pack", "--keep", "0", home}, {"pack", "--undelete", "all", home},
		{"backup", "prune", "--keep-chains", "1", "--dry-run", repo},
		{"convert", home, at("converted")}, {"restore", "--dry-run", repo, at("restored")}, {"restore", repo, at("restored")}, {"check", "--refs", home}, {"doctor", home}, {"recover", home},
		{"salvage", "--dry-run", dir, home}, {"snapshot", "enter", home}, {"snapshot", "status", home}, {"snapshot", "leave", home},
		{"certs", "authority", at("ca")}, {"certs", "server", at("ca"), "zodb.example.org"}, {"certs", "client", at("ca"), "zope1"},
		{"certs", "renew", at("ca"), "zope1"}, {"certs", "revoke", at("ca"), "zope1"}, {"certs", "list", at("ca")}, {"certs", "show", at("ca/ca.pem")},
		{"bench", "--only", "load-1x1", "--duration", "1s", "--objects", "200", url + "/main"},
	} {
		e, stdout, stderr := testEnv()
		got := run(t.Context(), e, append(slices.Clone(args), "--json"))
		name := args[0]
		if name == "backup" || name == "snapshot" || name == "certs" {
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
				t.Errorf("%v prints %q, which is not in docs/json.md", args, key)
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

// TestJSONHasNoCommandsForATerminal: clients choose their names.
func TestJSONHasNoCommandsForATerminal(t *testing.T) {
	t.Parallel()
	const text = "a\x7f\u009b31m\x1b[0mö"
	var out strings.Builder
	e := &env{Stdout: &out}
	if err := errors.Join(e.printJSON(text), e.printLine(text)); err != nil {
		t.Fatal(err)
	}
	if want := `"a\u007f\u009b31m\u001b[0mö"` + "\n"; out.String() != want+want {
		t.Errorf("%q", out.String())
	}
}
