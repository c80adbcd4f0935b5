package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// A server that was started by hand in a terminal ends with that terminal: the kernel, or the shell, sends SIGHUP
// when it closes. Other SIGHUPs are requests to reload. So are those to a server under nohup, to one that never
// had a terminal, and to one that its shell left behind without a SIGHUP (disown).

// ownTerminal watches the terminal of this process. It is not for concurrent use.
type ownTerminal struct {
	there  func() bool // nil: there never was one
	missed int         // looks, one after the other, that did not find it
}

// The terminal is looked at every hangupEvery. A SIGHUP is one of the terminal if hangupLooks or fewer looks have
// missed it.
const (
	hangupEvery = time.Second
	hangupLooks = 5
	// hangupDelay is the time in which the kernel takes a closed terminal away from all of its processes.
	hangupDelay = 100 * time.Millisecond
)

// watchTerminal begins to watch. there tells whether this process has a terminal; nil: it is not to end with it.
func watchTerminal(there func() bool) *ownTerminal {
	if there == nil || !there() {
		return &ownTerminal{}
	}
	return &ownTerminal{there: there}
}

// look is called every hangupEvery.
func (o *ownTerminal) look() {
	switch {
	case o.there == nil:
	case o.there():
		o.missed = 0
	default:
		o.missed++
	}
}

// hungUp reports whether a SIGHUP that has come means that the terminal is gone.
func (o *ownTerminal) hungUp() bool {
	return o.there != nil && o.missed <= hangupLooks && !o.there()
}

// hasTerminal reports whether this process belongs to a terminal, whatever its input and output are.
func hasTerminal() bool {
	dir, name, err := vfs.Split("/dev/tty")
	if err != nil {
		return false
	}
	f, err := dir.Open(name)
	if err != nil {
		return false
	}
	_ = f.Close() // it was not written to
	return true
}

// hangups sorts the SIGHUPs that come: ctx ends when the terminal of the server is gone, and reloads has one for
// the others. stop ends it.
func (s *serving) hangups(parent context.Context) (ctx context.Context, reloads <-chan os.Signal, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	came, others := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGHUP)
	terminal := watchTerminal(s.e.OwnTerminal)
	go func() {
		looks := time.NewTicker(hangupEvery)
		defer looks.Stop()
		if terminal.there == nil {
			looks.Stop()
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-looks.C:
				terminal.look()
			case sig := <-came:
				if terminal.there != nil && !terminal.hungUp() {
					time.Sleep(hangupDelay)
				}
				if terminal.hungUp() {
					s.log.Info("the terminal is gone; nohup or a unit of systemd lets a server go on")
					cancel(interruptedError{})
					return
				}
				select {
				case others <- sig:
				default: // one that waits is enough
				}
			}
		}
	}()
	return ctx, others, func() { signal.Stop(came); cancel(nil) }
}
