package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
)

// flushLook is the time between two looks at the number of unflushed transactions.
const flushLook = 100 * time.Millisecond

// showFlush does the last steps of a command that writes, and shows on a terminal meanwhile how
// much is still to be moved to its place in A: after a large import that takes a while. A failed
// step does not keep the later ones from being done.
func showFlush(e *env, s *engine.Storage, steps ...func() error) error {
	stop := watchFlush(e, s)
	var errs []error
	for _, step := range steps {
		errs = append(errs, step())
	}
	stop()
	return errors.Join(errs...)
}

// watchFlush shows it until stop is called.
func watchFlush(e *env, s *engine.Storage) (stop func()) {
	if !e.Terminal {
		return func() {}
	}
	m, total := newMeter(e), int64(0)
	show := func() {
		left := int64(s.Status().UnflushedFiles)
		if total = max(total, left); total == 0 {
			return
		}
		m.update(total-left, total, func(time.Duration) string {
			return fmt.Sprintf("moving to A, %s left", human.Number(left, "file"))
		})
	}
	show()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		look := time.NewTicker(flushLook)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				show()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended; m.end() }
}
