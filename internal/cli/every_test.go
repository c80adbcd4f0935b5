package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryRunsACommandAgain repeats one that works and one that fails, in the time of a bubble.
func TestEveryRunsACommandAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, stdout, stderr := testEnv()
		began := time.Now()
		if got := run(t.Context(), e, []string{"every", "--times", "3", "1h", "version", "--json"}); got != exitOK || stderr.Len() > 0 {
			t.Errorf("status %d, says %s", got, stderr)
		}
		if n := strings.Count(stdout.String(), `"platform"`); n != 3 || time.Since(began) != 2*time.Hour {
			t.Errorf("%d runs in %s, want 3 in two hours", n, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e, _, stderr := testEnv()
		if got := run(t.Context(), e, []string{"every", "--times", "2", "1h", "man", "nosuch"}); got != exitUsage {
			t.Errorf("status %d, want that of the last run", got)
		}
		if n := strings.Count(stderr.String(), "no page"); n != 2 || !strings.Contains(stderr.String(), "man nosuch of 2000-01-01T00:00:00Z ended with status 2; the next run is at 2000-01-01T01:00:00Z\n") {
			t.Errorf("says %s", stderr)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e, stdout, _ := testEnv()
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
		defer cancel()
		if got := run(ctx, e, []string{"every", "1h", "version"}); got != exitOK || strings.Count(stdout.String(), "\n") != 2 {
			t.Errorf("status %d at its end, after\n%s", got, stdout)
		}
	})
}

func TestEveryWaitsForTheTimeOfTheDay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 1, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"01:30": 0, "02:00": 30 * time.Minute, "01:29": 24*time.Hour - time.Minute} {
		if got, err := nextTime(now, text); err != nil || got.Sub(now) != want {
			t.Errorf("%s comes in %s, %v; want %s", text, got.Sub(now), err, want)
		}
	}
}

func TestEveryRefusesBadCalls(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"1h", "soon version", "10ms version", "1h nosuch", "1h backup", "1h every 1h version", "--at noon 1h version"} {
		e, stdout, stderr := testEnv()
		if got := run(t.Context(), e, append([]string{"every"}, strings.Fields(args)...)); got != exitUsage || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("every %s has status %d, says %q and %q", args, got, stdout, stderr)
		}
	}
}

func TestHealthIsThatOfTheServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/live" {
			_, _ = w.Write([]byte("ok\n"))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"ready":false}`))
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := strings.Cut(address, ":")
	for _, tc := range []struct {
		args        []string
		environment string
		status      int
		want        string
	}{
		{[]string{"--live", address}, "", exitOK, "ok\n"},
		{[]string{"--live"}, ":" + port, exitOK, "ok\n"},
		{[]string{"--live"}, port, exitOK, "ok\n"},
		{[]string{"--live", "0.0.0.0:" + port}, "127.0.0.1:1", exitOK, "ok\n"},
		{[]string{address}, "", exitFailed, `503 Service Unavailable: {"ready":false}`},
		{nil, "", exitUsage, "there is no ADDRESS"},
		{[]string{"127.0.0.1:1"}, "", exitFailed, "refused"},
		{[]string{"[::1:2"}, "", exitUsage, "want host:port or a port"},
	} {
		e, stdout, stderr := testEnv()
		e.Getenv = func(name string) string {
			if name == httpListenVariable {
				return tc.environment
			}
			return ""
		}
		if got := run(t.Context(), e, append([]string{"health"}, tc.args...)); got != tc.status || !strings.Contains(stdout.String()+stderr.String(), tc.want) {
			t.Errorf("health %v has status %d, says %q and %q", tc.args, got, stdout, stderr)
		}
	}
}
