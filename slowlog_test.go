package dirstorage

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestSlowLogStopsNobody: while the line about the merge of B is being written, as for
// long as nobody reads a pipe, the storage can be read and asked how it is.
func TestSlowLogStopsNobody(t *testing.T) {
	t.Parallel()
	var s atomic.Pointer[Storage]
	opened, written := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	slow := logFunc(func(line string) {
		if line != "merged B into A" || !once.CompareAndSwap(false, true) {
			return
		}
		defer close(written)
		<-opened
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			s.Load().Status()
			if _, err := s.Load().Load(t.Context(), zodb.OID(0)); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-answered:
		case <-time.After(20 * time.Second):
			t.Error("nobody is answered while the log is written")
		}
	})
	home := newHome(t, CreateOptions{})
	first := open(t, home, Options{})
	commit(t, first, change{oid: 0, data: rec("root")})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s.Store(open(t, home, Options{Logger: slog.New(slow)}))
	close(opened)
	<-written
}

// logFunc is called with every line of a log, also while it is called with another.
type logFunc func(line string)

func (f logFunc) Handle(_ context.Context, r slog.Record) error { f(r.Message); return nil }

func (f logFunc) Enabled(context.Context, slog.Level) bool { return true }
func (f logFunc) WithAttrs([]slog.Attr) slog.Handler       { return f }
func (f logFunc) WithGroup(string) slog.Handler            { return f }
