package zeo

import (
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestRecordIternextGoesOverGaps: those that are longer than the run tried oid by oid, and those of
// objects that were deleted and are still there.
func TestRecordIternextGoesOverGaps(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{}).client(wire.Pickle)
	want := []zodb.OID{0, 1, 5, 5 + probes, 6 + 2*probes, 8 + 3*probes, 10_000, 1 << 40}
	records := make(map[zodb.OID]string)
	for _, oid := range want {
		records[oid] = "x"
	}
	var deleted []zodb.OID
	for i := range zodb.OID(2*probes + 10) {
		deleted = append(deleted, 20_000+i)
		records[20_000+i] = "goes"
	}
	tid := c.store(records)
	c.oneWay("tpc_begin", mine, nil, nil, nil, nil, " ")
	for _, oid := range deleted {
		c.oneWay("deleteObject", oid, tid, mine)
	}
	c.call("vote", mine)
	c.call("tpc_finish", mine)
	var got []zodb.OID
	for next := any(nil); len(got) <= len(want); {
		answer := c.call("record_iternext", next).(wire.Tuple)
		got = append(got, zodb.OIDFromBytes(answer[0].([]byte)))
		if next = answer[3]; next == nil {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
