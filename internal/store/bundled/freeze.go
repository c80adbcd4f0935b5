package bundled

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// RaiseFloor implements [store.Freezer].
func (s *Store) RaiseFloor(moment time.Time) (time.Time, error) { return s.files.RaiseFloor(moment) }

// FloorLost implements [store.Freezer].
func (s *Store) FloorLost() bool { return s.files.FloorLost() }

// UseB implements [store.Freezer]: marks and blobs of B are looked for. Its bundles are always.
func (s *Store) UseB() { s.files.UseB() }

// LastInA implements [store.Freezer].
func (s *Store) LastInA() (zodb.TID, error) { return s.files.LastInA() }

// Thaw implements [store.Freezer]: the bundles first, then blobs and marks.
func (s *Store) Thaw(limit int) (moved int, empty bool, err error) {
	moved, all, err := s.thawBundles(limit)
	if moved > 0 || err != nil {
		if err == nil {
			err = s.files.Sync()
		}
		if err = s.changed(err); err != nil {
			return moved, false, fmt.Errorf("move bundles from B into A: %w", err)
		}
	}
	if !all || moved >= limit {
		return moved, false, nil
	}
	n, empty, err := s.files.Thaw(limit - moved)
	return moved + n, empty, err
}

func (s *Store) thawBundles(limit int) (moved int, all bool, err error) {
	var names []string
	for e, err := range s.fs.List(dirOf(store.B)) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return 0, false, err
		}
		if _, _, ok := bundle.ParseName(e.Name); ok {
			names = append(names, e.Name)
		}
	}
	for _, name := range names {
		if moved >= limit {
			return moved, false, nil
		}
		if err := s.files.MoveBeside(dirOf(store.B)+"/"+name, dirOf(store.A)+"/"+name); err != nil {
			return moved, false, err
		}
		moved++
	}
	return moved, true, nil
}
