package engine

import (
	"context"
	"log/slog"
	"sync"
)

// stateMutex is the lock of a storage's state. Whoever reads the log may be slow, and a
// pipe that nobody reads stops for ever who writes a line to it. So no line is written
// while the lock is held: it is kept, and written by who gives the lock back, after that.
type stateMutex struct {
	sync.RWMutex
	log   *slog.Logger
	lines []logLine // guarded by the lock, held exclusively
}

type logLine struct {
	level slog.Level
	text  string
	args  []any
}

// say keeps a line for the log. The lock must be held, exclusively.
func (m *stateMutex) say(level slog.Level, text string, args ...any) {
	m.lines = append(m.lines, logLine{level, text, args})
}

// Unlock gives the lock back, and writes the lines that were kept.
func (m *stateMutex) Unlock() {
	lines := m.lines
	m.lines = nil
	m.RWMutex.Unlock()
	for _, l := range lines {
		m.log.Log(context.Background(), l.level, l.text, l.args...)
	}
}
