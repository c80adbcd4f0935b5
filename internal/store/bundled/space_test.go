package bundled_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestSpaceTellsWhatIsAsideInBundles: it is told by pack, until it is gone for good.
func TestSpaceTellsWhatIsAsideInBundles(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	s, err := bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := newHistory(s, 3).thaw(); err != nil {
		t.Fatal(err)
	}
	var oids []zodb.OID
	for oid := range zodb.OID(1000) {
		oids = append(oids, oid)
	}
	txns := storetest.Chain(oids, oids)
	if err := errors.Join(s.Put(store.A, txns, new(store.Progress)), s.SetLast(store.A, txns[1].TID())); err != nil {
		t.Fatal(err)
	}
	for stamp, list := range map[int64][]zodb.OID{100: oids[:300], 200: oids[300:400]} {
		var what store.Removal
		for _, oid := range list {
			what.Revisions = append(what.Revisions, store.Revisions{OID: oid, TIDs: []zodb.TID{txns[0].TID()}})
		}
		if _, err := s.Remove(stamp, what); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.SetPacked(txns[1].TID()), s.Sync()); err != nil {
		t.Fatal(err)
	}
	space, err := s.Space(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b := space.Removed.Aside[100], space.Removed.Aside[200]
	if len(space.Removed.Aside) != 2 || a.Files != 300 || b.Files != 100 || b.Bytes < 1000 || a.Bytes < b.Bytes*5/2 || a.Bytes > space.Sides[store.A].Bytes/2 {
		t.Errorf("aside are %+v", space)
	}
	p := s.Purge(300)
	defer p.Close()
	for done := false; !done; {
		if _, done, err = p.Step(1); err != nil {
			t.Fatal(err)
		}
	}
	if space, err = s.Space(t.Context()); err != nil || len(space.Removed.Aside) != 0 {
		t.Errorf("after delay_delete: %+v, %v", space, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
