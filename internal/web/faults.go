package web

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// faultTime is the time between two looks for faults, and hungTime that after which a look is taken
// for stuck.
const (
	faultTime = 2 * time.Second
	hungTime  = 10 * time.Second
)

// faults looks for faults in the background, so that a storage that hangs does not hang the pages.
type faults struct {
	o    Options
	stop context.CancelFunc

	mu     sync.Mutex
	list   []Problem // guarded by mu
	text   string    // guarded by mu: list as JSON
	looked time.Time // guarded by mu: when the last look began; zero: none is under way
}

func startFaults(o Options) *faults {
	ctx, stop := context.WithCancel(context.Background())
	f := &faults{o: o, stop: stop, text: "[]"}
	f.look()
	go func() {
		ticker := time.NewTicker(faultTime)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f.look()
			case <-ctx.Done():
				return
			}
		}
	}()
	return f
}

func (f *faults) close() { f.stop() }

func (f *faults) look() {
	f.mu.Lock()
	f.looked = f.o.Clock()
	f.mu.Unlock()
	var list []Problem
	if err := shielded(f.o.Logger, func() { list = f.o.Problems() }); err != nil {
		list = []Problem{{Text: "the look for faults failed: " + err.Error(), Remedy: "report it with the server's log, and use dirstorage status"}}
	}
	text := encode(list)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.text, f.looked = list, text, time.Time{}
}

func encode(list []Problem) string {
	if list == nil {
		list = []Problem{}
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic("web: " + err.Error()) // strings only
	}
	return string(b)
}

// hung returns the problem that a look does not end; nil if it is not so.
func (f *faults) hung() *Problem { // mu is held
	if f.looked.IsZero() || f.o.Clock().Sub(f.looked) < hungTime {
		return nil
	}
	return &Problem{Code: "stuck", Text: fmt.Sprintf("a storage has not said its state for %s", hungTime), Remedy: "look at the disk, and at /live"}
}

// now returns the faults, the worst first. The caller must not change them.
func (f *faults) now() []Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.hung(); p != nil {
		return append([]Problem{*p}, f.list...)
	}
	return f.list
}

// json returns them as JSON.
func (f *faults) json() string {
	f.mu.Lock()
	p, list, text := f.hung(), f.list, f.text
	f.mu.Unlock()
	if p != nil {
		return encode(append([]Problem{*p}, list...))
	}
	return text
}
