package storetest

import (
	"errors"
	"maps"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// fixture is the material of the scenarios: four transactions, two packs of them, and the contents
// of a store after each.
type fixture struct {
	all           []store.Transaction
	first, second packed

	full, afterFirst, afterBoth contents
	// afterPurge is there when the first pack was purged and the second one taken back.
	afterPurge contents
	// The files that the packs remove.
	goneFirst, goneSecond map[layout.Name][]byte
}

// newFixture returns the fixture with its blobs on disk, durably.
func newFixture(disk vfs.FS) (*fixture, error) {
	x := &fixture{
		all:   Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{3, 0, 2}, []zodb.OID{3}),
		first: firstPack(), second: secondPackOfAnObject(),
	}
	err := stage(disk, x.all)
	if err == nil {
		x.full, err = contentsOf(x.all, tid(4))
	}
	if err == nil {
		x.afterFirst, err = contentsOf(x.all, tid(4))
	}
	if err == nil {
		x.goneFirst = x.afterFirst.removed(x.first.removal)
		err = x.afterFirst.relinked(x.first.links)
	}
	if err == nil {
		x.afterBoth = x.afterFirst.clone()
		x.goneSecond = x.afterBoth.removed(x.second.removal)
		err = x.afterBoth.relinked(x.second.links)
	}
	if err != nil {
		return nil, err
	}
	x.afterPurge = x.afterFirst.clone()
	x.afterPurge.previous = nil // the packs changed the links
	return x, nil
}

// clone returns contents that can be changed.
func (c *contents) clone() contents {
	return contents{last: c.last, text: maps.Clone(c.text), previous: maps.Clone(c.previous), current: maps.Clone(c.current)}
}

// fill flushes all into A, in several flushes: a store may keep the files of one together.
func (x *fixture) fill(s store.Store) error {
	return errors.Join(flush(s, store.A, x.all[:1]), flush(s, store.A, x.all[1:3]), flush(s, store.A, x.all[3:]))
}

// packFirst fills, and does the first pack with a stamp.
func (x *fixture) packFirst(s store.Store, stamp int64) error {
	err := x.fill(s)
	if err == nil {
		err = x.first.do(s, stamp)
	}
	return err
}

// packBoth fills and packs twice; removed files are put aside.
func (x *fixture) packBoth(s store.Store) error {
	err := x.packFirst(s, x.first.stamp)
	if err == nil {
		err = x.second.do(s, x.second.stamp)
	}
	return err
}
