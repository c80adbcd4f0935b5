package web

import (
	"context"
	"crypto/tls"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/ops"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestEachChangeWantsItsOrigin: no form of the pages does anything for a page of somebody else, with
// or without the cookie, nor by a method that a link has.
func TestEachChangeWantsItsOrigin(t *testing.T) {
	t.Parallel()
	var s *testSite
	s = newSite(t, func(o *Options) {
		o.Storages = packable(o.Storages, func(days int) error { s.packed.Store(int64(days)); return nil })
	}).login()
	token := s.csrf()
	form := url.Values{"csrf": {token}, "storage": {"main"}, "days": {"3"}, "token": {theToken}}.Encode()
	for _, path := range []string{"/web/pack", "/web/classes", "/web/logout", "/web/login"} {
		for _, headers := range [][]string{
			nil, {"Origin", "null"}, {"Origin", "https://evil.example"}, {"Origin", s.address + ".evil.example"}, {"Origin", strings.Replace(s.address, "http:", "ftp:", 1)},
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site", "Authorization", "Bearer " + theToken}, {"Referer", s.address + "/web/"},
		} {
			for name, c := range map[string]*http.Client{"with the cookie": s.client, "without": s.browser()} {
				if answer, _ := s.do(c, s.request("POST", path, form, headers...)); answer.StatusCode != http.StatusForbidden || len(answer.Cookies()) > 0 {
					t.Errorf("%s %v, %s: %s, cookies %v", path, headers, name, answer.Status, answer.Cookies())
				}
			}
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS"} {
			if answer, _ := s.do(s.client, s.request(method, path, form, "Origin", s.address)); answer.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, path, answer.Status)
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			s.do(s.client, s.request(method, path+"?"+form, "")) // the form of the page, or a redirect, or nothing
		}
	}
	if under, last := s.site.contents.of(s.site.o.Storages()[0]).census.Last(); s.packed.Load() != -1 || under != nil || last != nil {
		t.Errorf("pack %d, count %v, %v", s.packed.Load(), under, last)
	}
	if code, _ := s.get("/web/"); code != http.StatusOK {
		t.Errorf("the session: %d", code)
	}
}

// TestARedirectStaysOnTheSite, whatever a link asks for: before a login, after it, and when the reader
// is logged in already.
func TestARedirectStaysOnTheSite(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	in := newSite(t, nil).login()
	for _, next := range []string{
		"//evil.example", "https://evil.example/web/", "/\\evil.example", "/web//../../evil", "/web/..%2f..%2fevil", "\\\\evil.example", "http:evil", "/web/\r\nSet-Cookie: x=y",
		"https:/web/", "////evil.example/web/", "/%2fevil.example", "javascript:alert(1)//web/", "data:text/html,x", "/webx/", "/", "/metrics",
	} {
		query := "/web/login?next=" + url.QueryEscape(next)
		form := url.Values{"next": {next}, "token": {theToken}}.Encode()
		after, _ := s.do(s.browser(), s.request("POST", "/web/login", form, "Origin", s.address))
		already, _ := in.do(in.client, in.request("GET", query, ""))
		for _, answer := range []*http.Response{after, already} {
			to, err := url.Parse(answer.Header.Get("Location"))
			if answer.StatusCode != http.StatusSeeOther || err != nil || to.Host != "" || to.Scheme != "" || !strings.HasPrefix(to.Path, Root) || strings.Contains(to.Path, "..") || len(answer.Header.Values("Set-Cookie")) > 1 {
				t.Errorf("%q: %s, to %q", next, answer.Status, answer.Header.Get("Location"))
			}
		}
	}
	before, _ := s.do(s.browser(), s.request("GET", "/web//evil.example/", ""))
	if to := before.Header.Get("Location"); !strings.HasPrefix(to, "/web/") {
		t.Errorf("before a login: %q", to)
	}
}

// certificate is one for a listener on loopback.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	return s.TLS.Certificates[0]
}

