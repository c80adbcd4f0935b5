package bundled

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// marksFile names the bundles that are left alone because they are damaged, so that the next start
	// knows them without reading everything. It is derived: without it a merge finds them again.
	marksFile = "misc/damaged-bundles"
	// marksAside is its name while it is written; an open removes it.
	marksAside = "journal/aside-damaged"
)

// marks are the bundles that are left alone, with the sums of their indexes: a mark is not for another
// bundle that gets the name.
type marks struct {
	mu   sync.Mutex
	sums map[bundle.Name]string // guarded by mu
}

// readMarks reads the marks of the process before this one. A file that cannot be read marks nothing.
func (s *Store) readMarks() {
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	s.marks.sums = make(map[bundle.Name]string)
	if s.o.Still {
		return
	}
	b, err := s.fs.ReadFile(marksFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.warnOnce(marksFile, "the list of damaged bundles cannot be read; merges find them again", err)
	}
	for line := range strings.Lines(string(b)) {
		file, sum, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if n, number, named := bundle.ParseName(file); ok && named && number == 0 && strings.HasSuffix(line, "\n") {
			s.marks.sums[n] = sum
		}
	}
}

func sumOf(o *opened) string { return hex.EncodeToString(o.Sum[:]) }

// recall marks a bundle that is opened, if it was marked before. A chore looks at it once more.
func (s *Store) recall(o *opened) {
	s.marks.mu.Lock()
	sum, ok := s.marks.sums[o.name]
	s.marks.mu.Unlock()
	if !ok || sum != sumOf(o) {
		return
	}
	o.damaged.Store(true)
	o.recalled = true
	s.warnOnce(o.path, "a bundle is damaged: it is left as it is, and others are merged around it; “check” lists the damage",
		&zodb.CorruptError{Path: o.path, Reason: "the process before this one could not read all of it"})
}

// mark adds or takes away the mark of a bundle, and writes the list.
func (s *Store) mark(o *opened, damaged bool) {
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	if damaged {
		s.marks.sums[o.name] = sumOf(o)
	} else {
		delete(s.marks.sums, o.name)
	}
	o.damaged.Store(damaged)
	s.writeMarks()
}

// forgetMarks takes away the marks of bundles that are not there any more.
func (s *Store) forgetMarks(v *view) {
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	before := len(s.marks.sums)
	for n, sum := range s.marks.sums {
		if i := v.of(n.Min); i < 0 || v.parts[i].name != n || sumOf(v.parts[i].opened) != sum {
			delete(s.marks.sums, n)
		}
	}
	if len(s.marks.sums) != before {
		s.writeMarks()
	}
}

// writeMarks writes the list. An error costs what the next start knows. marks.mu is held.
func (s *Store) writeMarks() {
	var err error
	if len(s.marks.sums) == 0 {
		if err = s.fs.Remove(marksFile); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		var lines []string
		for n, sum := range s.marks.sums {
			lines = append(lines, fmt.Sprintf("%s %s\n", n, sum))
		}
		slices.Sort(lines)
		err = vfs.WriteFileAtomic(s.fs, marksAside, marksFile, []byte(strings.Join(lines, "")), vfs.SyncOptions{File: s.o.Sync, Dir: s.o.Sync && s.o.DirSync})
	}
	if err != nil {
		s.warnOnce(marksFile, "the list of damaged bundles cannot be written: the next start does not know them, and merges find them again", err)
	}
}

// A look that has failed is tried again after lookFirst, later ones after twice the wait before, up to
// lookMost.
const (
	lookFirst = 10 * time.Second
	lookMost  = time.Hour
)

// lookAgain reads the bundles that the process before this one has marked, each once: one that is whole
// by now, because somebody put back a good copy, is merged with others again. found: there was one.
// While descriptors or memory are lacking, or the disk cannot read it, nobody knows: it is looked at later.
func (c *chore) lookAgain(ctx context.Context) (found bool, err error) {
	for i := range c.v.parts {
		p := c.v.parts[i].opened
		if !p.recalled || c.o.Reclaim {
			continue
		}
		if wait := p.lookAt.Sub(c.s.o.Clock()); wait > 0 && wait <= p.lookWait { // the clock may have been set back
			c.againIn(wait)
			continue
		}
		err := c.verify(ctx, p)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
			p.lookWait = min(max(lookFirst, 2*p.lookWait), lookMost)
			p.lookAt = c.s.o.Clock().Add(p.lookWait)
			c.againIn(p.lookWait)
			continue
		}
		p.recalled = false
		if err != nil {
			continue // it stays marked
		}
		c.s.mark(p, false)
		c.publish = func() (store.Tended, error) {
			return store.Tended{Note: "a bundle that was damaged is whole again: " + p.path}, nil
		}
		return true, nil
	}
	return false, nil
}

// againIn sees to it that there is another chore after a time, at the latest.
func (c *chore) againIn(wait time.Duration) {
	if c.later == 0 || wait < c.later {
		c.later = wait
	}
}

// verify reads a bundle wholly, at a pace that others do not feel.
func (c *chore) verify(ctx context.Context, p *opened) error {
	begun, read := c.s.o.Clock(), int64(0)
	return p.VerifyEach(func(bytes int64) error {
		if read += bytes; read >= restEvery {
			if c.o.Rest != nil {
				c.o.Rest(c.s.o.Clock().Sub(begun))
			}
			begun, read = c.s.o.Clock(), 0
		}
		return ctx.Err()
	})
}
