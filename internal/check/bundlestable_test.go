package check

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"path/filepath"
)

// TestTheTableIsCompared makes a table of the three bundles, right and with an old revision.
func TestTheTableIsCompared(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		h, tids := threeBundles(t)
		table, err := current.Create(h.fs, h.identity())
		if err != nil {
			t.Fatal(err)
		}
		var note []byte
		for _, p := range h.bundles() {
			note = fmt.Appendf(note, "%s %x -\n", filepath.Base(p), sumOf(t, h.fs, p))
		}
		var entries []current.Entry
		for oid, tid := range h.serials() {
			if old && oid == 1 {
				tid = tids[2]
			}
			entries = append(entries, current.Entry{OID: oid, Slot: current.Slot{TID: tid}})
		}
		if err := table.Put(entries); err != nil {
			t.Fatal(err)
		}
		if err := table.Commit(tids[7], note); err != nil {
			t.Fatal(err)
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		all, _ := findings(t, Options{FS: h.fs})
		all = slices.DeleteFunc(all, func(f Finding) bool { return f.Severity == Note })
		if got := len(all) == 1 && all[0].Kind == TableDamaged && all[0].OID == 1; got != old || !old && len(all) > 0 {
			t.Errorf("old revision: %v: %v", old, kindsOf(all))
		}
		if all, _ := findings(t, Options{FS: h.fs, SnapshotOnly: true}); len(all) > 0 {
			t.Errorf("A alone: %v", kindsOf(all))
		}
	}
}

// sumOf is how the note of the table names the content of a bundle.
func sumOf(t *testing.T, fsys vfs.FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := bundle.Open(f, info.Size, path)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return r.Sum[:8]
}

// TestAListThatTheTableNamesIsMissed: a gone list is lost, which the table of current revisions has.
func TestAListThatTheTableNamesIsMissed(t *testing.T) {
	t.Parallel()
	for number, lost := range map[uint64]bool{0: false, 1: false, 2: true} {
		h, tids := threeBundles(t)
		path := h.bundles()[0]
		sum := sumOf(t, h.fs, path)
		h.gone(path, 1, func(g *bundle.Gone) { g.Sets = nil }, 0)
		table, err := current.Create(h.fs, h.identity())
		if err != nil {
			t.Fatal(err)
		}
		note := fmt.Appendf(nil, "%s %x behind", filepath.Base(path), sum)
		if number > 0 {
			note = fmt.Appendf(note, " %d", number)
		}
		if err := errors.Join(table.Commit(tids[7], append(note, '\n')), table.Close()); err != nil {
			t.Fatal(err)
		}
		all, _ := findings(t, Options{FS: h.fs})
		all = slices.DeleteFunc(all, func(f Finding) bool { return f.Severity == Note })
		n, _, _ := bundle.ParseName(filepath.Base(path))
		got := len(all) == 1 && all[0].Kind == GoneDamaged && all[0].Severity == Warning && all[0].Path == "A/bundles/"+n.Gone(2)
		if got != lost || !lost && len(all) > 0 {
			t.Errorf("list %d in the table: %v", number, kindsOf(all))
		}
	}
}
