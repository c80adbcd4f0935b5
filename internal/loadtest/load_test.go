package loadtest

import (
	"path/filepath"
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

// TestLoadIsOverAnyStorage: what is under load is known by the interfaces of zodb alone.
func TestLoadIsOverAnyStorage(t *testing.T) {
	t.Parallel()
	type other struct{ zodb.Storage } // of which nobody can tell that an engine is behind it
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := Over(t, other{s}, 8)
	l.Start(t, 2)
	l.Write(t, 60)
	l.Pause()
	if err := l.CompareWith(l.Storage, l.Storage.LastTransaction()); err != nil {
		t.Error(err)
	}
	for oid, history := range l.history {
		v := &history[len(history)-1]
		if v.gone {
			continue
		}
		v.data = "another"
		if err := l.CompareWith(l.Storage, l.Storage.LastTransaction()); err == nil {
			t.Errorf("object %s differs from the model, and nothing is said", oid)
		}
		return
	}
	t.Error("no object is left")
}
