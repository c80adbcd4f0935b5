package zeo

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// The table of docs/zeo.md about the answers in which this server differs. Each row is
// shown by a recorded conversation, by a test of its own, or by an unusual call; a
// difference that is in no row, and a row that nothing shows, fail.

// unusual is a call that clients hardly make: the answer of Python's server, found by calling it,
// and the one of this server. The answer is the class of an error, or short for a result, see
// brief.
type unusual struct {
	name         string
	python, here string
	row          string // how the row begins, if they differ
	do           func(x *errorScene) (any, error)
}

const (
	rowOld       = "`storea` of an object that does not exist, with a serial"
	rowEmpty     = "`storea` of an empty record"
	rowDangling  = "`storea` of a record with a reference to an object that does not exist"
	rowLong      = "metadata that are too long"
	rowUndoID    = "`undoa` with an id that is no base64 of 8 bytes"
	rowReadOnly  = "`storeBlobStart` of a read-only client"
	rowArguments = "arguments of a wrong type or number"
	rowOldTID    = "`tpc_begin` with a tid that is not later than the last one"
	rowNoTID     = "`restorea` in a transaction without a tid"
	rowMissed    = "`getInvalidations` from a tid that is no transaction of this storage"
)

func unusuals() []unusual {
	none, absent := zodb.TID(0), zodb.OID(9999)
	store := func(oid zodb.OID, serial zodb.TID, data []byte) []any { return []any{"storea", oid, serial, data} }
	vote := func(steps ...[]any) func(x *errorScene) (any, error) {
		return func(x *errorScene) (any, error) { return x.voted(steps...) }
	}
	reference := []byte("\x80\x03cm\nK\n.\x80\x03C\x08" + string(absent.Bytes()) + "Q.")
	return []unusual{
		{"store of a new object with an old serial", "[]", "conflict records", rowOld, func(x *errorScene) (any, error) { return x.voted(store(77, x.t1, record("x"))) }},
		{"store of a new object with no serial", "[]", "[]", "", vote([]any{"storea", zodb.OID(77), nil, record("x")})},
		{"store of an empty record", "[]", classStorage, rowEmpty, vote(store(77, 0, []byte{}))},
		{"store of a dangling reference", "[]", "ZODB.POSException.DanglingReferenceError", rowDangling, vote(store(77, 0, reference))},
		{"two stores of one object", "[]", "[]", "", vote(store(77, 0, record("x")), store(77, 0, record("y")))},
		{"no operation", "[]", "[]", "", vote()},
		{"delete of what does not exist, no serial", classPOSKey, classPOSKey, "", vote([]any{"deleteObject", absent, none})},
		{"delete of what does not exist", classPOSKey, classPOSKey, "", func(x *errorScene) (any, error) { return x.voted([]any{"deleteObject", absent, x.t1}) }},
		{"check of what does not exist, no serial", classPOSKey, classPOSKey, "", vote([]any{"checkCurrentSerialInTransaction", absent, none})},
		{"check of what does not exist", classPOSKey, classPOSKey, "", func(x *errorScene) (any, error) {
			return x.voted([]any{"checkCurrentSerialInTransaction", absent, x.t1})
		}},
		{"check of what is stored too", "[]", "[]", "", func(x *errorScene) (any, error) {
			return x.voted(store(1, x.t2, record("x")), []any{"checkCurrentSerialInTransaction", zodb.OID(1), x.t2})
		}},
		{"undo of nothing", classUndo, classUndo, "", vote([]any{"undoa", []byte("AAAAAAAAAAA=")})},
		{"undo of no base64", classAssertion, classUndo, rowUndoID, vote([]any{"undoa", []byte("!!")})},
		{"long user", "ZODB.FileStorage.FileStorage.FileStorageError", classStorage, rowLong, func(x *errorScene) (any, error) {
			x.oneWay("tpc_begin", mine, make([]byte, zodb.MaxMetaLen+1), []byte{}, wire.Dict{}, nil, " ")
			return x.try("vote", mine)
		}},
		{"restore with an old tid", "[]", classStorage, rowOldTID, func(x *errorScene) (any, error) {
			x.oneWay("tpc_begin", mine, []byte{}, []byte{}, wire.Dict{}, zodb.TID(3), " ")
			x.oneWay("restorea", zodb.OID(90), zodb.TID(3), record("x"), nil, mine)
			return x.try("vote", mine)
		}},
		{"restore with the next tid", "[]", "[]", "", func(x *errorScene) (any, error) {
			x.oneWay("tpc_begin", mine, []byte{}, []byte{}, wire.Dict{}, x.deleted+1, " ")
			x.oneWay("restorea", zodb.OID(90), x.deleted+1, record("x"), nil, mine)
			return x.try("vote", mine)
		}},
		{"restore without a tid", "[]", classTransaction, rowNoTID, func(x *errorScene) (any, error) {
			return x.voted([]any{"restorea", zodb.OID(90), x.t1, record("x"), nil})
		}},
		{"begin with three arguments", classType, classType, "", calls("tpc_begin", mine, []byte{}, []byte{})},
		{"vote when idle", classTransaction, classTransaction, "", calls("vote", mine)},
		{"finish when idle", "None", "None", "", calls("tpc_finish", mine)},
		{"abort when idle", "None", "None", "", calls("tpc_abort", mine)},
		{"store when idle", classTransaction, classTransaction, "", func(x *errorScene) (any, error) { return x.try("storea", zodb.OID(1), x.t1, record("x"), mine) }},
		{"load of what does not exist", classPOSKey, classPOSKey, "", calls("loadBefore", absent, endOfTIDs)},
		{"load before the first revision", "None", "None", "", func(x *errorScene) (any, error) { return x.try("loadBefore", zodb.OID(1), x.t1) }},
		{"load of an oid of 3 bytes", classPOSKey, classPOSKey, "", calls("loadBefore", []byte("abc"), endOfTIDs)},
		{"load before None", classType, classPOSKey, rowArguments, calls("loadBefore", zodb.OID(1), nil)},
		{"loadSerial of no revision", classPOSKey, classPOSKey, "", calls("loadSerial", zodb.OID(1), zodb.TID(4))},
		{"getTid of what does not exist", classPOSKey, classPOSKey, "", calls("getTid", absent)},
		{"history of what does not exist", classPOSKey, classPOSKey, "", calls("history", absent, 3)},
		{"history of None", classAssertion, classPOSKey, rowArguments, calls("history", nil, 3)},
		{"history of 0 entries", "[]", "[]", "", calls("history", zodb.OID(1), 0)},
		{"getInvalidations of None", classType, classType, "", calls("getInvalidations", nil)},
		{"getInvalidations of the future", "list", "None", rowMissed, calls("getInvalidations", zodb.TID(1<<62))},
		{"undoLog of None", classType, classType, "", calls("undoLog", nil, nil)},
		{"undoLog of nothing", "[]", "[]", "", calls("undoLog", 5, 2)},
		{"undoInfo with a filter that is a list", "builtins.AttributeError", classType, rowArguments, calls("undoInfo", 0, -10, wire.List{int64(1)})},
		{"new_oids of None", classType, classType, "", calls("new_oids", nil)},
		{"new_oid", "builtins.AttributeError", "builtins.AttributeError", "", calls("new_oid")},
		{"iterator_next of no iterator", classKey, classKey, "", calls("iterator_next", 99)},
		{"iterator_next of None", classKey, classType, rowArguments, calls("iterator_next", nil)},
		{"iterator_start with text", classAssertion, classType, rowArguments, calls("iterator_start", "x", "y")},
		{"iterator_gc of what is none", "None", "None", "", calls("iterator_gc", wire.List{int64(1), nil, "x", int64(99)})},
		{"record_iternext at the end", "builtins.ValueError", "builtins.ValueError", "", calls("record_iternext", absent)},
		{"sendBlob without a blob", classPOSKey, classPOSKey, "", func(x *errorScene) (any, error) { return x.try("sendBlob", zodb.OID(1), x.t1) }},
		{"storeBlobChunk without a start", classType, classType, "", calls("storeBlobChunk", []byte("x"))},
		{"storeBlobShared when idle", classTransaction, classTransaction, "", func(x *errorScene) (any, error) {
			return x.try("storeBlobShared", zodb.OID(1), x.t1, record("x"), "x", mine)
		}},
		{"storeBlobStart of a read-only client", "None", classReadOnly, rowReadOnly, func(x *errorScene) (any, error) {
			c := x.ts.dial(x.enc)
			c.call("register", "1", true)
			return c.try("storeBlobStart")
		}},
		{"pack to None", classType, classType, "", calls("pack", nil)},
		{"pack to text", classType, classType, "", calls("pack", "x")},
		{"get_info with an argument", classType, classType, "", calls("get_info", 1)},
		{"a label of bytes", "None", "None", "", calls("set_client_label", []byte("x"))},
		{"a label that is a number", "None", "None", "", calls("set_client_label", 5)},
	}
}

