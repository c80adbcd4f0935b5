package inspect_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/inspect"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// writeIndex writes the index of references that a pack would leave.
func writeIndex(t *testing.T, s *engine.Storage, pairs ...[2]zodb.OID) {
	t.Helper()
	home, err := vfs.OS(s.Home())
	if err != nil {
		t.Fatal(err)
	}
	w, err := refindex.New(home, "misc", s.LastTransaction(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if err := w.Add(p[0], p[1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Finish(t.Context(), vfs.SyncOptions{}); err != nil {
		t.Fatal(err)
	}
}

func names(r *inspect.Referrers) (list []string) {
	for _, x := range r.List {
		list = append(list, fmt.Sprintf("%d %s", x.OID, x.Class))
	}
	return list
}

func TestReferrersByScanAndByIndex(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, b *inspect.Browser) {
		site(t, s)
		want := []string{"1 OFS.Application.Application", "4 BTrees.OOBTree.OOBucket"}
		r, err := b.Referrers(t.Context(), notes, false)
		if err != nil || r.Complete || r.Why == "" || len(r.List) != 0 || r.Looked != 0 {
			t.Errorf("without an index: %+v, %v", r, err)
		}
		r, err = b.Referrers(t.Context(), notes, true)
		if diff := cmp.Diff(want, names(r)); err != nil || !r.Complete || r.Looked != 9 || diff != "" {
			t.Errorf("by scan: %+v, %v (-want +got):\n%s", r, err, diff)
		}
		last := s.LastTransaction()
		// A stale entry, and one that is missing because it came later.
		writeIndex(t, s, [2]zodb.OID{4, notes}, [2]zodb.OID{app, notes}, [2]zodb.OID{folder, notes})
		r, err = b.Referrers(t.Context(), notes, false)
		if diff := cmp.Diff(want, names(r)); err != nil || !r.Complete || r.Index != last || r.Looked != 3 || diff != "" {
			t.Errorf("by index: %+v, %v (-want +got):\n%s", r, err, diff)
		}
		store(t, s, folder, Object("m", "Folder", Ref(notes, "m", "Notes")))
		store(t, s, app, Object("m", "App", None))
		r, err = b.Referrers(t.Context(), notes, false)
		if diff := cmp.Diff([]string{"2 m.Folder", "4 BTrees.OOBTree.OOBucket"}, names(r)); err != nil || !r.Complete || diff != "" {
			t.Errorf("by index and changes: %+v, %v (-want +got):\n%s", r, err, diff)
		}
	})
}

func TestManyReferrersAreCut(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	for oid := range zodb.OID(400) {
		store(t, s, oid, Object("m", "C", Ref(7, "m", "C")))
	}
	r, err := browser(t, s, inspect.Options{}).Referrers(t.Context(), 7, true)
	if err != nil || !r.More || r.Complete || len(r.List) != 300 {
		t.Errorf("%d in the list, %+v, %v", len(r.List), r, err)
	}
}

func TestAnIndexOfAnotherHistoryIsNotUsed(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	site(t, s)
	home, err := vfs.OS(s.Home())
	if err != nil {
		t.Fatal(err)
	}
	w, err := refindex.New(home, "misc", s.LastTransaction()-5, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(t.Context(), vfs.SyncOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := browser(t, s, inspect.Options{}).Referrers(t.Context(), notes, false)
	if err != nil || r.Complete || r.Index != 0 || r.Why == "" {
		t.Errorf("%+v, %v", r, err)
	}
}
