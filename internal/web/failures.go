package web

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// The limits of wrong tokens: so many at once, and then one in each time.
const (
	failuresOfOne = 5
	timeOfOne     = 10 * time.Second
	failuresOfAll = 100 // of all addresses together
	timeOfAll     = time.Second
	// maxAddresses bounds the memory.
	maxAddresses = 1024
)

// bucket counts failures, and forgets one in each time.
type bucket struct {
	n  int
	at time.Time // when the last one was forgotten
}

// leak forgets the failures of long ago.
func (b *bucket) leak(now time.Time, each time.Duration) {
	if now.Before(b.at) { // the clock was set back
		b.at = now
	}
	gone := int(min(now.Sub(b.at)/each, time.Duration(b.n)))
	b.n -= gone
	b.at = b.at.Add(time.Duration(gone) * each)
	if b.n == 0 {
		b.at = now
	}
}

// wait returns the time until one failure less is counted than there may be.
func (b *bucket) wait(now time.Time, limit int, each time.Duration) time.Duration {
	if b.leak(now, each); b.n < limit {
		return 0
	}
	return each - now.Sub(b.at)
}

// failures limits the guesses at the token, of each address and of all together.
type failures struct {
	clock func() time.Time

	mu  sync.Mutex
	one map[string]*bucket // guarded by mu
	all bucket             // guarded by mu
}

func newFailures(clock func() time.Time) *failures {
	return &failures{clock: clock, one: make(map[string]*bucket), all: bucket{at: clock()}}
}

// wait returns how long an address has to wait; 0 = it may try.
func (f *failures) wait(from string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	wait := f.all.wait(now, failuresOfAll, timeOfAll)
	if b := f.one[from]; b != nil {
		wait = max(wait, b.wait(now, failuresOfOne, timeOfOne))
	}
	return wait
}

func (f *failures) count(from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	f.all.leak(now, timeOfAll)
	f.all.n++
	b := f.one[from]
	if b == nil {
		f.makeRoom(now)
		b = &bucket{at: now}
		f.one[from] = b
	}
	b.leak(now, timeOfOne)
	b.n++
}

// makeRoom forgets addresses that may try again, and any other if all have to wait.
func (f *failures) makeRoom(now time.Time) {
	if len(f.one) < maxAddresses {
		return
	}
	for from, b := range f.one {
		if b.leak(now, timeOfOne); b.n == 0 {
			delete(f.one, from)
		}
	}
	for from := range f.one {
		if len(f.one) < maxAddresses {
			return
		}
		delete(f.one, from)
	}
}

// addressOf is the network address of a client: of IPv6 the part that one customer gets.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		const network = 64
		if p, err := ip.Prefix(network); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
