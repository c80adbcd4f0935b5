package engine_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// stamping is a file system that sets the times of files, or leaves them as they are.
type stamping struct {
	vfs.FS
	leave  bool
	stamps atomic.Int64
}

// SetModTime implements [vfs.FS].
func (f *stamping) SetModTime(name string, at time.Time) error {
	f.stamps.Add(1)
	if f.leave {
		return nil
	}
	return f.FS.SetModTime(name, at)
}

// BenchmarkStamps commits a transaction of ten objects and flushes it, with the times of all files set, and as if
// the file system set them. Without syncs (“memory”) the difference is the cost of the system call.
func BenchmarkStamps(b *testing.B) {
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		for _, sync := range []string{"0", "1"} {
			for _, leave := range []bool{false, true} {
				name := fmt.Sprintf("format=%s/disk=%s/stamps=%t", format, map[string]string{"0": "memory", "1": "synced"}[sync], !leave)
				b.Run(name, func(b *testing.B) { benchStamps(b, format, sync, leave) })
			}
		}
	}
}

func benchStamps(b *testing.B, format layout.Format, sync string, leave bool) {
	home := engine.NewHome(b, engine.CreateOptions{Format: string(format), Set: map[string]string{"filesystem.sync": sync}})
	disk, err := vfs.OS(home)
	if err != nil {
		b.Fatal(err)
	}
	f := &stamping{FS: disk, leave: leave}
	s, err := engine.Open(b.Context(), home, engine.OnFS(engine.Options{NoControlSocket: true}, f))
	if err != nil {
		b.Fatal(err)
	}
	before := f.stamps.Load()
	next := 0
	for b.Loop() {
		var list []enginetest.Change
		for range 10 {
			list = append(list, enginetest.Change{OID: zodb.OID(next), Data: benchData(next)})
			next++
		}
		enginetest.Commit(b, s, list...)
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(f.stamps.Load()-before)/float64(b.N), "stamps/op")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
