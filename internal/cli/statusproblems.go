package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// problem is something that is wrong with a storage or its server, as status tells it.
type problem struct {
	// Code is one word for programs.
	Code string `json:"code"`
	// Severity is severe if data or clients suffer now, else warning.
	Severity severity `json:"severity"`
	Text     string   `json:"text"`
	// Remedy is the next step.
	Remedy string `json:"remedy"`
}

type severity string

const (
	severe  severity = "error"
	warning severity = "warning"
)

// limits from which on status takes something for a problem.
const (
	stuckCommit    = 10 * time.Second
	longLockWait   = time.Minute
	largeJournal   = 1 << 30
	littleSpace    = 64 << 20
	fewInodes      = 1000
	nearlyAll      = 0.9 // of max-connections
	snapshotUnheld = 6 * time.Hour
	clockBehind    = time.Minute
)

// clockRemedy is the next step where the clock is behind the last transaction.
const clockRemedy = "set the clock (NTP); if it is right, the transaction came from a machine with a wrong one, and this ends when the clock has caught up"

// Codes of the problems of a whole server.
const (
	certificateEnded = "certificate_ended"
	certificateEnds  = "certificate_ends"
)

// damagedCode is the code of damage, whoever found it: the server in passing, a check, a backup, or a
// pack.
const damagedCode = "damaged"

// ofServer reports whether the problem is the same for each storage of the server.
func (p *problem) ofServer() bool { return p.Code == certificateEnded || p.Code == certificateEnds }

// problemLimits are those that the user may set; 0: never.
type problemLimits struct {
	backupAge, verifyAge time.Duration
}

// findProblems lists the problems, the severe ones first.
func (st *homeStatus) findProblems(now time.Time, o problemLimits) {
	st.Problems = []problem{}
	for _, s := range []severity{severe, warning} {
		add := func(code string, is severity, remedy, format string, args ...any) {
			if is == s {
				st.Problems = append(st.Problems, problem{code, is, fmt.Sprintf(format, args...), remedy})
			}
		}
		st.damageProblems(add)
		st.storageProblems(now, add)
		st.placeProblems(add)
		st.backupProblems(now, o, add)
		st.jobProblems(add)
		st.serverProblems(now, add)
		if st.Follows != nil {
			st.Follows.problems(now, add)
		}
	}
}

type addProblem func(code string, s severity, remedy, format string, args ...any)

