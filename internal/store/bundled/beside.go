package bundled

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
)

// beside is the state of the directories, as a process that only reads has last seen them.
type beside struct {
	times map[store.Side]time.Time // of the directories, when the view was made
}

// settled is how much older than the clock the time of a directory has to be before it tells
// whether something was changed since.
const settled = 2 * time.Second

// get returns the current view. The caller gives it back by release.
func (s *Store) get() (*view, error) {
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
		if now.Sub(info.ModTime) < settled {
			times[side] = now // which it will not be
		}
	}
	if same {
		return nil
	}
	err := s.reloadBeside()
	if err == nil {
		s.beside.times = times
	}
	return err
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
