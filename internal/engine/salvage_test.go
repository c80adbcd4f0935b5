package engine_test

import (
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestSalvageLeavesTheLogItsTransactions: x.serial is lost together with the power, while A has a part of the
// transactions in the log. The one that salvage makes does not say that they are in A.
func TestSalvageLeavesTheLogItsTransactions(t *testing.T) {
	t.Parallel()
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		tried := 0
		step := hometest.OneOf(2, 5, 9)
		for at := 1 + hometest.Phase(t)%step; ; at += step {
			f := crashfs.New(1)
			if err := engine.Create("home", engine.CreateOnFS(engine.CreateOptions{Class: class, Format: "flat"}, f)); err != nil {
				t.Fatal(err)
			}
			open := func(f *crashfs.FS) *engine.Storage {
				s, err := engine.Open(t.Context(), "", engine.OnFS(engine.Options{NoControlSocket: true, SegmentSize: 64 << 10}, vfs.Sub(f, "home")))
				if err != nil {
					t.Fatalf("class %s, cut at %d: %v", class, at, err)
				}
				return s
			}
			s := open(f)
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(f)
			f.CrashAt(f.Ops() + at)
			acknowledged := make(map[zodb.OID]zodb.TID)
			for oid := range zodb.OID(4) {
				tid, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: oid, Data: pickletest.Record("x")})
				if err != nil {
					break
				}
				acknowledged[oid] = tid
			}
			if s.Close() == nil {
				break
			}
			for _, left := range []*crashfs.FS{f.Killed(), f.Crashed(crashfs.Random(uint32(at)))} {
				home, lost := vfs.Sub(left, "home"), vfs.Sub(left, "lost")
				if err := home.Remove("A/x.serial"); err != nil {
					continue // nothing was durable of it
				}
				err := left.Mkdir("lost")
				var plan []salvage.Action
				if err == nil {
					plan, err = salvage.Plan(t.Context(), lost, home, time.Now())
				}
				if err == nil {
					err = salvage.Apply(t.Context(), lost, home, plan, time.Now(), func(bool) error { return nil })
				}
				if err != nil {
					t.Fatal(err)
				}
				tried++
				s := open(left)
				for oid, tid := range acknowledged {
					if r, err := s.Load(t.Context(), oid); err != nil || r.Serial != tid {
						t.Errorf("class %s, cut at %d: object %s: %s, %v; want %s", class, at, oid, r.Serial, err, tid)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if tried < 4 {
			t.Errorf("class %s: %d cases", class, tried)
		}
	}
}
