package check

import (
	"context"
	"sync"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// task is a piece of work for any worker.
type task func(ctx context.Context, w *worker)

// worker is the property of one goroutine while it works: buffers for the file that
// it reads. A task that a worker does in the middle of another one uses
// them too, so nothing in them may be kept over a call of [pool.do].
type worker struct {
	buf     []byte
	blob    []byte // nil until there is a blob to read
	scanner pickle.Scanner
	refs    []zodb.OID
	// Of bundles: the frame that a walk is at, and the one in which something else was looked for
	// last.
	frame, other frame
	ahead        ahead // of the frames behind the one of the walk
	tally        tally
	entries      [2][]entry // of a segment of the objects
}

// pool spreads tasks over workers. Its queue is bounded: a worker that finds it full does
// the task at once. So neither memory nor waiting can pile up, for directories of any
// shape.
type pool struct {
	queue chan task
	open  sync.WaitGroup // tasks that are queued
}

// run does a task and all that come out of it, and returns when nothing is
// left. When ctx ends, queued tasks are passed over.
func run(ctx context.Context, workers int, first func(ctx context.Context, p *pool, w *worker)) {
	p := &pool{queue: make(chan task, 4*workers)}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			w := new(worker)
			for t := range p.queue {
				if ctx.Err() == nil {
					t(ctx, w)
					w.tally.settle()
				}
				p.open.Done()
			}
			w.tally.end()
		})
	}
	p.open.Add(1)
	p.queue <- func(ctx context.Context, w *worker) { first(ctx, p, w) }
	p.open.Wait()
	close(p.queue)
	all.Wait()
}

// do has a task done by another worker or, if the queue is full, does it itself.
func (p *pool) do(ctx context.Context, w *worker, t task) {
	p.open.Add(1)
	select {
	case p.queue <- t:
	default:
		if ctx.Err() == nil {
			t(ctx, w)
		}
		p.open.Done()
	}
}
