package web

import (
	"net/http"
	"sync"
)

// Pages that are being sent have their whole text in memory, and readers may be slow. So many are
// sent at once, and so many to one address.
const (
	readersOfAll = 32
	readersOfOne = 16
)

// sentPiece is the part of a page that a reader has to take within writeTime.
const sentPiece = 64 << 10

// readers counts the pages that are being sent.
type readers struct {
	mu  sync.Mutex
	all int            // guarded by mu
	of  map[string]int // guarded by mu; by address
}

// enter reports false if there are too many; otherwise the caller calls leave at the end.
func (r *readers) enter(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all >= readersOfAll || r.of[address] >= readersOfOne {
		return false
	}
	if r.of == nil {
		r.of = make(map[string]int)
	}
	r.all++
	r.of[address]++
	return true
}

func (r *readers) leave(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	if r.of[address]--; r.of[address] == 0 {
		delete(r.of, address)
	}
}

// send writes a page as long as its reader goes on.
func (s *Site) send(w http.ResponseWriter, page []byte) {
	rc := http.NewResponseController(w)
	for len(page) > 0 {
		_ = rc.SetWriteDeadline(s.o.Clock().Add(writeTime)) // without it the listener's own counts
		n, err := w.Write(page[:min(len(page), sentPiece)])
		if err != nil {
			return // the client is gone, or does not read
		}
		page = page[n:]
	}
}
