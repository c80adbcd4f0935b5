package read_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestTransactionBeforeOneThatIsGone: it is found where a pack may have removed that one, and a
// lost one on the way is named.
func TestTransactionBeforeOneThatIsGone(t *testing.T) {
	t.Parallel()
	dir := enginetest.Home(t, engine.CreateOptions{Format: string(layout.Bushy)})
	s := enginetest.Open(t, dir, engine.Options{})
	var tids []zodb.TID
	for _, text := range []string{"one", "two", "three"} {
		tids = append(tids, enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.Record(text)}))
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if older, err := s.OlderThan(t.Context(), tids[1]); older != tids[0] || err != nil {
		t.Errorf("older than %s is %s, %v; want %s", tids[1], older, err, tids[0])
	}
	if err := os.Remove(filepath.Join(dir, "A", layout.Bushy.Path(layout.Transaction(tids[1])))); err != nil {
		t.Fatal(err)
	}
	_, err := s.OlderThan(t.Context(), tids[1]-1)
	if c, ok := errors.AsType[*zodb.CorruptError](err); !ok || c.TID != tids[1] {
		t.Errorf("beside a lost transaction: %v, want an error that names %s", err, tids[1])
	}
	s.SetPacked(tids[2]) // as after a pack
	if older, err := s.OlderThan(t.Context(), tids[1]-1); older != 0 || err != nil {
		t.Errorf("where it was packed away: %s, %v; want the end", older, err)
	}
}
