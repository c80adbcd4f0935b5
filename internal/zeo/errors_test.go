package zeo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// someText stands for a text for people in the details of an error.
type someText struct{}

// withText puts the texts of got where want says that there is one.
func withText(want, got any) any {
	if s, ok := got.(string); ok && want == (someText{}) && s != "" {
		return s
	}
	w, ok := want.(wire.Tuple)
	g, is := got.(wire.Tuple)
	if !ok || !is || len(w) != len(g) {
		return want
	}
	out := make(wire.Tuple, len(w))
	for i := range w {
		out[i] = withText(w[i], g[i])
	}
	return out
}

// errorRow is an error that can be provoked.
type errorRow struct {
	name    string
	class   string
	details func(x *errorScene) any
	options Options
	provoke func(x *errorScene) (any, error)
}

// errorScene is where a row happens: object 1 has two revisions, object 2 was
// deleted, object 3 was made and changed together with object 1.
type errorScene struct {
	*rawClient
	ts              *testServer
	t1, t2, deleted zodb.TID
}

func (x *errorScene) setUp() {
	x.t1 = x.commit(1, 0, "one")
	two := x.commit(2, 0, "two")
	x.t2 = x.commit(1, x.t1, "uno")
	x.begin(mine)
	x.oneWay("deleteObject", zodb.OID(2), two, mine)
	x.call("vote", mine)
	x.deleted = zodb.TIDFromBytes(x.call("tpc_finish", mine).([]byte))
}

// voted does steps in a transaction and votes.
func (x *errorScene) voted(steps ...[]any) (any, error) {
	x.begin(mine)
	for _, s := range steps {
		x.oneWay(s[0].(string), append(s[1:], mine)...)
	}
	return x.try("vote", mine)
}

func calls(name string, args ...any) func(x *errorScene) (any, error) {
	return func(x *errorScene) (any, error) { return x.try(name, args...) }
}

func fixed(v any) func(*errorScene) any { return func(*errorScene) any { return v } }

func clash(message string, oid zodb.OID, current, seen func(x *errorScene) zodb.TID) func(x *errorScene) any {
	return func(x *errorScene) any {
		return wire.Dict{{Key: "message", Value: message}, {Key: "oid", Value: oid.Bytes()}, {Key: "class_name", Value: nil},
			{Key: "serials", Value: wire.Tuple{current(x).Bytes(), seen(x).Bytes()}}}
	}
}

func first(x *errorScene) zodb.TID  { return x.t1 }
func second(x *errorScene) zodb.TID { return x.t2 }
func gone(x *errorScene) zodb.TID   { return x.deleted }

