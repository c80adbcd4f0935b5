package bundled

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// beside is the state of the directories, as a process that only reads has last seen them.
type beside struct {
	times map[store.Side]time.Time // of the directories, when the view was made
	// The files that the view was made of; nil: that is not known.
	bundles, gone map[bundle.Name]listed
}

// The time of a directory tells whether something was changed since, if it is older than the clock by
// as much as two changes may have one time: on file systems with whole seconds (FAT: every other one),
// and on those with fractions, where it is a tick of the kernel, 10 ms at most.
const (
	settled     = 2 * time.Second
	settledFine = 100 * time.Millisecond
)

// settles returns after how long the time of a directory tells whether something was changed since.
func settles(t time.Time) time.Duration {
	if t.Nanosecond() == 0 {
		return settled
	}
	return settledFine
}

// get returns the current view. The caller gives it back by release. After Close it is an error that
// matches zodb.ErrClosed: in the empty view there is no object.
func (s *Store) get() (*view, error) {
	if s.closed.Load() {
		return nil, zodb.ErrClosed
	}
	if s.o.Beside {
		if err := s.look(); err != nil {
			return nil, err
		}
	}
	return s.view(), nil
}

// look reads the directories again if they may have changed.
func (s *Store) look() error {
	s.besideMu.Lock()
	defer s.besideMu.Unlock()
	now := s.o.Clock()
	times := make(map[store.Side]time.Time)
	same := s.beside.times != nil
	for _, side := range s.sides() {
		info, err := s.fs.Stat(dirOf(side))
		if errors.Is(err, fs.ErrNotExist) {
			info.ModTime, err = time.Time{}, nil
		}
		if err != nil {
			return err
		}
		times[side] = info.ModTime
		same = same && info.ModTime.Equal(s.beside.times[side])
		if now.Sub(info.ModTime) < settles(info.ModTime) {
			times[side] = now // which it will not be
		}
	}
	if same {
		return nil
	}
	if !s.unchangedBeside() {
		if err := s.reloadBeside(); err != nil {
			return err
		}
	}
	s.beside.times = times
	return nil
}

// unchangedBeside reports whether the directories have the files that the view was made of: then it
// agrees with two listings.
func (s *Store) unchangedBeside() bool {
	b := &s.beside
	if b.bundles == nil || !s.now.whole() {
		return false
	}
	bundles, gone, err := s.list()
	return err == nil && sameFiles(b.bundles, bundles) && sameFiles(b.gone, gone)
}

// reloadBeside is reload beside another process. A file that is merged away or moved meanwhile is
// missing; then its name is another one by now.
func (s *Store) reloadBeside() error {
	var err error
	for i := range attempts {
		if err = s.reload(); err == nil && !s.now.whole() && i < attemptsForWhole {
			continue // a listing misses a merged bundle that was put behind its position
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		s.beside.bundles = nil
	}
	return err
}

// listBeside is list beside another process. A listing of a directory that is changed meanwhile may miss
// a gone list that is put, and the one that it replaces, which is removed: members that packs took would be
// there again. So two listings have to agree, and no bundle may have less than it had: numbers of
// lists never go down, unless the directory is another one, which a later listing says, too.
func (s *Store) listBeside() (bundles, gone map[bundle.Name]listed, err error) {
	bundles, gone, err = s.list()
	for range attemptsForSame {
		if err != nil {
			break
		}
		wasBundles, wasGone := bundles, gone
		if bundles, gone, err = s.list(); err == nil && sameFiles(wasBundles, bundles) && sameFiles(wasGone, gone) && !s.goBack(bundles, gone) {
			break
		}
	}
	s.beside.bundles, s.beside.gone = maps.Clone(bundles), maps.Clone(gone)
	return bundles, gone, err
}

// sameFiles compares two listings.
func sameFiles(a, b map[bundle.Name]listed) bool {
	return maps.EqualFunc(a, b, func(a, b listed) bool {
		slices.Sort(a.numbers)
		slices.Sort(b.numbers)
		return a.side == b.side && slices.Equal(a.numbers, b.numbers)
	})
}

// goBack reports whether a bundle has a lower list than in the current view, or none.
func (s *Store) goBack(bundles, gone map[bundle.Name]listed) bool {
	if s.now == nil {
		return false
	}
	return slices.ContainsFunc(s.now.parts, func(p part) bool {
		_, there := bundles[p.name]
		return there && p.number > 0 && (len(gone[p.name].numbers) == 0 || slices.Max(gone[p.name].numbers) < p.number)
	})
}

// attemptsForSame is how often the directories are read again until two listings agree.
const attemptsForSame = 10

// attempts is how often the directories are read, while another process changes them.
const attempts = 100

// attemptsForWhole is how often they are read again where a bundle seems to be missing.
const attemptsForWhole = 5
