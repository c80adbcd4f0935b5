package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/web"
	"github.com/dirstorage/dirstorage/internal/zeo"
)

// homeStatus is what the command status gets from the control socket and from the backups.
func (s *serving) homeStatus(ctx context.Context, st zeo.StorageOptions) *homeStatus {
	server := s.state(st.Name)
	h := &homeStatus{Running: true, Status: st.Storage.Status(), Server: &server}
	if a, ok := s.activity(); ok {
		h.Activity = storageActivity(&a, st.Name)
	}
	if n := s.backups.of(ctx, s.e, h); n != nil {
		h.take(n)
	}
	h.addFound()
	return h
}

// webProblems are those of the command status, of all storages that are open, the severe ones first.
func (s *serving) webProblems(ctx context.Context, limits problemLimits) (list []web.Problem) {
	for _, st := range s.open.all() {
		h := s.homeStatus(ctx, st)
		h.findProblems(s.e.Now(), limits)
		list = addProblems(list, st.Name, h.Problems)
	}
	slices.SortStableFunc(list, func(a, b web.Problem) int {
		switch {
		case a.Warning == b.Warning:
			return 0
		case b.Warning:
			return -1
		}
		return 1
	})
	return list
}

// addProblems adds those of a storage; one of the whole server once.
func addProblems(list []web.Problem, storage string, problems []problem) []web.Problem {
	for _, p := range problems {
		one := web.Problem{Storage: storage, Code: p.Code, Text: p.Text, Remedy: p.Remedy, Warning: p.Severity == warning}
		if p.ofServer() {
			one.Storage = ""
		}
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// webBehind are the rows of the command status about flush, backup and verification.
func (s *serving) webBehind(ctx context.Context, st zeo.StorageOptions) (facts []web.Fact) {
	var rows rowList
	s.homeStatus(ctx, st).behindRows(&rows, s.e.Now())
	for _, r := range rows {
		facts = append(facts, web.Fact{Name: strings.ToUpper(r.name[:1]) + r.name[1:], Text: r.text})
	}
	return facts
}

// webBackups looks at the backups of each storage in the background: a repository may be large, or
// hang. The pages take the last look.
type webBackups struct {
	mu sync.Mutex
	by map[string]*backupLook // guarded by mu: by HOME
}

// backupLook is the last look at the backups of one storage.
type backupLook struct {
	begun time.Time
	next  time.Time     // no other one begins before
	ended chan struct{} // closed at its end
	state *homeNotes    // of the last one that ended well; nil: none did
}

const (
	// backupsEvery is the time from one look to the next, at least; a look takes a hundredth of the
	// time at most.
	backupsEvery = time.Minute
	backupsShare = 100
	// backupsPatience is how long a page waits for the first look.
	backupsPatience = time.Second
	// backupsHang is the time after which a look is taken for stuck.
	backupsHang = 2 * time.Minute
)

// of returns the state of the backups, and the notes beside them; nil before the first look has ended.
func (w *webBackups) of(ctx context.Context, e *env, h *homeStatus) *homeNotes {
	home, identity, repository := h.Home, h.Identity, h.Server.Repository
	look := w.look(e, home, func() (*homeNotes, error) { return readNotes(ctx, e, home, identity, repository) })
	w.mu.Lock()
	defer w.mu.Unlock()
	var n homeNotes
	var b backupState
	running, now := look.running(), e.Now()
	switch {
	case look.state != nil:
		n = *look.state
		b = *n.backup
	case !running || now.Sub(look.begun) < backupsHang:
		return nil
	}
	if running && now.Sub(look.begun) >= backupsHang {
		b.Repository = repositoryIn(home, repository)
		b.Error = fmt.Sprintf("it has not answered for %s", human.Duration(now.Sub(look.begun).Truncate(time.Minute)))
	}
	b.compare(h.LastTID, now)
	n.backup = &b
	return &n
}

// running reports whether the look has not ended.
func (l *backupLook) running() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// look begins a look if it is time for one, and waits a little for the first.
func (w *webBackups) look(e *env, home string, read func() (*homeNotes, error)) *backupLook {
	w.mu.Lock()
	if w.by == nil {
		w.by = make(map[string]*backupLook)
	}
	look := w.by[home]
	if look == nil {
		look = &backupLook{ended: make(chan struct{})}
		close(look.ended)
		w.by[home] = look
	}
	now := e.Now()
	if !look.running() && !now.Before(look.next) {
		ended := make(chan struct{})
		look.begun, look.ended = now, ended
		go func() {
			n, err := read()
			w.mu.Lock()
			defer w.mu.Unlock()
			if err == nil { // else the server stops
				look.state = n
			}
			end := e.Now()
			look.next = end.Add(max(backupsEvery, backupsShare*end.Sub(look.begun)))
			close(ended)
		}()
	}
	ended, first := look.ended, look.state == nil && now.Sub(look.begun) < backupsPatience
	w.mu.Unlock()
	if first {
		select {
		case <-ended:
		case <-time.After(backupsPatience):
		}
	}
	return look
}