// errorRows are the errors of section 6 of the protocol. BTreesConflictError and those of
// FileStorage and its blobs are never sent.
func errorRows() []errorRow {
	text := fixed(wire.Tuple{someText{}})
	missing := zodb.OID(99)
	noKey := fixed(wire.Tuple{missing.Bytes()})
	return []errorRow{
		{"POSKeyError/loadBefore", classPOSKey, noKey, Options{}, calls("loadBefore", missing, zodb.TID(1<<62))},
		{"POSKeyError/loadBefore of one deleted", classPOSKey, fixed(wire.Tuple{poOID}), Options{}, calls("loadBefore", zodb.OID(2), zodb.TID(1<<62))},
		{"POSKeyError/loadBefore of no oid", classPOSKey, fixed(wire.Tuple{[]byte("x")}), Options{}, calls("loadBefore", []byte("x"), zodb.TID(5))},
		{"POSKeyError/loadSerial", classPOSKey, noKey, Options{}, calls("loadSerial", missing, zodb.TID(5))},
		{"POSKeyError/loadSerial of another serial", classPOSKey, fixed(wire.Tuple{lenOID}), Options{}, calls("loadSerial", zodb.OID(1), zodb.TID(5))},
		{"POSKeyError/getTid", classPOSKey, noKey, Options{}, calls("getTid", missing)},
		{"POSKeyError/history", classPOSKey, noKey, Options{}, calls("history", missing, 1)},
		{"POSKeyError/history of None", classPOSKey, fixed(wire.Tuple{nil}), Options{}, calls("history", nil, nil)},
		{
			"POSKeyError/sendBlob", classPOSKey, func(x *errorScene) any { return wire.Tuple{someText{}, lenOID, x.t2.Bytes()} }, Options{},
			func(x *errorScene) (any, error) { return x.try("sendBlob", zodb.OID(1), x.t2) },
		},
		{"POSKeyError/sendBlob of no object", classPOSKey, fixed(wire.Tuple{someText{}, missing.Bytes(), zodb.TID(5).Bytes()}), Options{}, calls("sendBlob", missing, zodb.TID(5))},
		{
			"POSKeyError/delete what never was", classPOSKey, noKey, Options{},
			func(x *errorScene) (any, error) { return x.voted([]any{"deleteObject", missing, x.t1}) },
		},
		{
			"POSKeyError/check what never was", classPOSKey, noKey, Options{},
			func(x *errorScene) (any, error) {
				return x.voted([]any{"checkCurrentSerialInTransaction", missing, x.t1})
			},
		},
		{
			"POSKeyError/check one deleted", classPOSKey, fixed(wire.Tuple{poOID}), Options{},
			func(x *errorScene) (any, error) {
				return x.voted([]any{"checkCurrentSerialInTransaction", zodb.OID(2), x.t1})
			},
		},
		{
			"ReadOnlyError/register", classReadOnly, fixed(wire.Tuple{}), Options{},
			func(x *errorScene) (any, error) {
				x.ts.hubs["1"].readOnly = true // as the option does
				return x.ts.dial(x.enc).try("register", "1", int64(0))
			},
		},
		{"StorageTransactionError/no transaction", classTransaction, fixed(wire.Tuple{nil, mine}), Options{}, calls("vote", mine)},
		{
			"StorageTransactionError/another", classTransaction, fixed(wire.Tuple{mine, other}), Options{},
			func(x *errorScene) (any, error) { x.begin(mine); return x.try("vote", other) },
		},
		{
			"StorageTransactionError/two at once", classTransaction, text, Options{},
			func(x *errorScene) (any, error) {
				x.begin(mine)
				return x.try("tpc_begin", other, []byte{}, []byte{}, wire.Dict{}, nil, " ")
			},
		},
		{
			"StorageTransactionError/voted twice", classTransaction, fixed(wire.Tuple{"Already voting (locked)"}), Options{},
			func(x *errorScene) (any, error) { x.begin(mine); x.call("vote", mine); return x.try("vote", mine) },
		},
		{
			"ConflictError/delete", classConflict, clash("database conflict error", 1, second, first), Options{},
			func(x *errorScene) (any, error) { return x.voted([]any{"deleteObject", zodb.OID(1), x.t1}) },
		},
		{
			"ConflictError/delete one deleted", classConflict, clash("database conflict error", 2, gone, first), Options{},
			func(x *errorScene) (any, error) { return x.voted([]any{"deleteObject", zodb.OID(2), x.t1}) },
		},
		{
			"ReadConflictError", classReadClash, clash("database read conflict error", 1, second, first), Options{},
			func(x *errorScene) (any, error) {
				return x.voted([]any{"checkCurrentSerialInTransaction", zodb.OID(1), x.t1})
			},
		},
		{
			"MultipleUndoErrors", classUndos, func(x *errorScene) any {
				return wire.Dict{{Key: "_errs", Value: wire.List{wire.Tuple{lenOID, "it was changed later, by " + x.t2.String()}}}}
			}, Options{},
			func(x *errorScene) (any, error) { return x.voted([]any{"undoa", undoID(x.t1)}) },
		},
		{
			"UndoError/no such transaction", classUndo, fixed(wire.Dict{{Key: "_reason", Value: "there is no such transaction, or it was packed away"}, {Key: "_oid", Value: nil}}), Options{},
			func(x *errorScene) (any, error) { return x.voted([]any{"undoa", undoID(5)}) },
		},
		{
			"UndoError/no id", classUndo, fixed(wire.Dict{{Key: "_reason", Value: "there is no such transaction, or it was packed away"}, {Key: "_oid", Value: nil}}), Options{},
			func(x *errorScene) (any, error) { return x.voted([]any{"undoa", []byte("no base64")}) },
		},
		{"KeyError/iterator_next", classKey, fixed(wire.Tuple{int64(7)}), Options{}, calls("iterator_next", 7)},
		{"KeyError/iterator_record_next", classKey, fixed(wire.Tuple{int64(7)}), Options{}, calls("iterator_record_next", 7)},
		{"KeyError/iterator_record_start", classKey, fixed(wire.Tuple{int64(7)}), Options{}, calls("iterator_record_start", 7, zodb.TID(1))},
		{"TypeError/too few arguments", classType, text, Options{}, calls("loadSerial", zodb.OID(1))},
		{"TypeError/too many arguments", classType, text, Options{}, calls("ping", 1)},
		{"TypeError/no tid", classType, text, Options{}, calls("getInvalidations", "text")},
		{"TypeError/history without a size", classType, text, Options{}, calls("history", zodb.OID(1), nil)},
		{"TypeError/pack without a time", classType, text, Options{}, calls("pack", nil, true)},
		{"TypeError/pack waits for text", classType, text, Options{}, calls("pack", 1.5, "yes")},
		{"ValueError/pack to no number", "builtins.ValueError", text, Options{}, calls("pack", math.NaN(), true)},
		{"ValueError/pack to infinity", "builtins.ValueError", text, Options{}, calls("pack", math.Inf(1), true)},
		{"ValueError/pack to before 1970", "builtins.ValueError", text, Options{}, calls("pack", -1, true)},
		{"ValueError/pack to the year 10000", "builtins.ValueError", text, Options{}, calls("pack", 253402300800.0, false)},
		{
			"ValueError/unknown storage", "builtins.ValueError", fixed(wire.Tuple{"unknown storage: 2"}), Options{},
			func(x *errorScene) (any, error) { return x.ts.dial(x.enc).try("register", "2", int64(0)) },
		},
		{"ValueError/record_iternext at the end", "builtins.ValueError", text, Options{}, calls("record_iternext", missing)},
		{
			"ValueError/name of a shared blob", "builtins.ValueError", text, Options{},
			func(x *errorScene) (any, error) {
				x.begin(mine)
				return x.try("storeBlobShared", zodb.OID(4), zodb.TID(0), record("x"), "../x.tmp", mine)
			},
		},
		{
			"AssertionError", classAssertion, fixed(wire.Tuple{}), Options{},
			func(x *errorScene) (any, error) { x.begin(mine); return x.try("tpc_finish", mine) },
		},
		{"AttributeError", "builtins.AttributeError", fixed(wire.Tuple{"new_oid"}), Options{}, calls("new_oid")},
		{
			"Exception/records of another transaction", "builtins.Exception", text, Options{},
			func(x *errorScene) (any, error) {
				id := x.call("iterator_start", nil, nil)
				x.call("iterator_next", id)
				return x.try("iterator_record_start", id, x.t2)
			},
		},
		{
			"DanglingReferenceError", "ZODB.POSException.DanglingReferenceError", fixed(wire.Tuple{zodb.OID(4).Bytes(), missing.Bytes()}), Options{},
			func(x *errorScene) (any, error) {
				reference := "\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03C\x08" + string(missing.Bytes()) + "Q."
				return x.voted([]any{"storea", zodb.OID(4), zodb.TID(0), []byte(reference)})
			},
		},
		{
			"StorageError/pack while another one waits", classStorage, fixed(wire.Tuple{"Already packing"}), Options{},
			func(x *errorScene) (any, error) {
				holdPack(x.ts, x.enc)
				x.ts.client(x.enc).request("pack", now(), true)
				eventually(x.t, "the first pack waits", func() bool { return x.ts.storages["1"].PackProgress().Phase != "" })
				return x.try("pack", now(), true)
			},
		},
		{
			"StorageError/pack of what cannot be read", classStorage, text, Options{},
			func(x *errorScene) (any, error) {
				root := x.commit(0, 0, "root")
				damage(x.t, x.ts.storages["1"], 0, root)
				return x.try("pack", now(), true)
			},
		},
		{
			"StorageError/transaction too large", classStorage, text, Options{Limits: Limits{Transaction: 1000}},
			func(x *errorScene) (any, error) {
				return x.voted([]any{"storea", zodb.OID(4), zodb.TID(0), record(strings.Repeat("x", 2000))})
			},
		},
		{
			"StorageError/blob too large", classStorage, text, Options{Limits: Limits{Blob: 10}},
			func(x *errorScene) (any, error) {
				x.begin(mine)
				x.oneWay("storeBlobStart")
				x.oneWay("storeBlobChunk", make([]byte, 11))
				x.oneWay("storeBlobEnd", zodb.OID(4), zodb.TID(0), record("x"), mine)
				return x.try("vote", mine)
			},
		},
		{
			"StorageError/description too long", classStorage, text, Options{},
			func(x *errorScene) (any, error) {
				x.oneWay("tpc_begin", mine, []byte{}, make([]byte, zodb.MaxMetaLen+1), wire.Dict{}, nil, " ")
				return x.try("vote", mine)
			},
		},
		{
			"StorageError/extension too long", classStorage, text, Options{},
			func(x *errorScene) (any, error) {
				x.oneWay("tpc_begin", mine, []byte{}, []byte{}, wire.Dict{{Key: "k", Value: make([]byte, zodb.MaxMetaLen)}}, nil, " ")
				return x.try("vote", mine)
			},
		},
		{
			"StorageError/the storage was closed", classStorage, text, Options{},
			func(x *errorScene) (any, error) {
				if err := x.ts.storages["1"].Close(); err != nil {
					x.t.Fatal(err)
				}
				return x.voted([]any{"storea", zodb.OID(4), zodb.TID(0), record("x")})
			},
		},
	}
}

