package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// jobState is the record of a job, and whether it is under way.
type jobState struct {
	Job runs.Job `json:"job"`
	// Running: the run that began last is under way; otherwise, if there is one, it was interrupted.
	Running bool            `json:"running"`
	Begun   *runs.Beginning `json:"begun,omitempty"`
	Last    *runs.Run       `json:"last,omitempty"`
	Good    *runs.Run       `json:"good,omitempty"`
	Damage  *runs.Run       `json:"damage,omitempty"`
	// Error is why the record cannot be used.
	Error string `json:"error,omitempty"`
	way   string // the remedy of that; "": another run
}

// readJobs reads the records in HOME and in the repository; those that are there.
func readJobs(home vfs.FS, identity string, repository vfs.FS) (list []jobState) {
	read := func(f vfs.FS, dir string, job runs.Job, identity string) {
		s, err := runs.Read(f, dir, job, identity)
		j := jobState{Job: job, Running: s.Running, Begun: s.Begun, Last: s.Last, Good: s.Good, Damage: s.Damage}
		if err = errors.Join(err, s.Damaged); err != nil {
			j.Error = err.Error()
			if errors.Is(err, fs.ErrPermission) {
				j.way = cmp.Or(giveBack(pathIn(err)), "the record may tell of damage: run this as the user to whom it belongs (sudo -u USER dirstorage …)")
			}
		}
		if j.Error != "" || j.Begun != nil || j.Last != nil || j.Damage != nil {
			list = append(list, j)
		}
	}
	for _, job := range runs.OfHome() {
		read(home, runs.InHome, job, identity)
	}
	if repository != nil {
		read(repository, runs.InRepository, runs.Verify, "")
	}
	return list
}

// homeNotes are facts about a storage from files beside the database: those that status reads by itself,
// and not from the process that has it open.
type homeNotes struct {
	backup *backupState
	jobs   []jobState
	place  []doctor.Finding
	// unkept: no room is kept for records of damage.
	unkept bool
}

func (st *homeStatus) take(n *homeNotes) {
	st.Backup, st.Jobs, st.Place, st.unkept = n.backup, n.jobs, n.place, n.unkept
}

// addFound adds the damage to the record of check that only the server knows.
func (st *homeStatus) addFound() {
	if st.Server == nil || st.Server.Found == nil {
		return
	}
	damage, check := st.Server.Found, st.job(runs.Check)
	if check.Damage.Broken() > 0 || !damage.Stands(&runs.Record{Good: check.Good}) {
		return
	}
	check.Damage = damage
	st.Jobs = append([]jobState{check}, slices.DeleteFunc(slices.Clone(st.Jobs), func(j jobState) bool { return j.Job == runs.Check })...)
}

// job returns the record of a job; an empty one: there is none.
func (st *homeStatus) job(job runs.Job) jobState {
	for _, j := range st.Jobs {
		if j.Job == job {
			return j
		}
	}
	return jobState{Job: job}
}

// damageProblems tell the damage that jobs have found, until a check of everything finds none.
func (st *homeStatus) damageProblems(add addProblem) {
	check := st.job(runs.Check)
	if st.Unopened != "" {
		code := "unopened"
		if st.unsound {
			code = damagedCode
		}
		text, remedy := brief(st.Unopened), "dirstorage check "+shellWord(st.Home)+" lists the damage; dirstorage help backups has the way back"
		if st.withoutA {
			text, remedy = "A is missing", "if A is a link or a mount, see that its disk is mounted; else dirstorage help backups has the way back"
		}
		if st.silent {
			add("no_answer", severe, "see its log, its limits and its disk; if it stays so, restart it", "the process that has it open does not answer: it is stopped, stuck, or out of file descriptors or memory")
		} else {
			add(code, severe, remedy, "it cannot be opened: %s", text)
		}
	}
	if d := check.Damage; d.Broken() > 0 {
		by := "the " + string(d.FoundBy())
		if d.FoundBy() == runs.Reading {
			by = "a client's read"
		}
		add(damagedCode, severe, "dirstorage check "+shellWord(st.Home)+" lists all of it; dirstorage help backups has the way back; a check without damage ends this",
			"%s of %s found damage, %s", by, human.FormatTime(d.Ended, time.Local), firstOf(d.Check, d.Check.Damage))
	}
	for _, j := range st.Jobs {
		if l := j.Last; check.Error != "" && l != nil && l.Damaged { // a clean check may have come later
			add(damagedCode, severe, "dirstorage check "+shellWord(st.Home)+" tells whether it is still there", "the %s of %s met damage, and the record of check cannot be used: %s",
				j.Job, human.FormatTime(l.Ended, time.Local), brief(l.Failed))
		}
	}
}

// firstOf tells the number of findings and the first one.
func firstOf(c *runs.Checked, number int64) string {
	text := human.Number(number, "finding")
	switch {
	case len(c.First) == 0:
		return text
	case number > 1:
		text += ", the first"
	}
	return text + ": " + brief(strings.TrimPrefix(c.First[0], "damage "))
}

// longestBrief is the length of a text of another program's, or of a damaged file, in a line of status;
// --json has more of it, or the command that the remedy names.
const longestBrief = 160

// brief makes one short line of a text.
func brief(text string) string {
	r := []rune(strings.Join(strings.Fields(text), " "))
	if len(r) > longestBrief {
		r = append(r[:longestBrief], '…')
	}
	return printable([]byte(string(r)))
}

