package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// slowReader takes nothing of an answer until it is let go.
type slowReader struct {
	*httptest.ResponseRecorder
	goOn <-chan struct{}
}

func (r slowReader) Write(b []byte) (int, error) {
	<-r.goOn
	return r.ResponseRecorder.Write(b)
}

// TestSlowReadersKeepNoPagesOut: neither those of one address the others, nor all of them for longer
// than they read.
func TestSlowReadersKeepNoPagesOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	goOn := make(chan struct{})
	var all sync.WaitGroup
	ask := func(address string) {
		all.Go(func() {
			r := httptest.NewRequest("GET", "/web/transactions", nil)
			r.Host, r.RemoteAddr = "127.0.0.1", address+":1234"
			r.Header.Set("Authorization", "Bearer "+theToken)
			s.site.ServeHTTP(slowReader{httptest.NewRecorder(), goOn}, r)
		})
	}
	count := func() int {
		s.site.readers.mu.Lock()
		defer s.site.readers.mu.Unlock()
		return s.site.readers.all
	}
	for range 2 * readersOfOne { // the second half is refused
		ask("192.0.2.1")
	}
	hometest.Eventually(t, "so many read", func() bool { return count() == readersOfOne })
	if code, body := s.get("/web/transactions"); code != http.StatusOK {
		t.Errorf("beside slow readers elsewhere: %d\n%s", code, body)
	}
	for range readersOfAll - readersOfOne {
		ask("192.0.2.2")
	}
	hometest.Eventually(t, "all places are taken", func() bool { return count() == readersOfAll })
	if code, body := s.get("/web/transactions"); code != http.StatusServiceUnavailable || !strings.Contains(body, "readers that are slow") {
		t.Errorf("with all places taken: %d\n%s", code, body)
	}
	close(goOn)
	all.Wait()
	if code, _ := s.get("/web/transactions"); code != http.StatusOK || count() != 0 {
		t.Errorf("later: %d, and %d read", code, count())
	}
}

// silent is a storage whose disk hangs.
type silent struct {
	Reader
	goOn  <-chan struct{}
	asked *atomic.Int64
}

func (r silent) Status() zodb.Status {
	r.asked.Add(1)
	<-r.goOn
	return r.Reader.Status()
}

// TestAStorageThatHangsIsToldOnTheFirstPage, which comes all the same, beside the other storages.
func TestAStorageThatHangsIsToldOnTheFirstPage(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	var asked atomic.Int64
	s := newSite(t, func(o *Options) {
		one := o.Storages
		o.Storages = func() []Storage {
			list := append(one(), one()...)
			list[0].Name, list[0].Reader = "hangs", silent{list[0].Reader, goOn, &asked}
			return list
		}
	}).login()
	var all sync.WaitGroup
	for range pagesAtOnce {
		all.Go(func() {
			code, body := s.get("/web/")
			if code != http.StatusOK || !strings.Contains(body, "It has not said its state within 3 seconds") || !strings.Contains(body, s.storage.Status().Identity) {
				t.Errorf("%d\n%s", code, body)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times at once", n)
	}
	close(goOn)
	hometest.Eventually(t, "it speaks again", func() bool {
		code, body := s.get("/web/")
		return code == http.StatusOK && !strings.Contains(body, "has not said")
	})
}
