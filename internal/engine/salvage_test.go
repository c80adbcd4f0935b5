package engine_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestSalvageLeavesTheLogItsTransactions: x.serial is lost together with the power, while A has a part of the
// transactions in the log. The one that salvage makes does not say that they are in A.
func TestSalvageLeavesTheLogItsTransactions(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 2)
	classes := []zodb.Class{zodb.ClassFull, zodb.ClassMinimal}
	names := []string{fmt.Sprint(classes[0]), fmt.Sprint(classes[1])}
	var tried atomic.Int32
	t.Cleanup(func() {
		if n := tried.Load(); n < 8 {
			t.Errorf("%d cases", n)
		}
	})
	faulttest.SampledOf(t, hometest.OneOf(1, 5, 18), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, n int) (log []string, came bool) {
		f := crashfs.New(1)
		if err := engine.Create("home", engine.CreateOnFS(engine.CreateOptions{Class: classes[c], Format: "flat"}, f)); err != nil {
			t.Fatal(err)
		}
		open := func(f *crashfs.FS) *engine.Storage {
			s, err := engine.Open(t.Context(), "", engine.OnFS(engine.Options{NoControlSocket: true, SegmentSize: 64 << 10}, vfs.Sub(f, "home")))
			if err != nil {
				t.Fatalf("cut before %v: %v", at, err)
			}
			return s
		}
		s := open(f)
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(f)
		begun, cut := f.Ops(), faulttest.CutBefore(f, at)
		acknowledged := make(map[zodb.OID]zodb.TID)
		for oid := range zodb.OID(4) {
			tid, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: oid, Data: pickletest.Record("x")})
			if err != nil {
				break
			}
			acknowledged[oid] = tid
		}
		if err := s.Close(); !cut.Load() {
			if err != nil || len(acknowledged) < 4 {
				t.Fatalf("%d transactions, %v", len(acknowledged), err)
			}
			return f.Log()[begun:], false
		}
		for _, left := range []*crashfs.FS{f.Killed(), f.Crashed(crashfs.Random(uint32(n)))} {
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
			tried.Add(1)
			s := open(left)
			for oid, tid := range acknowledged {
				if r, err := s.Load(t.Context(), oid); err != nil || r.Serial != tid {
					t.Errorf("cut before %v: object %s: %s, %v; want %s", at, oid, r.Serial, err, tid)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return f.Log()[begun:], true
	})
}
