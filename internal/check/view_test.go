package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// table is a view without pointers and without files: contents by database names, and heads.
type table struct {
	home     vfs.FS // for the streams of blobs, which are read there
	mu       sync.Mutex
	contents map[layout.Name][]byte // guarded by mu
	blobs    map[layout.Name]string // guarded by mu; their files
	heads    map[zodb.OID]zodb.TID  // guarded by mu
}

var _ view = (*table)(nil)

// readTable reads a HOME of class Full into a table, by way of its trees.
func readTable(t *testing.T, f vfs.FS, set *settings.Settings, snapshotOnly bool) (view, error) {
	of, err := openView(f, set, snapshotOnly)
	if err != nil {
		return nil, err
	}
	v := &table{home: f, contents: make(map[layout.Name][]byte), blobs: make(map[layout.Name]string), heads: make(map[zodb.OID]zodb.TID)}
	of.walk(t.Context(), 1, visitor{files: func(_ context.Context, w *worker, entries []found) {
		for _, e := range entries {
			switch {
			case e.name.Kind == layout.KindBlob:
				v.blobs[e.name] = e.path
			case e.head:
				h, s, _ := of.head(w, e.name.OID)
				if s != sound {
					t.Errorf("%s is not sound", e.path)
				}
				v.heads[e.name.OID] = h.tid
			default:
				b, err := f.ReadFile(e.path)
				if err != nil {
					t.Error(err)
				}
				v.contents[e.name] = b
			}
		}
	}})
	return v, nil
}

func (v *table) recent(context.Context, int, zodb.TID, func(Finding)) {}

func (v *table) place(n layout.Name) string { return "table " + n.String() }

func (v *table) missing(n layout.Name) error {
	return &fs.PathError{Op: "read", Path: v.place(n), Err: fs.ErrNotExist}
}

func (v *table) read(_ *worker, n layout.Name) ([]byte, string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b, ok := v.contents[n]
	if !ok {
		return nil, v.place(n), v.missing(n)
	}
	return bytes.Clone(b), v.place(n), nil
}

func (v *table) open(n layout.Name) (vfs.File, string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name, ok := v.blobs[n]
	if !ok {
		return nil, v.place(n), v.missing(n)
	}
	f, err := v.home.Open(name)
	return f, v.place(n), err
}

func (v *table) size(n layout.Name) (int64, string, error) {
	if n.Kind == layout.KindBlob {
		f, where, err := v.open(n)
		if err != nil {
			return 0, where, err
		}
		info, err := f.Stat()
		return info.Size, where, errors.Join(err, f.Close())
	}
	b, where, err := v.read(nil, n)
	return int64(len(b)), where, err
}

func (v *table) head(_ *worker, oid zodb.OID) (head, state, Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	tid, ok := v.heads[oid]
	h := head{tid: tid, path: v.place(layout.Object(oid)), size: 8}
	if !ok {
		return h, missing, Finding{}
	}
	return h, sound, Finding{}
}

func (v *table) older(before zodb.TID) (older zodb.TID, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n := range v.contents {
		if n.Kind == layout.KindTransaction && n.TID < before {
			older = max(older, n.TID)
		}
	}
	return older, nil
}

func (v *table) opened() []Finding { return nil }

func (v *table) close() {}

func (v *table) olderIsCheap() bool { return true }

func (v *table) walk(ctx context.Context, workers int, visit visitor) {
	v.mu.Lock()
	var all []found
	for n := range v.contents {
		all = append(all, found{name: n, path: v.place(n)})
	}
	for n := range v.blobs {
		all = append(all, found{name: n, path: v.place(n)})
	}
	for oid := range v.heads {
		n := layout.Object(oid)
		all = append(all, found{name: n, path: v.place(n), head: true})
	}
	v.mu.Unlock()
	run(ctx, workers, func(ctx context.Context, p *pool, w *worker) {
		for part := range slices.Chunk(all, batchSize) {
			p.do(ctx, w, func(ctx context.Context, w *worker) { visit.files(ctx, w, part) })
		}
	})
}

func (v *table) pend(n layout.Name, p pendingFile) { panic(fmt.Sprint(n, p)) }
func (v *table) pendHead(oid zodb.OID, tid zodb.TID, where string) {
	panic(fmt.Sprint(oid, tid, where))
}
func (v *table) pended() iter.Seq2[layout.Name, pendingFile] {
	return maps.All(map[layout.Name]pendingFile{})
}

// TestCheckNeedsNoTrees: behind another view check finds the same, in whole and since a transaction,
// in sound homes and in damaged ones.
func TestCheckNeedsNoTrees(t *testing.T) {
	t.Parallel()
	type result struct {
		Found   []string
		Summary Summary
	}
	for _, name := range []string{"chunky", "packed"} {
		for damage, spoil := range map[string]func(v *table, last zodb.TID){
			"none": func(*table, zodb.TID) {},
			"a revision is missing": func(v *table, last zodb.TID) {
				delete(v.contents, layout.Revision(listedBy(v, last), last))
			},
			"a revision has another byte": func(v *table, last zodb.TID) {
				b := v.contents[layout.Revision(listedBy(v, last), last)]
				b[len(b)-1] ^= 1
			},
			"a transaction is missing": func(v *table, last zodb.TID) {
				delete(v.contents, layout.Transaction(last))
			},
			"a head is an old one": func(v *table, last zodb.TID) { v.heads[listedBy(v, last)] = 1 },
			"a mark is missing":    func(v *table, _ zodb.TID) { delete(v.contents, layout.XOID) },
		} {
			t.Run(name+", "+damage, func(t *testing.T) {
				t.Parallel()
				home, _ := golden(t, name)
				last := lastOf(t, home)
				var results [2]result
				for i, since := range []zodb.TID{0, last - 1} {
					results[i].Found = []string{}
					o := Options{FS: home, Since: since, Workers: 3, open: func(f vfs.FS, set *settings.Settings, snapshotOnly bool) (view, error) {
						v, err := readTable(t, f, set, snapshotOnly)
						if err == nil {
							spoil(v.(*table), last)
						}
						return v, err
					}}
					s, err := Run(t.Context(), o, func(f Finding) {
						if f.Severity == Damage {
							results[i].Found = append(results[i].Found, fmt.Sprint(f.Kind))
						}
					})
					if err != nil {
						t.Fatal(err)
					}
					if s.Duration = 0; (len(results[i].Found) == 0) != (damage == "none") {
						t.Errorf("since %s: found %v", since, results[i].Found)
					}
					results[i].Summary = s
				}
				if damage != "none" {
					return
				}
				for i, since := range []zodb.TID{0, last - 1} {
					s, err := Run(t.Context(), Options{FS: home, Since: since}, func(Finding) {})
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(s, results[i].Summary, cmp.FilterPath(func(p cmp.Path) bool {
						return slices.Contains([]string{"Bytes", "Notes", "Warnings", "DeletedFiles", "OldPointers"}, p.Last().String()[1:])
					}, cmp.Ignore())); diff != "" {
						t.Errorf("since %s, without trees and with them: %s", since, diff)
					}
				}
			})
		}
	}
}

func lastOf(t *testing.T, home vfs.FS) zodb.TID {
	s, err := Run(t.Context(), Options{FS: home}, func(Finding) {})
	if err != nil {
		t.Fatal(err)
	}
	return s.LastTID
}

// listedBy returns an object that a transaction wrote.
func listedBy(v *table, tid zodb.TID) zodb.OID {
	r, err := record.ParseTransaction(v.contents[layout.Transaction(tid)], "", true)
	if err != nil {
		panic(err)
	}
	return r.OIDs[0]
}
