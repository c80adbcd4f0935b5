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

// The column with the names takes up the rest of the line, and leastClient columns at least. Longer names are cut
// only below usualClient, in which each address of IPv4 has room.
const (
	leastClient = 12
	usualClient = len("255.255.255.255:65535")
)

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
		{head: "SENT/s", sort: "sent", width: 9, rank: 4, text: func(c *topClient, _ *topReport) string { return shortBytes(int64(c.Rates.SentBytes)) }},
		{head: "RECV/s", sort: "received", width: 9, rank: 5, text: func(c *topClient, _ *topReport) string { return shortBytes(int64(c.Rates.ReceivedBytes)) }},
		{head: "RUN", sort: "running", width: 4, rank: 6, text: func(c *topClient, _ *topReport) string { return fmt.Sprint(c.Running) }},
		{head: "QUEUE", sort: "queue", width: 9, rank: 7, text: func(c *topClient, _ *topReport) string { return shortBytes(c.QueueBytes) }},
		{head: "CONFL", sort: "conflicts", width: 6, rank: 8, text: func(c *topClient, _ *topReport) string { return shortCount(c.Conflicts) }},
		{head: "LOADS", sort: "total-loads", width: 7, rank: 10, text: func(c *topClient, _ *topReport) string { return shortCount(c.Loads) }},
		{head: "COMMITS", sort: "total-commits", width: 8, rank: 11, text: func(c *topClient, _ *topReport) string { return shortCount(c.Commits) }},
		{head: "LARGEST", sort: "largest", width: 9, rank: 9, text: func(c *topClient, _ *topReport) string {
			return none(c.Largest != nil, func() string { return shortBytes(c.Largest.Bytes) })
		}},
		{head: "AGE", sort: "age", width: 7, rank: 12, text: func(c *topClient, r *topReport) string { return human.Duration(r.Time.Sub(c.Since)) }},
		{head: "TXN", sort: "transaction", width: 9, rank: 3, text: func(c *topClient, _ *topReport) string {
			return none(c.Transaction != nil, func() string { return shortBytes(c.Transaction.Bytes) })
		}},
		{head: "STATE", sort: "waits", width: 16, rank: 1, left: true, text: func(c *topClient, r *topReport) string {
			return none(c.Transaction != nil, func() string {
				return c.Transaction.State + " " + human.Duration(max(r.Time.Sub(c.Transaction.StateSince), 0))
			})
		}},
		{head: waitsHead, width: 24, rank: 13, left: true, text: waitText},
	}
}

// waitsHead is the head of the column with the locks, which is the first one to have room if a client waits, and
// the last one otherwise.
const waitsHead = "WAITS FOR"

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
	list, names, waits := o.arrange(r), 0, 0
	for i := range list {
		names = max(names, columnsOf(clientName(&list[i].ClientActivity)))
		waits = max(waits, columnsOf(waitText(&list[i], r)))
	}
	columns, name := fitColumns(width, names, waits)
	summary := fmt.Sprintf("storage %s, clients: %d, waiting: %d; %s loads/s, %s commits/s, %s/s sent", r.Storage, len(r.Clients), len(r.Waits),
		perSecond(r.Rates.Loads), perSecond(r.Rates.Commits), human.Bytes(int64(r.Rates.SentBytes)))
	lines := wrap(summary, width, 0, 0, true)
	head := padColumns("CLIENT", name, false)
	for _, c := range columns {
		head += " " + padColumns(c.head, c.width-1, !c.left)
	}
	lines = append(lines, e.paint(bold, strings.TrimRight(head, " ")))
	for i := range list {
		c := &list[i]
		line := padColumns(fitClient(&c.ClientActivity, name), name, false)
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

// fitColumns chooses the columns that have room beside the names. names and waits are the columns of the longest
// name and of the longest lock that a client waits for; waits 0: none does. width 0: all of them.
func fitColumns(width, names, waits int) (shown []topColumn, name int) {
	all := topColumns()
	last := len(all) - 1
	all[last].width = max(all[last].width, waits+1)
	name = max(names, leastClient)
	if width <= 0 {
		return all, name
	}
	if waits > 0 {
		all[last].rank = 0 // with LOADS
	}
	reserved := 0
	for _, c := range all {
		if c.rank <= 1 {
			reserved += c.width
		}
	}
	name = min(name, max(usualClient, width-reserved), width)
	room := width - name
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
	return shown, name + room
}

// fitClient names a client in n columns. The end of its address, by which it differs from others of its machine,
// is the last to be cut.
func fitClient(c *zeo.ClientActivity, n int) string {
	const leastLabel = 4
	name := clientName(c)
	if columnsOf(name) <= n {
		return name
	}
	address := " (" + c.Address + ")"
	if room := n - columnsOf(address); c.Label != "" && room >= leastLabel {
		return padColumns(printable([]byte(c.Label)), room, false) + address
	}
	if over := columnsOf(c.Address) - n; over > 0 {
		return "…" + c.Address[over+1:]
	}
	return c.Address
}

// shortBytes prints a number of bytes in 8 columns at most.
func shortBytes(n int64) string {
	text := human.Bytes(n)
	if number, unit, _ := strings.Cut(text, " "); len(text) > 8 {
		whole, _, _ := strings.Cut(number, ".")
		return whole + " " + unit
	}
	return text
}
