package metrics_test

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/zodb"
)

var update = flag.Bool("update", false, "rewrite testdata/exposition.txt")

// clock is a clock that is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func scrape(t testing.TB, s *metrics.Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// number returns the value of one series; ok is false if it is not there.
func number(t testing.TB, exposition, series string) (v float64, ok bool) {
	t.Helper()
	for line := range strings.Lines(exposition) {
		if text, found := strings.CutPrefix(line, series+" "); found {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v, true
		}
	}
	return 0, false
}

func want(t testing.TB, exposition string, series map[string]float64) {
	t.Helper()
	for name, v := range series {
		if got, ok := number(t, exposition, name); !ok || got != v {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, v)
		}
	}
}

// filled is a set in which everything has happened.
func filled(t testing.TB) *metrics.Set {
	t.Helper()
	c := newClock()
	s := metrics.New([]string{"main", "closed"}, metrics.Options{Clock: c.Now, Version: "1.2.3", Revision: "abcdef", NoRuntime: true, Certificates: func() []certs.End {
		return []certs.End{{Use: certs.UseServer, Name: "zodb.example.org", At: c.Now().AddDate(0, 1, 0)}}
	}})
	s.Connections("main", 3)
	s.Connections("main", -1)
	for _, d := range []time.Duration{0, 10 * time.Microsecond, 11 * time.Microsecond, 3 * time.Millisecond, time.Minute, -time.Second} {
		s.Loaded("main", d)
	}
	s.Committed("main", 2*time.Millisecond)
	s.Committed("main", 40*time.Millisecond)
	s.Voted("main", 700*time.Microsecond)
	s.Conflicted("main")
	s.Aborted("main")
	s.Aborted("main")
	s.Refused("blob")
	s.Refused("a limit of the future")
	s.Loaded("unknown", time.Second)
	s.Storage("main").Synced(5*time.Millisecond, 4)
	s.Storage("main").LockWaited(time.Second)
	s.Storage("main").Flushed(300*time.Millisecond, 50, 1234)
	last := zodb.TIDFromTime(time.Date(2026, 3, 1, 9, 59, 30, 0, time.UTC))
	s.Storage("main").Watch(metrics.Source{
		Status: func() zodb.Status {
			return zodb.Status{
				Home: "/srv/zodb", Identity: "0123456789abcdef0123456789abcdef", Class: zodb.ClassFull, Format: "chunky",
				LastTID: last, MaxOID: 99, Packed: last - 1<<40, Snapshot: "user/nightly", OpenTransactions: 2,
				UnflushedTransactions: 7, UnflushedFiles: 31, JournalBytes: 4096, JournalSyncs: 9, RolledForward: 1, CommitSeconds: 12.5,
				Counts: zodb.Counts{Objects: 100, Revisions: 250, Transactions: 80, Bytes: 1 << 20, BlobBytes: 1 << 19, Exact: true},
				Pack: &zodb.PackProgress{
					Phase: "marking", Begun: time.Date(2026, 3, 1, 9, 50, 0, 0, time.UTC), Since: time.Date(2026, 3, 1, 9, 58, 0, 0, time.UTC), Done: 1234, Total: 5000, Rate: 10.25, LeftSeconds: 367.5,
				},
				Removed: &zodb.Removed{InBundles: true, GoneBytes: 5 << 20, Aside: []zodb.Aside{
					{Stamp: 1772300000, Files: 10, Bytes: 1 << 20, Until: time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)}, {Stamp: 1772400000, Files: 20, Bytes: 2 << 20, Until: time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)},
				}},
				Damaged:       []string{"A/b/0000000000000001-0000000000000002.tar"},
				GaveBackBytes: 7 << 20,
				Space:         zodb.Space{FreeBytes: 1 << 30, TotalBytes: 1 << 31, FreeInodes: 1000, TotalInodes: 2000},
			}
		},
		Backup: func() (metrics.Record, error) {
			return metrics.Record{TID: last - 1<<34, Time: time.Date(2026, 3, 1, 9, 57, 0, 0, time.UTC)}, nil
		},
		Verified: func() (metrics.Record, error) { return metrics.Record{Bad: 2}, nil },
		Verify: func() ([]runs.State, error) {
			ended := &runs.Run{Ended: time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC), Result: runs.Result{Failed: "no such device"}}
			return []runs.State{{Job: runs.Verify, Record: runs.Record{Last: ended}}}, nil
		},
		Jobs: func() ([]runs.State, error) {
			at := func(hour int) *runs.Run { return &runs.Run{Ended: time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC)} }
			check, bad := at(1), at(5)
			check.Check, bad.Failed = &runs.Checked{Damage: 3}, "no room"
			return []runs.State{
				{Job: runs.Check, Record: runs.Record{Last: check, Good: check, Damage: check}},
				{Job: runs.Backup, Record: runs.Record{Last: bad, Good: at(3)}},
				{Job: runs.Pack, Record: runs.Record{Begun: &runs.Beginning{Time: time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)}, Last: at(2), Good: at(2)}},
			}, nil
		},
	})
	return s
}

