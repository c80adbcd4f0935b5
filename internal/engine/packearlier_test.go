package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackToATimeBeforeThatOfAnEarlierOne: the transactions since then wrote objects that the earlier
// pack has removed. None is missing, because nothing refers to them; one that something refers to is.
func TestPackToATimeBeforeThatOfAnEarlierOne(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "chunky"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0", "storage.check_dangling_references": "0"}
			s := engine.OpenHome(t, engine.NewHome(t, engine.CreateOptions{Format: format, Set: set}), engine.Options{})
			o := engine.NewOIDs(t, s, 5)
			first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", o...)}, enginetest.Change{OID: o[0], Data: pickletest.Record("a")}, enginetest.Change{OID: o[1], Data: pickletest.Record("b")},
				enginetest.Change{OID: o[2], Data: pickletest.Record("c")}, enginetest.Change{OID: o[3], Data: pickletest.Record("d")}, enginetest.Change{OID: o[4], Data: pickletest.Record("e")})
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", o[0])})
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			if r := engine.DoPack(t, s, zodb.PackOptions{}); r.Objects != 4 || r.Dangling != 0 {
				t.Fatalf("the pack: %+v", r)
			}
			enginetest.Commit(t, s, enginetest.Change{OID: o[0], Data: pickletest.Record("a", o[3])})
			before := first.Time().Add(-time.Minute)
			for _, options := range []zodb.PackOptions{{Time: before, DryRun: true}, {Time: before, DryRun: true, SkipBroken: true}, {Time: before}} {
				if r := engine.DoPack(t, s, options); r.Dangling != 1 || r.Broken != 0 {
					t.Errorf("%+v: %d objects are said to be missing, one is, and %d broken", options, r.Dangling, r.Broken)
				}
			}
			if r := engine.DoPack(t, s, zodb.PackOptions{Time: before, NoGC: true}); r.Dangling != 0 {
				t.Errorf("without gc %d objects are said to be missing", r.Dangling)
			}
		})
	}
}
