package web

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/ops"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// theToken is that of the sites of tests.
const theToken = "the token of a test, 0123456789"

// testSite is a site in the listener of the server, with a storage on a real HOME, and a browser
// without a window.
type testSite struct {
	t       testing.TB
	site    *Site
	storage *engine.Storage
	set     *metrics.Set
	server  *ops.Server
	address string // http://127.0.0.1:PORT
	client  *http.Client
	packed  atomic.Int64 // days of the last pack that was asked for; -1: none was

	mu       sync.Mutex
	problems []Problem     // guarded by mu
	later    time.Duration // guarded by mu: how far its clock is ahead
}

// hostile are texts that want to be more than text.
func hostile() []string {
	return []string{
		`<script>window.hacked=1</script>`, `"><img src=x onerror="window.hacked=1">`, `{{.CSRF}}`, `javascript:window.hacked=1`, `'-window.hacked=1-'`,
		"</title></head></main><svg onload=window.hacked=1>", "user\u202egnp.exe\u202c", "a\x00b\x07c\x1b[31mred", "\xff\xfe\xc0\x80 invalid",
		"line\nbreak\r\ttab", strings.Repeat("long ", 2000), strings.Repeat("W", 5000), "zero\u200bwidth\ufeff\u2028", "مرحبا بالعالم",
	}
}

// record is a record of a persistent mapping with a text.
func record(text string) []byte {
	state := fmt.Sprintf("}q\x01U\x04dataq\x02}q\x03U\x01kq\x04X%s%sss.", string([]byte{byte(len(text)), byte(len(text) >> 8), 0, 0}), text)
	return []byte("cpersistent.mapping\nPersistentMapping\nq\x01." + state)
}

