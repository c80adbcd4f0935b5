package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/store"
)

// tend does all work that there is.
func tend(s store.Store) error {
	if err := thaw(s); err != nil { // who has just opened a store does not know that B is empty
		return err
	}
	for range maxSteps {
		if more, err := Tend(context.Background(), s, store.Tending{}); err != nil || !more {
			return err
		}
	}
	return fmt.Errorf("tend: %w", errEndless)
}

// Tend does one piece of work that a store finds to do. more: there may be another one.
func Tend(ctx context.Context, s store.Tender, o store.Tending) (more bool, err error) {
	c, err := s.Tend(o)
	if err != nil || c == nil {
		return false, err
	}
	found, err := c.Prepare(ctx)
	if err == nil && found {
		_, err = c.Publish()
	}
	return found, errors.Join(err, c.Close())
}

// remove removes, durably.
func remove(s store.Store, stamp int64, what store.Removal) (store.Counts, error) {
	n, err := s.Remove(stamp, what)
	if err == nil {
		err = s.Sync()
	}
	return n, err
}