func TestExpositionIsTheOneOfTheGoldenFile(t *testing.T) {
	t.Parallel()
	got := strings.ReplaceAll(scrape(t, filled(t)), runtime.Version(), "GO")
	name := filepath.Join("testdata", "exposition.txt")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), got); diff != "" {
		t.Errorf("-want +got; -update rewrites it:\n%s", diff)
	}
}

func TestMetricsAreNamedAsPrometheusWantsThem(t *testing.T) {
	t.Parallel()
	problems, err := promlint.New(strings.NewReader(scrape(t, filled(t)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestDocumentNamesEveryMetric compares docs/monitoring.md with the metrics.
func TestDocumentNamesEveryMetric(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	exposed := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(scrape(t, filled(t)), -1) {
		exposed[m[1]] = true
		if !bytes.Contains(doc, []byte("| `"+m[1]+"`")) {
			t.Errorf("the table has no row for %s", m[1])
		}
	}
	for _, name := range regexp.MustCompile(`\bdirstorage_[a-z_]+`).FindAllString(string(doc), -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); exposed[base] {
				name = base
			}
		}
		if !exposed[name] {
			t.Errorf("the document speaks of %s, which is no metric", name)
		}
	}
}

func TestRuntimeIsShownBesides(t *testing.T) {
	t.Parallel()
	got := scrape(t, metrics.New(nil, metrics.Options{Clock: time.Now}))
	for _, name := range []string{"go_goroutines ", "process_resident_memory_bytes ", "dirstorage_build_info{"} {
		if !strings.Contains(got, "\n"+name) {
			t.Errorf("no %s", name)
		}
	}
}

func TestSetsShareNothing(t *testing.T) {
	t.Parallel()
	a := metrics.New([]string{"1"}, metrics.Options{Clock: time.Now})
	b := metrics.New([]string{"1"}, metrics.Options{Clock: time.Now})
	a.Conflicted("1")
	a.Refused("hello")
	want(t, scrape(t, a), map[string]float64{`dirstorage_conflicts_total{storage="1"}`: 1, `dirstorage_refused_total{limit="hello"}`: 1})
	want(t, scrape(t, b), map[string]float64{`dirstorage_conflicts_total{storage="1"}`: 0, `dirstorage_refused_total{limit="hello"}`: 0})
}

// TestNoSeriesFromWhatAClientSends also holds for a name of a storage in the
// configuration that is no UTF-8, of which Prometheus would panic.
func TestNoSeriesFromWhatAClientSends(t *testing.T) {
	t.Parallel()
	s := metrics.New([]string{"\xff"}, metrics.Options{Clock: time.Now, NoRuntime: true})
	before := strings.Count(scrape(t, s), "\n")
	for i := range 100 {
		s.Refused(strconv.Itoa(i))
		s.Connections(strconv.Itoa(i), 1)
		s.Loaded(strconv.Itoa(i), time.Second)
		s.Voted(strconv.Itoa(i), time.Second)
		s.Committed(strconv.Itoa(i), time.Second)
		s.Conflicted(strconv.Itoa(i))
		s.Aborted(strconv.Itoa(i))
	}
	got := scrape(t, s)
	if n := strings.Count(got, "\n"); n != before {
		t.Errorf("%d lines, and %d before", n, before)
	}
	want(t, got, map[string]float64{`dirstorage_refused_total{limit="other"}`: 100, "dirstorage_connections{storage=\"\uFFFD\"}": 0})
}

func TestStateOfSnapshotModeIsExactlyOne(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ snapshot, want string }{
		{"", "none"}, {"startup", "startup"}, {"recombining", "recombining"}, {"user/a/b c", "user"}, {"user/", "user"},
	} {
		t.Run(tc.snapshot, func(t *testing.T) {
			t.Parallel()
			s := metrics.New([]string{"1"}, metrics.Options{Clock: time.Now, NoRuntime: true})
			s.Storage("1").Watch(metrics.Source{Status: func() zodb.Status { return zodb.Status{Snapshot: tc.snapshot} }})
			got := scrape(t, s)
			for _, state := range []string{"none", "user", "startup", "recombining"} {
				v, _ := number(t, got, `dirstorage_snapshot_state{state="`+state+`",storage="1"}`)
				if (v == 1) != (state == tc.want) {
					t.Errorf("%s is %v", state, v)
				}
			}
		})
	}
}

func TestPackIsShownWhileItIsUnderWay(t *testing.T) {
	t.Parallel()
	var pack *zodb.PackProgress
	s := metrics.New([]string{"1"}, metrics.Options{Clock: time.Now, NoRuntime: true})
	s.Storage("1").Watch(metrics.Source{Status: func() zodb.Status { return zodb.Status{Pack: pack} }})
	begun := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name  string
		pack  *zodb.PackProgress
		want  map[string]float64
		phase string
	}{
		{"none", nil, map[string]float64{"running": 0}, ""},
		{
			"with a total", &zodb.PackProgress{Phase: "removing objects", Begun: begun, Done: 30, Total: 40, Rate: 2.5, LeftSeconds: 4},
			map[string]float64{"running": 1, "begun_timestamp_seconds": float64(begun.Unix()), "done": 30, "expected": 40, "rate": 2.5, "left_seconds": 4}, "removing objects",
		},
		{
			"without", &zodb.PackProgress{Phase: "removing transactions", Begun: begun},
			map[string]float64{"running": 1, "begun_timestamp_seconds": float64(begun.Unix()), "done": 0, "rate": 0}, "removing transactions",
		},
		{"none again", nil, map[string]float64{"running": 0}, ""},
	} {
		pack = tc.pack
		got := scrape(t, s)
		for _, name := range []string{"running", "begun_timestamp_seconds", "done", "expected", "rate", "left_seconds"} {
			v, ok := number(t, got, "dirstorage_pack_"+name+`{storage="1"}`)
			if w, wanted := tc.want[name]; ok != wanted || v != w {
				t.Errorf("%s: %s is %v (there: %v), want %v (%v)", tc.name, name, v, ok, w, wanted)
			}
		}
		phases := regexp.MustCompile(`(?m)^dirstorage_pack_phase\{phase="(.*)",storage="1"\} (.)$`).FindAllStringSubmatch(got, -1)
		if len(phases) < 7 {
			t.Errorf("%s: %d phases", tc.name, len(phases))
		}
		for _, m := range phases {
			if (m[2] == "1") != (m[1] == tc.phase) {
				t.Errorf("%s: phase %s is %s", tc.name, m[1], m[2])
			}
		}
	}
}

