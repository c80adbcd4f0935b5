package inspect

import (
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/zodb"
)

// Backups are the backups of a storage, as points in time that it can be restored to.
type Backups struct {
	// Chains are in the order of their full backups, the newest first.
	Chains []Chain
	// Ranges are the transactions that can be restored, the newest first.
	Ranges []Range
	// Damaged are manifests that can't be used, by the name of the backup. Of which storage they are is
	// not known.
	Damaged []DamagedBackup
	// Others is the number of storages besides that have backups in the repository.
	Others int
	// Points is the number of backups, Failed of them cannot be restored or did not pass their last
	// verification, Unverified ones were never verified.
	Points, Failed, Unverified int
}

// Chain is a full backup with those that build upon it.
type Chain struct {
	Points []Point // the newest first
}

// Point is a backup.
type Point struct {
	Name string
	Full bool
	TID  zodb.TID // the last transaction in it
	// At is the moment before which everything is in it.
	At      time.Time
	Bytes   int64 // of the archive
	Objects int64 // 0: unknown
	// Problem says why it cannot be restored; empty: nothing is known against it.
	Problem string
	// Verified is the outcome of the last verification; nil: there was none.
	Verified *backup.Verified
	// Faults is the number of faults of the storage that were found while it was read.
	Faults int64
	// Command restores it.
	Command string
}

// Good reports that the last verification found it good, and nothing is known against it.
func (p *Point) Good() bool { return !p.Bad() && p.Verified != nil }

// Bad reports that it cannot be restored, as far as is known.
func (p *Point) Bad() bool { return p.Problem != "" || p.Verified != nil && !p.Verified.OK }

// Range is a range of transactions, both included, each of which can be restored.
type Range struct {
	From, To zodb.TID
	// Command restores the last of them; another tid or time takes the place of its --to.
	Command string
}

// DamagedBackup is a backup whose manifest can't be used.
type DamagedBackup struct{ Name, Problem string }

// BackupsOf returns the backups of a storage in a repository. where is the repository in commands.
func BackupsOf(r *backup.Repository, identity, where string) *Backups {
	b := &Backups{}
	for _, other := range r.Identities() {
		if other != identity {
			b.Others++
		}
	}
	option := ""
	if b.Others > 0 {
		option = " --identity " + identity
	}
	command := func(to string) string {
		return "dirstorage restore --to " + shellWord(to) + option + " " + shellWord(where) + " TARGET"
	}
	chains := make(map[string]int) // by the name of the full backup
	for _, m := range r.Backups {
		if m.Identity != identity {
			continue
		}
		p := newPoint(r, m)
		p.Command = command(m.Name)
		b.count(&p)
		key := "" // those without a full backup are together
		if chain, err := r.Chain(m); err == nil {
			key = chain[0].Name
		}
		i, ok := chains[key]
		if !ok {
			i = len(b.Chains)
			chains[key] = i
			b.Chains = append(b.Chains, Chain{})
		}
		b.Chains[i].Points = append(b.Chains[i].Points, p)
	}
	for i := range b.Chains {
		slices.Reverse(b.Chains[i].Points)
	}
	slices.Reverse(b.Chains)
	for _, x := range r.Restorable(identity) {
		b.Ranges = append(b.Ranges, Range{x.From, x.To, command(x.To.String())})
	}
	slices.Reverse(b.Ranges)
	for name, err := range r.Damaged {
		b.Damaged = append(b.Damaged, DamagedBackup{name, err.Error()})
	}
	slices.SortFunc(b.Damaged, func(x, y DamagedBackup) int { return strings.Compare(x.Name, y.Name) })
	return b
}

func newPoint(r *backup.Repository, m *backup.Manifest) Point {
	p := Point{Name: m.Name, Full: m.Kind == backup.Full, TID: m.TID, At: m.SnapshotAt, Bytes: m.Archive.Bytes, Objects: m.Counts.Objects, Faults: m.ProblemCount}
	if _, err := r.Exactly(m); err != nil {
		p.Problem = err.Error()
	}
	if v, ok := r.Verified[m.Name]; ok {
		p.Verified = &v
	}
	return p
}

func (b *Backups) count(p *Point) {
	b.Points++
	switch {
	case p.Bad():
		b.Failed++
	case p.Verified == nil:
		b.Unverified++
	}
}

// shellWord is a text as one word of a shell.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:=@%+,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
