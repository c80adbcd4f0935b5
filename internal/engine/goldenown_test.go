package engine_test

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestHomesOfEarlierBuildsReadAsTheyWere opens homes of bundles that an earlier build made: closed, as a
// heap of copies, and killed in snapshot mode; with and without the derived files. They read as that
// build read them, also when a pack is taken back, and check finds no damage.
func TestHomesOfEarlierBuildsReadAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, name := range hometest.OwnNames(t) {
		for _, derived := range []string{"", "misc/current", "misc"} {
			t.Run(strings.TrimPrefix(name, "own/")+" without "+derived, func(t *testing.T) {
				t.Parallel()
				if derived == "misc" && strings.HasSuffix(name, "_killed") {
					t.Skip("misc/snapshot says that A is one")
				}
				home := hometest.Unpack(t, name)
				want := hometest.ExpectedOwn(t, name)
				if derived != "" {
					for _, path := range globs(t, filepath.Join(home, derived+"*")) {
						if err := os.RemoveAll(path); err != nil {
							t.Fatal(err)
						}
					}
				}
				for _, dir := range []string{"B", "journal", "misc"} {
					if err := os.MkdirAll(filepath.Join(home, dir), 0o777); err != nil {
						t.Fatal(err)
					}
				}
				readsAsItWas(t, home, want)
			})
		}
	}
}

func globs(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func readsAsItWas(t *testing.T, home string, want *hometest.Own) {
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checktest.Undamaged(t.Context(), dir); err != nil {
		t.Error(err)
	}
	s := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
	compareWithGolden(t, s, &want.Home)
	compareBlobs(t, s, want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept})
	compareWithGolden(t, s, &want.Home) // at once, while B may still be moved
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	compareWithGolden(t, s, &want.Home)
	compareBlobs(t, s, want)
	there := want.Objects
	if want.Undelete != 0 {
		if _, err := s.Undelete(t.Context(), want.Undelete); err != nil {
			t.Fatal(err)
		}
		if there = want.BroughtBack; len(there) <= len(want.Objects) {
			t.Fatal("nothing is to come back")
		}
		compareRevisions(t, s, there)
	}
	// All of it is read again.
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root, changed")}, enginetest.Change{OID: 9, Data: pickletest.Record("a blob"), Blob: "three"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := checktest.Sound(t.Context(), dir); err != nil {
		t.Error(err)
	}
	s = engine.OpenHome(t, home, engine.Options{ReadOnly: true})
	if got := engine.Load(t, s, 0); got != string(pickletest.Record("root, changed")) {
		t.Errorf("the root is %q", got)
	}
	compareBlobs(t, s, want)
	compareRevisions(t, s, there)
}

func compareBlobs(t *testing.T, s *engine.Storage, want *hometest.Own) {
	t.Helper()
	if len(want.Blobs) < 3 {
		t.Errorf("only %d blobs", len(want.Blobs))
	}
	for name, is := range want.Blobs {
		var oid zodb.OID
		var tid zodb.TID
		text, after, _ := strings.Cut(name, ".")
		if err := errors.Join(oid.UnmarshalText([]byte(text)), tid.UnmarshalText([]byte(after))); err != nil {
			t.Fatal(err)
		}
		b, err := s.OpenBlob(t.Context(), oid, tid)
		if err != nil {
			t.Errorf("blob %s: %v", name, err)
			continue
		}
		data, err := io.ReadAll(b)
		if err = errors.Join(err, b.Close()); err != nil || sum(data) != is {
			t.Errorf("blob %s has other content, %v", name, err)
		}
	}
}

// compareRevisions wants the revisions, and of each of their objects no other one that is older.
func compareRevisions(t *testing.T, s *engine.Storage, list []hometest.Revision) {
	t.Helper()
	for _, o := range list {
		r, err := s.LoadRecord(t.Context(), o.OID, o.TID)
		if err != nil || r.Exists == o.UndoneCreation || sum(r.Data) != o.SHA256 {
			t.Errorf("record %s %s: exists %v, %v", o.OID, o.TID, r.Exists, err)
		}
	}
	last := slices.MaxFunc(list, func(a, b hometest.Revision) int { return cmp.Compare(a.TID, b.TID) }).TID
	for _, o := range list {
		for tid, err := range s.Serials(t.Context(), o.OID) {
			if errors.Is(err, zodb.ErrNotFound) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if tid <= last && !slices.ContainsFunc(list, func(x hometest.Revision) bool { return x.OID == o.OID && x.TID == tid }) {
				t.Errorf("object %s has a revision %s, which was gone", o.OID, tid)
			}
		}
	}
}
