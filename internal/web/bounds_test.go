package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
)

// TestALoginAfterALongAddressSucceeds: the form has the address, and the listener takes short bodies.
func TestALoginAfterALongAddressSucceeds(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, find := range []string{"/Plone/news", "/" + strings.Repeat("ä", 200)} {
		answer, _ := s.do(s.browser(), s.request("GET", "/web/object?find="+url.QueryEscape(find), ""))
		answer, body := s.do(s.browser(), s.request("GET", answer.Header.Get("Location"), ""))
		_, rest, _ := strings.Cut(body, `name="next" value="`)
		next, _, _ := strings.Cut(rest, `"`)
		if answer.StatusCode != http.StatusOK || !strings.HasPrefix(next, "/web/") || len(find) < 20 && !strings.Contains(next, "news") {
			t.Errorf("%s: %s, next %q", find, answer.Status, next)
		}
		form := url.Values{"next": {next}, "username": {"dirstorage"}, "token": {theToken}}.Encode()
		if answer, body := s.do(s.browser(), s.request("POST", "/web/login", form, "Origin", s.address)); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %s\n%s", find, answer.Status, body)
		}
	}
	form := url.Values{"next": {strings.Repeat("x", 5000)}, "token": {theToken}}.Encode()
	for range 2 * failuresOfOne { // none of them counts as a guess
		if answer, body := s.do(s.browser(), s.request("POST", "/web/login", form, "Origin", s.address)); answer.StatusCode != http.StatusBadRequest || strings.Contains(body, "wrong") {
			t.Fatalf("%s\n%s", answer.Status, body)
		}
	}
	s.login()
}

// TestDownloadsKeepNoPagesOut: readers that do not read.
func TestDownloadsKeepNoPagesOut(t *testing.T) {
	t.Parallel()
	s, _ := contentSite(t)
	s.login()
	const oid, size = 0x200, 16 << 20 // more than sockets hold
	enginetest.Commit(t, s.storage, enginetest.Change{OID: oid, Data: pickletest.Object("m", "C", pickletest.None), Blob: strings.Repeat("x", size)})
	path := fmt.Sprintf("/web/blob?oid=%x&tid=%s", oid, s.storage.LastTransaction())
	answer, err := s.client.Do(s.request("GET", path, ""))
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	defer answer.Body.Close()
	for range pagesAtOnce {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", path, theToken); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 100)); err != nil { // it is under way
			t.Fatal(err)
		}
	}
	if code, body := s.get("/web/transactions"); code != http.StatusOK {
		t.Errorf("%d\n%s", code, body)
	}
	if n, err := io.Copy(io.Discard, answer.Body); err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestARepositoryThatHangsKeepsNoPagesOut, nor the end of the server: it may be on a disk of another
// machine.
func TestARepositoryThatHangsKeepsNoPagesOut(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes the time of a page")
	}
	hang := make(chan struct{})
	s := newSite(t, func(o *Options) {
		storages := o.Storages
		o.Storages = func() []Storage {
			list := storages()
			list[0].Backups = func() objstore.Store { <-hang; return nil }
			return list
		}
	}).login()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gaveUp := make(chan error, 2*pagesAtOnce)
	defer close(hang)
	const requests = 2 * pagesAtOnce
	for range requests {
		go func() {
			answer, err := s.client.Do(s.request("GET", "/web/backups", "").WithContext(ctx))
			if err == nil {
				answer.Body.Close()
			}
			gaveUp <- err
		}()
	}
	for range requests - 1 {
		if err := <-gaveUp; err != nil {
			t.Error(err)
		}
	}
	if code, body := s.get("/web/transactions"); code != http.StatusOK {
		t.Errorf("%d\n%s", code, body)
	}
	s.site.Close()
}

// TestAHeaderDoesNotKeepAStream of a session that has ended.
func TestAHeaderDoesNotKeepAStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	e := s.events("Authorization", "Bearer wrong")
	if _, _, ok := e.next("faults"); !ok {
		t.Fatal("nothing came")
	}
	if answer, _ := s.do(s.client, s.request("POST", "/web/logout", "csrf="+s.csrf(), "Origin", s.address)); answer.StatusCode != http.StatusSeeOther {
		t.Fatal(answer.Status)
	}
	for n := 0; ; n++ {
		if _, _, ok := e.next("samples"); !ok {
			return
		}
		if n > 4 {
			t.Fatal("it goes on")
		}
	}
}

// TestARevocationAtItsBeginningEndsAStream, though it was let in by then.
func TestARevocationAtItsBeginningEndsAStream(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	asked := 0
	s := newSite(t, func(o *Options) {
		o.Certificates = true
		o.Revoked = func(tls.ConnectionState) error {
			if asked++; asked == 1 {
				return nil
			}
			if asked > 5 {
				t.Error("it goes on")
				stop()
			}
			return errors.New("revoked")
		}
	})
	cert := &x509.Certificate{Raw: []byte("certificate")}
	r := httptest.NewRequestWithContext(ctx, "GET", "/web/events", nil)
	r.Host, r.TLS = "127.0.0.1", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	s.site.ServeHTTP(httptest.NewRecorder(), r)
	if asked < 2 {
		t.Errorf("it was asked about %d times", asked)
	}
}

// TestAPathOfTooManyNamesIsAMistakeOfItsSender, not a fault of the server.
func TestAPathOfTooManyNamesIsAMistakeOfItsSender(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	if code, body := s.get("/web/object?find=" + strings.Repeat("/a", 200)); code != http.StatusBadRequest {
		t.Errorf("%d\n%s", code, body)
	}
}

// TestAPackSaysOfWhichStorage, where there are several.
func TestAPackSaysOfWhichStorage(t *testing.T) {
	t.Parallel()
	var s *testSite
	s = newSite(t, func(o *Options) {
		one := packable(o.Storages, func(days int) error { s.packed.Store(int64(days)); return nil })
		o.Storages = func() []Storage {
			list := one()
			second := list[0]
			second.Name = "other"
			return append(list, second)
		}
	})
	answer, _ := s.do(s.browser(), s.request("POST", "/web/pack", "days=3", "Authorization", "Bearer "+theToken))
	if answer.StatusCode != http.StatusBadRequest || s.packed.Load() != -1 {
		t.Errorf("%s, pack %d", answer.Status, s.packed.Load())
	}
}