// TestErrorLayouts checks the class and the details of each error: a client that
// misses a part of them waits for ever.
func TestErrorLayouts(t *testing.T) {
	t.Parallel()
	for _, row := range errorRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				ts := serve(t, row.options)
				x := &errorScene{rawClient: ts.client(e), ts: ts}
				x.setUp()
				v, err := row.provoke(x)
				var f *failure
				if !errors.As(err, &f) {
					t.Fatalf("got %v, %v; want %s", v, err, row.class)
				}
				if f.class != row.class {
					t.Errorf("class %s, want %s; details %v", f.class, row.class, f.details)
				}
				x.want(withText(row.details(x), f.details), f.details)
				// It is no reason to close the connection.
				if !strings.HasSuffix(row.name, "closed") {
					x.want(nil, x.call("ping"))
				}
			})
		})
	}
}

// TestWritingCallsAreRefusedWhenReadOnly: all of them, tpc_abort included.
func TestWritingCallsAreRefusedWhenReadOnly(t *testing.T) {
	t.Parallel()
	var names []string
	for name, m := range methods {
		if m.writes {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) != 16 {
		t.Errorf("the methods that write: %q", names)
	}
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{ReadOnly: true})
		c := ts.dial(e)
		c.want(wire.Tuple{}, c.fails(classReadOnly, "register", "1", false))
		c.want(zodb.TID(0).Bytes(), c.call("register", "1", true)) // on the same connection
		for _, name := range names {
			args := make([]any, methods[name].min)
			c.want(wire.Tuple{}, c.fails(classReadOnly, name, args...))
		}
		for _, name := range names {
			c := ts.dial(e)
			c.call("register", "1", true)
			c.oneWay(name, make([]any, methods[name].min)...)
			if frames := c.closed(); len(frames) > 0 {
				t.Errorf("%s one-way: %q before the end", name, frames)
			}
		}
	})
}

