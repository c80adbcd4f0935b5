package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestNobodySeesAnythingUnknown asks for each page, the stream and each change without a login.
func TestNobodySeesAnythingUnknown(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *Options) { o.Storages = packable(o.Storages, nil) })
	commit(t, s.storage, zodbMeta("the secret"), 1)
	paths := []string{"/web/", "/web/events", "/web/nothing", "/web/pack", "/web/logout"}
	for _, p := range s.site.list {
		paths = append(paths, "/web/"+p.path)
	}
	for _, path := range paths {
		for _, headers := range [][]string{
			nil, {"Authorization", "Bearer "}, {"Authorization", "Basic " + theToken}, {"Cookie", s.cookie("") + "=" + strings.Repeat("A", 26)}, {"X-Forwarded-For", "127.0.0.1"},
		} {
			answer, body := s.do(s.browser(), s.request("GET", path, "", headers...))
			if answer.StatusCode < 300 || strings.Contains(body, "secret") || strings.Contains(body, "main") && strings.Contains(body, "Storage") {
				t.Errorf("%s with %v: %s\n%s", path, headers, answer.Status, body)
			}
			s.ahead(time.Hour) // no wrong token counts
		}
	}
	for _, path := range []string{"/web/pack", "/web/logout"} {
		answer, _ := s.do(s.browser(), s.request("POST", path, "days=0&storage=main", "Origin", s.address))
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("POST %s: %s", path, answer.Status)
		}
	}
	if s.packed.Load() != -1 {
		t.Error("a pack began")
	}
	answer, _ := s.do(s.browser(), s.request("GET", "/web/transactions?storage=main", ""))
	if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || got != "/web/login?next=%2Fweb%2Ftransactions%3Fstorage%3Dmain" {
		t.Errorf("%s to %s", answer.Status, got)
	}
}

// cookie is the name of the cookie of the site, as a browser has it.
func (s *testSite) cookie(host string) string {
	if host == "" {
		host = s.server.Addr().String()
	}
	return cookieName(&http.Request{Host: host})
}

// packable adds a pack to storages.
func packable(storages func() []Storage, pack func(days int) error) func() []Storage {
	return func() []Storage {
		list := storages()
		for i := range list {
			list[i].Pack = pack
		}
		return list
	}
}

func TestLoginGivesACookieThatScriptsAndOtherSitesDoNotGet(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	form := func(token, next string) string { return url.Values{"token": {token}, "next": {next}}.Encode() }
	answer, _ := s.do(s.browser(), s.request("POST", "/web/login", form(theToken+" ", "/web/live?storage=main"), "Origin", s.address))
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/web/live?storage=main" {
		t.Errorf("%s to %s", answer.Status, answer.Header.Get("Location"))
	}
	cookies := answer.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%v", cookies)
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/web/" || c.Domain != "" || c.MaxAge != 0 || c.Secure || len(c.Value) < 20 || strings.Contains(c.Value, theToken) {
		t.Errorf("%s", answer.Header.Get("Set-Cookie"))
	}
	answer, body := s.do(s.browser(), s.request("POST", "/web/login", form("wrong<b>", "/web/"), "Origin", s.address))
	if answer.StatusCode != http.StatusUnauthorized || len(answer.Cookies()) > 0 || !strings.Contains(body, "the token is wrong") || strings.Contains(body, "<b>") {
		t.Errorf("a wrong token: %s\n%s", answer.Status, body)
	}
	for _, next := range []string{"https://evil.example/", "//evil.example/web/", `/\evil.example`, "/web/../live", "/metrics", "javascript:alert(1)", "/web/login?next=/web/", "\x00", ""} {
		answer, _ := s.do(s.browser(), s.request("POST", "/web/login", form(theToken, next), "Origin", s.address))
		if got := answer.Header.Get("Location"); got != "/web/" {
			t.Errorf("next %q leads to %q", next, got)
		}
	}
}

