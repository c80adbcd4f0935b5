package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestStatusTellsHowFarAStandbyIs of a server: up to date with its last transaction, then without a connection.
func TestStatusTellsHowFarAStandbyIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), source)
	s := startServeIn(t, dir, "--listen", "127.0.0.1:0", source)
	url := "zeo://" + s.await(&s.log, `listening address=(127\.\S+)`)
	home := filepath.Join(dir, "home")
	f := startFollower(t, url, home)
	f.stderr.await(t, "caught up")
	last := commitTo(t, url)
	asked := func(state string) (st homeStatus, text string) {
		t.Helper()
		hometest.Eventually(t, "the standby is "+state, func() bool {
			st = homeStatus{}
			_, out, _ := command(t.Context(), "status", "--json", home)
			if err := json.Unmarshal([]byte(out.String()), &st); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return st.Follows != nil && st.Follows.State == state && st.LastTID == last
		})
		_, out, _ := command(t.Context(), "status", home)
		return st, out.String()
	}
	st, text := asked("up")
	if f := st.Follows; f.Source != url || f.LastTID != last || !f.WasUp || f.BehindTransactions != 0 || f.Since.After(f.Time) {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(text, ": import --follow\n") || !strings.Contains(text, "\nfollows: ") || !strings.Contains(text, url+"\n") || !strings.Contains(text, "up to date ") {
		t.Errorf("status prints\n%s", text)
	}
	if _, out, _ := command(t.Context(), "status", source); !strings.Contains(out.String(), "dirstorage import --follow (") {
		t.Errorf("the source does not show its standby:\n%s", out)
	}
	s.end()
	if st, text = asked("lost"); st.Follows.Error == "" || !strings.Contains(text, "no connection for ") {
		t.Errorf("%+v\n%s", st.Follows, text)
	}
	f.end()
	if _, out, _ := command(t.Context(), "status", home); strings.Contains(out.String(), "follows: ") {
		t.Errorf("after its end, status prints\n%s", out)
	}
}

// TestRowsOfAStandby: a copy that is under way for the first time is no problem, however long it takes.
func TestRowsOfAStandby(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		wasUp bool
		state followState
		code  string
		text  string
	}{
		"up":                {true, followState{State: "caught-up", LastTID: 1}, "", "up to date 0ms ago: it has every transaction"},
		"the first copy":    {false, followState{State: "behind", LastTID: 1, BehindTransactions: -1, BehindBytes: 5 << 20}, "", "behind, about 5.0 MiB, "},
		"not known":         {false, followState{State: "behind", BehindTransactions: -1, BehindBytes: -1}, "", "behind, for 1h"},
		"does not keep up":  {true, followState{State: "behind", LastTID: 1, BehindTransactions: 1, BehindBytes: 100}, "follow_behind", "behind by 1 transaction, about 100 B, "},
		"without a network": {false, followState{State: "lost", Error: "connection refused"}, "follow_lost", "no connection for 1h"},
	} {
		var b standby
		if tc.wasUp {
			b.note(followState{State: "up", Time: now.Add(-2 * time.Hour)})
		}
		if tc.state.State != "caught-up" {
			tc.state.Time = now.Add(-time.Hour)
			b.note(tc.state)
		}
		tc.state.Time = now
		b.note(tc.state)
		st := homeStatus{Running: true, Follows: &b.state}
		st.findProblems(now, problemLimits{})
		code := ""
		if len(st.Problems) > 0 {
			code = st.Problems[0].Code
		}
		if code != tc.code || len(st.Problems) > 1 {
			t.Errorf("%s: told are %+v", name, st.Problems)
		}
		if text := strings.Join(layoutRows(&env{}, st.rows(now), 0, false), "\n"); !strings.Contains(text, tc.text) {
			t.Errorf("%s: printed is\n%s", name, text)
		}
	}
}