// TestOneWayCallsThatFailCloseTheConnection: it is the only way to tell.
func TestOneWayCallsThatFailCloseTheConnection(t *testing.T) {
	t.Parallel()
	rows := [][]any{
		{"tpc_begin", other, []byte{}, []byte{}, wire.Dict{}, nil, " "},
		{"storea", zodb.OID(1), zodb.TID(0), record("x"), other},
		{"restorea", zodb.OID(1), zodb.TID(5), record("x"), nil, other},
		{"deleteObject", zodb.OID(1), zodb.TID(0), other},
		{"checkCurrentSerialInTransaction", zodb.OID(1), zodb.TID(0), other},
		{"undoa", undoID(5), other},
		{"storeBlobChunk", []byte("x")},
		{"storeBlobEnd", zodb.OID(1), zodb.TID(0), record("x"), mine},
		{"storeBlobShared", zodb.OID(1), zodb.TID(0), record("x"), "x.tmp", other},
		{"vote", other},
		{"tpc_finish", mine},
		{"iterator_next", 7},
		{"loadBefore", zodb.OID(99), zodb.TID(5)},
		{"getTid", zodb.OID(99)},
		{"ping", 1},
		{"nosuchmethod"},
	}
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		for _, row := range rows {
			c := ts.client(e)
			c.begin(mine)
			c.oneWay(row[0].(string), row[1:]...)
			if frames := c.closed(); len(frames) > 0 {
				t.Errorf("%v: %q before the end", row, frames)
			}
		}
		free(t, ts, e)
	})
}

