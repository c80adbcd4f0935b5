package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/web"
	"github.com/dirstorage/dirstorage/zodb"
)

// webServer is a server with pages, and a program that knows the token.
type webServer struct {
	*serverProcess
	address, token string
}

func startWeb(t *testing.T, args ...string) *webServer {
	t.Helper()
	w := &webServer{token: "0123456789abcdef0123"}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(w.token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.serverProcess = startServe(t, append([]string{"--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--web", "--web-token-file", file}, args...)...)
	w.address = "http://" + w.await(&w.log, `listening for probes and metrics address=(\S+)`)
	w.await(&w.out, "Stop it with")
	return w
}

// ask returns a page; with a form it sends that.
func (w *webServer) ask(path string, form url.Values) (int, string) {
	w.t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.address+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", w.address)
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.StatusCode, html.UnescapeString(string(b))
}

// TestPageOfStatusTellsTheSameAsTheCommand: with a backup that failed its verification and a manifest
// that cannot be used, both have the same problems in the same order, and say the same of flush,
// backup and verification.
func TestPageOfStatusTellsTheSameAsTheCommand(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	dir := t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fillHome(t, home)
	if out, err := program(t, "backup", "full", home, repo).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	archives, err := filepath.Glob(filepath.Join(repo, "*.tar.zst"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	b, err := os.ReadFile(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(archives[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := program(t, "backup", "verify", "--data", repo).CombinedOutput(); err == nil {
		t.Fatalf("a damaged backup is good:\n%s", out)
	}
	manifests, err := filepath.Glob(filepath.Join(repo, "*.json"))
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	if err := os.WriteFile(filepath.Join(repo, "00000000T000000Z-full.json"), []byte("no manifest"), 0o600); err != nil {
		t.Fatal(err)
	}

	w := startWeb(t, "--backup-repository", repo, home)
	out, err := program(t, "status", "--json", home).Output()
	if got := exitStatus(&status{code: exitProblem}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(got)) {
		t.Errorf("status: %v, want %d", err, got)
	}
	var told struct{ Problems []problem }
	if err := json.Unmarshal(out, &told); err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, p := range told.Problems {
		codes = append(codes, p.Code)
	}
	if want := []string{"verification_failed", "backup_unusable"}; !slices.Equal(codes, want) {
		t.Fatalf("the command tells %q, want %q", codes, want)
	}
	var body string
	hometest.Eventually(t, "the page has the problems", func() bool {
		_, body = w.ask("/web/", nil)
		return strings.Contains(body, told.Problems[0].Code)
	})
	at := 0
	for _, p := range told.Problems {
		for _, want := range []string{map[severity]string{severe: "<strong>Fault", warning: "<strong>Warning"}[p.Severity], p.Text, p.Code, p.Remedy} {
			i := strings.Index(body[at:], want)
			if i < 0 {
				t.Fatalf("no %q at its place on the page\n%s", want, body)
			}
			at += i
		}
	}
	text, _ := program(t, "status", home).Output() // its status is that of above
	for _, name := range []string{"to be flushed", "last backup", "verified"} {
		m := regexp.MustCompile(`(?m)^` + name + `: +(.*)$`).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("the command has no row %q\n%s", name, text)
		}
		// The age of the backup is another one by now.
		want := regexp.QuoteMeta("<dt>"+strings.ToUpper(name[:1])+name[1:]+"</dt><dd><bdi>") + regexp.MustCompile(`^\S+( \S+)? ago`).ReplaceAllString(regexp.QuoteMeta(m[1]), ".* ago")
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("no %s on the page\n%s", want, body)
		}
	}
	w.end()
}

// TestProblemsOfAServerAreToldOnce, and those of storages for each.
func TestProblemsOfAServerAreToldOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	var got []web.Problem
	for _, name := range []string{"1", "2"} {
		st := well(now)
		st.Server.Certificates[0].Soon, st.LowSpace = now, "1 MiB is free"
		st.findProblems(now, problemLimits{})
		got = addProblems(got, name, st.Problems)
	}
	var told []string
	for _, p := range got {
		told = append(told, p.Storage+" "+p.Code)
		if !p.Warning || p.Text == "" || p.Remedy == "" {
			t.Errorf("%+v", p)
		}
	}
	if want := []string{"1 low_space", " certificate_ends", "2 low_space"}; !slices.Equal(told, want) {
		t.Errorf("told are %q, want %q", told, want)
	}
}

// TestRepositoryThatHangsIsAProblem, and does not hang the pages; the last look stays. An hour later
// one look has been made, not one for each page.
func TestRepositoryThatHangsIsAProblem(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	e, _, _ := testEnv()
	e.Now = func() time.Time { return now }
	var w webBackups
	h := well(now)
	h.Home = filepath.Join(t.TempDir(), "home")
	h.Server.Repository = filepath.Join(t.TempDir(), "away")
	if n := w.of(t.Context(), e, &h); n == nil || n.backup.Repository != h.Server.Repository || n.backup.Error == "" {
		t.Fatalf("the first look has %+v", n)
	}
	w.mu.Lock()
	look, made := w.by[h.Home], now
	look.state, look.ended, look.begun = &homeNotes{backup: &backupState{Repository: "/backup", TID: h.LastTID - 1, Time: &made}}, make(chan struct{}), now
	w.mu.Unlock()
	if b := w.of(t.Context(), e, &h).backup; b.Error != "" || int(b.BehindSeconds) != 1800 {
		t.Errorf("meanwhile it has %+v", b)
	}
	now = now.Add(time.Hour)
	b := w.of(t.Context(), e, &h).backup
	if b.Error != "it has not answered for 1h" || b.TID != h.LastTID-1 || int(b.BehindSeconds) != 5400 {
		t.Errorf("an hour later it has %+v", b)
	}
	if w.by[h.Home] != look || look.begun.Equal(now) {
		t.Error("a second look has begun")
	}
}

// TestBackupsAreLookedAtOnceAMinute, and a look that took long again after a hundred times that.
func TestBackupsAreLookedAtOnceAMinute(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	e, _, _ := testEnv()
	e.Now = func() time.Time { return now }
	var w webBackups
	looks, took := 0, time.Duration(0)
	ask := func() {
		look := w.look(e, "home", func() (*homeNotes, error) {
			looks++
			now = now.Add(took)
			return &homeNotes{}, nil
		})
		<-look.ended
	}
	for _, tc := range []struct {
		after, took time.Duration
		want        int
	}{
		{0, 0, 1}, {59 * time.Second, 0, 1}, {time.Second, 3 * time.Second, 2}, {299 * time.Second, 0, 2}, {time.Second, 0, 3},
	} {
		now, took = now.Add(tc.after), tc.took
		if ask(); looks != tc.want {
			t.Errorf("after %s: %d looks, want %d", tc.after, looks, tc.want)
		}
	}
	// The end of the server is no state of the backups.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, err := readBackups(ctx, t.TempDir(), "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestPagesPackCountAndSendBlobs of the real server: the gain of a pack, the pack behind the
// form, and a blob; the last two where web-allow has them.
func TestPagesPackCountAndSendBlobs(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0"}}); err != nil {
		t.Fatal(err)
	}
	fillHome(t, home)
	s := enginetest.Open(t, home, engine.Options{NoControlSocket: true})
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 7, Data: enginetest.Record("nothing refers to it")}, enginetest.Change{OID: 8, Data: enginetest.BlobRecord(), Blob: "the content"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	blob := fmt.Sprintf("/web/blob?oid=%s&tid=%s", zodb.OID(8), tid)
	form := func(days string) url.Values { return url.Values{"storage": {"1"}, "days": {days}} }
	packed := func() zodb.TID {
		t.Helper()
		out, _ := program(t, "status", "--json", home).Output() // its problems do not matter here
		var st homeStatus
		if err := json.Unmarshal(out, &st); err != nil {
			t.Fatal(err)
		}
		return st.Packed
	}

	w := startWeb(t, home)
	if code, body := w.ask(blob, nil); code != http.StatusForbidden || !strings.Contains(body, "web-allow") {
		t.Errorf("a blob where it is not allowed: %d\n%s", code, body)
	}
	if _, body := w.ask("/web/object?oid=8", nil); !strings.Contains(body, "downloads are not allowed: web-allow") {
		t.Errorf("the page of its object has\n%s", body)
	}
	if code, body := w.ask("/web/pack", form("0")); code != http.StatusForbidden || !strings.Contains(body, "web-allow") {
		t.Errorf("a pack where it is not allowed: %d\n%s", code, body)
	}
	if _, body := w.ask("/web/", nil); strings.Contains(body, "Pack now") {
		t.Error("the form is there")
	}
	if code, body := w.ask("/web/classes", form("0")); code != http.StatusSeeOther {
		t.Errorf("a count: %d\n%s", code, body)
	}
	var body string
	hometest.Eventually(t, "the count ends", func() bool {
		_, body = w.ask("/web/classes", nil)
		return strings.Contains(body, "A pack would remove")
	})
	if want := "would remove 2 objects that nothing refers to, and 0 old revisions"; !strings.Contains(body, want) {
		t.Errorf("no %q in\n%s", want, body)
	}
	if tid := packed(); tid != 0 {
		t.Errorf("the dry run has packed to %s", tid)
	}
	w.end()

	w = startWeb(t, "--web-allow", "pack", "--web-allow", "blobs", home)
	if code, body := w.ask(blob, nil); code != http.StatusOK || body != "the content" {
		t.Errorf("a blob: %d %s", code, body)
	}
	if _, body := w.ask("/web/", nil); !strings.Contains(body, "Pack now") {
		t.Error("the form is not there")
	}
	if code, body := w.ask("/web/pack", form("-1")); code != http.StatusBadRequest {
		t.Errorf("a pack to the future: %d\n%s", code, body)
	}
	if code, body := w.ask("/web/pack", form("0")); code != http.StatusSeeOther {
		t.Errorf("a pack: %d\n%s", code, body)
	}
	hometest.Eventually(t, "the storage is packed", func() bool { return packed() >= tid })
	hometest.Eventually(t, "the object is gone", func() bool {
		_, body := w.ask("/web/object?oid=7", nil)
		return strings.Contains(body, "there is no object of that oid")
	})
	if code, body := w.ask("/web/object?oid=0", nil); code != http.StatusOK || !strings.Contains(body, "PersistentMapping") {
		t.Errorf("the root object: %d\n%s", code, body)
	}
	hometest.Eventually(t, "the pack is recorded", func() bool {
		_, st, _ := toldBy2(t, home)
		i := slices.IndexFunc(st.Jobs, func(j jobState) bool { return j.Job == runs.Pack })
		return i >= 0 && st.Jobs[i].Good != nil && !st.Jobs[i].Running && st.Jobs[i].Last.Failed == ""
	})
	w.end()
}