func TestCookieIsForTLSAloneBehindAProxyWithTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *Options) { o.Origins = []string{"https://zodb.example.org"} })
	r := s.request("POST", "/web/login", url.Values{"token": {theToken}}.Encode(), "Host", "zodb.example.org", "Origin", "https://zodb.example.org")
	answer, _ := s.do(s.browser(), r)
	if c := answer.Cookies(); len(c) != 1 || !c[0].Secure {
		t.Errorf("%s: %v", answer.Status, answer.Header)
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	s.ahead(sessionTime - time.Minute)
	if code, _ := s.get("/web/"); code != http.StatusOK {
		t.Errorf("after half a day: %d", code)
	}
	s.ahead(sessionTime - time.Minute)
	if code, _ := s.get("/web/"); code != http.StatusOK {
		t.Errorf("it was used meanwhile: %d", code)
	}
	s.ahead(sessionTime + time.Minute)
	if code, _ := s.get("/web/"); code != http.StatusSeeOther {
		t.Errorf("it was not used for half a day: %d", code)
	}
	s.login()
	jar := s.client.Jar.Cookies(s.request("GET", "/web/", "").URL)
	answer, _ := s.do(s.client, s.request("POST", "/web/logout", "csrf="+s.csrf(), "Origin", s.address))
	if answer.StatusCode != http.StatusSeeOther {
		t.Errorf("log out: %s", answer.Status)
	}
	again := s.request("GET", "/web/", "", "Cookie", jar[0].Name+"="+jar[0].Value)
	if answer, _ := s.do(s.browser(), again); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("the cookie of before: %s", answer.Status)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	s := newSessions(func() time.Time { now = now.Add(time.Second); return now })
	first := s.begin()
	used := s.begin()
	for range maxSessions - 1 {
		if !s.valid(used, true) {
			t.Fatal("the one in use is gone")
		}
		s.begin()
	}
	if len(s.used) > maxSessions || s.valid(first, false) || !s.valid(used, false) {
		t.Errorf("%d sessions", len(s.used))
	}
}

// TestGuessesAreLimited for the form and the header, an address at a time.
func TestGuessesAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	try := func(c *http.Client, token string) int {
		t.Helper()
		answer, _ := s.do(c, s.request("GET", "/web/", "", "Authorization", "Bearer "+token))
		if (answer.StatusCode == http.StatusTooManyRequests) != (answer.Header.Get("Retry-After") != "") {
			t.Errorf("%s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
		}
		return answer.StatusCode
	}
	s.login() // a session from before
	s.mu.Lock()
	clock := time.Now().Add(time.Hour)
	s.mu.Unlock()
	s.site.failures.clock = func() time.Time { return clock }
	for i := range failuresOfOne {
		if got := try(s.browser(), fmt.Sprint("guess ", i)); got != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i, got)
		}
	}
	if got := try(s.browser(), theToken); got != http.StatusTooManyRequests {
		t.Errorf("the right token after too many guesses: %d", got)
	}
	answer, body := s.do(s.browser(), s.request("POST", "/web/login", url.Values{"token": {theToken}}.Encode(), "Origin", s.address))
	if answer.StatusCode != http.StatusTooManyRequests || !strings.Contains(body, "too many wrong tokens") {
		t.Errorf("the form: %s\n%s", answer.Status, body)
	}
	if code, _ := s.get("/web/"); code != http.StatusOK {
		t.Errorf("a session from before: %d", code)
	}
	other := s.browser()
	other.Transport = &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext, DisableKeepAlives: true}
	answer, err := other.Do(s.request("GET", "/web/", "", "Authorization", "Bearer "+theToken))
	if err != nil {
		t.Skip("this system has no 127.0.0.2:", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("another address: %s", answer.Status)
	}
	clock = clock.Add(timeOfOne)
	if got := try(s.browser(), theToken); got != http.StatusOK {
		t.Errorf("after the wait: %d", got)
	}
	if got := try(s.browser(), "one"); got != http.StatusUnauthorized {
		t.Errorf("one guess more: %d", got)
	}
	if got := try(s.browser(), "two"); got != http.StatusTooManyRequests {
		t.Errorf("two guesses more: %d", got)
	}
}