func (st *homeStatus) storageProblems(now time.Time, add addProblem) {
	home := shellWord(st.Home)
	if st.Failure != "" {
		add("failed", severe, "find the cause in the log of the kernel, mend the disk, then restart the server, which rolls the log forward", "read-only since a failure: %s", brief(st.Failure))
	}
	if st.Trouble != "" {
		code, remedy := string(st.TroubleKind), st.makeRoom()
		if st.TroubleKind == zodb.TroubleScarce {
			remedy = "raise the limit of open files (LimitNOFILE= of systemd), or free memory"
		}
		if code == "" {
			code = string(zodb.TroubleDisk)
		}
		add(code, severe, remedy, "%s", brief(st.Trouble))
	}
	if d := seconds(st.CommitSeconds); d >= stuckCommit {
		add("stuck", severe, "look at the disk: the log of the kernel, iostat -x 1", "a commit has been waiting for the disk for %s", human.Duration(d))
	}
	for _, path := range st.Damaged {
		text := "%s is damaged, and is left as it is"
		if strings.HasSuffix(path, "/bundles") {
			text = "bundles are missing in %s, or contradict each other: objects give errors"
		}
		add(damagedCode, severe, "dirstorage check "+home+" lists the damage; dirstorage help backups has the way back", text, path)
	}
	for _, path := range st.LostLists {
		add("lost_list", severe, "put the file back, from a backup or a copy of this HOME", "%s is missing: members that packs removed may be there again", path)
	}
	if st.unclean() {
		add("unclean", warning, "unless an import or convert is at work: start the server, or dirstorage recover "+home,
			"no server runs, and it was not closed cleanly: the log has to be rolled forward, unless an import or convert has it open")
	}
	if m := st.SnapshotMode; m != nil && (m.Long || !st.Running && seconds(m.Seconds) >= snapshotUnheld) {
		add("snapshot_long", warning, "if nobody copies A any more: dirstorage snapshot leave "+home, "in snapshot mode (%s) since %s, for %s; %s committed since; packs and backups wait",
			printable([]byte(st.Snapshot)), human.FormatTime(m.Since, time.Local), human.Duration(seconds(m.Seconds)), human.Plural(m.Newer, "transaction was", "transactions were"))
	}
	if behind := st.LastTID.Time().Sub(now); st.LastTID != 0 && behind > clockBehind {
		add("clock_behind", warning, clockRemedy, "the clock is %s behind the last transaction, of %s: the times of later ones are wrong", human.Duration(behind), human.FormatTime(st.LastTID.Time(), time.Local))
	}
	switch sp := st.Space; {
	case st.LowSpace != "":
		add("low_space", warning, "make room while commits still go on: dirstorage pack "+home+", or a larger disk", "%s", st.LowSpace)
	case st.isFull(), st.Unopened != "":
	case !st.Running && sp.TotalBytes > 0 && sp.FreeBytes < littleSpace, !st.Running && sp.TotalInodes > 0 && sp.FreeInodes < fewInodes:
		add("low_space", warning, "make room, or give it a larger disk", "the disk is nearly full: %s and %s are free", human.Bytes(int64(sp.FreeBytes)), human.Number(int64(sp.FreeInodes), "inode"))
	}
	if st.Snapshot == "" && st.Trouble == "" && st.JournalBytes >= largeJournal {
		add("flush_behind", warning, "look at the disk (iostat -x 1): it does not keep up", "the flush is far behind: %s, log of %s", human.Number(int64(st.UnflushedTransactions), "transaction"), human.Bytes(st.JournalBytes))
	}
}

// makeRoom is the order of steps that frees space on a full disk: a pack needs room itself, which only
// misc/reserve has then.
func (st *homeStatus) makeRoom() string {
	const others = "delete other files on this disk, such as old backups (dirstorage backup prune), or enlarge it"
	pack := "dirstorage pack " + shellWord(st.Home)
	if f, err := vfs.OS(st.Home); err == nil {
		if _, err := f.Stat(space.ReserveFile); err == nil {
			return others + "; or, in the room of " + space.ReserveFile + ", " + pack + ", once: it gives back the removals older than delay_delete, and its own only if that is 0; a pack that would free nothing is refused (docs/operation.md, “The way out of a full disk”)"
		}
	}
	return "first " + others + "; then " + pack + ": without " + space.ReserveFile + " it finds no room for its own files on a full disk"
}

// unclean reports whether the storage was not closed cleanly, and nobody has it open now. A new one was
// never closed.
func (st *homeStatus) unclean() bool {
	return st.Unopened == "" && !st.Running && st.LockedBy == 0 && st.Snapshot == "" && (st.LastTID != 0 || st.JournalBytes != 0)
}