// TestPagesAndStreamsOverTLS: the listener of the server speaks HTTP/1.1, also with a client that
// prefers HTTP/2. Behind a front with HTTP/2 the pages work as well, and nothing of a stream is left.
func TestPagesAndStreamsOverTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	listener, err := ops.Listen(ops.Options{Address: "127.0.0.1:0", Web: s.site, WebRoot: Root, TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(s.site)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	for proto, address := range map[string]string{"HTTP/1.1": "https://" + listener.Addr().String(), "HTTP/2.0": front.URL} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		c := &http.Client{Transport: transport}
		ask := func(ctx context.Context, path string) *http.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(ctx, "GET", address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+theToken)
			answer, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		for _, path := range []string{"/web/", "/web/transactions", "/web/static/style.css"} {
			answer := ask(t.Context(), path)
			if answer.Body.Close(); answer.StatusCode != http.StatusOK || answer.Proto != proto {
				t.Errorf("%s by %s: %s by %s", path, proto, answer.Status, answer.Proto)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		stream := ask(ctx, "/web/events?storage=main")
		if stream.StatusCode != http.StatusOK || stream.Proto != proto {
			t.Errorf("stream: %s by %s", stream.Status, stream.Proto)
		}
		if n, err := stream.Body.Read(make([]byte, 10)); n == 0 || err != nil {
			t.Errorf("stream by %s: %d bytes, %v", proto, n, err)
		}
		stop()
		stream.Body.Close()
		hometest.Eventually(t, "the stream has ended by "+proto, func() bool { return s.streams() == 0 })
		transport.CloseIdleConnections()
	}
	if err := listener.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// streams is the number of streams that are counted.
func (s *testSite) streams() int {
	s.site.live.mu.Lock()
	defer s.site.live.mu.Unlock()
	return s.site.live.streams
}

// TestCountersGoBackHoweverAClientGoes: in the middle of an answer, by a reset, by an end of the
// writing side, or before it has read anything.
func TestCountersGoBackHoweverAClientGoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	for range 3 {
		for _, path := range []string{"/web/events?storage=main", "/web/transactions", "/web/live"} {
			for name, leave := range map[string]func(*net.TCPConn) error{
				"a reset":   func(c *net.TCPConn) error { return c.SetLinger(0) },
				"half open": (*net.TCPConn).CloseWrite,
				"at once":   func(*net.TCPConn) error { return nil },
			} {
				c, err := net.Dial("tcp", strings.TrimPrefix(s.address, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + theToken + "\r\n\r\n")); err != nil {
					t.Fatal(err)
				}
				if name != "at once" {
					if _, err := c.Read(make([]byte, 20)); err != nil {
						t.Errorf("%s, %s: %v", path, name, err)
					}
				}
				if err := leave(c.(*net.TCPConn)); err != nil {
					t.Error(err)
				}
				c.Close()
			}
		}
	}
	hometest.Eventually(t, "nobody is counted any more", func() bool {
		s.site.readers.mu.Lock()
		reading := s.site.readers.all + len(s.site.readers.of)
		s.site.readers.mu.Unlock()
		return s.streams() == 0 && reading == 0 && len(s.site.making) == 0 && len(s.site.sending) == 0
	})
	if e := s.events(); e.code != http.StatusOK {
		t.Errorf("a stream afterwards: %d", e.code)
	}
}

// endless is a storage whose objects never end; began is closed when somebody goes through them.
type endless struct {
	Reader
	began chan struct{}
	once  *sync.Once
}

func (e endless) OIDs(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		for ctx.Err() == nil {
			if !yield(0, nil) {
				return
			}
			e.once.Do(func() { close(e.began) })
		}
	}
}

// TestTheServerStopsDuringAScan: of all objects for the references to one, and of all for their
// classes. The scan does not go on for its time, and the reader of the page gets an answer.
func TestTheServerStopsDuringAScan(t *testing.T) {
	t.Parallel()
	wants := map[string]int{"references": http.StatusServiceUnavailable, "classes": http.StatusSeeOther}
	for name, begin := range map[string]func(*testSite) (int, string){
		"references": func(s *testSite) (int, string) { return s.get("/web/object?oid=0&search=1") },
		"classes": func(s *testSite) (int, string) {
			answer, body := s.do(s.client, s.request("POST", "/web/classes", "storage=main&days=1&csrf="+s.csrf(), "Origin", s.address))
			return answer.StatusCode, body
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := wants[name]
			scan := endless{began: make(chan struct{}), once: new(sync.Once)}
			s := newSite(t, func(o *Options) {
				one := o.Storages
				o.Storages = func() []Storage {
					list := one()
					list[0].Reader = endless{list[0].Reader, scan.began, scan.once}
					return list
				}
			}).login()
			answered := make(chan int, 1)
			go func() {
				code, _ := begin(s)
				answered <- code
			}()
			<-scan.began
			if err := s.server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			if code := <-answered; code != want {
				t.Errorf("the page: %d, want %d", code, want)
			}
			hometest.Eventually(t, "no count goes on", func() bool {
				under, _ := s.site.contents.of(s.site.o.Storages()[0]).census.Last()
				return under == nil
			})
		})
	}
}
