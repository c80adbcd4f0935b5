package cli

import (
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/zeo"
)

// topColumn is a column of top. The ones with the lowest ranks are shown as long as there is room.
type topColumn struct {
	head  string
	sort  string // the order that it shows; empty: none
	width int
	rank  int
	left  bool // text, not a number
	text  func(*topClient, *topReport) string
}

// leastClient is the least width of the column with the names, which takes up the rest of the line.
const leastClient = 12

func topColumns() []topColumn {
	none := func(present bool, f func() string) string {
		if !present {
			return "-"
		}
		return f()
	}
	return []topColumn{
		{head: "LOADS/s", sort: "loads", width: 8, rank: 0, text: func(c *topClient, _ *topReport) string { return perSecond(c.Rates.Loads) }},
		{head: "COMM/s", sort: "commits", width: 7, rank: 2, text: func(c *topClient, _ *topReport) string { return perSecond(c.Rates.Commits) }},
		{head: "SENT/s", sort: "sent", width: 9, rank: 5, text: func(c *topClient, _ *topReport) string { return human.Bytes(int64(c.Rates.SentBytes)) }},
		{head: "RECV/s", sort: "received", width: 9, rank: 6, text: func(c *topClient, _ *topReport) string { return human.Bytes(int64(c.Rates.ReceivedBytes)) }},
		{head: "RUN", sort: "running", width: 4, rank: 7, text: func(c *topClient, _ *topReport) string { return fmt.Sprint(c.Running) }},
		{head: "QUEUE", sort: "queue", width: 9, rank: 8, text: func(c *topClient, _ *topReport) string { return human.Bytes(c.QueueBytes) }},
		{head: "CONFL", sort: "conflicts", width: 6, rank: 9, text: func(c *topClient, _ *topReport) string { return shortCount(c.Conflicts) }},
		{head: "LOADS", sort: "total-loads", width: 7, rank: 11, text: func(c *topClient, _ *topReport) string { return shortCount(c.Loads) }},
		{head: "COMMITS", sort: "total-commits", width: 8, rank: 12, text: func(c *topClient, _ *topReport) string { return shortCount(c.Commits) }},
		{head: "LARGEST", sort: "largest", width: 9, rank: 10, text: func(c *topClient, _ *topReport) string {
			return none(c.Largest != nil, func() string { return human.Bytes(c.Largest.Bytes) })
		}},
		{head: "AGE", sort: "age", width: 7, rank: 13, text: func(c *topClient, r *topReport) string { return human.Duration(r.Time.Sub(c.Since)) }},
		{head: "TXN", sort: "transaction", width: 9, rank: 4, text: func(c *topClient, _ *topReport) string {
			return none(c.Transaction != nil, func() string { return human.Bytes(c.Transaction.Bytes) })
		}},
		{head: "STATE", sort: "waits", width: 17, rank: 1, left: true, text: func(c *topClient, r *topReport) string {
			return none(c.Transaction != nil, func() string {
				return c.Transaction.State + " " + human.Duration(max(r.Time.Sub(c.Transaction.StateSince), 0))
			})
		}},
		{head: "WAITS FOR", width: 24, rank: 3, left: true, text: waitText},
	}
}

// waitText names the lock for which a client waits, and the client that has it.
func waitText(c *topClient, r *topReport) string {
	for _, w := range r.Waits {
		if w.Client != c.Client {
			continue
		}
		if !w.Known {
			return "many objects"
		}
		text := fmt.Sprintf("0x%x", uint64(w.OID))
		if w.Existence {
			text += " exists"
		}
		for i := range r.Clients {
			if r.Clients[i].Client == w.Holder {
				text += " of " + shortClient(&r.Clients[i].ClientActivity)
			}
		}
		return text
	}
	return ""
}

// shortClient is the label of a client, or else its address.
func shortClient(c *zeo.ClientActivity) string {
	if c.Label != "" {
		return printable([]byte(c.Label))
	}
	return c.Address
}

// perSecond prints a rate in 6 columns at most.
func perSecond(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	}
	return shortCount(int64(v + 0.5))
}

// shortCount prints a number in 5 columns at most.
func shortCount(n int64) string {
	units := []string{"", "k", "M", "G", "T", "P", "E"}
	v, i := float64(n), 0
	for v >= 9999.5 && i < len(units)-1 {
		v /= 1000
		i++
	}
	return fmt.Sprintf("%.0f%s", v, units[i])
}

// lines draws the table.
func (o *topCommand) lines(e *env, r *topReport, width int) []string {
	columns, name := fitColumns(width)
	lines := []string{}
	summary := fmt.Sprintf("storage %s, clients: %d; %s loads/s, %s commits/s, %s/s sent, %d waiting for a lock", r.Storage, len(r.Clients),
		perSecond(r.Rates.Loads), perSecond(r.Rates.Commits), human.Bytes(int64(r.Rates.SentBytes)), len(r.Waits))
	lines = append(lines, wrap(summary, width, 0, 0, true)...)
	head := padColumns("CLIENT", name, false)
	for _, c := range columns {
		head += " " + padColumns(c.head, c.width-1, !c.left)
	}
	lines = append(lines, e.paint(bold, strings.TrimRight(head, " ")))
	for _, one := range o.arrange(r) {
		c := &one
		line := padColumns(clientName(&c.ClientActivity), name, false)
		for _, col := range columns {
			line += " " + padColumns(col.text(c, r), col.width-1, !col.left)
		}
		line = strings.TrimRight(line, " ")
		if slow := waitText(c, r) != ""; slow {
			line = e.paint(yellow, line)
		}
		lines = append(lines, line)
	}
	return lines
}

// fitColumns chooses the columns that have room beside the names. width 0: all of them.
func fitColumns(width int) (shown []topColumn, name int) {
	all := topColumns()
	if width <= 0 {
		return all, 40
	}
	room := width - leastClient
	chosen := make(map[string]bool)
	for rank := range len(all) {
		for _, c := range all {
			if c.rank == rank && c.width <= room {
				chosen[c.head] = true
				room -= c.width
			}
		}
	}
	for _, c := range all {
		if chosen[c.head] {
			shown = append(shown, c)
		}
	}
	return shown, min(leastClient, width) + max(room, 0)
}
