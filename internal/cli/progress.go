package cli

import (
	"cmp"
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
	on    bool // there is a line
}

func newMeter(e *env) *meter {
	now := e.Now()
	return &meter{e: e, begun: now, shown: now}
}

// show tells how far a copy of transactions has come.
func (m *meter) show(p transfer.Progress) {
	m.update(p.Done, p.Total, func(spent time.Duration) string {
		return fmt.Sprintf("%s, %s, %s", human.Number(p.Transactions, "transaction"), human.Number(p.Records, "record"), human.Rate(p.Records, spent))
	})
}

// showFiles shows the progress of work that reads or writes files. total is used where the work
// does not know the whole.
func (m *meter) showFiles(total int64) func(backup.Progress) {
	return func(p backup.Progress) {
		m.update(p.Bytes, max(total, p.Total), func(spent time.Duration) string {
			return fmt.Sprintf("%s, %s, %s, %s", human.Number(p.Files, "file"), human.Bytes(p.Bytes), human.Rate(p.Files, spent), human.ByteRate(p.Bytes, spent))
		})
	}
}

// usualProgress is the time between two lines of progress.
const usualProgress = 200 * time.Millisecond

// update prints the line anew, a few times a second, with the time that is left
// if total is known, of which done is done.
func (m *meter) update(done, total int64, text func(spent time.Duration) string) {
	if !m.e.Terminal || m.e.Quiet {
		return
	}
	now := m.e.Now()
	if now.Sub(m.shown) < cmp.Or(m.e.ProgressEvery, usualProgress) {
		return
	}
	m.shown = now
	spent := now.Sub(m.begun)
	left := ""
	if total > 0 && done > 0 {
		remaining := time.Duration(float64(spent) * float64(max(total-done, 0)) / float64(done))
		left = fmt.Sprintf("%d%%, %s left", min(100, 100*done/total), human.Duration(remaining))
	}
	fmt.Fprintf(m.e.Stderr, "\r%s%s", fit(text(spent), left, m.e.columns()-1), eraseToEnd)
	m.on = true
}

// eraseToEnd has a terminal erase the rest of the line.
const eraseToEnd = "\x1b[K"

// fit returns a line of at most width characters, so that it does not go on in the next,
// from where "\r" does not come back: the time that is left, and before that as many of
// the parts of text, which commas separate, as there is room for.
func fit(text, left string, width int) string {
	parts := strings.Split(text, ", ")
	if left != "" {
		left = ", " + left
	}
	for len(parts) > 1 && len(strings.Join(parts, ", "))+len(left) > width {
		parts = parts[:len(parts)-1]
	}
	line := strings.Join(parts, ", ") + left
	if len(line) > width && left != "" {
		line = strings.TrimPrefix(left, ", ")
	}
	return line[:min(len(line), max(width, 0))]
}

// end takes the line away.
func (m *meter) end() {
	if m.on {
		fmt.Fprintf(m.e.Stderr, "\r%s", eraseToEnd)
		m.on = false
	}
}

// spent is the time since the meter was made.
func (m *meter) spent() time.Duration { return m.e.Now().Sub(m.begun) }
