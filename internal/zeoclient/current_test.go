package zeoclient_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// upTo yields oids.
func upTo(n int) func(func(zodb.OID, error) bool) {
	return func(yield func(zodb.OID, error) bool) {
		for i := range n {
			if !yield(zodb.OID(i), nil) {
				return
			}
		}
	}
}

// TestTidsAreAskedForAhead: the server has many requests before it answers the first one, and answers out of order; what comes
// out is in order, with an error in its place.
func TestTidsAreAskedForAhead(t *testing.T) {
	t.Parallel()
	const objects = 200
	o := registered(t, func(f *fake) {
		for done := 0; done < objects; {
			var got []wire.Message
			for range min(50, objects-done) {
				got = append(got, f.expect("getTid"))
			}
			done += len(got)
			slices.Reverse(got)
			for _, m := range got {
				list, ok := m.Args.(wire.Tuple)
				if !ok {
					return
				}
				oid := zodb.OIDFromBytes(list[0].([]byte))
				if oid%7 == 0 {
					f.fail(m, "ZODB.POSException.POSKeyError", wire.Tuple{oid})
				} else {
					f.reply(m, zodb.TID(oid+1000))
				}
			}
		}
		f.drain()
	})
	n := 0
	for got, err := range dial(t, o).GetTids(t.Context(), upTo(objects)) {
		if err != nil {
			t.Fatal(err)
		}
		gone := got.Err != nil && errors.Is(got.Err, zodb.ErrNotFound)
		if got.OID != zodb.OID(n) || gone != (n%7 == 0) || !gone && got.TID != zodb.TID(n+1000) {
			t.Errorf("%d: %+v", n, got)
		}
		n++
	}
	if n != objects {
		t.Errorf("%d answers", n)
	}
}

// TestTidsEndWithTheOids: an error of the list of objects is the end, as is the loss of the connection.
func TestTidsEndWithTheOids(t *testing.T) {
	t.Parallel()
	own := errors.New("of the list")
	c := dial(t, registered(t, func(f *fake) {}))
	for _, err := range c.GetTids(t.Context(), func(yield func(zodb.OID, error) bool) { yield(0, own) }) {
		if !errors.Is(err, own) {
			t.Errorf("the list: %v", err)
		}
	}
	var lost *zeoclient.LostError
	n := 0
	for _, err := range c.GetTids(t.Context(), upTo(1000)) {
		if n++; !errors.As(err, &lost) {
			t.Errorf("the connection: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
}

// TestListOfObjectsGoesOnBehindAnError that names the object. One that names none, or one that was passed, is the end.
func TestListOfObjectsGoesOnBehindAnError(t *testing.T) {
	t.Parallel()
	deleted := zodb.OID(3)
	for _, end := range []any{wire.Tuple{"there is no more"}, wire.Tuple{zodb.OID(1)}, wire.Tuple{}} {
		class := "ZODB.POSException.POSKeyError"
		if _, ends := append(end.(wire.Tuple), nil)[0].(string); ends {
			class = "builtins.ValueError"
		}
		c := dial(t, registered(t, func(f *fake) {
			f.reply(f.expect("record_iternext"), wire.Tuple{zodb.OID(0), zodb.TID(10), []byte("data"), deleted})
			f.fail(f.expect("record_iternext"), "ZODB.FileStorage.format.CorruptedDataError", wire.Dict{{Key: "oid", Value: deleted}, {Key: "pos", Value: int64(7)}})
			m := f.expect("record_iternext")
			if list, ok := m.Args.(wire.Tuple); !ok || zodb.OIDFromBytes(list[0].([]byte)) != deleted+1 {
				t.Errorf("it goes on with %v", m.Args)
			}
			f.fail(m, class, end)
			f.drain()
		}))
		var got []zeoclient.Current
		var last error
		for o, err := range c.Currents(t.Context()) {
			if last = err; err == nil {
				got = append(got, o)
			}
		}
		want := []zeoclient.Current{{OID: 0, TID: 10}, {OID: deleted}}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(zeoclient.Current{}, "Err")); diff != "" || got[1].Err == nil {
			t.Errorf("-want +got:\n%s", diff)
		}
		if (last == nil) != (class == "builtins.ValueError") {
			t.Errorf("%v: the end: %v", end, last)
		}
	}
}
