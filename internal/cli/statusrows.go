package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/zeo"
)

// rows are the lines of status: the problems, and everything else behind them.
func (st *homeStatus) rows(now time.Time) []row {
	var rows rowList
	rows.problems(st.Problems)
	if st.Unopened != "" {
		why := "it cannot be opened"
		if st.silent {
			why = "its process does not answer"
		}
		rows.add("storage", "%s (%s; identity %s)", st.Home, why, cmp.Or(st.Identity, "not known"))
		if st.LockedBy > 0 {
			rows.add("state", "open in process %d", st.LockedBy)
		}
		st.backupRows(&rows, now)
		st.jobRows(&rows, now)
		return rows
	}
	rows.add("storage", "%s (%s, %s, version %s, identity %s)", st.Home, st.Class, st.Format, cmp.Or(st.Version, "not known"), st.Identity)
	st.stateRows(&rows, now)
	st.snapshotRows(&rows)
	if st.CommitSeconds >= 1 {
		rows.add("commit", "has been waiting for the disk for %.0f seconds", st.CommitSeconds)
	}
	rows.add("last transaction", "%s", formatLast(st.LastTID))
	if st.Packed != 0 {
		rows.add("packed", "%s", formatLast(st.Packed))
	}
	if p := st.Pack; p != nil {
		rows.add("pack", "%s, %s, since %s", p.Phase, formatDone(p), human.FormatTime(p.Since, time.Local))
		if p.Waiting != "" {
			rows.add("", "it waits for %s", p.Waiting)
		}
	}
	st.behindRows(&rows, now)
	st.clientRows(&rows, now)
	n := st.Counts
	if n.Exact {
		rows.add("holds", "%s, %s, %s; %s, of which %s of blobs", human.Number(n.Objects, "object"), human.Number(n.Revisions, "revision"),
			human.Number(n.Transactions, "transaction"), human.Bytes(n.Bytes), human.Bytes(n.BlobBytes))
	} else {
		rows.add("holds", "up to %s (nobody has counted)", human.Number(n.Objects, "object"))
	}
	st.diskRows(&rows)
	st.removedRows(&rows)
	rows.add("free", "%s of %s, %s of %s", human.Bytes(int64(st.Space.FreeBytes)), human.Bytes(int64(st.Space.TotalBytes)),
		human.Count(int64(st.Space.FreeInodes)), human.Number(int64(st.Space.TotalInodes), "inode"))
	return rows
}

func (rows *rowList) problems(list []problem) {
	if len(list) == 0 {
		*rows = append(*rows, row{name: "problems", text: "none", style: green})
		return
	}
	*rows = append(*rows, row{name: "problems", text: human.Count(int64(len(list))), style: red})
	for _, p := range list {
		style := yellow
		if p.Severity == severe {
			style = red
		}
		*rows = append(*rows, row{name: strings.ToUpper(string(p.Severity)), text: p.Text, style: style})
		if p.Remedy != "" {
			*rows = append(*rows, row{text: "remedy: " + p.Remedy})
		}
	}
}

func (st *homeStatus) stateRows(rows *rowList, now time.Time) {
	switch s := st.Server; {
	case !st.Running && st.LockedBy != 0:
		rows.add("state", "process %d holds misc/lock, and has no control socket", st.LockedBy)
	case !st.Running:
		rows.add("state", "not running, or without a control socket")
	case st.Follows != nil:
		rows.add("state", "running, pid %d: import --follow", st.PID)
		st.Follows.rows(rows, now)
	case s == nil:
		rows.add("state", "running, pid %d; not a server", st.PID)
	default:
		rows.add("state", "running, pid %d, dirstorage %s, since %s, for %s", st.PID, s.Program.Version, human.FormatTime(s.Started, time.Local), human.Duration(now.Sub(s.Started)))
		rows.add("serves", "storage %s on %s", s.Storage, strings.Join(s.Addresses, ", "))
		s.certificateRows(rows, now)
	}
	if st.Running && st.ReadOnly && st.Failure == "" {
		rows.add("", "read-only on request")
	}
}

// mostCertificates is how many status lists: those that end first.
const mostCertificates = 10

func (s *serverState) certificateRows(rows *rowList, now time.Time) {
	for i, c := range s.Certificates[:min(len(s.Certificates), mostCertificates)] {
		name := ""
		if i == 0 {
			name = "certificates"
		}
		rows.add(name, "%s", c.tell(now))
	}
	if more := len(s.Certificates) - mostCertificates; more > 0 {
		rows.add("", "and %d that end later; --json has all", more)
	}
}

func (st *homeStatus) snapshotRows(rows *rowList) {
	switch {
	case st.Snapshot == "shutdown":
		rows.add("snapshot mode", "off: it was closed cleanly")
	case st.Snapshot != "":
		rows.add("snapshot mode", "%s", printable([]byte(st.Snapshot)))
	case st.Running:
		rows.add("snapshot mode", "off")
	case !st.unclean(): // as create leaves it
		rows.add("snapshot mode", "off: nothing was ever committed")
	case st.LockedBy != 0:
		rows.add("snapshot mode", "off")
	default:
		rows.add("snapshot mode", "off: it was not closed cleanly, and is rolled forward at the next start")
	}
	if m := st.SnapshotMode; m != nil {
		rows.add("", "since %s, for %s; A ends with %s, and %s committed since", human.FormatTime(m.Since, time.Local),
			human.Duration(seconds(m.Seconds)), formatLast(m.TID), human.Plural(m.Newer, "transaction was", "transactions were"))
	}
}

