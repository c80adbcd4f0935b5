package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxStreams is how many streams there are at once. The listener has more connections than that.
const maxStreams = 16

// writeTime is how long a client of a stream may take to accept an event.
const writeTime = 10 * time.Second

// maxStream ends each stream now and then; a browser comes again by itself.
const maxStream = time.Hour

// open reports false if there are too many streams; otherwise the caller calls leave at the end.
func (l *live) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams >= maxStreams {
		return false
	}
	l.streams++
	return true
}

func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams--
}

// events is a stream of server-sent events: “samples” of a storage, all of the last minutes first,
// and “faults” whenever they change. An event has an id, from which a browser that lost the
// connection goes on.
func (s *Site) events(w http.ResponseWriter, r *http.Request) {
	st, err := s.storage(r.URL.Query().Get("storage"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !s.live.enter() {
		s.fail(w, r, &failure{code: http.StatusServiceUnavailable, retry: 30, text: "too many live pages are open: close some"})
		return
	}
	defer s.live.leave()
	rc := http.NewResponseController(w)
	// The stream outlives the times of a usual request.
	_ = rc.SetReadDeadline(time.Time{}) // a listener without it ends the stream, and the browser comes again
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for nginx
	stream := &stream{w: w, rc: rc, clock: s.o.Clock}
	if stream.send("retry: 2000\n\n") != nil {
		return
	}
	_, in := s.who(r, false)
	token, _ := bearer(r)
	byToken := !in && s.rightToken(token) // a session or a certificate counts first
	end := s.o.Clock().Add(maxStream)
	last, faults := s.resume(r.Header.Get("Last-Event-ID")), ""
	for s.o.Clock().Before(end) {
		// A page that is left open does not keep a session alive. A token was checked at the beginning.
		if _, in := s.who(r, false); !in && !byToken {
			return
		}
		newer, changed := s.live.after(st.Name, last)
		if len(newer) > 0 {
			last = newer[len(newer)-1].n
			if stream.event("samples", s.eventID(last), samplesOf(newer)) != nil {
				return
			}
		}
		if now := s.faults.json(); now != faults {
			faults = now
			if stream.send("event: faults\ndata: "+now+"\n\n") != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-s.live.closed:
			return
		}
	}
}

func samplesOf(list []numbered) []sample {
	samples := make([]sample, len(list))
	for i, n := range list {
		samples[i] = n.sample
	}
	return samples
}

// eventID has a mark of this process, since numbers begin anew with each.
func (s *Site) eventID(n int64) string { return fmt.Sprintf("%x-%d", s.secret[:4], n) }

// resume returns the number of the last sample that a browser has; 0 = none.
func (s *Site) resume(id string) int64 {
	mark, text, ok := strings.Cut(id, "-")
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || mark != fmt.Sprintf("%x", s.secret[:4]) {
		return 0
	}
	return n
}

// stream writes events.
type stream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	clock func() time.Time
}

func (s *stream) event(name, id string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send("event: " + name + "\nid: " + id + "\ndata: " + string(b) + "\n\n")
}

func (s *stream) send(text string) error {
	_ = s.rc.SetWriteDeadline(s.clock().Add(writeTime)) // without it the listener's own counts
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}
