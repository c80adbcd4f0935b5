package ops_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/ops"
)

// systemd is the other end of NOTIFY_SOCKET.
type systemd struct{ c *net.UnixConn }

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	name := filepath.Join(t.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return &systemd{c}
}

// next returns the next message; empty if there is none for a while.
func (s *systemd) next(t *testing.T, wait time.Duration) string {
	t.Helper()
	if err := s.c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := s.c.Read(b)
	if err, ok := errors.AsType[net.Error](err); ok && err.Timeout() {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

const long = 5 * time.Minute

func TestMessagesToSystemd(t *testing.T) {
	s := newSystemd(t)
	n := ops.NewNotifier(slog.New(slog.DiscardHandler))
	for _, tc := range []struct {
		name string
		send func()
		want string
	}{
		{"ready", func() { n.Ready("serving 2 storages") }, "READY=1\nSTATUS=serving 2 storages"},
		{"stopping", func() { n.Stopping("draining") }, "STOPPING=1\nSTATUS=draining"},
		{"status with more in it", func() { n.Stopping("fsync\nREADY=1\r\x00\x1b[31m\u0085\xff") }, "STOPPING=1\nSTATUS=fsync READY=1   [31m \uFFFD"},
		{"extend", func() { n.Extend(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.send()
			if got := s.next(t, long); got != tc.want {
				t.Errorf("sent %q, want %q", got, tc.want)
			}
		})
	}
}

// TestReloadingHasTheTime: Type=notify-reload takes no RELOADING=1 without it.
func TestReloadingHasTheTime(t *testing.T) {
	s := newSystemd(t)
	n := ops.NewNotifier(slog.New(slog.DiscardHandler))
	var before uint64
	for range 2 {
		n.Reloading()
		text, ok := strings.CutPrefix(s.next(t, long), "RELOADING=1\nMONOTONIC_USEC=")
		now, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil || now < before || now == 0 {
			t.Errorf("time %q, %v", text, err)
		}
		before = now
	}
}

func TestNothingHappensWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	var log lines
	n := ops.NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	n.Ready("")
	n.Reloading()
	n.Stopping("")
	n.Extend(time.Second)
	n.Watchdog(t.Context(), func(context.Context) error { t.Error("checked"); return nil })
	if log.String() != "" {
		t.Errorf("said:\n%s", &log)
	}
}

func TestMessageThatCannotBeSentIsAWarning(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	var log lines
	ops.NewNotifier(slog.New(slog.NewTextHandler(&log, nil))).Ready("")
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "READY=1") {
		t.Errorf("said:\n%s", &log)
	}
}

func TestWatchdogIsFedWhileTheCheckIsGood(t *testing.T) {
	s := newSystemd(t)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", "")
	var stuck atomic.Bool
	var log lines
	n := ops.NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Watchdog(ctx, func(context.Context) error {
			if stuck.Load() {
				return ops.ErrStuck
			}
			return nil
		})
	}()
	for range 3 {
		if got := s.next(t, long); got != "WATCHDOG=1" {
			t.Fatalf("sent %q", got)
		}
	}
	stuck.Store(true)
	quiet := false
	for range 50 { // some may have been under way
		if quiet = s.next(t, 200*time.Millisecond) == ""; quiet {
			break
		}
	}
	if !quiet {
		t.Error("systemd is told that the process is alive while the check fails")
	}
	stuck.Store(false)
	if got := s.next(t, long); got != "WATCHDOG=1" {
		t.Errorf("sent %q after the check was good again", got)
	}
	cancel()
	<-ended
	if diff := cmp.Diff([]int{1, 1}, []int{strings.Count(log.String(), "level=ERROR"), strings.Count(log.String(), "level=INFO")}); diff != "" {
		t.Errorf("said:\n%s", &log)
	}
}

func TestWatchdogOfAnotherProcessIsNotOurs(t *testing.T) {
	newSystemd(t)
	t.Setenv("WATCHDOG_USEC", "1000")
	t.Setenv("WATCHDOG_PID", "1")
	ops.NewNotifier(slog.New(slog.DiscardHandler)).Watchdog(t.Context(), func(context.Context) error { t.Error("checked"); return nil })
}

func TestWatchdogThatIsNoNumberIsAWarning(t *testing.T) {
	newSystemd(t)
	t.Setenv("WATCHDOG_USEC", "soon")
	var log lines
	ops.NewNotifier(slog.New(slog.NewTextHandler(&log, nil))).Watchdog(t.Context(), nil)
	if !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("said:\n%s", &log)
	}
}
