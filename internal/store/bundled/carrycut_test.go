package bundled_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// putAnew puts a file in the place of another one.
func putAnew(disk vfs.FS, name string, content []byte) error {
	if _, err := vfs.MkdirAll(disk, path.Dir(name)); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(disk, "misc/aside-test", name, content, vfs.SyncOptions{File: true, Dir: true})
}

// TestCutOfABundleThatCarriesAList: all that packs have put aside is aside in the part, also where a list lies beside
// the bundle that was cut, and can be brought back.
func TestCutOfABundleThatCarriesAList(t *testing.T) {
	t.Parallel()
	for _, undeleted := range []bool{false, true} {
		s, disk, txns := packedTwice(t)
		tendToEnd(t, s, store.Tending{})
		if undeleted {
			bringBackNow(t, s, 102)
		}
		to := crashfs.New(2)
		if err := makeEmpty(to); err != nil {
			t.Fatal(err)
		}
		cut, err := bundled.Copies{}.Cut(store.CutOptions{Home: to, Last: txns[2].TID(), Put: func(name string, content io.Reader) error {
			b, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			return putAnew(to, name, b)
		}})
		if err != nil {
			t.Fatal(err)
		}
		var taken error
		for name, err := range s.Files(context.Background()) {
			var b []byte
			take := false
			if err == nil {
				b, err = disk.ReadFile(name)
			}
			if err == nil {
				take, err = cut.Take(name, int64(len(b)), bytes.NewReader(b))
			}
			if err == nil && take {
				err = putAnew(to, name, b)
			}
			taken = errors.Join(taken, err)
		}
		if err := cut.End(taken); err != nil {
			t.Fatal(err)
		}
		part := reopen(t, to)
		if _, _, err := part.Thaw(10); err != nil {
			t.Fatal(err)
		}
		if part.Reach() != txns[2].TID() || len(carrying(t, to)) != 1 {
			t.Errorf("it reaches to %s; %v carry lists", part.Reach(), carrying(t, to))
		}
		wantThere(t, "cut", part, map[zodb.OID]bool{1: false, 2: undeleted, 3: true, 4: false, 9: true})
		bringBackNow(t, part, 101)
		wantThere(t, "the first pack was taken back", part, map[zodb.OID]bool{1: true, 2: undeleted, 3: true, 4: false, 9: true})
		bringBackNow(t, part, 0)
		wantThere(t, "all packs were", part, map[zodb.OID]bool{1: true, 2: true, 3: true, 4: false, 9: true})
		if err := errors.Join(part.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestReportsOfMergedBundles: how much each pack has put aside, and until when, is the same after merges.
func TestReportsOfMergedBundles(t *testing.T) {
	t.Parallel()
	s, _, _ := packedTwice(t)
	before, err := s.Weigh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tendToEnd(t, s, store.Tending{})
	after, err := s.Weigh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Aside) != 2 || len(after.Aside) != 2 || after.Gone != (store.Occupied{}) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for stamp, was := range before.Aside {
		if is := after.Aside[stamp]; is.Files != was.Files || is.Bytes <= 0 {
			t.Errorf("pack %d: %+v, was %+v", stamp, is, was)
		}
	}
	tendToEnd(t, s, store.Tending{Before: 102, Least: 1e-9})
	end, err := s.Weigh(t.Context())
	if err != nil || end.Gone.Files != 0 || len(end.Aside) != 1 || end.Aside[102].Files != before.Aside[102].Files {
		t.Errorf("at the end %+v, %v", end, err)
	}
}
