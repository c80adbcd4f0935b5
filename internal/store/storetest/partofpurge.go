package storetest

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// partOfPurge: a purge that was interrupted has removed a part of an object for good. What comes back of it is whole, or
// nothing does.
func partOfPurge(t *testing.T, s store.Store, f vfs.FS) {
	const rounds = 12
	var objects [][]zodb.OID
	for i := range zodb.OID(rounds) {
		objects = append(objects, []zodb.OID{i + 1}, []zodb.OID{i + 1})
	}
	all := Chain(append(objects, []zodb.OID{0})...)
	if err := stage(f, all); err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		put(t, s, store.A, x)
	}
	full, err := contentsOf(all, tid(len(all)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range rounds {
		stamp, first := int64(10+i), tid(2*i+1)
		_, err := purge(s, stamp) // the rest of the round before
		if err == nil {
			_, err = remove(s, stamp, store.Removal{
				Objects:   []zodb.OID{zodb.OID(i + 1)},
				Revisions: []store.Revisions{{OID: zodb.OID(i + 1), TIDs: []zodb.TID{first, first + 1<<20}}},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		p := s.Purge(stamp + 1)
		for range i / 2 {
			if _, done, err := p.Step(1); done || err != nil {
				break
			}
		}
		p.Close()
		if i%2 == 0 {
			stamp = 0
		}
		if n, err := bringBack(s, stamp, 2); err != nil || i < 2 && n.Revisions != 2 {
			t.Fatalf("after %d steps, of stamp %d: brought back %+v: %v", i/2, stamp, n, err)
		}
		if err := wholeObjects(s, full); err != nil {
			t.Errorf("after %d steps, of stamp %d: %v", i/2, stamp, err)
		}
	}
}
