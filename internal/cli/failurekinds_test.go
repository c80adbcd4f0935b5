package cli

import (
	"bytes"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
)

// withRepository are calls of all commands that take an existing repository, which is REPOSITORY in them.
var withRepository = map[string][]string{
	"backup list":   {"backup", "list", "REPOSITORY"},
	"backup verify": {"backup", "verify", "REPOSITORY"},
	"backup prune":  {"backup", "prune", "--keep-chains", "1", "REPOSITORY"},
	"backup merge":  {"backup", "merge", "REPOSITORY"},
	"restore":       {"restore", "REPOSITORY", "NEW"},
}

// kindOfFailure is a state of a HOME or repository, with the one status of all commands that meet it.
type kindOfFailure struct {
	status int
	calls  map[string][]string
	// make returns the HOME or repository.
	make func(t *testing.T) string
	// other are the commands with another status, each with the reason.
	other map[string]otherStatus
}

type otherStatus struct {
	status int
	why    string
}

const (
	bySnapshot = "it looks at misc/snapshot, not at data"
	bySide     = "it reads beside the process that has it open"
	byServer   = "no server runs that could answer"
	byChain    = "it removes only chains that no rule keeps, and a newer backup is kept"
)

func kindsOfFailure() map[string]kindOfFailure {
	return map[string]kindOfFailure{
		"damaged home": {exitDamage, withHome, func(t *testing.T) string {
			home := importedHome(t)
			cutFile(t, filepath.Join(home, "A/bundles/*.tar*"))
			return home
		}, map[string]otherStatus{
			"top":             {exitFailed, byServer},
			"snapshot run":    {exitOK, bySnapshot},
			"snapshot enter":  {exitOK, bySnapshot},
			"snapshot leave":  {exitOK, bySnapshot},
			"snapshot status": {exitOK, bySnapshot},
			"salvage":         {exitOK, "there is nothing in the other directory"},
		}},
		"locked home": {exitLocked, withHome, func(t *testing.T) string {
			home := importedHome(t)
			enginetest.Open(t, home, engine.Options{NoControlSocket: true})
			return home
		}, map[string]otherStatus{
			"status":  {exitOK, "it names the process that holds the lock"},
			"top":     {exitFailed, byServer},
			"log":     {exitOK, bySide},
			"history": {exitOK, bySide},
			"show":    {exitOK, bySide},
			"refs":    {exitOK, bySide},
			"classes": {exitOK, bySide},
			"export":  {exitOK, bySide},
			"convert": {exitOK, bySide},
			"files":   {exitOK, bySide},
		}},
		"home of a newer release": {exitFailed, withHome, func(t *testing.T) string {
			n := newerHomes[0]
			home := unpackReleased(t, releases(t)[0], n.fixture)
			patched(t, home, n.pattern, n.change)
			return home
		}, map[string]otherStatus{"snapshot leave": {exitOK, bySnapshot}}},
		"damaged archive": {exitDamage, withRepository, func(t *testing.T) string {
			repo := unpackReleased(t, releases(t)[0], "bundled-repository")
			cutFile(t, filepath.Join(repo, "*-full.tar.zst"))
			return repo
		}, map[string]otherStatus{"backup prune": {exitOK, byChain}}},
		"damaged manifest": {exitDamage, withRepository, func(t *testing.T) string {
			repo := unpackReleased(t, releases(t)[0], "bundled-repository")
			cutFile(t, filepath.Join(repo, "*-full.json"))
			return repo
		}, map[string]otherStatus{"backup prune": {exitOK, byChain}}},
		"repository of a newer release": {exitFailed, withRepository, func(t *testing.T) string {
			repo := unpackReleased(t, releases(t)[0], "bundled-repository")
			patched(t, repo, "*-full.json", func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"schema": 1`), []byte(`"schema": 2`), 1)
			})
			return repo
		}, map[string]otherStatus{}},
		"no repository": {exitFailed, withRepository, func(t *testing.T) string {
			return filepath.Join(t.TempDir(), "nowhere")
		}, map[string]otherStatus{}},
	}
}

// cutFile leaves the first bytes of the one file with a name like that.
func cutFile(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	if err := os.Chmod(names[0], 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(names[0], 90); err != nil {
		t.Fatal(err)
	}
}

// TestOneKindOfFailureHasOneStatus for all commands that can meet it. A command that has another
// one is in the table, with the reason.
func TestOneKindOfFailureHasOneStatus(t *testing.T) {
	t.Parallel()
	for kind, k := range kindsOfFailure() {
		for name := range k.other {
			if _, known := k.calls[name]; !known {
				t.Errorf("%s: there is no command %s", kind, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(k.calls)) {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				place := k.make(t)
				dir := t.TempDir()
				if name == "salvage" {
					if err := os.Mkdir(filepath.Join(dir, "new"), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				args := call(k.calls[name], dir, place)
				for i, a := range args {
					if a == "REPOSITORY" {
						args[i] = place
					}
				}
				want := k.status
				if o, other := k.other[name]; other {
					want = o.status
				}
				code, stdout, stderr := command(t.Context(), args...)
				if code != want {
					t.Errorf("status %d, want %d\n%s%s", code, want, stdout, stderr)
				}
				if want != exitOK && stdout.String()+stderr.String() == "" {
					t.Error("not a word about it")
				}
			})
		}
	}
}

// TestAServerThatDoesNotAnswerHasOneStatus for all commands that ask it, as after SIGSTOP. They run at once,
// because each waits 10 seconds for an answer.
func TestAServerThatDoesNotAnswerHasOneStatus(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("each command waits 10 seconds for an answer")
	}
	home := importedHome(t)
	enginetest.Open(t, home, engine.Options{NoControlSocket: true})
	l, err := net.Listen("unix", filepath.Join(home, "misc/control"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts
	other := map[string]otherStatus{
		"status":  {exitProblem, "it tells this as a problem"},
		"doctor":  {exitDamage, "it tells this as a fault"},
		"log":     {exitOK, bySide},
		"history": {exitOK, bySide},
		"show":    {exitOK, bySide},
		"refs":    {exitOK, bySide},
		"classes": {exitOK, bySide},
		"export":  {exitOK, bySide},
		"convert": {exitOK, bySide},
		"files":   {exitOK, bySide},
	}
	calls := maps.Clone(withHome)
	calls["doctor"] = []string{"doctor", "--quick", "HOME"}
	var wait sync.WaitGroup
	for name, args := range calls {
		dir := t.TempDir()
		if name == "salvage" {
			if err := os.Mkdir(filepath.Join(dir, "new"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		args = call(args, dir, home)
		wait.Go(func() {
			want := exitLocked
			if o, is := other[name]; is {
				want = o.status
			}
			if code, stdout, stderr := command(t.Context(), args...); code != want {
				t.Errorf("%s: status %d, want %d\n%s%s", name, code, want, stdout, stderr)
			}
		})
	}
	wait.Wait()
}

// TestEachCommandRefusesAnUnknownFlag with the status of wrong use.
func TestEachCommandRefusesAnUnknownFlag(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		if c.DisableFlagParsing {
			t.Errorf("%s does not look at flags", name)
		}
		code, stdout, stderr := command(t.Context(), append(strings.Fields(name), "--nosuch")...)
		if code != exitUsage || stdout.String() != "" || !strings.Contains(stderr.String(), "--nosuch") {
			t.Errorf("%s: status %d, %s%s", name, code, stdout, stderr)
		}
	}
}

// TestEachCommandForARepositoryIsInTheTable of the kinds of failure.
func TestEachCommandForARepositoryIsInTheTable(t *testing.T) {
	t.Parallel()
	for name, why := range withoutHome {
		if _, in := withRepository[name]; in != (why == "a repository") {
			t.Errorf("%s: in withRepository: %t, and it takes %s", name, in, why)
		}
	}
}
