package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/transfer"
)

// meter shows how far something has come, on one line of a terminal.
type meter struct {
	e     *env
	begun time.Time
	shown time.Time
	width int
}

func newMeter(e *env) *meter {
	now := e.Now()
	return &meter{e: e, begun: now, shown: now}
}

// show prints the line anew, a few times a second.
func (m *meter) show(p transfer.Progress) {
	now := m.e.Now()
	if !m.e.Terminal || now.Sub(m.shown) < 200*time.Millisecond {
		return
	}
	m.shown = now
	spent := now.Sub(m.begun)
	line := fmt.Sprintf("%s transactions, %s records, %s", human.Count(p.Transactions), human.Count(p.Records), human.Rate(p.Records, spent))
	if p.Total > 0 && p.Done > 0 {
		left := time.Duration(float64(spent) * float64(max(p.Total-p.Done, 0)) / float64(p.Done))
		line += fmt.Sprintf(", %d%%, %s left", min(100, 100*p.Done/p.Total), human.Duration(left))
	}
	fmt.Fprintf(m.e.Stderr, "\r%s%s", line, strings.Repeat(" ", max(0, m.width-len(line))))
	m.width = len(line)
}

// end takes the line away.
func (m *meter) end() {
	if m.width > 0 {
		fmt.Fprintf(m.e.Stderr, "\r%s\r", strings.Repeat(" ", m.width))
		m.width = 0
	}
}

// spent is the time since the meter was made.
func (m *meter) spent() time.Duration { return m.e.Now().Sub(m.begun) }
