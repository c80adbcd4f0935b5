package zeo

import (
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// mergingServer merges undos of the class that record makes.
func mergingServer(t *testing.T, timeout time.Duration) *testServer {
	return serve(t, Options{MergeUndo: MergeableClasses([]string{"persistent.mapping.PersistentMapping"}), TransactionTimeout: timeout})
}

// undoLater commits three revisions of object 1 and begins a transaction that undoes the
// second one; the vote hands its conflict to the client.
func undoLater(c *rawClient) (first, second, third zodb.TID) {
	c.t.Helper()
	first = c.commit(1, 0, "one")
	second = c.commit(1, first, "two")
	third = c.commit(1, second, "three")
	c.begin(mine)
	c.oneWay("undoa", undoID(second), mine)
	c.want(wire.List{wire.Dict{{Key: "oid", Value: zodb.OID(1).Bytes()}, {Key: "serials", Value: wire.Tuple{third.Bytes(), second.Bytes()}},
		{Key: "data", Value: record("one")}}}, c.call("vote", mine))
	return first, second, third
}

// TestUndoOfWhatWasChangedLaterIsHandedToTheClient as the conflict of a store is.
func TestUndoOfWhatWasChangedLaterIsHandedToTheClient(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := mergingServer(t, 0)
		c, other := ts.client(e), ts.client(e)
		_, second, third := undoLater(c)
		c.want(record("two"), c.call("loadSerial", zodb.OID(1), second))
		c.want(record("three"), c.call("loadSerial", zodb.OID(1), third))
		c.fails(classAssertion, "tpc_finish", mine)
		c.oneWay("storea", zodb.OID(1), third, record("merged"), mine)
		c.want(wire.List{zodb.OID(1).Bytes()}, c.call("vote", mine))
		tid := zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
		other.call("ping")
		last := other.told[len(other.told)-1]
		other.want("invalidateTransaction", last.Name)
		other.want(wire.Tuple{tid.Bytes(), wire.List{zodb.OID(1).Bytes()}}, last.Args)
		other.want(wire.Tuple{record("merged"), tid.Bytes(), nil}, other.call("loadBefore", zodb.OID(1), endOfTIDs))
		// The merged undo can be undone, as any other transaction.
		c.begin(mine)
		c.oneWay("undoa", undoID(tid), mine)
		c.want(wire.List{zodb.OID(1).Bytes()}, c.call("vote", mine))
		c.call("tpc_finish", mine)
		other.call("ping")
		if got := other.call("loadBefore", zodb.OID(1), endOfTIDs).(wire.Tuple); string(got[0].([]byte)) != string(record("three")) {
			t.Errorf("after the undo of the undo: %q", got[0])
		}
	})
}

// TestLocksOfAnUndoThatIsNotMergedAreFreed: the client aborts, goes away, answers with
// something else, or never.
func TestLocksOfAnUndoThatIsNotMergedAreFreed(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rawClient, zodb.TID){
		"abort":      func(c *rawClient, _ zodb.TID) { c.want(nil, c.call("tpc_abort", mine)) },
		"disconnect": func(c *rawClient, _ zodb.TID) { c.conn.Close() },
		"never":      func(c *rawClient, _ zodb.TID) { c.closed() },
		"another object": func(c *rawClient, third zodb.TID) {
			for range 3 {
				c.oneWay("storea", zodb.OID(2), zodb.TID(0), record("other"), mine)
				if list := tuples(c.call("vote", mine)).(wire.Tuple); len(list) != 1 || string(list[0].(wire.Dict).Get("data").([]byte)) != string(record("one")) {
					c.t.Errorf("the conflict is %v", list)
				}
			}
			c.want(nil, c.call("tpc_abort", mine))
		},
		"nothing": func(c *rawClient, third zodb.TID) {
			c.oneWay("storea", zodb.OID(1), third, "no record", mine)
			c.fails(classType, "vote", mine)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				timeout := time.Hour
				if name == "never" {
					timeout = 3 * time.Second // the commits before have to end within it
				}
				ts := mergingServer(t, timeout)
				c, other := ts.client(e), ts.client(e)
				_, _, third := undoLater(c)
				end(c, third)
				fourth := other.commit(1, third, "four")
				other.want(wire.Tuple{record("four"), fourth.Bytes(), nil}, other.call("loadBefore", zodb.OID(1), endOfTIDs))
			})
		})
	}
}

// TestUndoIsNotMergedUnlessItsClassIs keeps the answer of a server without classes.
func TestUndoIsNotMergedUnlessItsClassIs(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"off": {}, "of BTrees only": {MergeUndo: MergeableClasses(nil)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				o := o
				c := serve(t, o).client(e)
				first := c.commit(1, 0, "one")
				second := c.commit(1, first, "two")
				c.commit(1, second, "three")
				c.begin(mine)
				c.oneWay("undoa", undoID(second), mine)
				c.fails(classUndos, "vote", mine)
			})
		})
	}
}

func TestMergeableClasses(t *testing.T) {
	t.Parallel()
	f := MergeableClasses([]string{"a.b.C", "d.e.*"})
	for class, want := range map[string]bool{
		"BTrees.Length.Length": true, "BTrees.OOBTree.OOBucket": true, "BTreesX.A": false, "BTrees": false,
		"a.b.C": true, "a.b.Cx": false, "a.b": false, "d.e.F": true, "d.e.f.G": true, "d.ex.F": false, "": false, ".": false,
	} {
		if f(class) != want {
			t.Errorf("%s: %t, want %t", class, !want, want)
		}
	}
}
