package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// recording leaves a record of a run, for status. It never stops the run: a record that cannot be
// written is told once.
type recording struct {
	job  runs.Job
	w    *runs.Writer // nil: none is to be left
	to   recorder
	told bool
}

// recorder is told of records that cannot be written.
type recorder interface {
	warn(text string)
	// lost is called with damage that is in no record.
	lost(damage *runs.Run, err error)
}

// commandRecorder is that of a command.
type commandRecorder struct {
	*env
	home string
}

// lost says it, also to the process that has the storage open: its metrics tell it.
func (r commandRecorder) lost(damage *runs.Run, err error) {
	where := "no server runs that could tell it: neither status nor an alert knows of it"
	if r.tellServer(damage) == nil {
		where = "status and the metrics tell it until the server ends"
	}
	way := "make room, or make the disk writable"
	if errors.Is(err, fs.ErrPermission) {
		way = cmp.Or(giveBack(pathIn(err)), "run it as the user to whom HOME belongs")
	}
	fmt.Fprintf(r.Stderr, "dirstorage: damage was found and is in no record, since that cannot be written: %v; %s\nhint: keep this output; %s, then dirstorage check %s\n", err, where, way, shellWord(r.home))
}

// timeToTell is how long a server may take to note damage.
const timeToTell = 15 * time.Second

func (r commandRecorder) tellServer(damage *runs.Run) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeToTell)
	defer cancel()
	running, err := control.Dial(ctx, r.home)
	if err != nil {
		return err
	}
	_, err = running.Maintain(ctx, opFound, damage)
	return errors.Join(err, running.Close())
}

// recordPause is the time between two tries of a lock that others hold for a moment.
const recordPause = 10 * time.Millisecond

// record begins one, in HOME.
func (e *env) record(home vfs.FS, job runs.Job) *recording {
	return e.recordWith(home, job, commandRecorder{e, home.Path(".")})
}

func (e *env) recordWith(home vfs.FS, job runs.Job, to recorder) *recording {
	if b, err := home.ReadFile("config/settings"); err == nil {
		_, _, err = settings.Parse(b, "config/settings")
		if _, newer := errors.AsType[*layout.NewerError](err); newer {
			return &recording{} // nothing of it is known, so nothing is changed there
		}
	}
	identity := ""
	if b, err := home.ReadFile("config/identity"); err == nil {
		identity, _ = settings.ParseIdentity(b) // without one the record is that of any storage
	}
	return e.recordIn(home, runs.InHome, job, identity, to)
}

// recordIn begins one in another place.
func (e *env) recordIn(f vfs.FS, dir string, job runs.Job, identity string, to recorder) *recording {
	w, err := runs.Begin(runs.Options{
		FS: f, Dir: dir, Job: job, Identity: identity, Program: buildInfo().Version, PID: os.Getpid(), Now: e.Now,
		Pause: func() { time.Sleep(recordPause) },
	})
	r := &recording{job: job, w: w, to: to}
	r.tell(err)
	return r
}

func (r *recording) tell(err error) {
	switch {
	case err == nil || r.told:
		return
	case isCopy(err):
		r.to.warn("no record of this run is left for status: this is a copy without misc, or the directory is gone")
	case vfs.IsReadOnly(err):
		r.to.warn("no record of this run is left for status: the file system is read-only")
	default:
		r.to.warn("no record of this run is left for status: " + err.Error())
	}
	r.told = true
}

// end records how the run ended.
func (r *recording) end(result runs.Result, err error) {
	if r.w == nil {
		return
	}
	if err != nil {
		result.Failed = shortened(strings.ReplaceAll(errorText(err), "\n", "; "))
		result.Interrupted = errors.Is(err, context.Canceled)
		result.Damaged = !result.Interrupted && isDamage(err)
	}
	if c := result.Check; result.Damaged && (c == nil || c.Damage == 0) {
		if c == nil {
			c = &runs.Checked{Extent: runs.Part}
		}
		c.Damage, c.First = 1, []string{result.Failed}
		result.Check = c
	}
	err = r.w.End(result)
	if err != nil && r.job != runs.Verify && result.Check != nil && result.Check.Broken() > 0 && !isCopy(err) {
		r.to.lost(r.w.Found(result), err)
		return
	}
	r.tell(err)
}

// isDamage reports whether a job failed of damage of the storage, not of a backup.
func isDamage(err error) bool {
	return exitStatus(err) == exitDamage && !errors.Is(err, archive.ErrDamaged)
}

// isCopy reports whether there is no record because there is no place for one, in a copy of config and A.
func isCopy(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// longestRecorded is the length of a text in a record.
const longestRecorded = 500

func shortened(text string) string {
	if len(text) <= longestRecorded {
		return text
	}
	return strings.ToValidUTF8(text[:longestRecorded], "") + "…"
}
