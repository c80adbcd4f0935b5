package classic_test

import (
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAPointerAndItsRevisionOfTwoPacks: one pack has put the pointer of an object aside, and another its revision and
// blob, as after an undelete that was interrupted. That of either brings back all of them, for a pack would take the
// object for damaged.
func TestAPointerAndItsRevisionOfTwoPacks(t *testing.T) {
	t.Parallel()
	for _, stamp := range []int64{80, 70} {
		tr, f, _ := newTree(t, layout.Bushy)
		pointer, revision, blob := layout.Pointer(1), layout.Revision(1, 5), layout.Blob(1, 5)
		put(t, tr, store.A, pointer, string(record.AppendPointer(nil, 5)))
		edit := tr.NewRedo(store.A, 1)
		for _, n := range []layout.Name{revision, blob} {
			if err := edit.Create(n, []byte(n.String())); err != nil {
				t.Fatal(err)
			}
		}
		if err := edit.Sync(); err != nil {
			t.Fatal(err)
		}
		for stamp, names := range map[int64][]layout.Name{70: {pointer}, 80: {revision, blob}} {
			r := tr.NewRemoval(stamp)
			for _, n := range names {
				if _, removed, err := r.Remove(n); !removed || err != nil {
					t.Fatalf("%s: %t, %v", n, removed, err)
				}
			}
			if err := r.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		r := tr.BringBack(stamp)
		var sum store.Restored
		for done := false; !done; {
			n, err := r.Step(10, func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			sum.Objects, sum.Revisions, sum.Blobs, done = sum.Objects+n.Objects, sum.Revisions+n.Revisions, sum.Blobs+n.Blobs, n.Done
			sum.Skipped += n.Skipped
		}
		r.Close()
		if sum.Objects != 1 || sum.Revisions != 1 || sum.Blobs != 1 || sum.Skipped != 0 {
			t.Errorf("the pack of %d: %+v, want one of each", stamp, sum)
		}
		for _, n := range []layout.Name{pointer, revision, blob} {
			if _, err := f.Stat(tr.Path(store.A, n)); err != nil {
				t.Errorf("the pack of %d: %s: %v", stamp, n, err)
			}
		}
	}
}

// TestPurgeFreesWhatHasNoOtherName: a file that was put aside may have its old name still, where a pack ended between the two,
// or one in a copy made by links. Its space comes back with the last name.
func TestPurgeFreesWhatHasNoOtherName(t *testing.T) {
	t.Parallel()
	tr, f, _ := newTree(t, layout.Bushy)
	var names []layout.Name
	for i := range 3 {
		n := layout.Revision(zodb.OID(i), 5)
		put(t, tr, store.A, n, "some content")
		names = append(names, n)
	}
	r := tr.NewRemoval(70)
	for _, n := range names {
		if _, _, err := r.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	alone, err := f.Stat(tr.Deleted(names[0], 70))
	if err == nil {
		err = errors.Join(f.Link(tr.Deleted(names[1], 70), tr.Path(store.A, names[1])), f.Link(tr.Deleted(names[2], 70), "misc/copy"))
	}
	if err != nil {
		t.Fatal(err)
	}
	want := store.Occupied{Files: 3, Bytes: alone.Occupies()}
	if space, err := tr.Space(t.Context()); err != nil || space.Removed.Aside[70] != want {
		t.Errorf("aside are %+v, want %+v: %v", space.Removed.Aside, want, err)
	}
	p := tr.Purge(71)
	defer p.Close()
	if got, done, err := p.Step(10); err != nil || !done || got != want || want.Bytes == 0 {
		t.Errorf("purged %+v, want %+v; done %t, %v", got, want, done, err)
	}
	if _, err := f.Stat(tr.Path(store.A, names[1])); err != nil {
		t.Errorf("the other name: %v", err)
	}
}