func (st *homeStatus) backupProblems(now time.Time, o problemLimits, add addProblem) {
	b := st.Backup
	if b == nil {
		return
	}
	repo := shellWord(b.Repository)
	if b.Error != "" {
		add("repository", warning, "mount it, or give the right one with --repository", "the backups in %s cannot be looked at: %s", b.Repository, brief(b.Error))
	}
	for _, f := range b.Failed {
		add("verification_failed", severe, "dirstorage backup verify --data "+repo+"; make a full backup now: dirstorage backup full "+shellWord(st.Home)+" "+repo+"; dirstorage backup prune ends this, when it removes the chain of the bad one",
			"backup %s was not good at %s: %s", f.Backup, human.FormatTime(f.Time, time.Local), brief(f.Error))
	}
	for _, name := range b.Unusable {
		if slices.Contains(b.newer, name) {
			add("backup_unusable", warning, "use the release that made it, or a later one: it may be good, keep it", "backup %s is of a newer release: nothing in %s is verified or pruned by this one", name, b.Repository)
			continue
		}
		add("backup_unusable", warning, "if no later backup is full and good: dirstorage backup full "+shellWord(st.Home)+" "+repo+"; then move "+shellWord(filepath.Join(b.Repository, name))+".* away, no command removes it",
			"the manifest of backup %s cannot be used", name)
	}
	if b.Time != nil && b.BehindSeconds > 0 && o.backupAge > 0 && now.Sub(*b.Time) > o.backupAge {
		lacks := "transactions after " + human.FormatTime(b.TID.Time(), time.Local) + " are in no backup"
		if b.TID == 0 {
			lacks = "it is empty, and no transaction is in any"
		}
		add("backup_old", severe, "look why the backup does not run (its timer, its log); dirstorage backup run "+shellWord(st.Home)+" "+repo,
			"the last backup is of %s, %s ago: %s", human.FormatTime(*b.Time, time.Local), human.Duration(now.Sub(*b.Time)), lacks)
	}
	switch v := b.Verified; {
	case b.Error != "" || b.Repository == "" || o.verifyAge <= 0 || b.Time == nil:
	case v == nil && now.Sub(*b.Time) > o.verifyAge:
		add("verification_old", warning, "dirstorage backup verify --data "+repo, "no backup in %s was ever verified", b.Repository)
	case v != nil && now.Sub(v.Time) > o.verifyAge:
		add("verification_old", warning, "look why the verification does not run; dirstorage backup verify --data "+repo,
			"the last good verification is of %s, %s ago", human.FormatTime(v.Time, time.Local), human.Duration(now.Sub(v.Time)))
	}
}

func (st *homeStatus) serverProblems(now time.Time, add addProblem) {
	if s := st.Server; s != nil {
		for _, c := range s.Certificates {
			switch {
			case !now.Before(c.End):
				add(certificateEnded, severe, "renew it (dirstorage certs renew), then reload the server (SIGHUP)", "%s", c.tell(now))
			case !now.Before(c.Soon):
				add(certificateEnds, warning, "renew it (dirstorage certs renew), then reload the server (SIGHUP)", "%s", c.tell(now))
			}
		}
	}
	a := st.Activity
	if a == nil {
		return
	}
	if s := st.Server; s != nil && float64(len(a.Clients)) >= nearlyAll*float64(s.MaxConnections) {
		add("connections", warning, "raise max-connections, or look for clients that open too many: dirstorage top "+shellWord(st.Home), "%s of at most %s", human.Number(int64(len(a.Clients)), "connection"), human.Count(int64(s.MaxConnections)))
	}
	by := clientsByNumber(a)
	for _, w := range a.Waits {
		c := by[w.Client]
		if c == nil || c.Transaction == nil || now.Sub(c.Transaction.StateSince) < longLockWait {
			continue
		}
		add("lock_wait", severe, "dirstorage top "+shellWord(st.Home)+" shows the holder; restart that client if it hangs", "%s has been waiting for %s for the lock of %s",
			clientName(c), human.Duration(now.Sub(c.Transaction.StateSince)), lockOf(w, by))
	}
}

// seconds is a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// clientsByNumber is for the numbers in waits.
func clientsByNumber(a *zeo.StorageActivity) map[uint64]*zeo.ClientActivity {
	by := make(map[uint64]*zeo.ClientActivity, len(a.Clients))
	for i := range a.Clients {
		by[a.Clients[i].Client] = &a.Clients[i]
	}
	return by
}

// clientName names a client: the name that it gave itself, and its address.
func clientName(c *zeo.ClientActivity) string {
	if c.Label == "" {
		return c.Address
	}
	return printable([]byte(c.Label)) + " (" + c.Address + ")"
}

// lockOf names a lock and the client in the way.
func lockOf(w zeo.LockWait, by map[uint64]*zeo.ClientActivity) string {
	if !w.Known {
		return "one of very many objects"
	}
	text := "object " + w.OID.String()
	if w.Existence {
		text = "the existence of " + text
	}
	holder := by[w.Holder]
	switch {
	case holder == nil:
		return text
	case w.Held:
		return text + ", which " + clientName(holder) + " has"
	}
	return text + ", behind " + clientName(holder)
}