func TestGuessesOfManyAddressesAreLimitedTogetherAndBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	f := newFailures(func() time.Time { return now })
	for i := range failuresOfAll {
		f.count(fmt.Sprint("address ", i))
	}
	if f.wait("another") == 0 {
		t.Error("there is no limit for all together")
	}
	for i := range 3 * maxAddresses {
		f.count(fmt.Sprint("more ", i))
	}
	if len(f.one) > maxAddresses {
		t.Errorf("%d addresses are kept", len(f.one))
	}
	now = now.Add(-time.Hour) // set back
	if f.wait("another") > timeOfAll {
		t.Errorf("a clock that was set back: wait %s", f.wait("another"))
	}
	now = now.Add(2 * time.Hour)
	if f.wait("another") != 0 {
		t.Error("it does not pass")
	}
}

func TestAddressesOfOneCustomerCountAsOne(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:5": "fe80::/64", "": "", "[::1]:5": "::1",
	} {
		if got := addressOf(&http.Request{RemoteAddr: from}); got != want {
			t.Errorf("%s is %s, want %s", from, got, want)
		}
	}
}

func TestHostsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *Options) { o.Origins = []string{"https://zodb.example.org", "http://inside:8080"} })
	for host, known := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:9818": true, "[::1]:9818": true, "192.0.2.7": true, "localhost": true, "LocalHost:1": true,
		"zodb.example.org": true, "ZODB.example.org:443": true, "inside:8080": true, "inside": true,
		"evil.example": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "zodb.example.org.evil.example": false, "127.0.0.1:1@evil.example": false,
	} {
		r := httptest.NewRequest("GET", "/web/login", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.site.ServeHTTP(w, r)
		if (w.Code == http.StatusOK) != known || !known && w.Code != http.StatusMisdirectedRequest {
			t.Errorf("host %s: %d", host, w.Code)
		}
	}
}

