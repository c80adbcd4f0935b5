package bundled

import (
	"errors"
	"io/fs"
	"time"

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

// attempts is how often the directories are read, while another process changes them.
const attempts = 100

// attemptsForWhole is how often they are read again where a bundle seems to be missing.
const attemptsForWhole = 5