// behindRows tell how far flush, backup and verification are behind. The pages have them, too.
func (st *homeStatus) behindRows(rows *rowList, now time.Time) {
	journal := ""
	if st.JournalBytes > 0 || st.UnflushedTransactions == 0 { // of a storage that nobody has open it is not known
		journal = "; journal " + human.Bytes(st.JournalBytes)
	}
	rows.add("to be flushed", "%s, %s%s", human.Number(int64(st.UnflushedTransactions), "transaction"), human.Number(int64(st.UnflushedFiles), "file"), journal)
	st.backupRows(rows, now)
	st.jobRows(rows, now)
}

func (st *homeStatus) backupRows(rows *rowList, now time.Time) {
	b := st.Backup
	switch {
	case b == nil:
		return
	case b.Time == nil:
		rows.add("last backup", "none is known")
	case b.BehindSeconds == 0:
		rows.add("last backup", "%s ago, at %s; it has every transaction", human.Duration(now.Sub(*b.Time)), human.FormatTime(*b.Time, time.Local))
	case b.TID == 0:
		rows.add("last backup", "%s ago, at %s; it is empty, and no transaction is in any", human.Duration(now.Sub(*b.Time)), human.FormatTime(*b.Time, time.Local))
	default:
		rows.add("last backup", "%s ago, at %s; transactions after %s are in none", human.Duration(now.Sub(*b.Time)), human.FormatTime(*b.Time, time.Local), formatLast(b.TID))
	}
	switch v := b.Verified; {
	case v != nil:
		behind := "the newest backup"
		if v.TID < b.TID {
			behind = "a backup up to " + formatLast(v.TID)
		}
		rows.add("verified", "%s ago, at %s (%s): %s", human.Duration(now.Sub(v.Time)), human.FormatTime(v.Time, time.Local), v.Level, behind)
	case b.Repository != "":
		rows.add("verified", "no backup in %s", b.Repository)
	}
}

// mostClients is how many status lists.
const mostClients = 10

func (st *homeStatus) clientRows(rows *rowList, now time.Time) {
	if st.Running {
		rows.add("open transactions", "%d", st.OpenTransactions)
	}
	a := st.Activity
	if a == nil {
		return
	}
	rows.add("clients", "%s; since the start %s, %s, %s, %s", human.Number(int64(len(a.Clients)), "connection"), human.Number(a.Loads, "load"), human.Number(a.Commits, "commit"), human.Number(a.Aborts, "abort"), human.Number(a.Conflicts, "conflict"))
	list := slices.Clone(a.Clients)
	slices.SortStableFunc(list, func(a, b zeo.ClientActivity) int {
		return cmp.Or(cmp.Compare(b.Commits, a.Commits), cmp.Compare(b.Loads, a.Loads))
	})
	waits := make(map[uint64]zeo.LockWait)
	for _, w := range a.Waits {
		waits[w.Client] = w
	}
	by := clientsByNumber(a)
	for i := range list[:min(len(list), mostClients)] {
		c := &list[i]
		text := fmt.Sprintf("%s: %s, %s", clientName(c), human.Number(c.Loads, "load"), human.Number(c.Commits, "commit"))
		if x := c.Transaction; x != nil {
			text += fmt.Sprintf("; a transaction is %s for %s", x.State, human.Duration(now.Sub(x.StateSince)))
		}
		if w, ok := waits[c.Client]; ok {
			text += ", and waits for the lock of " + lockOf(w, by)
		}
		rows.add("", "%s", text)
	}
	if more := len(list) - mostClients; more > 0 {
		rows.add("", "and %d more; dirstorage top %s lists them", more, shellWord(st.Home))
	}
}

// diskRows tell the room of HOME on the disk.
func (st *homeStatus) diskRows(rows *rowList) {
	if st.Disk == nil {
		if text := st.estimateDisk(); text != "" {
			rows.add("on the disk", "about %s; --count measures it", text)
		}
		return
	}
	var parts []string
	for _, p := range st.Disk.Parts {
		parts = append(parts, p.Name+" "+human.Bytes(p.Bytes))
	}
	rows.add("on the disk", "%s in %s and directories: %s", human.Bytes(st.Disk.Bytes), human.Number(st.Disk.Files, "file"), strings.Join(parts, ", "))
}

// removedRows tell how much packs have removed, and when the file system has it back.
func (st *homeStatus) removedRows(rows *rowList) {
	r := st.Removed // of blobs it knows nothing
	if st.Disk != nil {
		r = &st.Disk.Removed
	}
	if r == nil {
		return
	}
	if r.GoneBytes > 0 {
		rows.add("gone for good", "%s in bundles; it comes back when these are written again: by themselves from half on, now by pack --reclaim", human.Bytes(r.GoneBytes))
	}
	for i, a := range r.Aside {
		name := ""
		if i == 0 {
			name = "put aside"
		}
		until := human.FormatTime(a.Until, time.Local)
		if r.InBundles {
			rows.add(name, "%s, %s, by pack %d; until %s, then it is gone for good", human.Bytes(a.Bytes), human.Number(a.Files, "item"), a.Stamp, until)
		} else {
			rows.add(name, "%s in %s by pack %d; the first pack after %s frees it, or pack --reclaim", human.Bytes(a.Bytes), human.Number(a.Files, "file"), a.Stamp, until)
		}
	}
	if st.GaveBackBytes != 0 {
		rows.add("given back", "%s since the start, by bundles that were written again", human.Bytes(st.GaveBackBytes))
	}
}
