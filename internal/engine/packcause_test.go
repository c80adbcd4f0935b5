package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPurgeNamesItsError: an error while files that were put aside are removed is
// that of the pack.
func TestPurgeNamesItsError(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "1"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f := errfs.New(dir, nil)
	begun := time.Now()
	var passed atomic.Int64 // seconds
	o := engine.OnFS(engine.Options{Clock: func() time.Time { return begun.Add(time.Duration(passed.Load()) * time.Second) }}, f)
	s := engine.OpenHome(t, home, o)
	for i := range 5 {
		passed.Add(1)
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record(fmt.Sprint("root", i))})
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.DoPack(t, s, zodb.PackOptions{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	passed.Add(10)
	s = engine.OpenHome(t, home, o)
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root again")})
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "remove" && strings.HasSuffix(op.Name, "-deleted") {
			return syscall.EIO
		}
		return nil
	})
	_, err = s.Pack(t.Context(), zodb.PackOptions{})
	f.Decide(nil)
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "-deleted") {
		t.Errorf("pack: %v", err)
	}
}
