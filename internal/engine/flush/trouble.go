package flush

import (
	"errors"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Three kinds of errors of the file system meet here:
//
//   - After one that passes ([vfs.Passes]) the step is tried again, at longer and longer
//     intervals, or the client whose transaction it concerns is told. Nothing becomes read-only.
//   - One about things beside the database (misc/counts, misc/backed-up, sockets, caches,
//     the index of references) stops nothing. It is logged.
//   - All else leaves the log, or a file that was acknowledged, in a state that nobody
//     knows: [state.State.Fail].

// note keeps or clears the trouble that a step had, or makes the storage read-only.
// It is in the log once when it comes, once when another kind takes its place, and
// once when it has passed.
func (w *Worker) note(err error) {
	if err != nil && !vfs.Passes(err) {
		// If HOME was changed from outside, that is the cause.
		_ = w.o.State.Fail(errors.Join(w.o.Home.Check(), err)) // logged there, and told to every writer
		return
	}
	if err == nil {
		w.o.State.StepSucceeded()
		return
	}
	w.o.State.StepFailed(err)
}

// entryInTrouble handles a snapshot that waits for a flush that has just failed. First
// the reserve is given up for it, and then it is refused, because perhaps nobody makes
// room.
func (w *Worker) entryInTrouble() {
	q, full := w.o.State.EntryInTrouble()
	if q == nil {
		return
	}
	if full && space.GiveUpReserve(w.o.Home.FS) {
		w.o.Log.Warn("disk full: the reserve is given up for a snapshot; commits are refused until there is room", "path", space.ReserveFile)
		w.o.State.ReserveGivenUp()
		return
	}
	w.o.State.RefuseEntry(q)
}

// listenAgain tries once more, if there is no socket and should be one.
func (w *Worker) listenAgain() {
	if w.o.State.SocketIsMissing() {
		w.o.Listen()
	}
}
