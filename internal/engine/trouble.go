package engine

import (
	"errors"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Three kinds of errors of the file system meet here:
//
//   - What passes ([vfs.Passes]) is tried again, at longer and longer intervals, or
//     told to the client whose transaction it concerns. Nothing becomes read-only.
//   - What is no part of the database (misc/counts, misc/backed-up, sockets, caches,
//     the index of references) never keeps anything from being done. It is logged.
//   - All else leaves the log, or a file that was acknowledged, in a state that nobody
//     knows: [state.State.Fail].

// note keeps or clears the trouble that a step had, or makes the storage read-only.
// It is in the log once when it comes, once when another kind takes its place, and
// once when it has passed.
func (w *worker) note(s *Storage, err error) {
	if err != nil && !vfs.Passes(err) {
		// If HOME was changed from outside, that is the cause.
		_ = s.state.Fail(errors.Join(s.home.Check(), err)) // logged there, and told to every writer
		return
	}
	if err == nil {
		s.state.StepSucceeded()
		return
	}
	s.state.StepFailed(err)
}

// entryInTrouble is about a snapshot that waits for a flush that has just failed. First
// the reserve is given up for it, and then it is refused, because nobody may be there who
// makes room.
func (w *worker) entryInTrouble(s *Storage) {
	q, full := s.state.EntryInTrouble()
	if q == nil {
		return
	}
	if full && space.GiveUpReserve(s.home.FS) {
		s.log.Warn("disk full: the reserve is given up for a snapshot; commits are refused until there is room", "path", space.ReserveFile)
		s.state.ReserveGivenUp()
		return
	}
	s.state.RefuseEntry(q)
}

// listen makes the socket by which tools reach the storage. It is no part of the
// database: without it everything goes on, and the worker tries again.
func (s *Storage) listen() {
	server, err := control.Serve(s.home.FS, s, s.log)
	first, late := s.state.Served(server, err)
	if late {
		err = server.Close()
	}
	if err != nil && first {
		s.log.Warn("no control socket: tools cannot reach this process until there is one", "err", err)
	}
}

// listenAgain tries once more, if there is no socket and should be one.
func (w *worker) listenAgain(s *Storage) {
	if s.state.SocketIsMissing() {
		s.listen()
	}
}

// leave tries to leave a snapshot that nobody will leave from outside. What keeps it
// from that is in the log once.
func (w *worker) leave(s *Storage) {
	w.leaveAt = s.o.Clock().Add(s.o.RetryInterval)
	err := s.leaveIfFree()
	if err != nil && !w.stays {
		s.log.Warn("cannot leave snapshot mode yet", "err", err)
	}
	w.stays = err != nil
}
