package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
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

// show tells how far a copy of transactions has come.
func (m *meter) show(p transfer.Progress) {
	m.update(p.Done, p.Total, func(spent time.Duration) string {
		return fmt.Sprintf("%s transactions, %s records, %s", human.Count(p.Transactions), human.Count(p.Records), human.Rate(p.Records, spent))
	})
}

// showFiles tells how far something has come that reads or writes files. What it
// does not know of the whole, total does.
func (m *meter) showFiles(total int64) func(backup.Progress) {
	return func(p backup.Progress) {
		m.update(p.Bytes, max(total, p.Total), func(spent time.Duration) string {
			return fmt.Sprintf("%s files, %s, %s, %s", human.Count(p.Files), human.Bytes(p.Bytes), human.Rate(p.Files, spent), human.ByteRate(p.Bytes, spent))
		})
	}
}

// update prints the line anew, a few times a second, with the time that is left
// if total is known, of which done is done.
func (m *meter) update(done, total int64, text func(spent time.Duration) string) {
	if !m.e.Terminal {
		return
	}
	now := m.e.Now()
	if now.Sub(m.shown) < 200*time.Millisecond {
		return
	}
	m.shown = now
	spent := now.Sub(m.begun)
	line := text(spent)
	if total > 0 && done > 0 {
		left := time.Duration(float64(spent) * float64(max(total-done, 0)) / float64(done))
		line += fmt.Sprintf(", %d%%, %s left", min(100, 100*done/total), human.Duration(left))
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
