package web

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// faulty is a storage whose state has a bug.
type faulty struct{ Reader }

func (faulty) Status() zodb.Status { panic("a bug of a test") }

// lockedBuffer is a log that goroutines share.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestAPanicBehindAPageDoesNotEndTheServer: the page is an error, the log has the stack, and the other
// pages go on.
func TestAPanicBehindAPageDoesNotEndTheServer(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	var sound atomic.Bool
	s := newSite(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		one := o.Storages
		o.Storages = func() []Storage {
			list := one()
			if !sound.Load() {
				list[0].Reader = faulty{list[0].Reader}
			}
			return list
		}
	}).login()
	for range 2 {
		if code, body := s.get("/web/"); code != http.StatusInternalServerError || !strings.Contains(body, "storage main: its state could not be read: panic: a bug of a test") {
			t.Errorf("%d\n%s", code, body)
		}
	}
	if text := log.String(); !strings.Contains(text, "bug in the server") || !strings.Contains(text, "a bug of a test") || !strings.Contains(text, "stateOf") {
		t.Errorf("log:\n%s", text)
	}
	if code, body := s.get("/web/transactions"); code != http.StatusOK {
		t.Errorf("beside it: %d\n%s", code, body)
	}
	sound.Store(true)
	if code, body := s.get("/web/"); code != http.StatusOK {
		t.Errorf("afterwards: %d\n%s", code, body)
	}
}

// TestAPanicInABackgroundLookDoesNotEndTheServer: the look for faults says so, and samples go on.
func TestAPanicInABackgroundLookDoesNotEndTheServer(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	var log lockedBuffer
	var bug, samplesBug atomic.Bool
	s := newSite(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Problems = func() []Problem {
			if bug.Load() {
				panic("a bug in a look")
			}
			return nil
		}
		one := o.Storages
		o.Storages = func() []Storage {
			if samplesBug.CompareAndSwap(true, false) {
				panic("a bug in a sample")
			}
			return one()
		}
	}).login()
	bug.Store(true)
	hometest.Eventually(t, "the fault of the look is told", func() bool {
		_, body := s.get("/web/")
		return strings.Contains(body, "the look for faults failed: panic: a bug in a look")
	})
	bug.Store(false)
	hometest.Eventually(t, "the look works again", func() bool {
		code, body := s.get("/web/")
		return code == http.StatusOK && !strings.Contains(body, "the look for faults failed")
	})
	e := s.events()
	samplesBug.Store(true)
	hometest.Eventually(t, "the sample failed", func() bool { return strings.Contains(log.String(), "a bug in a sample") })
	if _, _, ok := e.next("samples"); !ok {
		t.Error("no sample comes any more")
	}
}
