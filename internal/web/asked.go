package web

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// stateTime is how long the first page waits for the state of a storage.
const stateTime = 3 * time.Second

// asked are the storages that are asked for their state, each once at a time: one whose disk hangs
// keeps one goroutine, and no page.
type asked struct {
	log *slog.Logger
	mu  sync.Mutex
	by  map[string]*asking // guarded by mu; by name
}

type asking struct {
	done  chan struct{} // closed when state or err is there
	state storageState
	err   error
}

// state returns the state of a storage, or that it says none.
func (a *asked) state(ctx context.Context, st Storage) (storageState, error) {
	one := a.ask(st)
	late := time.NewTimer(stateTime)
	defer late.Stop()
	select {
	case <-one.done:
		return one.state, one.err
	case <-late.C:
	case <-ctx.Done():
	}
	return storageState{Name: st.Name, Silent: true}, nil
}

// ask begins to ask, unless somebody does.
func (a *asked) ask(st Storage) *asking {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.by[st.Name]; one != nil {
		return one
	}
	if a.by == nil {
		a.by = make(map[string]*asking)
	}
	one := &asking{done: make(chan struct{})}
	a.by[st.Name] = one
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), pageTime)
		defer cancel()
		if err := shielded(a.log, func() { one.state = stateOf(ctx, st) }); err != nil {
			one.err = fmt.Errorf("storage %s: its state could not be read: %w; see the server's log", safe(st.Name, 100), err)
		}
		a.mu.Lock()
		delete(a.by, st.Name)
		a.mu.Unlock()
		close(one.done)
	}()
	return one
}

// shielded runs a part of a goroutine, and turns a panic into an error: a bug that a page meets must
// not end the server, as one in the goroutine of its request does not.
func shielded(log *slog.Logger, f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			log.Error("bug in the server: a part of the web page is given up", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	f()
	return nil
}
