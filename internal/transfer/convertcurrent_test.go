package transfer

import (
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestConvertSeesAnotherHistoryBehindAPack: the source was set back, went on, and was packed past
// the last transaction of the copy, so that this one cannot be looked for in it.
func TestConvertSeesAnotherHistoryBehindAPack(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "chunky"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			create := engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.keep_policy": "undoable"}}
			base := enginetest.Open(t, enginetest.Home(t, create), engine.Options{})
			enginetest.Commit(t, base, enginetest.Change{OID: 0, Data: enginetest.Record("root")}, enginetest.Change{OID: 1, Data: enginetest.Record("one")})
			branch := func() *engine.Storage { // a HOME as it was then
				home := enginetest.Home(t, create)
				convert(t, base, home)
				return enginetest.Open(t, home, engine.Options{History: engine.HistoryKept})
			}
			lost, source := branch(), branch()
			enginetest.Commit(t, lost, enginetest.Change{OID: 1, Data: enginetest.Record("lost")})
			home := enginetest.Home(t, create)
			convert(t, lost, home)

			last := enginetest.Commit(t, source, enginetest.Change{OID: 0, Data: enginetest.Record("newer")})
			if _, err := source.Pack(t.Context(), zodb.PackOptions{Time: last.Time(), NoGC: true}); err != nil {
				t.Fatal(err)
			}
			s := enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
			before := s.LastTransaction()
			if done, err := Convert(t.Context(), s, source, ConvertOptions{Copy: true}); !errors.Is(err, ErrOther) || done.Transactions != 0 || s.LastTransaction() != before {
				t.Errorf("copied %+v: %v", done, err)
			}
		})
	}
}
