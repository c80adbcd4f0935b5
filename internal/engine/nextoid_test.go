package engine_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestNextOIDListsFewDirectories: those on the path of an oid, or of the next one, not all that there are.
func TestNextOIDListsFewDirectories(t *testing.T) {
	t.Parallel()
	oids := []zodb.OID{0, 1, 2, 255, 256, 300, 4095, 4096, 70_000, 1 << 24, 1<<24 + 4097, 1 << 33, 1<<62 + 5, 1<<63 + 1}
	for i := range zodb.OID(40) { // other directories, which are of no interest
		oids = append(oids, 1<<40+i<<16)
	}
	slices.Sort(oids)
	for _, format := range engine.AllFormats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			home := engine.NewHome(t, engine.CreateOptions{Format: format.String()})
			under, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			var lists atomic.Int64
			counting := errfs.New(under, func(op errfs.Op) error {
				if op.Kind == "list" {
					lists.Add(1)
				}
				return nil
			})
			s := engine.OpenHome(t, home, engine.OnFS(engine.Options{}, counting))
			for _, oid := range oids[1:] {
				enginetest.Commit(t, s, enginetest.Change{OID: oid, Data: pickletest.Record("x")})
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			enginetest.Commit(t, s, enginetest.Change{OID: oids[0], Data: pickletest.Record("in the log")})
			want := func(from zodb.OID) {
				t.Helper()
				lists.Store(0)
				got, err := s.NextOID(t.Context(), from)
				n := lists.Load()
				i, _ := slices.BinarySearch(oids, from)
				if i == len(oids) {
					if !errors.Is(err, zodb.ErrNotFound) {
						t.Errorf("from %s: %s, %v, want none", from, got, err)
					}
				} else if err != nil || got != oids[i] {
					t.Errorf("from %s: %s, %v, want %s", from, got, err, oids[i])
				}
				// A level of directories has one on the path of the oid, and one behind it; B has none or one.
				if n > 2*8+2 {
					t.Errorf("from %s: %d directories were listed", from, n)
				}
			}
			for _, oid := range oids {
				want(oid)
				want(oid + 1)
				if oid > 0 {
					want(oid - 1)
				}
			}
			want(^zodb.OID(0))
		})
	}
}
