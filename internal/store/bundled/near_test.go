package bundled_test

import (
	"bytes"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestNearGetsWhatGetDoes: each revision of a store with several bundles, of which a pack has removed
// some, comes as it comes alone, or is missing as it is alone. The directories are looked at once.
func TestNearGetsWhatGetDoes(t *testing.T) {
	t.Parallel()
	h, disk, _ := damagedStore(t)
	var looks atomic.Int64
	counted := errfs.New(disk, func(o errfs.Op) error {
		if o.Kind == "stat" || o.Kind == "list" {
			looks.Add(1)
		}
		return nil
	})
	s, err := bundled.New(bundled.Options{FS: counted, Beside: true, Clock: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	near, err := s.Near()
	if err != nil {
		t.Fatal(err)
	}
	there, gone := 0, 0
	for tid, x := range h.txns {
		for _, oid := range append(x.OIDs, 1<<40) {
			for _, tid := range []zodb.TID{tid, tid + 1} {
				n := layout.Revision(oid, tid)
				want, wantPlace, wantErr := s.Get(n)
				looks.Store(0)
				got, place, err := near.Get(n)
				if looks.Load() > 0 {
					t.Errorf("%s: %d looks at directories", n, looks.Load())
				}
				if !bytes.Equal(got, want) || place != wantPlace || (err == nil) != (wantErr == nil) || errors.Is(err, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) {
					t.Errorf("%s: %d bytes in %s, %v; alone %d bytes in %s, %v", n, len(got), place, err, len(want), wantPlace, wantErr)
				}
				if err == nil {
					there++
				} else {
					gone++
				}
			}
		}
	}
	if there == 0 || len(h.gone) == 0 || gone == 0 {
		t.Errorf("%d are there, %d are not, packs have removed %d", there, gone, len(h.gone))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for tid, x := range h.txns {
		if _, _, err := near.Get(layout.Revision(x.OIDs[0], tid)); !errors.Is(err, zodb.ErrClosed) {
			t.Errorf("after the close: %v", err)
		}
	}
	if err := near.Release(); err != nil {
		t.Error(err)
	}
	if _, err := s.Near(); !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("begun after the close: %v", err)
	}
}
