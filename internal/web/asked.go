package web

import (
	"context"
	"sync"
	"time"
)

// stateTime is how long the first page waits for the state of a storage.
const stateTime = 3 * time.Second

// asked are the storages that are asked for their state, each once at a time: one whose disk hangs
// keeps one goroutine, and no page.
type asked struct {
	mu sync.Mutex
	by map[string]*asking // guarded by mu; by name
}

type asking struct {
	done  chan struct{} // closed when state is there
	state storageState
}

// state returns the state of a storage, or that it says none.
func (a *asked) state(ctx context.Context, st Storage) storageState {
	one := a.ask(st)
	late := time.NewTimer(stateTime)
	defer late.Stop()
	select {
	case <-one.done:
		return one.state
	case <-late.C:
	case <-ctx.Done():
	}
	return storageState{Name: st.Name, Silent: true}
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
		one.state = stateOf(ctx, st)
		a.mu.Lock()
		delete(a.by, st.Name)
		a.mu.Unlock()
		close(one.done)
	}()
	return one
}