// TestForgedChangesAreRefused: each way of another site to send the form of a person who is logged in.
func TestForgedChangesAreRefused(t *testing.T) {
	t.Parallel()
	var s *testSite
	s = newSite(t, func(o *Options) {
		o.Storages = packable(o.Storages, func(days int) error { s.packed.Store(int64(days)); return nil })
		o.Origins = []string{"https://zodb.example.org"}
	}).login()
	token := s.csrf()
	other := newSite(t, nil).login().csrf()
	for _, tc := range []struct {
		name, method, body string
		headers            []string
		code               int
	}{
		{"by GET", "GET", "", nil, http.StatusNotFound},
		{"no origin", "POST", "csrf=" + token, nil, http.StatusForbidden},
		{"another origin", "POST", "csrf=" + token, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{"an opaque origin", "POST", "csrf=" + token, []string{"Origin", "null"}, http.StatusForbidden},
		{"another port", "POST", "csrf=" + token, []string{"Origin", "http://127.0.0.1:1"}, http.StatusForbidden},
		{"no token", "POST", "", []string{"Origin", s.address}, http.StatusForbidden},
		{"the token of another site", "POST", "csrf=" + other, []string{"Origin", s.address}, http.StatusForbidden},
		{"a token in the address", "POST", "", []string{"Origin", s.address, "X-Query", "csrf=" + token}, http.StatusForbidden},
	} {
		path := "/web/pack?storage=main&days=3"
		if q := s.request(tc.method, path, tc.body, tc.headers...).Header.Get("X-Query"); q != "" {
			path += "&" + q
		}
		body := tc.body
		if body != "" {
			body += "&days=3"
		}
		answer, _ := s.do(s.client, s.request(tc.method, path, body, tc.headers...))
		if answer.StatusCode != tc.code || s.packed.Load() != -1 {
			t.Errorf("%s: %s, pack %d", tc.name, answer.Status, s.packed.Load())
		}
	}
	good := func(name string, headers ...string) {
		t.Helper()
		s.packed.Store(-1)
		body := "storage=main&days=3&csrf=" + token
		c := s.client
		if headers[0] == "Authorization" {
			body, c = "storage=main&days=3", s.browser()
		}
		if answer, text := s.do(c, s.request("POST", "/web/pack", body, headers...)); answer.StatusCode != http.StatusSeeOther || s.packed.Load() != 3 {
			t.Errorf("%s: %s, pack %d\n%s", name, answer.Status, s.packed.Load(), text)
		}
	}
	good("the page", "Origin", s.address)
	good("the page behind a proxy", "Origin", "https://zodb.example.org")
	good("a program", "Authorization", "Bearer "+theToken)
}

func TestChangesAreNotAllowedByThemselves(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	answer, body := s.do(s.client, s.request("POST", "/web/pack", "storage=main&days=3&csrf="+s.csrf(), "Origin", s.address))
	if answer.StatusCode != http.StatusForbidden || !strings.Contains(body, "web-allow") {
		t.Errorf("%s\n%s", answer.Status, body)
	}
	if _, body := s.get("/web/"); strings.Contains(body, "/web/pack") {
		t.Error("the page offers it")
	}
}

func TestClientCertificateLetsIn(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		s := newSite(t, func(o *Options) { o.Certificates, o.Token = on, "" })
		cert := &x509.Certificate{Raw: []byte("of a client")}
		for _, tc := range []struct {
			name  string
			state *tls.ConnectionState
			in    bool
		}{
			{"no TLS", nil, false},
			{"no certificate", &tls.ConnectionState{}, false},
			{"one that was not verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, false},
			{"verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}, on},
		} {
			r := httptest.NewRequest("GET", "/web/", nil)
			r.Host, r.TLS = "localhost", tc.state
			w := httptest.NewRecorder()
			s.site.ServeHTTP(w, r)
			if (w.Code == http.StatusOK) != tc.in {
				t.Errorf("certificates %v, %s: %d", on, tc.name, w.Code)
			}
		}
		r := s.request("POST", "/web/login", "token=", "Origin", s.address)
		if answer, body := s.do(s.browser(), r); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("an empty token, where there is none: %s\n%s", answer.Status, body)
		}
	}
}

func TestHeadersOfEachAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	for _, path := range []string{"/web/", "/web/login", "/web/nothing", "/web/transaction?tid=x", "/web/static/style.css", "/web/static/nothing"} {
		for _, c := range []*http.Client{s.client, s.browser()} {
			answer, _ := s.do(c, s.request("GET", path, ""))
			h := answer.Header
			for name, want := range map[string]string{
				"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
				"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Access-Control-Allow-Origin": "",
			} {
				if h.Get(name) != want {
					t.Errorf("%s: %s: %q", path, name, h.Get(name))
				}
			}
			want := "no-store"
			if path == "/web/static/style.css" {
				want = "no-cache"
			}
			if got := h.Get("Cache-Control"); got != want {
				t.Errorf("%s: Cache-Control %q", path, got)
			}
		}
	}
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "img-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(contentPolicy, want) || strings.Contains(contentPolicy, "unsafe") {
			t.Errorf("the policy is %s", contentPolicy)
		}
	}
}

func TestStaticFilesAreSentOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for name, kind := range map[string]string{"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml", "uPlot.iife.min.js": "text/javascript", "uPlot.min.css": "text/css", "uPlot.LICENSE.txt": "text/plain"} {
		answer, body := s.do(s.client, s.request("GET", "/web/static/"+name, ""))
		etag := answer.Header.Get("ETag")
		if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), kind) || len(etag) < 20 || body == "" {
			t.Errorf("%s: %s, %v", name, answer.Status, answer.Header)
		}
		for _, known := range []string{etag, `"other", W/` + etag} {
			answer, body := s.do(s.client, s.request("GET", "/web/static/"+name, "", "If-None-Match", known))
			if answer.StatusCode != http.StatusNotModified || body != "" {
				t.Errorf("%s again: %s", name, answer.Status)
			}
		}
		if answer, _ := s.do(s.client, s.request("GET", "/web/static/"+name, "", "If-None-Match", `"other"`)); answer.StatusCode != http.StatusOK {
			t.Errorf("%s, changed: %s", name, answer.Status)
		}
	}
}
