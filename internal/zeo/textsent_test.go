package zeo

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestHomeWithANameThatIsNoText: clients are served, and errors that name HOME are answered.
func TestHomeWithANameThatIsNoText(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		home := filepath.Join(t.TempDir(), "h\xff")
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Skip("this file system takes no such name:", err)
		}
		if err := os.Remove(home); err != nil {
			t.Fatal(err)
		}
		ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: openStorage(t, home, engine.Options{})}}})
		c := ts.client(e)
		info := c.call("get_info").(wire.Dict)
		if name, ok := info.Get("name").(string); !ok || !strings.HasSuffix(name, "h\uFFFD") {
			t.Errorf("it is called %q", info.Get("name"))
		}
		c.call("enter_snapshot", "mine")
		_, err := c.try("enter_snapshot", "other")
		if err == nil || !strings.Contains(err.Error(), "h\uFFFD") || !strings.Contains(err.Error(), "mine") {
			t.Errorf("told %v", err)
		}
		if code := c.call("get_snapshot_code"); code != "mine" {
			t.Errorf("the code is %q", code)
		}
		c.call("leave_snapshot", "mine")
	})
}

// TestSnapshotCodeIsText: others have to be able to read it.
func TestSnapshotCodeIsText(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		for _, code := range []any{[]byte("\xff\xff"), []byte("\xed\xb2\x80"), strings.Repeat("x", maxCode+1), "", nil, int64(1)} {
			c.fails(classType, "enter_snapshot", code)
		}
		if code := c.call("get_snapshot_code"); code != nil {
			t.Errorf("in snapshot mode as %q", code)
		}
		c.call("enter_snapshot", []byte("Kopie für heute"))
		if code := c.call("get_snapshot_code"); code != "Kopie für heute" {
			t.Errorf("the code is %q", code)
		}
		c.call("leave_snapshot", "Kopie für heute")
	})
}

// TestErrorsThatAreNoTextAreSent: a connection does not end because an error names something that
// is no UTF-8.
func TestErrorsThatAreNoTextAreSent(t *testing.T) {
	t.Parallel()
	const raw, want = "a\xffb\xed\xb2\x80", "a\uFFFDb\uFFFD"
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		for _, err := range []error{
			&zodb.UndoError{Whole: true, Reason: raw},
			&zodb.UndoError{OID: 5, Reason: raw},
			&pythonError{classStorage, wire.Tuple{raw, wire.List{raw}, wire.Dict{{Key: "a", Value: raw}}}},
			&typeError{raw},
			&os.PathError{Op: "open", Path: raw, Err: os.ErrNotExist},
		} {
			mine, its := net.Pipe()
			defer mine.Close()
			c := newConn(ts.Server, its)
			c.encoding = e
			defer c.end(nil)
			if failed := (&request{c: c}).fail(err); failed != nil {
				t.Errorf("%v is not sent: %v", err, failed)
				continue
			}
			b := c.out.waiting[4:]
			if m, err := wire.Decode(e, b); err != nil || !m.Failed() || strings.Contains(string(b), raw) || !strings.Contains(string(b), want) {
				t.Errorf("sent as %q, %v", b, err)
			}
		}
	})
}
