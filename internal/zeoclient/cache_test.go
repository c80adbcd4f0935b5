package zeoclient_test

import (
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// newCache connects a cache to a script.
func newCache(t *testing.T, script func(f *fake)) *cachetest.Cache {
	t.Helper()
	c, err := cachetest.Dial(t.Context(), registered(t, script), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// load loads at the last transaction.
func load(t *testing.T, c *cachetest.Cache, oid zodb.OID) *zodb.Revision {
	t.Helper()
	r, err := c.Load(t.Context(), oid, c.LastTID()+1)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fake) replyLoad(data string, start, end zodb.TID) {
	f.reply(f.expect("loadBefore"), rev(data, start, end))
}

func rev(data string, start, end zodb.TID) wire.Tuple {
	return wire.Tuple{[]byte(data), start, noneOr(end)}
}

// noneOr is None for 0, the end of a record that is current.
func noneOr(end zodb.TID) any {
	if end == 0 {
		return nil
	}
	return end
}

func TestCacheFollowsTheAnnouncements(t *testing.T) {
	t.Parallel()
	c := newCache(t, func(f *fake) {
		f.replyLoad("a", 90, 0)
		ping := f.expect("ping")
		_ = f.call("invalidateTransaction", zodb.TID(101), wire.List{zodb.OID(1), zodb.OID(7)})
		f.reply(ping, nil)
		f.replyLoad("b", 101, 0)
		f.expect("tpc_begin")
		f.expect("storea")
		f.reply(f.expect("vote"), wire.List{})
		f.reply(f.expect("tpc_finish"), zodb.TID(102))
		f.drain()
	})
	if r := load(t, c, 1); string(r.Data) != "a" || r.End != 0 {
		t.Errorf("%+v", r)
	}
	load(t, c, 1)
	if c.Hits() != 1 {
		t.Errorf("%d hits", c.Hits())
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := c.Load(t.Context(), 1, 101)
	if err != nil || string(old.Data) != "a" || old.End != 101 || c.Hits() != 2 {
		t.Errorf("the one before: %+v, %v", old, err)
	}
	if r := load(t, c, 1); string(r.Data) != "b" {
		t.Errorf("%+v", r)
	}
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Store(1, 101, []byte("c")); err != nil {
		t.Fatal(err)
	}
	resolved, _, err := txn.Vote(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Finish(t.Context(), txn, map[zodb.OID][]byte{1: []byte("c")}, resolved); err != nil {
		t.Fatal(err)
	}
	if r := load(t, c, 1); string(r.Data) != "c" || r.Serial != 102 || c.Hits() != 3 {
		t.Errorf("%+v", r)
	}
	if err := c.Broken(); err != nil {
		t.Error(err)
	}
	if err := c.Continuous(100, []zodb.TID{99, 100, 101, 102, 103}); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]zodb.TID{{101}, {102}, {101, 102, 102}} {
		if c.Continuous(100, wrong) == nil {
			t.Errorf("announced %v is continuous with %v", c.Announced(), wrong)
		}
	}
}

func TestCacheFindsBrokenRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		script func(f *fake)
		want   string
	}{
		{"a load is overtaken", func(f *fake) {
			m := f.expect("loadBefore")
			_ = f.call("invalidateTransaction", zodb.TID(101), wire.List{zodb.OID(1)})
			f.reply(m, rev("a", 90, 0))
		}, "R4"},
		{"what was announced cannot be read", func(f *fake) {
			_ = f.call("invalidateTransaction", zodb.TID(101), wire.List{zodb.OID(1)})
			f.reply(f.expect("ping"), nil)
			f.reply(f.expect("loadBefore"), rev("a", 90, 101))
		}, "R5"},
		{"what was announced cannot be read at all", func(f *fake) {
			_ = f.call("invalidateTransaction", zodb.TID(101), wire.List{zodb.OID(1)})
			f.reply(f.expect("ping"), nil)
			f.reply(f.expect("loadBefore"), nil)
		}, "R5"},
		{"a change that was not announced", func(f *fake) {
			f.replyLoad("a", 90, 0)
			f.reply(f.expect("loadBefore"), rev("b", 95, 0))
		}, "R3"},
		{"a record of a later time", func(f *fake) { f.replyLoad("a", 101, 0) }, "gives the revision current"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCache(t, func(f *fake) {
				tc.script(f)
				for {
					m := f.expect("ping")
					if m.Name == "" {
						return
					}
					f.reply(m, nil)
				}
			})
			switch {
			case tc.want == "R5":
				if err := c.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
				load(t, c, 1)
			case tc.want == "R3":
				load(t, c, 1)
				if _, err := c.Load(t.Context(), 1, 90); err != nil { // which the cache does not have
					t.Fatal(err)
				}
			default:
				load(t, c, 1)
			}
			if err := c.Broken(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("broken rules: %v, want %s", err, tc.want)
			}
		})
	}
}
