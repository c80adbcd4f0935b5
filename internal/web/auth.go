package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// sessionTime is the life of a session from its last use on.
const sessionTime = 12 * time.Hour

// maxSessions bounds the memory: the one that was not used for longest has to go.
const maxSessions = 64

// identity is that of an authenticated request: the session, the certificate or the token.
type identity string

// sessions are the logins. A restart ends them all.
type sessions struct {
	clock func() time.Time

	mu   sync.Mutex
	used map[[sha256.Size]byte]time.Time // guarded by mu; by the sum of the id in the cookie
}

func newSessions(clock func() time.Time) *sessions {
	return &sessions{clock: clock, used: make(map[[sha256.Size]byte]time.Time)}
}

// begin returns the id of a new session.
func (s *sessions) begin() string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if len(s.used) >= maxSessions {
		var oldest [sha256.Size]byte
		first := true
		for key, at := range s.used {
			if first || at.Before(s.used[oldest]) {
				oldest, first = key, false
			}
		}
		delete(s.used, oldest)
	}
	s.used[sha256.Sum256([]byte(id))] = now
	return id
}

// valid reports whether a session exists. A use lets it live on.
func (s *sessions) valid(id string, use bool) bool {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.used[key]
	if !ok {
		return false
	}
	now := s.clock()
	if now.Sub(at) > sessionTime {
		delete(s.used, key)
		return false
	}
	if use {
		s.used[key] = now
	}
	return true
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, sha256.Sum256([]byte(id)))
}

// cookieName has the port in it: cookies of one host are shared by all of its ports.
func cookieName(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		return "dirstorage"
	}
	return "dirstorage-" + port
}

// who returns the identity of a request by its certificate or session. It counts no failures. With
// use, the session lives on.
func (s *Site) who(r *http.Request, use bool) (identity, bool) {
	if s.o.Certificates && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && s.o.Revoked(*r.TLS) == nil {
		sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
		return identity("certificate " + hex.EncodeToString(sum[:])), true
	}
	if c, err := r.Cookie(cookieName(r)); err == nil && s.sessions.valid(c.Value, use) {
		return identity("session " + c.Value), true
	}
	return "", false
}

// bearer returns the token in the header Authorization; false if there is none.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// authenticate returns the identity of a request, or the failure to answer with; nil without an
// identity: the login form has to come first.
func (s *Site) authenticate(r *http.Request) (identity, error) {
	if id, ok := s.who(r, true); ok {
		return id, nil
	}
	token, ok := bearer(r)
	if !ok {
		return "", nil
	}
	if err := s.checkToken(r, token); err != nil {
		return "", err
	}
	return "token", nil
}

// checkToken checks a token. An address that has failed too often is refused
// unheard for a while, the right token included.
func (s *Site) checkToken(r *http.Request, token string) error {
	from := addressOf(r)
	if wait := s.failures.wait(from); wait > 0 {
		return &failure{code: http.StatusTooManyRequests, retry: int(wait/time.Second) + 1,
			text: fmt.Sprintf("too many wrong tokens came from your address: wait %d seconds", int(wait/time.Second)+1)}
	}
	if s.rightToken(token) {
		return nil
	}
	s.failures.count(from)
	s.o.Logger.Warn("a wrong token for the web page", "address", from)
	return &failure{code: http.StatusUnauthorized, text: "the token is wrong: it is the one of web-token-file, or of DIRSTORAGE_WEB_TOKEN, of the server"}
}

// rightToken compares in constant time.
func (s *Site) rightToken(token string) bool {
	want, got := sha256.Sum256([]byte(s.o.Token)), sha256.Sum256([]byte(token))
	return s.o.Token != "" && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// private lets authenticated requests through, sends browsers to the login form, and refuses the
// others. A change needs a token against forgery, but for a program with the token in a header.
func (s *Site) private(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := s.authenticate(r)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", `Bearer realm="dirstorage"`)
			s.fail(w, r, err)
			return
		case id == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path != Root+"events":
			http.Redirect(w, r, Root+"login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
			return
		case id == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="dirstorage"`)
			s.fail(w, r, &failure{code: http.StatusUnauthorized, text: "not logged in: show the token of the server, or a client certificate"})
			return
		}
		if r.Method == http.MethodPost && id != "token" && !hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(s.tokenFor(id))) {
			s.fail(w, r, &failure{code: http.StatusForbidden, text: "the form is of an earlier login: go back, reload, and try again"})
			return
		}
		next(w, r)
	}
}

// forgeryToken is what forms of a page have to send; empty without a login.
func (s *Site) forgeryToken(r *http.Request) string {
	id, ok := s.who(r, false)
	if !ok {
		return ""
	}
	return s.tokenFor(id)
}

func (s *Site) tokenFor(id identity) string {
	m := hmac.New(sha256.New, s.secret)
	_, _ = m.Write([]byte(id))
	return hex.EncodeToString(m.Sum(nil))
}

// loginData is the data of the login form.
type loginData struct {
	Next, Error  string
	Certificates bool
	NoToken      bool // only a certificate lets in
}

func (s *Site) loginForm(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.URL.Query().Get("next"))
	if _, in := s.who(r, true); in {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	s.showLogin(w, r, http.StatusOK, loginData{Next: next})
}

func (s *Site) showLogin(w http.ResponseWriter, r *http.Request, code int, data loginData) {
	data.Certificates, data.NoToken = s.o.Certificates, s.o.Token == ""
	s.write(w, r, code, "login", &view{Title: "Log in", Data: data, site: s})
}

func (s *Site) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil { // nobody has seen a token that could be wrong
		s.fail(w, r, &failure{code: http.StatusBadRequest, text: "the form cannot be read: " + err.Error()})
		return
	}
	next := localPath(r.PostFormValue("next"))
	if err := s.checkToken(r, strings.TrimSpace(r.PostFormValue("token"))); err != nil {
		f := asFailure(err)
		if f.retry > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(f.retry))
		}
		s.showLogin(w, r, f.code, loginData{Next: next, Error: f.text})
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: s.sessions.begin(), Path: Root, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure(r)})
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName(r)); err == nil {
		s.sessions.end(c.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Path: Root, MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure(r)})
	http.Redirect(w, r, Root+"login", http.StatusSeeOther)
}

// maxNext is the length of the longest path after a login: the form has to fit into the body that the
// listener takes, where each byte may become three.
const maxNext = 256

// localPath returns a path of a page of this site, the first one in place of any other.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, Root) || strings.Contains(next, `\`) ||
		strings.HasPrefix(u.Path, Root+"login") || strings.Contains(u.Path, "..") {
		return Root
	}
	if next = (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String(); len(next) > maxNext {
		return Root
	}
	return next
}
