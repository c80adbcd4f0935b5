package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackToNowMakesNoExceptionOfTheNewest: with min_pack_time 0 garbage of the newest transactions
// goes as all other garbage does, as with a FileStorage. The last transaction stays, with its rest.
func TestPackToNowMakesNoExceptionOfTheNewest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		o    zodb.PackOptions
		last func(x zodb.OID) change
		gone bool
	}{
		{"garbage", zodb.PackOptions{}, func(x zodb.OID) change { return change{oid: x, data: rec("garbage again")} }, true},
		{"deleted, without gc", zodb.PackOptions{NoGC: true}, func(x zodb.OID) change { return change{oid: x} }, true},
		{"garbage, without gc", zodb.PackOptions{NoGC: true}, func(x zodb.OID) change { return change{oid: x, data: rec("garbage again")} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := packStorage(t, Options{})
			x := newOIDs(t, s, 1)[0]
			commit(t, s, change{oid: 0, data: rec("root")})
			first := commit(t, s, change{oid: x, data: rec("garbage")})
			last := commit(t, s, tt.last(x))
			// Later than the last transaction, at any time of the clock.
			r := doPack(t, s, zodb.PackOptions{NoGC: tt.o.NoGC, Time: last.Time().Add(time.Second)})
			if _, err := s.LoadSerial(t.Context(), x, first); !errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("the revision before: %v", err)
			}
			if _, err := s.LoadRecord(t.Context(), x, last); errors.Is(err, zodb.ErrNotFound) != tt.gone {
				t.Errorf("the last revision: %v, want it gone: %t", err, tt.gone)
			}
			if r.Objects != 1 && tt.gone || r.Objects != 0 && !tt.gone {
				t.Errorf("%d objects went", r.Objects)
			}
			if got := tids(t, s); !slices.Contains(got, last) || len(got) != 2 {
				t.Errorf("transactions %v, want that of the root and %s", got, last)
			}
			if s.LastTransaction() != last {
				t.Errorf("the last transaction is %s", s.LastTransaction())
			}
			home := s.Home()
			if err := errors.Join(s.Close(), sound(t.Context(), s.home.FS, false)); err != nil {
				t.Error(err)
			}
			s = open(t, home, Options{})
			next := commit(t, s, change{oid: 0, data: rec("root again")})
			if next <= last || next <= s.Packed() {
				t.Errorf("the next transaction is %s, after %s, packed to %s", next, last, s.Packed())
			}
			doPack(t, s, zodb.PackOptions{})
			if err := errors.Join(s.Close(), sound(t.Context(), s.home.FS, false)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPackToNowOfWhatComesMeanwhile: a transaction that commits while such a pack makes up its mind
// is newer than the pack, and its records stay.
func TestPackToNowOfWhatComesMeanwhile(t *testing.T) {
	t.Parallel()
	p := &pausing{}
	s := pausingStorage(t, p)
	x := newOIDs(t, s, 2)
	commit(t, s, change{oid: 0, data: rec("root")})
	commit(t, s, change{oid: x[0], data: rec("garbage")})
	once := false
	p.removed = func(name string) {
		if name == planAside && !once {
			once = true
			commit(t, s, change{oid: x[1], data: rec("stays, nothing refers to it yet")})
		}
	}
	doPack(t, s, zodb.PackOptions{Time: s.o.Clock().Add(time.Hour)})
	if !once || exists(t, s, x[0]) || !exists(t, s, x[1]) {
		t.Errorf("committed %t, garbage is there: %t, what came meanwhile is there: %t", once, exists(t, s, x[0]), exists(t, s, x[1]))
	}
	if err := errors.Join(s.Flush(t.Context()), s.Close(), sound(t.Context(), p.FS, false)); err != nil {
		t.Error(err)
	}
}
