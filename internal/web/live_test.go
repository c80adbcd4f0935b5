package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/metrics"
)

func TestQuantilesOfHistograms(t *testing.T) {
	t.Parallel()
	bounds := []time.Duration{10 * time.Microsecond, 20 * time.Microsecond, 100 * time.Microsecond}
	for _, tc := range []struct {
		name   string
		counts []uint64
		part   float64
		want   float64
	}{
		{"nothing", []uint64{0, 0, 0, 0}, 0.5, -1},
		{"all in the first", []uint64{10, 0, 0, 0}, 0.5, 5},
		{"half way through the second", []uint64{0, 4, 0, 0}, 0.5, 15},
		{"at a bound", []uint64{5, 5, 0, 0}, 0.5, 10},
		{"in the third", []uint64{0, 0, 8, 0}, 0.75, 80},
		{"beyond the last", []uint64{1, 0, 0, 99}, 0.99, 100},
	} {
		if got := quantile(bounds, tc.counts, tc.part); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestSampleIsTheDifferenceOfTwoReadings(t *testing.T) {
	t.Parallel()
	set := metrics.New([]string{"main"}, metrics.Options{Clock: time.Now, NoRuntime: true})
	m := set.Storage("main")
	set.Loaded("main", time.Hour) // long ago
	before := m.Totals()
	for range 300 {
		set.Loaded("main", 15*time.Microsecond)
	}
	set.Committed("main", 3*time.Millisecond)
	set.Conflicted("main")
	set.Aborted("main")
	set.Connections("main", 4)
	got := between(before, m.Totals(), 2*time.Second, time.UnixMilli(5000))
	if got.Loads != 150 || got.Commits != 0.5 || got.Conflicts != 0.5 || got.Aborts != 0.5 || got.Connections != 4 || got.Time != 5000 {
		t.Errorf("rates %+v", got)
	}
	if got.Load50 < 10 || got.Load99 > 25 || got.Commit50 < 2500 || got.Commit99 > 5000 || got.Sync99 != -1 || got.Lock99 != -1 {
		t.Errorf("times %+v", got)
	}
}

// TestSamplesAreBounded: of a year, and of storages that come and go.
func TestSamplesAreBounded(t *testing.T) {
	t.Parallel()
	set := metrics.New([]string{"a", "b"}, metrics.Options{Clock: time.Now, NoRuntime: true})
	now := time.Unix(1e9, 0)
	names := []string{"a", "b"}
	l := &live{o: Options{
		Clock: func() time.Time { return now },
		Storages: func() (list []Storage) {
			for _, n := range names {
				list = append(list, Storage{Name: n, Metrics: set.Storage(n)})
			}
			return list
		},
	}, tracks: make(map[string]*track), changed: make(chan struct{})}
	for range 5 * keptSamples {
		now = now.Add(time.Second)
		l.take()
	}
	list, _ := l.after("a", 0)
	if len(list) != keptSamples || list[len(list)-1].Time != now.UnixMilli() || cap(l.tracks["a"].samples) > 2*keptSamples {
		t.Errorf("%d samples", len(list))
	}
	if newer, _ := l.after("a", list[len(list)-2].n); len(newer) != 1 {
		t.Errorf("%d are newer than the last but one", len(newer))
	}
	now = now.Add(-time.Hour) // the clock was set back
	l.take()
	now = now.Add(time.Second)
	l.take()
	if list, _ := l.after("a", 0); list[len(list)-1].Loads < 0 {
		t.Errorf("%+v", list[len(list)-1])
	}
	names = []string{"b"}
	l.take()
	if list, _ := l.after("a", 0); list != nil {
		t.Error("a storage that was closed is kept")
	}
}

// events reads a stream, until stop is called.
type eventReader struct {
	t    testing.TB
	r    *bufio.Reader
	stop context.CancelFunc
	code int
}

func (s *testSite) events(headers ...string) *eventReader {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	s.t.Cleanup(stop)
	answer, err := s.client.Do(s.request("GET", "/web/events?storage=main", "", headers...).WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { answer.Body.Close() })
	return &eventReader{t: s.t, r: bufio.NewReader(answer.Body), stop: stop, code: answer.StatusCode}
}

// next returns the next event of a name; false at the end of the stream.
func (e *eventReader) next(name string) (id, data string, ok bool) {
	e.t.Helper()
	event := ""
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			return "", "", false
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "event":
			event, id, data = value, "", ""
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if event == name {
				return id, data, true
			}
		}
	}
}

func TestStreamGoesOnWhereItWasLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	first := s.events()
	id, data, ok := first.next("samples")
	for i := 0; ok && i < 2; i++ {
		id, data, ok = first.next("samples")
	}
	var samples []sample
	if err := json.Unmarshal([]byte(data), &samples); !ok || err != nil || len(samples) == 0 || samples[0].Time == 0 {
		t.Fatalf("%q, %v", data, err)
	}
	seen := samples[len(samples)-1].Time
	first.stop()
	for _, tc := range []struct {
		id  string
		old bool // samples from before are sent again
	}{{id, false}, {"", true}, {"another process-3", true}, {"nonsense", true}} {
		var headers []string
		if tc.id != "" {
			headers = []string{"Last-Event-ID", tc.id}
		}
		e := s.events(headers...)
		_, data, ok := e.next("samples")
		if err := json.Unmarshal([]byte(data), &samples); !ok || err != nil || len(samples) == 0 {
			t.Fatalf("from %q: %q, %v", tc.id, data, err)
		}
		if (samples[0].Time <= seen) != tc.old {
			t.Errorf("from %q it begins at %d, and %d was seen", tc.id, samples[0].Time, seen)
		}
		e.stop()
	}
}

func TestStreamTellsFaultsWhenTheyChange(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	e := s.events()
	if _, data, ok := e.next("faults"); !ok || data != "[]" {
		t.Fatalf("%q", data)
	}
	s.mu.Lock()
	s.problems = []Problem{{Storage: "main", Text: "the disk is <full>", Remedy: "pack"}}
	s.mu.Unlock()
	_, data, ok := e.next("faults")
	if want := `[{"storage":"main","text":"the disk is \u003cfull\u003e","remedy":"pack"}]`; !ok || data != want {
		t.Errorf("%s, want %s", data, want)
	}
	if _, body := s.get("/web/"); !strings.Contains(body, "the disk is &lt;full&gt;") || strings.Contains(body, "Everything is in order") {
		t.Errorf("the page has\n%s", body)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	var open []*eventReader
	for i := range maxStreams {
		e := s.events()
		if e.code != http.StatusOK {
			t.Fatalf("stream %d: %d", i, e.code)
		}
		open = append(open, e)
	}
	if e := s.events(); e.code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", e.code)
	}
	if code, _ := s.get("/web/live"); code != http.StatusOK {
		t.Errorf("the page itself: %d", code)
	}
	open[0].stop()
	hometest.Eventually(t, "the place of a stream that ended is free", func() bool {
		e := s.events()
		defer e.stop()
		return e.code == http.StatusOK
	})
}

func TestStreamEndsWithTheLoginAndTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	e := s.events()
	if _, _, ok := e.next("faults"); !ok {
		t.Fatal("nothing came")
	}
	if answer, _ := s.do(s.client, s.request("POST", "/web/logout", "csrf="+s.csrf(), "Origin", s.address)); answer.StatusCode != http.StatusSeeOther {
		t.Fatal(answer.Status)
	}
	for ok := true; ok; {
		_, _, ok = e.next("samples")
	}
	s.login()
	e = s.events()
	if _, _, ok := e.next("faults"); !ok {
		t.Fatal("nothing came")
	}
	s.site.Close()
	for ok := true; ok; {
		_, _, ok = e.next("samples")
	}
	if code, body := s.get("/web/"); code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", code, body)
	}
}

// TestStreamOutlivesTheTimesOfARequest: those of the listener, which are for probes.
func TestStreamOutlivesTheTimesOfARequest(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	s := newSite(t, nil).login()
	e := s.events()
	const longer = 35 // seconds; the listener has 10 for a request, and 30 for an answer
	for i := range longer {
		if _, _, ok := e.next("samples"); !ok {
			t.Fatalf("it ended after %d samples", i)
		}
	}
}

func TestALookThatHangsIsAFault(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	f := &faults{o: Options{Clock: func() time.Time { return now }}, list: []Problem{{Text: "old"}}, text: `[{"text":"old"}]`}
	f.looked = now
	if got := f.now(); len(got) != 1 {
		t.Errorf("at once: %v", got)
	}
	now = now.Add(hungTime)
	if got := f.now(); len(got) != 2 || !strings.Contains(got[0].Text, "has not said its state") || got[0].Warning {
		t.Errorf("later: %v", got)
	}
	if got := f.json(); !strings.Contains(got, "has not said") || !strings.Contains(got, "old") {
		t.Errorf("later: %s", got)
	}
}

func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	var l limited
	for range maxPage / 1024 {
		if _, err := fmt.Fprint(&l, strings.Repeat("x", 1024)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fmt.Fprint(&l, "y"); err == nil || l.made.Len() != maxPage {
		t.Errorf("%v after %d bytes", err, l.made.Len())
	}
}

// TestFewPagesAreMadeAtOnce: while a disk hangs, each further request must not cost memory for long.
func TestFewPagesAreMadeAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	for range pagesAtOnce {
		s.site.making <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.client.Do(s.request("GET", "/web/", "").WithContext(ctx))
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("one more was made: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	<-done
	<-s.site.making
	if code, _ := s.get("/web/"); code != http.StatusOK {
		t.Errorf("with a place: %d", code)
	}
	s.site.making <- struct{}{}
	s.site.stop() // while one waits
	if code, body := s.get("/web/"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the server stops: the page was given up") {
		t.Errorf("one that waits when the server ends: %d\n%s", code, body)
	}
}