// commit commits one transaction with objects.
func commit(t testing.TB, s *engine.Storage, meta zodb.TxnMeta, oids ...zodb.OID) zodb.TID {
	t.Helper()
	txn, err := s.Begin(t.Context(), meta, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, oid := range oids {
		var serial zodb.TID
		if rev, err := s.Load(t.Context(), oid); err == nil {
			serial = rev.Serial
		}
		if err := txn.Store(oid, serial, record("of "+oid.String())); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

// newSite returns a site with one storage, main, and no transaction but that of the root object.
func newSite(t testing.TB, change func(*Options)) *testSite {
	t.Helper()
	s := &testSite{t: t}
	s.packed.Store(-1)
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return time.Now().Add(s.later)
	}
	s.set = metrics.New([]string{"main"}, metrics.Options{Clock: clock, NoRuntime: true})
	var err error
	if s.storage, err = engine.Open(t.Context(), home, engine.Options{Observer: s.set.Storage("main")}); err != nil {
		t.Fatal(err)
	}
	s.set.Storage("main").Watch(metrics.Source{Status: s.storage.Status})
	commit(t, s.storage, zodb.TxnMeta{Description: []byte("initial database creation")}, 0)
	o := Options{
		Clock: clock, Token: theToken, Version: "1.2.3",
		Storages: func() []Storage {
			return []Storage{{Name: "main", Reader: s.storage, Metrics: s.set.Storage("main")}}
		},
		Activity: func() (zeo.Activity, bool) { return activityOf(clock()), true },
		Problems: func() []Problem {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.problems
		},
	}
	if change != nil {
		change(&o)
	}
	if s.site, err = New(o); err != nil {
		t.Fatal(err)
	}
	if s.server, err = ops.Listen(ops.Options{Address: "127.0.0.1:0", Web: s.site, WebRoot: Root, Stopping: s.site.Close}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		s.site.Close()
		if err := s.storage.Close(); err != nil {
			t.Error(err)
		}
	})
	s.address = "http://" + s.server.Addr().String()
	s.client = s.browser()
	return s
}

// browser returns a client with cookies of its own that is not logged in, and follows nothing.
func (s *testSite) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ahead sets the clock of the site forward.
func (s *testSite) ahead(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later += d
}

// request is one with the headers that a test wants.
func (s *testSite) request(method, path, body string, headers ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// do returns the answer with its body.
func (s *testSite) do(c *http.Client, r *http.Request) (*http.Response, string) {
	s.t.Helper()
	answer, err := c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(b)
}

// login logs the client in.
func (s *testSite) login() *testSite {
	s.t.Helper()
	r := s.request("POST", "/web/login", url.Values{"token": {theToken}}.Encode(), "Origin", s.address)
	if answer, body := s.do(s.client, r); answer.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("login: %s\n%s", answer.Status, body)
	}
	return s
}

// get returns a page for the client, which has to be logged in.
func (s *testSite) get(path string) (int, string) {
	s.t.Helper()
	answer, body := s.do(s.client, s.request("GET", path, ""))
	return answer.StatusCode, body
}

// csrf returns the token against forgery of the client's session.
func (s *testSite) csrf() string {
	s.t.Helper()
	_, body := s.get("/web/")
	_, rest, _ := strings.Cut(body, `name="csrf" value="`)
	token, _, _ := strings.Cut(rest, `"`)
	if token == "" {
		s.t.Fatal("no page has a token")
	}
	return token
}

// activityOf has clients with all texts, one of which waits for a lock of another.
func activityOf(now time.Time) zeo.Activity {
	st := zeo.StorageActivity{Storage: "main"}
	for i, text := range hostile() {
		c := zeo.ClientActivity{Client: uint64(i + 1), Address: "192.0.2.1:4711", Label: text[:min(len(text), 200)], Since: now.Add(-time.Hour), Loads: 1000, Commits: 7}
		if i < 3 {
			c.Transaction = &zeo.TxnActivity{State: "voting", Begun: now.Add(-time.Second), User: text, Description: text, Records: 12, Bytes: 3456}
		}
		st.Clients = append(st.Clients, c)
	}
	st.Clients = append(st.Clients, zeo.ClientActivity{Client: 99, Address: "unix", Label: "zeoclient-1", Since: now.Add(-time.Minute)})
	st.Waits = []zeo.LockWait{{Client: 99, Known: true, OID: 0x1a, Holder: 1, Held: true}, {Client: 2, Known: true, OID: 0x1a, Existence: true, Holder: 99}, {Client: 3}, {Client: 2, Known: true, OID: 1}}
	return zeo.Activity{Time: now, Unregistered: 2, Storages: []zeo.StorageActivity{st}}
}

func TestPagesShowAStorage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	tid := commit(t, s.storage, zodb.TxnMeta{User: []byte(" admin"), Description: []byte("edited /news"), Extension: []byte("}q\x00U\x07requestq\x01U\x0420 sq\x02s.")}, 0, 1, 2)
	for _, tc := range []struct {
		path  string
		wants []string
	}{
		{"/web/", []string{"Everything is in order", "Storage <bdi>main", "edited /news", "3</dd>", "1.2.3"}},
		{"/web/transactions", []string{"edited /news", "initial database creation", "admin", tid.String()}},
		{"/web/transaction?tid=" + tid.String(), []string{"edited /news", "persistent.mapping.PersistentMapping", "request", "20 s", zodb.OID(2).String(), "Transaction before it"}},
		{"/web/transaction?tid=0x" + strings.ToLower(tid.String()), []string{"edited /news"}},
		{"/web/clients", []string{"99 (zeoclient-1, unix)", "which has the lock", "which waits as well", "(its existence)", "too large", "a transaction of the server itself",
			"voting", "12 records, 3.4 KiB", "2 connections have not registered"}},
		{"/web/live", []string{"Loads a second", "half within", "wait for locks"}},
	} {
		code, body := s.get(tc.path)
		if code != http.StatusOK {
			t.Errorf("%s: %d", tc.path, code)
		}
		for _, want := range tc.wants {
			if !strings.Contains(html.UnescapeString(body), want) {
				t.Errorf("%s: no %q in\n%s", tc.path, want, body)
			}
		}
	}
}

