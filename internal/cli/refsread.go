package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

type seq = iter.Seq2[zodb.OID, error]

func withoutErrors(oids iter.Seq[zodb.OID]) seq {
	return func(yield func(zodb.OID, error) bool) {
		for oid := range oids {
			if !yield(oid, nil) {
				return
			}
		}
	}
}

// namedProblems is how many objects that cannot be read are named.
const namedProblems = 10

// currentReader reads the current revisions of many objects.
type currentReader struct {
	e       *env
	s       *engine.Storage
	workers int   // 0 = the number of processors
	total   int64 // objects that there are about; 0 = not known
	// emit, if it is not nil, is called by one goroutine with the results of visits, in the order of
	// the objects, a few at a time.
	emit func([]referrer) error

	mu      sync.Mutex
	damaged int64   // guarded by mu; objects that cannot be read
	opaque  int64   // guarded by mu; objects whose record is no pickle
	named   []error // guarded by mu; about the first of both
}

// currentRevision is the value that each hands out. It belongs to one goroutine.
type currentRevision struct {
	oid zodb.OID
	zodb.Revision
	scanner pickle.Scanner
	refs    []zodb.OID
	results *[]referrer // to which visit appends, for emit
}

// strong returns the strong references of the revision within its own database, ascending, good
// until the next call.
func (v *currentRevision) strong() (refs []zodb.OID, err error) {
	if len(v.Data) == 0 {
		return nil, nil
	}
	v.refs, err = v.scanner.AppendStrongRefs(v.refs[:0], v.Data)
	return v.refs, err
}

// refersTo looks for a reference to an object, a strong one first. The class that
// the reference names is that of the first that names one.
func (v *currentRevision) refersTo(oid zodb.OID, weak bool) (found pickle.Ref, ok bool, err error) {
	strong, err := v.strong()
	if err != nil {
		return pickle.Ref{}, false, err
	}
	if _, refers := slices.BinarySearch(strong, oid); !refers && !weak || len(v.Data) == 0 {
		return pickle.Ref{}, false, nil
	}
	refs, err := pickle.References(v.Data)
	if err != nil {
		return pickle.Ref{}, false, err
	}
	found.Weak = true
	for _, ref := range refs {
		if ref.OID != oid || ref.Database != "" {
			continue
		}
		ok = true
		found.Weak = found.Weak && ref.Weak
		if found.Class == "" {
			found.Class = ref.Class
		}
	}
	return found, ok, nil
}

// revisionState is the outcome of reading a current revision.
type revisionState uint8

const (
	revisionThere   revisionState = iota
	revisionGone                  // the object does not exist
	revisionDamaged               // it exists, and cannot be read
	revisionFailed                // it could not be found out
)

// load reads the current revision of an object. There is an error unless it is there.
func (r *currentReader) load(ctx context.Context, oid zodb.OID) (rev zodb.Revision, state revisionState, err error) {
	// The file that a pointer leads to may go while it is looked for, if somebody
	// stores the object anew and packs.
	for range 2 {
		rev, err = r.s.Load(ctx, oid)
		switch k, isKey := errors.AsType[*zodb.KeyError](err); {
		case err == nil:
			return rev, revisionThere, nil
		case ctx.Err() != nil:
			return rev, revisionFailed, ctx.Err()
		case errors.Is(err, zodb.ErrCorrupt):
			return rev, revisionDamaged, err
		case !isKey:
			return rev, revisionFailed, err
		case k.TID == 0 || r.recorded(ctx, oid):
			return rev, revisionGone, err
		}
	}
	return rev, revisionDamaged, err
}

// recorded reports whether an object that cannot be loaded has a current revision
// that can be read, which says that it does not exist.
func (r *currentReader) recorded(ctx context.Context, oid zodb.OID) bool {
	for _, err := range r.s.Serials(ctx, oid) {
		return err == nil
	}
	return false
}

// batchSize is how many objects one worker takes at a time.
const batchSize = 64

// batch is the objects that one worker takes at a time.
type batch struct {
	oids    []zodb.OID
	results []referrer
	done    chan struct{} // closed when the results are there
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// each reads the current revisions of objects and calls visit for each, from
// several goroutines. Objects that do not exist are passed over. Objects that
// cannot be read, and those for which visit returns an error about their
// pickles, are counted. Other errors end it, those of emit too. Some batches are in memory at a time.
func (r *currentReader) each(ctx context.Context, oids seq, visit func(*currentRevision) error) error {
	workers := r.workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var (
		m     = newMeter(r.e)
		shown sync.Mutex // of m: two goroutines write to the terminal
	)
	defer m.end()
	g, ctx := errgroup.WithContext(ctx)
	batches, inOrder := make(chan *batch, workers), make(chan *batch, 4*workers)
	g.Go(func() error {
		defer close(batches)
		defer close(inOrder)
		next := newBatch()
		sent := int64(0)
		send := func() error {
			for _, queue := range []chan *batch{inOrder, batches} {
				select {
				case queue <- next:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			sent += int64(len(next.oids))
			next = newBatch()
			shown.Lock()
			defer shown.Unlock()
			m.update(sent, r.total, func(spent time.Duration) string {
				return fmt.Sprintf("%s, %s", human.Number(sent, "object"), human.Rate(sent, spent))
			})
			return nil
		}
		for oid, err := range oids {
			if err != nil {
				return err
			}
			if next.oids = append(next.oids, oid); len(next.oids) == batchSize {
				if err := send(); err != nil {
					return err
				}
			}
		}
		return send()
	})
	for range workers {
		g.Go(func() error {
			var v currentRevision
			for b := range batches {
				v.results = &b.results
				for _, oid := range b.oids {
					if err := r.visit(ctx, &v, oid, visit); err != nil {
						return err
					}
				}
				close(b.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		for b := range inOrder {
			select {
			case <-b.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if r.emit == nil || len(b.results) == 0 {
				continue
			}
			shown.Lock()
			m.end()
			err := r.emit(b.results)
			shown.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

func (r *currentReader) visit(ctx context.Context, v *currentRevision, oid zodb.OID, visit func(*currentRevision) error) error {
	rev, state, err := r.load(ctx, oid)
	switch state {
	case revisionGone:
		return nil
	case revisionFailed:
		return err
	case revisionDamaged:
		r.problem(&r.damaged, fmt.Errorf("object %s: %w", oid, err))
		return nil
	}
	v.oid, v.Revision = oid, rev
	err = visit(v)
	if _, is := errors.AsType[*pickle.SyntaxError](err); is || errors.Is(err, pickle.ErrTooLarge) {
		r.problem(&r.opaque, fmt.Errorf("object %s: %w", oid, err))
		return nil
	}
	return err
}

// problem counts an object whose references cannot be seen.
func (r *currentReader) problem(count *int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*count++
	if len(r.named) < namedProblems {
		r.named = append(r.named, err)
	}
}

// unseen is the number of objects that each passed over because their references
// cannot be seen.
func (r *currentReader) unseen() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.damaged + r.opaque
}

// report names on stderr objects whose references could not be seen.
func (r *currentReader) report() {
	n := r.unseen()
	if n == 0 {
		return
	}
	for _, err := range r.named {
		fmt.Fprintf(r.e.Stderr, "dirstorage: %v\n", err)
	}
	fmt.Fprintf(r.e.Stderr, "dirstorage: objects whose references could not be seen: %s\n", human.Count(n))
}