// TestWrongArgumentsAreToldAtTheVote: a client that sends on meanwhile learns the error, in place
// of losing its connection.
func TestWrongArgumentsAreToldAtTheVote(t *testing.T) {
	t.Parallel()
	blob := func(c *rawClient) {
		c.oneWay("storeBlobStart")
		c.oneWay("storeBlobChunk", []byte("blob"))
	}
	nothing := func(*rawClient) {}
	rows := []struct {
		before func(c *rawClient)
		call   []any
	}{
		{nothing, []any{"storea", zodb.OID(1), zodb.TID(0), "text", mine}},
		{nothing, []any{"storea", "1", zodb.TID(0), record("x"), mine}},
		{nothing, []any{"storea", zodb.OID(1), int64(5), record("x"), mine}},
		{nothing, []any{"restorea", zodb.OID(1), zodb.TID(5), "text", nil, mine}},
		{nothing, []any{"deleteObject", zodb.OID(1), []byte("short"), mine}},
		{nothing, []any{"checkCurrentSerialInTransaction", nil, zodb.TID(0), mine}},
		{nothing, []any{"undoa", int64(5), mine}},
		{blob, []any{"storeBlobEnd", zodb.OID(1), zodb.TID(0), "text", mine}},
		{nothing, []any{"storeBlobShared", zodb.OID(1), zodb.TID(0), "text", "x.tmp", mine}},
		{nothing, []any{"storeBlobShared", zodb.OID(1), zodb.TID(0), record("x"), int64(5), mine}},
	}
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, dir := sharing(t)
		c := ts.client(e)
		for _, row := range rows {
			upload := filepath.Join(filepath.Dir(bushy(dir, 1, 1)), "x.tmp")
			if err := os.MkdirAll(filepath.Dir(upload), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(upload, []byte("blob"), 0o666); err != nil {
				t.Fatal(err)
			}
			c.begin(mine)
			row.before(c)
			name := row.call[0].(string)
			c.oneWay(name, row.call[1:]...)
			details := fmt.Sprint(c.fails("builtins.TypeError", "vote", mine))
			if !strings.Contains(details, name+": argument") {
				t.Errorf("%v is refused with %q, which does not say what is wrong", row.call, details)
			}
			c.call("tpc_abort", mine)
			_, err := os.Lstat(upload)
			if taken := slices.Contains(row.call, any("x.tmp")); taken != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: the upload: %v", row.call, err)
			}
		}
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
		c.commit(1, 0, "one")
	})
}