// jobProblems tell the jobs whose last run did not do its work.
func (st *homeStatus) jobProblems(add addProblem) {
	home, repo := shellWord(st.Home), "REPO"
	if b := st.Backup; b != nil && b.Repository != "" {
		repo = shellWord(b.Repository)
	}
	check := st.job(runs.Check)
	if d := check.Damage; d != nil && d.Check != nil && d.Broken() == 0 {
		add("dangling", warning, "dirstorage check "+home+" lists the objects that refer to them: change these, or bring the missing ones back from a backup that has them; a check without any ends this",
			"objects are missing to which others refer; the check of %s has %s", human.FormatTime(d.Ended, time.Local), firstOf(d.Check, d.Check.Dangling))
	}
	if st.unkept && st.Server != nil && st.Server.Unkept != "" {
		add("record_room", warning, "make room, or make misc/runs writable to the user of the server; the next check, backup or pack keeps it then, or a restart",
			"no room is kept for records of damage (%s): damage found on a full disk is forgotten when the server ends", brief(st.Server.Unkept))
	}
	for _, j := range st.Jobs {
		again := map[runs.Job]string{
			runs.Check: "dirstorage check " + home, runs.Backup: "dirstorage backup run " + home + " " + repo,
			runs.Pack: "dirstorage pack " + home, runs.Reclaim: "dirstorage pack --reclaim " + home, runs.Verify: "dirstorage backup verify " + repo,
		}[j.Job]
		if j.Error != "" {
			add("record", warning, cmp.Or(j.way, again+" writes it again"), "the record of the job %s is left out, it cannot be used: %s", j.Job, brief(j.Error))
			continue
		}
		text := j.failure()
		if text == "" || j.Last != nil && j.Last.Damaged && (check.Damage.Broken() > 0 || check.Error != "") { // which is told already
			continue
		}
		if j.Good != nil {
			text += "; the last good one is of " + human.FormatTime(j.Good.Ended, time.Local)
		} else {
			text += "; no good one is recorded"
		}
		add("run_failed", warning, "look at the log of its timer, then "+again, "%s: %s", j.Job, text)
	}
}

// failure tells how the last run failed; "": it did not.
func (j *jobState) failure() string {
	at := func(t time.Time) string { return human.FormatTime(t, time.Local) }
	switch l := j.Last; {
	case j.Begun != nil && !j.Running:
		return "the run of " + at(j.Begun.Time) + " ended without a word: it was killed, or the machine stopped"
	case l == nil || l.Failed == "":
		return ""
	case l.Interrupted:
		return "the last run, of " + at(l.Began) + ", was interrupted"
	default:
		return "the last run, of " + at(l.Ended) + ", failed: " + brief(l.Failed)
	}
}

// jobRows tell the last check of everything, and the jobs under way.
func (st *homeStatus) jobRows(rows *rowList, now time.Time) {
	check := st.job(runs.Check)
	if g := check.Good; g != nil && g.Check != nil {
		found := "clean"
		if n := g.Check.Broken(); n > 0 {
			found = human.Number(n, "finding") + " of damage"
		}
		if n := g.Check.Dangling; n > 0 {
			found += ", missing objects: " + human.Count(n)
		}
		if n := g.Check.Warnings; n > 0 {
			found += ", " + human.Number(n, "warning")
		}
		extent := map[runs.Extent]string{runs.Whole: "all of HOME", runs.Snapshot: "config and A"}[g.Check.Extent]
		rows.add("last check", "%s ago, at %s, of %s: %s", human.Duration(now.Sub(g.Ended)), human.FormatTime(g.Ended, time.Local), extent, found)
	} else {
		rows.add("last check", "none is known")
	}
	for _, j := range st.Jobs {
		if b := j.Begun; b != nil && j.Running {
			rows.add(string(j.Job)+" runs", "since %s, for %s, pid %d", human.FormatTime(b.Time, time.Local), human.Duration(now.Sub(b.Time)), b.PID)
		}
	}
}

// placeCodes are problems of status by kinds of findings of doctor that have other names there.
var placeCodes = map[string]string{"space-none": "disk_full"}

// placeProblems tell the faults of the place, as doctor finds them.
func (st *homeStatus) placeProblems(add addProblem) {
	for _, f := range st.Place {
		code := placeCodes[f.Kind]
		if code == "" {
			code = strings.ReplaceAll(f.Kind, "-", "_")
		}
		switch {
		case code == "disk_full" && st.Trouble != "": // the server has told it
		case f.Kind == "read-only" && st.Running && st.ReadOnly && st.Failure == "": // on request
		case code == "disk_full":
			add(code, severe, st.makeRoom(), "%s: %s: %s", f.Check, f.Seen, f.Means)
		default:
			add(code, severe, f.Do, "%s: %s: %s", f.Check, f.Seen, f.Means)
		}
	}
}

// isFull reports whether the disk is told to be full.
func (st *homeStatus) isFull() bool {
	for _, f := range st.Place {
		if f.Kind == "space-none" {
			return true
		}
	}
	return false
}

// storeOf opens the directory of a repository for the records in it; nil: there is none.
func storeOf(dir string) vfs.FS {
	f, err := vfs.OS(dir)
	if err == nil {
		_, err = f.Stat(".")
	}
	if err != nil {
		return nil
	}
	return f
}
