package web

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/zodb"
)

// slow is a storage whose objects are listed by a function of the test.
type slow struct {
	Reader
	oids func() iter.Seq2[zodb.OID, error]
}

func (s slow) OIDs(context.Context) iter.Seq2[zodb.OID, error] { return s.oids() }

// TestASearchInOneStorageKeepsThatInAnotherWaiting: their pages do not take the memory and the time of many
// searches.
func TestASearchInOneStorageKeepsThatInAnotherWaiting(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	commit(t, s.storage, zodb.TxnMeta{}, 0)
	c := newContents(time.Now, slog.New(slog.DiscardHandler))
	defer c.close()
	begun, end := make(chan struct{}), make(chan struct{})
	one := c.of(Storage{Name: "one", Reader: slow{s.storage, func() iter.Seq2[zodb.OID, error] {
		close(begun)
		<-end
		return func(func(zodb.OID, error) bool) {}
	}}})
	other := c.of(Storage{Name: "other", Reader: s.storage})
	ended := make(chan error)
	go func() {
		_, err := one.browser.Referrers(t.Context(), 0, true)
		ended <- err
	}()
	<-begun
	if _, err := other.browser.Referrers(t.Context(), 0, true); !errors.Is(err, inspect.ErrBusy) {
		t.Errorf("a second search: %v", err)
	}
	close(end)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := other.browser.Referrers(t.Context(), 0, true); err != nil {
		t.Errorf("after the first: %v", err)
	}
}

// TestABugInACountIsInTheLog, with the name of the storage.
func TestABugInACountIsInTheLog(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	commit(t, s.storage, zodb.TxnMeta{}, 0)
	var log lockedBuffer
	c := newContents(time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	one := c.of(Storage{Name: "one", Reader: slow{s.storage, func() iter.Seq2[zodb.OID, error] { panic("a bug of a test") }}})
	if !one.census.Start(0) {
		t.Fatal("no count begins")
	}
	for range 1000 {
		if _, last := one.census.Last(); last != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.close()
	if text := log.String(); strings.Count(text, "a count of classes failed") != 1 || !strings.Contains(text, "storage=one") || !strings.Contains(text, "a bug of a test") {
		t.Errorf("the log is %q", text)
	}
}

// TestARevisionWithoutAUserSaysSo on the page of an object and on that of its history.
func TestARevisionWithoutAUserSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	commit(t, s.storage, zodb.TxnMeta{}, 0)
	for _, page := range []string{"object", "history"} {
		if code, body := s.get("/web/" + page + "?storage=main&oid=0000000000000000"); code != http.StatusOK || !strings.Contains(body, `data-label="User"><span class="muted">none</span>`) || !strings.Contains(body, `data-label="Description"><span class="muted">none</span>`) {
			t.Errorf("%s: %d\n%s", page, code, body)
		}
	}
}