func TestPagesThatDoNotExist(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	for _, tc := range []struct {
		path string
		code int
		want string
	}{
		{"/web/nothing", 404, "there is no such page"},
		{"/web/static/nothing.js", 404, "there is no such file"},
		{"/web/static/..%2fsite.go", 404, ""},
		{"/web/transactions?storage=other", 404, "not served here"},
		{"/web/transaction?tid=0000000000000001", 404, "none with this tid"},
		{"/web/transaction?tid=1", 400, "want 16 hexadecimal digits"},
		{"/web/transactions?from=<b>", 400, "want 16 hexadecimal digits"},
		{"/web/transaction?tid=0000000000000001&from=-1", 400, "want a number"},
	} {
		code, body := s.get(tc.path)
		if code != tc.code || !strings.Contains(body, tc.want) || strings.Contains(body, "<b>") {
			t.Errorf("%s: %d\n%s", tc.path, code, body)
		}
	}
}

// TestPagingShowsEachTransactionOnce goes through the list to its end and back.
func TestPagingShowsEachTransactionOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	var want []string
	const n = 2*pageRows + 7
	for i := range n {
		want = append(want, commit(t, s.storage, zodb.TxnMeta{}, zodb.OID(i%3)).String())
	}
	walk := func(start, rel string) (seen []string) {
		for path := start; path != ""; {
			code, body := s.get(path)
			if code != http.StatusOK {
				t.Fatalf("%s: %d", path, code)
			}
			parts := strings.Split(body, `<td class="wide mono">`)
			if len(parts)-1 > pageRows {
				t.Errorf("%s has %d rows", path, len(parts)-1)
			}
			rows := parts[1:]
			for i := range rows {
				rows[i] = rows[i][:16]
			}
			if rel == "prev" {
				seen = append(append([]string{}, rows...), seen...)
			} else {
				seen = append(seen, rows...)
			}
			path = linkOf(body, rel)
		}
		return seen
	}
	down := walk("/web/transactions", "next")
	if len(down) != n+1 {
		t.Fatalf("%d of %d", len(down), n+1)
	}
	for i, tid := range want {
		if down[n-1-i] != tid {
			t.Fatalf("place %d: %s, want %s", n-1-i, down[n-1-i], tid)
		}
	}
	_, body := s.get("/web/transactions")
	_, body = s.get(linkOf(body, "next"))
	up := walk(linkOf(body, "next"), "prev") // the first page has its own link
	if len(up) != n+1-pageRows || up[0] != down[pageRows] || up[len(up)-1] != down[n] {
		t.Errorf("upwards there are %d, from %s to %s", len(up), up[0], up[len(up)-1])
	}
}

// linkOf returns the address of the link with a relation; empty if there is none.
func linkOf(body, rel string) string {
	before, _, ok := strings.Cut(body, `" rel="`+rel+`"`)
	if !ok {
		return ""
	}
	return html.UnescapeString(before[strings.LastIndex(before, `href="`)+len(`href="`):])
}

func TestObjectsOfALargeTransactionArePaged(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	var oids []zodb.OID
	for i := range 3*pageRows + 5 {
		oids = append(oids, zodb.OID(i+1))
	}
	tid := commit(t, s.storage, zodb.TxnMeta{}, oids...)
	seen := 0
	for path := "/web/transaction?tid=" + tid.String(); path != ""; {
		_, body := s.get(path)
		seen += strings.Count(body, "PersistentMapping")
		path = ""
		if before, _, ok := strings.Cut(body, `" rel="next">Next objects`); ok {
			path = html.UnescapeString(before[strings.LastIndex(before, `href="`)+len(`href="`):])
		}
	}
	if seen != len(oids) {
		t.Errorf("%d of %d objects", seen, len(oids))
	}
}