// TestEveryPhaseOfAPackIsOneOfTheLabels looks into the source of the engine for
// the report of a pack.
func TestEveryPhaseOfAPackIsOneOfTheLabels(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../engine/packing/*.go")
	if err != nil {
		t.Fatal(err)
	}
	got := scrape(t, filled(t))
	found := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.phase\("([^"]*)"`).FindAllStringSubmatch(string(b), -1) {
			found++
			if !strings.Contains(got, `dirstorage_pack_phase{phase="`+m[1]+`",`) {
				t.Errorf("%s: the phase %q has no label", name, m[1])
			}
		}
	}
	if labels := strings.Count(got, `dirstorage_pack_phase{`); found != labels {
		t.Errorf("%d phases in the source, and %d labels", found, labels)
	}
}

// TestWhatIsNotKnownIsNotShown: a number that is wrong is worse than none.
func TestWhatIsNotKnownIsNotShown(t *testing.T) {
	t.Parallel()
	s := metrics.New([]string{"1"}, metrics.Options{Clock: time.Now, NoRuntime: true})
	s.Storage("1").Watch(metrics.Source{Status: func() zodb.Status {
		return zodb.Status{Counts: zodb.Counts{Objects: 5, Revisions: 1, Bytes: 1}, Space: zodb.Space{FreeBytes: 1, TotalBytes: 2}}
	}})
	got := scrape(t, s)
	for _, name := range []string{
		"revisions", "transactions", "bytes", "blob_bytes", "free_inodes", "capacity_inodes",
		"last_backup_tid", "last_backup_timestamp_seconds", "last_verified_tid", "last_verified_timestamp_seconds", "bad_backups",
	} {
		if v, ok := number(t, got, `dirstorage_`+name+`{storage="1"}`); ok {
			t.Errorf("%s is %v", name, v)
		}
	}
	want(t, got, map[string]float64{
		`dirstorage_objects{storage="1"}`: 5, `dirstorage_counts_exact{storage="1"}`: 0, `dirstorage_free_bytes{storage="1"}`: 1,
		`dirstorage_last_tid{storage="1"}`: 0, `dirstorage_last_transaction_timestamp_seconds{storage="1"}`: 0,
	})
}

func TestClosedStorageHasNoGauges(t *testing.T) {
	t.Parallel()
	s := filled(t)
	s.Storage("main").Watch(metrics.Source{})
	got := scrape(t, s)
	if _, ok := number(t, got, `dirstorage_last_tid{storage="main"}`); ok {
		t.Error("a storage that is closed still has a last transaction")
	}
	want(t, got, map[string]float64{`dirstorage_commits_total{storage="main"}`: 2})
}

func TestRecordIsReadAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	c := newClock()
	var log bytes.Buffer
	s := metrics.New([]string{"1"}, metrics.Options{Clock: c.Now, KeepBackup: 5 * time.Second, NoRuntime: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	reads := 0
	var failure error
	s.Storage("1").Watch(metrics.Source{
		Status: func() zodb.Status { return zodb.Status{} },
		Backup: func() (metrics.Record, error) { reads++; return metrics.Record{TID: zodb.TID(reads)}, failure },
	})
	const series = `dirstorage_last_backup_tid{storage="1"}`
	step := func(name string, after time.Duration, wantReads int) {
		t.Helper()
		c.add(after)
		got := scrape(t, s)
		if reads != wantReads {
			t.Errorf("%s: read %d times, want %d", name, reads, wantReads)
		}
		if v, ok := number(t, got, series); ok != (failure == nil) || ok && v != float64(wantReads) {
			t.Errorf("%s: shown as %v (there: %v)", name, v, ok)
		}
	}
	step("first", 0, 1)
	step("soon after", 4*time.Second, 1)
	step("later", time.Second, 2)
	step("clock set back", -time.Hour, 3)
	failure = errors.New("broken")
	step("not to be read", 5*time.Second, 4)
	step("still not", 5*time.Second, 5)
	if n := strings.Count(log.String(), "broken"); n != 1 {
		t.Errorf("said %d times that it is broken:\n%s", n, &log)
	}
	failure = nil
	step("mended", 5*time.Second, 6)
}

// TestDamageIsShownWithinSeconds, with the default options: status reads the records at each call.
func TestDamageIsShownWithinSeconds(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := metrics.New([]string{"1"}, metrics.Options{Clock: c.Now, NoRuntime: true})
	var damage int64
	record := func() ([]runs.State, error) {
		r := &runs.Run{Ended: c.Now(), Result: runs.Result{Check: &runs.Checked{Extent: runs.Whole, Complete: true, Damage: damage}}}
		return []runs.State{{Job: runs.Check, Record: runs.Record{Version: 1, Last: r, Damage: r}}}, nil
	}
	s.Storage("1").Watch(metrics.Source{Status: func() zodb.Status { return zodb.Status{} }, Jobs: record})
	for _, damage = range []int64{0, 3, 0, 1} {
		c.add(15 * time.Second)
		want(t, scrape(t, s), map[string]float64{`dirstorage_check_damage{storage="1"}`: float64(damage)})
	}
}

// TestNothingIsLostWhileItIsShown has the race detector look, too.
func TestNothingIsLostWhileItIsShown(t *testing.T) {
	t.Parallel()
	s := filled(t)
	const writers, each = 8, 2000
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			for n := range each {
				s.Loaded("main", time.Duration(n)*time.Microsecond)
				s.Connections("main", 1-2*(n%2))
				s.Refused("queue")
				if i == 0 {
					s.Storage("main").Synced(time.Millisecond, 2)
				}
			}
		})
	}
	last := 0.0
	for range 20 {
		got := scrape(t, s)
		loads, _ := number(t, got, `dirstorage_loads_total{storage="main"}`)
		count, _ := number(t, got, `dirstorage_load_seconds_count{storage="main"}`)
		infinite, _ := number(t, got, `dirstorage_load_seconds_bucket{storage="main",le="+Inf"}`)
		if loads != count || count != infinite || loads < last {
			t.Errorf("%v loads, %v in the histogram, %v in its last bucket; %v before", loads, count, infinite, last)
		}
		last = loads
	}
	wait.Wait()
	want(t, scrape(t, s), map[string]float64{
		`dirstorage_loads_total{storage="main"}`:               writers*each + 6,
		`dirstorage_connections{storage="main"}`:               2,
		`dirstorage_refused_total{limit="queue"}`:              writers * each,
		`dirstorage_synced_transactions_total{storage="main"}`: 2*each + 4,
	})
}

func TestBucketsIncludeTheirBound(t *testing.T) {
	t.Parallel()
	want(t, scrape(t, filled(t)), map[string]float64{
		`dirstorage_load_seconds_bucket{storage="main",le="1e-05"}`:   3, // 0, 10 µs, and a negative one
		`dirstorage_load_seconds_bucket{storage="main",le="2.5e-05"}`: 4,
		`dirstorage_load_seconds_bucket{storage="main",le="10"}`:      5,
		`dirstorage_load_seconds_bucket{storage="main",le="+Inf"}`:    6,
		`dirstorage_load_seconds_sum{storage="main"}`:                 60.003021,
	})
}

func TestLabelsAreThoseOfTheStorage(t *testing.T) {
	t.Parallel()
	labels := regexp.MustCompile(`(?m)^dirstorage_\w+\{(.*)\} `)
	var names []string
	for _, m := range labels.FindAllStringSubmatch(scrape(t, filled(t)), -1) {
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[1], -1) {
			if !slices.Contains(names, l[1]) {
				names = append(names, l[1])
			}
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"class", "format", "goversion", "identity", "le", "limit", "name", "phase", "revision", "run", "state", "storage", "use", "version"}, names); diff != "" {
		t.Error(diff)
	}
}
