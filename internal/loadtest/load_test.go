package loadtest

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestRootIsNeverDeleted: a check of a copy from between would call it damage.
func TestRootIsNeverDeleted(t *testing.T) {
	t.Parallel()
	l := New(t, 4, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 150)
	l.End()
	gone := make(map[zodb.OID]bool)
	for oid, history := range l.history {
		for _, v := range history {
			gone[oid] = gone[oid] || v.gone
		}
	}
	if gone[zodb.RootOID] || !gone[zodb.RootOID+1] {
		t.Errorf("deleted at times were %v; want others, and not the root", gone)
	}
}
