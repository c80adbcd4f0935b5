package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// recording leaves a record of a run, for status. It never stops the run: a record that cannot be
// written is told once.
type recording struct {
	e    *env
	w    *runs.Writer // nil: none is to be left
	told bool
}

// recordPause is the time between two tries of a lock that others hold for a moment.
const recordPause = 10 * time.Millisecond

// record begins one, in HOME.
func (e *env) record(home vfs.FS, job runs.Job) *recording {
	if b, err := home.ReadFile("config/settings"); err == nil {
		_, _, err = settings.Parse(b, "config/settings")
		if _, newer := errors.AsType[*layout.NewerError](err); newer {
			return &recording{e: e} // nothing of it is known, so nothing is changed there
		}
	}
	identity := ""
	if b, err := home.ReadFile("config/identity"); err == nil {
		identity, _ = settings.ParseIdentity(b) // without one the record is that of any storage
	}
	return e.recordIn(home, runs.InHome, job, identity)
}

// recordIn begins one in another place.
func (e *env) recordIn(f vfs.FS, dir string, job runs.Job, identity string) *recording {
	w, err := runs.Begin(runs.Options{
		FS: f, Dir: dir, Job: job, Identity: identity, Program: buildInfo().Version, PID: os.Getpid(), Now: e.Now,
		Pause: func() { time.Sleep(recordPause) },
	})
	r := &recording{e: e, w: w}
	r.tell(err)
	return r
}

func (r *recording) tell(err error) {
	switch {
	case err == nil || r.told:
		return
	case errors.Is(err, fs.ErrNotExist):
		r.e.warn("no record of this run is left for status: this is a copy without misc, or the directory is gone")
	case vfs.IsReadOnly(err):
		r.e.warn("no record of this run is left for status: the file system is read-only")
	default:
		r.e.warn("no record of this run is left for status: " + err.Error())
	}
	r.told = true
}

// end records how the run ended.
func (r *recording) end(result runs.Result, err error) {
	if r.w == nil {
		return
	}
	if err != nil {
		result.Failed = shortened(errorText(err))
		result.Interrupted = errors.Is(err, context.Canceled)
		result.Damaged = !result.Interrupted && (exitStatus(err) == exitDamage || isBroken(err) || errors.Is(err, zodb.ErrCorrupt))
	}
	r.tell(r.w.End(result))
}

// longestRecorded is the length of a text in a record.
const longestRecorded = 500

func shortened(text string) string {
	if len(text) <= longestRecorded {
		return text
	}
	return strings.ToValidUTF8(text[:longestRecorded], "") + "…"
}