// brief is an answer in one word.
func brief(v any, err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.class
	}
	if err != nil {
		return err.Error()
	}
	switch v := tuples(v).(type) {
	case nil:
		return "None"
	case wire.Tuple:
		if len(v) == 0 {
			return "[]"
		}
		if _, ok := v[0].(wire.Dict); ok {
			return "conflict records"
		}
		return "list"
	}
	return "something"
}

func TestUnusualCalls(t *testing.T) {
	t.Parallel()
	for _, u := range unusuals() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				ts := serve(t, Options{})
				x := &errorScene{rawClient: ts.client(e), ts: ts}
				x.setUp()
				if got := brief(u.do(x)); got != u.here {
					t.Errorf("%s, want %s", got, u.here)
				}
				x.want(nil, x.call("ping")) // it is no reason to close the connection
			})
			if (u.python != u.here) != (u.row != "") {
				t.Errorf("Python's server says %s, this one %s, and the row of the table is %q", u.python, u.here, u.row)
			}
		})
	}
}

// TestEachDifferenceIsInTheTable compares the table of docs/zeo.md with the calls that show it.
func TestEachDifferenceIsInTheTable(t *testing.T) {
	t.Parallel()
	// Rows that no unusual call shows: a message of a recorded conversation, or a test.
	shown := map[string]string{
		"`get_info`": "get_info",
		"`vote` with a conflict that the class resolves":                                    "conflict_server c1 reply 10",
		"`vote` with a conflict that cannot be resolved":                                    "conflict_server c1 reply 14",
		"`invalidateTransaction` after `deleteObject`":                                      "delete_object c2 invalidateTransaction 2",
		"`iterator_record_next` over a transaction with a blob":                             "blob c2 reply 9",
		"`vote` after `undoa` that fails for some objects":                                  "undo c1 reply 18",
		"a second `tpc_begin`, an undo id that names nothing, `history` without a size":     "errors c1 reply 8",
		"`tpc_finish` without a vote":                                                       "errors c1 reply 12",
		"`vote` after `deleteObject`, `checkCurrentSerialInTransaction` with an old serial": "TestErrorLayouts",
		"`pack` to NaN, infinity, before 1970 or after 9999":                                "TestErrorLayouts",
		"`undoLog`, `undoInfo`, `history` with a record that is damaged":                    "TestDamagedRevisionHidesNothingElse",
		"`iterator_next`, `undoLog`, `undoInfo` with a transaction that is damaged itself":  "TestDamagedTransactionHidesNothingElse",
		"`vote` of a transaction with a tid that is not later than the last one":            "TestCopiedTransactionsMustBeLater",
		"`restorea` with a `prev_txn` that is not there":                                    "TestCopiesNeedNoSourceOfTheirData",
		"`undoa` of the transaction that made the root object":                              "TestClientsCannotUndoTheRoot",
		"`vote` after `undoa` of an object that was changed later":                          "TestUndoOfWhatWasChangedLaterIsHandedToTheClient",
		"`undoLog`, `undoInfo`, `undoa` during a pack":                                      "TestOthersGoOnDuringAPack",
		"`pack` of a storage without a root object":                                         "TestPackOfAnEmptyStorage",
	}
	for row, text := range rowsWithTests(t) {
		if shown[row] == "" {
			shown[row] = text
		}
	}
	recorded := make(map[string]bool)
	for _, d := range differences {
		recorded[strings.TrimSpace(d.scenario+" "+d.message)] = true
	}
	functions := testFunctions(t)
	for row, by := range shown {
		if !recorded[by] && !functions[by] {
			t.Errorf("the row %q is shown by %q, which is no test and no message of a recording that differs", row, by)
		}
	}
	for _, u := range unusuals() {
		if u.row != "" {
			shown[u.row] = "TestUnusualCalls"
		}
	}
	rows := tableOfDifferences(t)
	for _, row := range rows {
		found := ""
		for begin := range shown {
			if strings.HasPrefix(row[0], begin) {
				found = begin
			}
		}
		if found == "" {
			t.Errorf("nothing shows the row %q", row[0])
		}
		delete(shown, found)
	}
	for row, by := range shown {
		t.Errorf("no row begins with %q, which %s shows", row, by)
	}
}

// rowsWithTests are the rows whose last column names a test.
func rowsWithTests(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	name := regexp.MustCompile("`(Test\\w+)`")
	for _, row := range tableOfDifferences(t) {
		if m := name.FindStringSubmatch(row[3]); m != nil {
			found[row[0]] = m[1]
		}
	}
	return found
}

// tableOfDifferences returns the cells of the rows of the table in docs/zeo.md.
func tableOfDifferences(t *testing.T) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/zeo.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "| call | Python server | here | why |\n|---|---|---|---|\n")
	text, _, _ = strings.Cut(text, "\n\n")
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 4 {
			t.Fatalf("%q has %d cells", line, len(cells))
		}
		rows = append(rows, cells)
	}
	if !ok || len(rows) < 10 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows
}

// testFunctions returns the names of the tests of this package.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllSubmatch(b, -1) {
			found[string(m[1])] = true
		}
	}
	return found
}
