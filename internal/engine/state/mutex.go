package state

import (
	"context"
	"log/slog"
	"sync"
)

// Mutex is a lock under which no line is written to the log. The reader of the log may be
// slow, and a pipe without a reader blocks its writer for ever. So lines are kept while
// the lock is held, and written after it is given back.
type Mutex struct {
	sync.RWMutex
	Log   *slog.Logger
	lines []logLine // guarded by the lock, held exclusively
}

type logLine struct {
	level slog.Level
	text  string
	args  []any
}

// Say keeps a line for the log. The lock must be held, exclusively.
func (m *Mutex) Say(level slog.Level, text string, args ...any) {
	m.lines = append(m.lines, logLine{level, text, args})
}

// Unlock gives the lock back, and writes the lines that were kept.
func (m *Mutex) Unlock() {
	lines := m.lines
	m.lines = nil
	m.RWMutex.Unlock()
	for _, l := range lines {
		m.Log.Log(context.Background(), l.level, l.text, l.args...)
	}
}
