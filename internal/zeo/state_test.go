package zeo

import (
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	mine  = int64(140_000_000_000_001)
	other = int64(140_000_000_000_002)
)

// state brings a connection into one of the states of a transaction.
type state struct {
	name  string
	reach func(c *rawClient, block func()) (vote int64)
}

// states: “waiting” needs somebody else who holds the lock.
func states() []state {
	begun := func(c *rawClient) {
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
	}
	return []state{
		{"idle", func(*rawClient, func()) int64 { return 0 }},
		{"begun", func(c *rawClient, _ func()) int64 { begun(c); return 0 }},
		{"waiting", func(c *rawClient, block func()) int64 { block(); begun(c); return c.request("vote", mine) }},
		{"voted", func(c *rawClient, _ func()) int64 { begun(c); c.call("vote", mine); return 0 }},
	}
}

// TestStateTable checks each row of the protocol's table of calls and states. The expectation:
// “none” an answer None, “tid” the tid of a commit, “list” the answer of a vote, or the class of an
// exception and a part of its details.
func TestStateTable(t *testing.T) {
	t.Parallel()
	type row struct {
		call string
		args func(ttid int64) []any
		mine bool
		want [4]string // idle, begun, waiting, voted
	}
	transaction := classTransaction
	store := func(ttid int64) []any { return []any{zodb.OID(2), zodb.TID(0), record("y"), ttid} }
	only := func(ttid int64) []any { return []any{ttid} }
	begin := func(ttid int64) []any {
		return []any{ttid, []byte{}, []byte{}, wire.Dict{}, nil, " "}
	}
	checked := func(ttid int64) []any { return []any{zodb.OID(3), zodb.TID(0), ttid} }
	rows := []row{
		{"tpc_begin", begin, true, [4]string{"none", "none", "none", "none"}},
		{"tpc_begin", begin, false, [4]string{"none", transaction, transaction, transaction}},
		{"storea", store, true, [4]string{transaction + " <nil>", "none", "none", "none"}},
		{"storea", store, false, [4]string{transaction + " <nil>", transaction, transaction, transaction}},
		{"deleteObject", checked, true, [4]string{transaction, "none", "none", "none"}},
		{"deleteObject", checked, false, [4]string{transaction, transaction, transaction, transaction}},
		{"checkCurrentSerialInTransaction", checked, true, [4]string{transaction, "none", "none", "none"}},
		{"checkCurrentSerialInTransaction", checked, false, [4]string{transaction, transaction, transaction, transaction}},
		{"restorea", func(ttid int64) []any { return []any{zodb.OID(2), zodb.TID(5), record("y"), nil, ttid} }, false, [4]string{transaction, transaction, transaction, transaction}},
		{"undoa", func(ttid int64) []any { return []any{undoID(5), ttid} }, false, [4]string{transaction, transaction, transaction, transaction}},
		{"vote", only, true, [4]string{transaction + " <nil>", "list", transaction + " (waiting)", transaction + " (locked)"}},
		{"vote", only, false, [4]string{transaction, transaction, transaction, transaction}},
		{"tpc_finish", only, true, [4]string{"none", classAssertion, classAssertion, "tid"}},
		{"tpc_finish", only, false, [4]string{"none", "none", "none", "none"}},
		{"tpc_abort", only, true, [4]string{"none", "none", "none", "none"}},
		{"tpc_abort", only, false, [4]string{"none", "none", "none", "none"}},
	}
	for _, r := range rows {
		for i, st := range states() {
			who := "right"
			ttid := mine
			if !r.mine {
				who, ttid = "other", other
			}
			t.Run(r.call+"/"+who+"/"+st.name, func(t *testing.T) {
				t.Parallel()
				encodings(t, func(t *testing.T, e wire.Encoding) {
					ts := serve(t, Options{})
					holder := ts.client(e)
					c := ts.client(e)
					vote := st.reach(c, func() {
						holder.begin(mine)
						holder.oneWay("storea", zodb.OID(1), zodb.TID(0), record("h"), mine)
						holder.call("vote", mine)
					})
					id := c.request(r.call, r.args(ttid)...)
					var got any
					var err error
					for {
						m := c.message()
						if m.Name != ".reply" || m.ID != id {
							if m.Name == ".reply" && m.ID != vote {
								t.Fatalf("an answer to %v", m.ID)
							}
							continue
						}
						got = m.Args
						if flag, _ := m.Flag.(int64); flag == 2 {
							pair := m.Args.(wire.Tuple)
							err = &failure{pair[0].(string), pair[1]}
						}
						break
					}
					check(t, r.want[i], got, err)
					// The lock is free in every case when both are gone.
					holder.conn.Close()
					c.conn.Close()
					free(t, ts, e)
				})
			})
		}
	}
}

func check(t *testing.T, want string, got any, err error) {
	t.Helper()
	switch want {
	case "none":
		if got != nil || err != nil {
			t.Errorf("got %v, %v; want None", got, err)
		}
	case "list":
		if l := tuples(got); err != nil || len(l.(wire.Tuple)) != 0 {
			t.Errorf("got %v, %v; want an empty list", got, err)
		}
	case "tid":
		if b, ok := got.([]byte); err != nil || !ok || len(b) != 8 {
			t.Errorf("got %v, %v; want a tid", got, err)
		}
	default:
		class, part, _ := strings.Cut(want, " ")
		f, ok := err.(*failure)
		if !ok || f.class != class || !strings.Contains(f.Error(), part) {
			t.Errorf("got %v, %v; want %s", got, err, want)
		}
	}
}

// free makes sure that object 1 can be written now.
func free(t *testing.T, ts *testServer, e wire.Encoding) {
	t.Helper()
	c := ts.client(e)
	var serial zodb.TID
	if v, err := c.try("getTid", zodb.OID(1)); err == nil {
		serial = zodb.TIDFromBytes(v.([]byte))
	}
	c.commit(1, serial, "free")
}
