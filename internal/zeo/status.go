package zeo

import (
	"strings"
	"time"
)

// statusEntry is a line of server_status.
type statusEntry struct {
	key   string
	value any
}

// statusOf returns the answer of server_status, in the order of the reference.
func (s *Server) statusOf(h *hub) []statusEntry {
	st := &h.stats
	var lockTime any
	if at := st.lockTime.Load(); at != 0 {
		lockTime = float64(at) / 1e9
	}
	var timeouts any = "stub"
	if s.o.TransactionTimeout > 0 {
		timeouts = true
	}
	last := h.storage.LastTransaction()
	return []statusEntry{
		{"loads", st.loads.Load()},
		{"stores", st.stores.Load()},
		{"commits", st.commits.Load()},
		{"aborts", st.aborts.Load()},
		{"active_txns", st.active.Load()},
		{"lock_time", lockTime},
		{"conflicts", st.conflicts.Load()},
		{"conflicts_resolved", int64(0)},
		{"start", s.started.Local().Format(time.ANSIC)},
		{"connections", int64(h.connections())},
		{"waiting", st.waiting.Load()},
		{"timeout-thread-is-alive", timeouts},
		{"last-transaction", strings.ToLower(last.String())},
	}
}

// status is statusOf as a JSON object.
func (s *Server) status(h *hub) map[string]any {
	m := make(map[string]any)
	for _, e := range s.statusOf(h) {
		m[e.key] = e.value
	}
	return m
}
