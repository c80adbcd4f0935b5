package bundled_test

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestMarkIsOfWhatIsThere: x.serial never names a transaction that no bundle has.
func TestMarkIsOfWhatIsThere(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	h := newHistory(s, 3)
	if err := h.put(store.A); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLast(store.A, h.last+1); err == nil {
		t.Error("it names what was not put")
	}
	if v, err := s.Mark(layout.XSerial); err != nil || zodb.TID(v) != h.last {
		t.Errorf("it is %s, want %s: %v", zodb.TID(v), h.last, err)
	}
}
