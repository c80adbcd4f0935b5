package engine

import (
	"errors"
	"testing"
	"time"

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
			s := open(t, newHome(t, CreateOptions{Format: format, Set: set}), Options{})
			o := newOIDs(t, s, 5)
			first := commit(t, s, change{oid: 0, data: rec("root", o...)}, change{oid: o[0], data: rec("a")}, change{oid: o[1], data: rec("b")},
				change{oid: o[2], data: rec("c")}, change{oid: o[3], data: rec("d")}, change{oid: o[4], data: rec("e")})
			commit(t, s, change{oid: 0, data: rec("root", o[0])})
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			if r := doPack(t, s, zodb.PackOptions{}); r.Objects != 4 || r.Dangling != 0 {
				t.Fatalf("the pack: %+v", r)
			}
			commit(t, s, change{oid: o[0], data: rec("a", o[3])})
			before := first.Time().Add(-time.Minute)
			for _, options := range []zodb.PackOptions{{Time: before, DryRun: true}, {Time: before, DryRun: true, SkipBroken: true}, {Time: before}} {
				if r := doPack(t, s, options); r.Dangling != 1 || r.Broken != 0 {
					t.Errorf("%+v: %d objects are said to be missing, one is, and %d broken", options, r.Dangling, r.Broken)
				}
			}
			if r := doPack(t, s, zodb.PackOptions{Time: before, NoGC: true}); r.Dangling != 0 {
				t.Errorf("without gc %d objects are said to be missing", r.Dangling)
			}
		})
	}
}
