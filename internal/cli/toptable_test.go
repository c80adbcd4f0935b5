package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo"
)

// busyTop is a look at clients of each kind of name, with large numbers; the second one waits for the first one.
func busyTop() *topReport {
	now := time.Date(2026, 11, 28, 18, 0, 0, 0, time.UTC)
	r := &topReport{Time: now, Seconds: 2, Storage: "1", Rates: topRates{Loads: 25000, Commits: 2437, SentBytes: 1 << 30}}
	for i, name := range [][2]string{{"", "192.168.100.200:54321"}, {"zope1", "127.0.0.1:41234"}, {"", "[2001:db8:85a3:1234:5678:8a2e:370:7334]:41235"}, {"a very long name that a client gave to itself", "10.0.0.7:41236"}} {
		r.Clients = append(r.Clients, topClient{ClientActivity: zeo.ClientActivity{
			Client: uint64(i + 1), Label: name[0], Address: name[1], Since: now.Add(-time.Hour),
			Transaction: &zeo.TxnActivity{State: "voting", StateSince: now.Add(-3 * time.Minute), Bytes: 1000 << 10},
		}, Rates: topRates{Loads: 12345, Commits: 300, SentBytes: 1000 << 10, ReceivedBytes: 1000 << 20}})
	}
	r.Waits = []zeo.LockWait{{Client: 2, Holder: 1, Known: true, Held: true, OID: 0x1a2b3c}}
	return r
}

// TestTopCutsNothingThatTellsClientsApart: at any usual width the port of each client is there, its numbers have
// their units, and no line is wider than the terminal.
func TestTopCutsNothingThatTellsClientsApart(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	o := topCommand{sort: "loads"}
	for _, width := range []int{0, 40, 59, 60, 79, 80, 100, 132, 200, 300} {
		lines := o.lines(e, busyTop(), width)
		text := strings.Join(lines, "\n")
		for _, want := range []string{":54321 ", ":41234", ":41235 ", ":41236"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d columns: no %q in\n%s", width, want, text)
			}
		}
		for _, line := range lines {
			if width > 0 && columnsOf(line) > width {
				t.Errorf("%d columns: a line has %d: %s", width, columnsOf(line), line)
			}
			for word := range strings.FieldsSeq(line) {
				if strings.HasSuffix(word, "…") && strings.HasPrefix(strings.TrimRight(word, "iB…"), "K") {
					t.Errorf("%d columns: a unit is cut: %s", width, line)
				}
			}
		}
		if width >= 59 && !strings.Contains(text, "voting 3m") {
			t.Errorf("%d columns: no state in\n%s", width, text)
		}
		if (width == 0 || width >= 79) && !strings.Contains(text, "0x1a2b3c of 192.168.100.200:54321") {
			t.Errorf("%d columns: not what it waits for:\n%s", width, text)
		}
		if width >= 79 && len(lines) != len(busyTop().Clients)+2 {
			t.Errorf("%d columns: the summary has more than a line:\n%s", width, text)
		}
	}
}
