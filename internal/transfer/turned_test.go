package transfer

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestACopyStopsWhereAnotherProcessCommitted: between the close of the storage and its Loader, and between
// that and the open, the home is not locked. A copy does not go on behind transactions that others
// committed then, also where those of the source are later.
func TestACopyStopsWhereAnotherProcessCommitted(t *testing.T) {
	t.Parallel()
	for _, behind := range []bool{false, true} {
		name := map[bool]string{false: "before the loader", true: "behind it"}[behind]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ahead := engine.Options{Clock: func() time.Time { return time.Now().Add(time.Hour) }} // as if the source had it later
			from := enginetest.Home(t, engine.CreateOptions{Format: "chunky"})
			source := enginetest.Open(t, from, engine.Options{})
			home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
			first := enginetest.Commit(t, source, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
			if err := source.Close(); err != nil {
				t.Fatal(err)
			}
			source = enginetest.Open(t, from, ahead)
			load, s, _ := loadLater(t, home)
			if _, err := Convert(t.Context(), *s, source, ConvertOptions{Copy: true, Load: load}); err != nil {
				t.Fatal(err)
			}
			if err := (*s).Close(); err != nil {
				t.Fatal(err)
			}
			enginetest.Commit(t, source, enginetest.Change{OID: 1, Data: enginetest.Record("later")})

			var foreign zodb.TID
			commit := func() {
				other := enginetest.Open(t, home, engine.Options{})
				foreign = enginetest.Commit(t, other, enginetest.Change{OID: 7, Data: enginetest.Record("foreign")})
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
			}
			load, s, _ = loadLater(t, home)
			open := load.Open
			if behind {
				load.Open = func() (Target, error) {
					commit()
					return open()
				}
			} else {
				load.Turn = func(last zodb.TID) (Loader, error) {
					if err := (*s).Close(); err != nil {
						return nil, err
					}
					commit()
					_, err := engine.OpenLoader(t.Context(), home, last, engine.Options{})
					return nil, err
				}
			}
			done, err := Convert(t.Context(), *s, source, ConvertOptions{Copy: true, Load: load})
			if !errors.Is(err, ErrOther) {
				t.Errorf("first %s, foreign %s: %+v, %v; want %v", first, foreign, done, err, ErrOther)
			}
			if last := (*s).LastTransaction(); last != foreign {
				t.Errorf("the last transaction is %s; want that of the other process, %s", last, foreign)
			}
		})
	}
}