// TestErrorsThatNoClientCanProvoke are described as the others are.
func TestErrorsThatNoClientCanProvoke(t *testing.T) {
	t.Parallel()
	s := newStorage(t, filepath.Join(t.TempDir(), "home"))
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}})
	c := &conn{srv: ts.Server}
	for _, row := range []struct {
		err     error
		class   string
		details any
	}{
		{&zodb.CorruptError{Path: "A/x", Reason: "short"}, classSystem, wire.Tuple{someText{}}},
		{fmt.Errorf("read: %w", &zodb.CorruptError{Path: "A/x", Reason: "short", Err: &zodb.KeyError{OID: 1}}), classSystem, wire.Tuple{someText{}}},
		{&zodb.DanglingError{OID: 1, Target: 2}, "ZODB.POSException.DanglingReferenceError", wire.Tuple{zodb.OID(1), zodb.OID(2)}},
		{fmt.Errorf("vote: %w", zodb.ErrDiskFull), classStorage, wire.Tuple{someText{}}},
		{zodb.ErrSnapshotMode, classStorage, wire.Tuple{someText{}}},
		{zodb.ErrLocked, classStorage, wire.Tuple{someText{}}},
		{context.Canceled, classStorage, wire.Tuple{someText{}}},
		{zodb.ErrReadOnly, classReadOnly, wire.Tuple{}},
		{fmt.Errorf("%w: ended", zodb.ErrState), classTransaction, wire.Tuple{someText{}}},
		{errors.New("whatever"), classSystem, wire.Tuple{someText{}}},
		{
			errors.Join(&zodb.UndoError{OID: 1, Reason: "a"}, &zodb.UndoError{OID: 0, Reason: "b"}), classUndos,
			wire.Dict{{Key: "_errs", Value: wire.List{wire.Tuple{zodb.OID(1), "a"}, wire.Tuple{zodb.OID(0), "b"}}}},
		},
		{
			&zodb.ConflictError{OID: 1, Serial: 2, Current: 3}, classConflict,
			wire.Dict{{Key: "message", Value: "database conflict error"}, {Key: "oid", Value: zodb.OID(1)}, {Key: "class_name", Value: nil},
				{Key: "serials", Value: wire.Tuple{zodb.TID(3), zodb.TID(2)}}},
		},
	} {
		p := c.describe(row.err)
		if p.class != row.class {
			t.Errorf("%v: class %s, want %s", row.err, p.class, row.class)
		}
		if d := cmp.Diff(withText(row.details, p.details), p.details); d != "" {
			t.Errorf("%v: -want +got\n%s", row.err, d)
		}
		for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
			if _, err := wire.AppendError(nil, e, nil, p.class, p.details); err != nil {
				t.Errorf("%v in %c: %v", row.err, e, err)
			}
		}
	}
}

func TestTheLastOIDIsNotStored(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		c := serve(t, Options{}).client(e)
		c.commit(1, 0, "one")
		const last, ttid = ^zodb.OID(0), int64(7)
		for name, store := range map[string]func(){
			"store":   func() { c.oneWay("storea", last, zodb.TID(0), record("last"), ttid) },
			"restore": func() { c.oneWay("restorea", last, zodb.TID(1), record("last"), nil, ttid) },
			"blob": func() {
				c.oneWay("storeBlobStart")
				c.oneWay("storeBlobChunk", []byte("blob"))
				c.oneWay("storeBlobEnd", last, zodb.TID(0), record("last"), ttid)
			},
		} {
			c.begin(ttid)
			store()
			details := fmt.Sprint(c.fails(classStorage, "vote", ttid))
			if !strings.Contains(details, last.String()) {
				t.Errorf("%s: refused with %q, which does not name the oid", name, details)
			}
			c.call("tpc_abort", ttid)
		}
		c.call("new_oids") // fails when no oid is left
		c.commit(2, 0, "two")
	})
}