// TestHostileTextStaysText: of users, descriptions, extensions, problems and the query.
func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, text := range hostile() {
		s.problems = append(s.problems, Problem{Text: text, Remedy: text, Storage: text})
	}
	s.site.faults.look()
	s.login()
	paths := []string{"/web/", "/web/transactions", "/web/live", "/web/clients"}
	for _, text := range hostile() {
		extension := []byte("}q\x00U\x01kq\x01X" + string([]byte{byte(len(text)), byte(len(text) >> 8), 0, 0}) + text + "q\x02s.")
		tid := commit(t, s.storage, zodb.TxnMeta{User: []byte(text), Description: []byte(text), Extension: extension}, 1)
		paths = append(paths, "/web/transaction?tid="+tid.String(), "/web/transactions?storage="+url.QueryEscape(text), "/web/transaction?tid="+url.QueryEscape(text),
			"/web/"+url.PathEscape(text))
	}
	commit(t, s.storage, zodb.TxnMeta{User: []byte(strings.Repeat("<b>", zodb.MaxMetaLen/3)), Description: []byte(strings.Repeat("\xff", zodb.MaxMetaLen)), Extension: []byte("not a pickle <script>")}, 1)
	_, plain := s.get("/web/transaction?tid=0000000000000001")
	for _, path := range paths {
		_, body := s.get(path)
		if len(body) > 1<<20 {
			t.Errorf("%.100s: %d bytes", path, len(body))
		}
		for _, bad := range []string{"<script>", "<img src=x", "<svg onload", "</head></main>", "\x00", "\x07", "\x1b", "\u202e", "\u200b", "\ufeff", "\u2028", "ZgotmplZ", `href="javascript`} {
			if strings.Contains(strings.ReplaceAll(body, "<script src=", ""), bad) {
				t.Errorf("%.100s has %q", path, bad)
			}
		}
		if !strings.Contains(body, "</html>") || strings.ToValidUTF8(body, "") != body {
			t.Errorf("%.100s is not whole, or not UTF-8", path)
		}
	}
	if strings.Contains(plain, "onerror") {
		t.Error("an error page has it")
	}
}

func TestTextIsMadeHarmless(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, line, lines string }{
		{"plain", "plain", "plain"},
		{"a\nb\tc\r", "a b c ", "a\nb\tc␍"},
		{"\x00\x1b\x7f\u0085", "␀␛␡‹U+0085›", "␀␛␡‹U+0085›"},
		{"\u202eabc\u2066", "‹U+202E›abc‹U+2066›", "‹U+202E›abc‹U+2066›"},
		{"\xffa\xc0", "\ufffda\ufffd", "\ufffda\ufffd"},
		{"می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"},
		{"", "", ""},
	} {
		if got := safe(tc.in, 100); got != tc.line {
			t.Errorf("%q becomes %q, want %q", tc.in, got, tc.line)
		}
		if got := whole([]byte(tc.in)); got != tc.lines {
			t.Errorf("%q becomes %q, want %q", tc.in, got, tc.lines)
		}
	}
	if got := safe("äöü", 2); got != "äö…" {
		t.Errorf("cut to %q", got)
	}
	if got := whole(strings.Repeat("x", maxText+3)); len(got) > maxText+40 || !strings.HasSuffix(got, "(3 more bytes)") {
		t.Errorf("a long text has %d bytes", len(got))
	}
}

func FuzzTextIsHarmless(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, got := range []string{safe(text, 1000), whole(text)} {
			if strings.ToValidUTF8(got, "") != got || strings.ContainsAny(got, "\x00\x1b\r\u202e\u2066\u200b\ufeff\u2028") {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	})
}

func zodbMeta(description string) zodb.TxnMeta {
	return zodb.TxnMeta{User: []byte("admin"), Description: []byte(description)}
}
