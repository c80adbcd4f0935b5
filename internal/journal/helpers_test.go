package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const testDir = "journal"

var testIdentity = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// newHome returns an empty home on the real file system.
func newHome(tb testing.TB) vfs.FS {
	tb.Helper()
	f, err := vfs.OS(tb.TempDir())
	if err == nil {
		err = f.Mkdir(testDir)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func options(f vfs.FS) journal.Options {
	return journal.Options{FS: f, Dir: testDir, Identity: testIdentity, SegmentSize: journal.MinSegmentSize, Sync: true, DirSync: true}
}

// want is a transaction as it should be found.
type want struct {
	tid, previous zodb.TID
	maxOID        zodb.OID
	meta          zodb.TxnMeta
	entries       []journal.Entry
	data          [][]byte
}

// pending makes the argument of Append.
func (w *want) pending() *journal.Pending {
	return &journal.Pending{Meta: w.meta, Records: slices.Clone(w.entries), Data: func(i int) ([]byte, error) { return w.data[i], nil }}
}

// txn makes a transaction with one record of each length.
func txn(tid zodb.TID, lengths ...int) *want {
	w := &want{tid: tid, previous: tid - 1, maxOID: zodb.OID(tid) * 10,
		meta: zodb.TxnMeta{User: fmt.Appendf(nil, "user %d", tid), Description: []byte("é\x00")}}
	for i, n := range lengths {
		data := bytes.Repeat(fmt.Appendf(nil, "%d.%d|", tid, i), n/4+1)[:n]
		w.data = append(w.data, data)
		w.entries = append(w.entries, journal.Entry{OID: zodb.OID(i + 1), Previous: tid - 1, Len: int64(n)})
	}
	return w
}

// anyTxn makes a transaction of any shape.
func anyTxn(rnd *rand.Rand, tid zodb.TID, maxLen int) *want {
	lengths := make([]int, rnd.IntN(4))
	for i := range lengths {
		lengths[i] = rnd.IntN(maxLen)
	}
	w := txn(tid, lengths...)
	for i := range w.entries {
		e := &w.entries[i]
		e.UndoFrom = zodb.TID(rnd.IntN(2)) * e.Previous
		switch rnd.IntN(6) {
		case 0:
			e.Gone, e.Len, w.data[i] = true, 0, nil
		case 1:
			e.Blob, e.BlobFile, e.BlobSize, e.BlobSum[3] = true, "journal/blob-1", rnd.Int64N(1000), 7
		}
	}
	if rnd.IntN(3) == 0 {
		w.meta.Extension = bytes.Repeat([]byte("x"), rnd.IntN(300))
	}
	return w
}

// put appends and commits.
func put(tb testing.TB, l *journal.Log, txns ...*want) {
	tb.Helper()
	for _, w := range txns {
		if err := tryPut(l, w); err != nil {
			tb.Fatal(err)
		}
	}
}

func tryPut(l *journal.Log, w *want) error {
	p := w.pending()
	if err := l.Append(p); err != nil {
		return err
	}
	return l.Commit([]journal.CommitRecord{w.record(p)})
}

func (w *want) record(p *journal.Pending) journal.CommitRecord {
	return journal.CommitRecord{Txn: p, TID: w.tid, Previous: w.previous, MaxOID: w.maxOID}
}

func open(tb testing.TB, o journal.Options) (*journal.Log, *journal.Recovered) {
	tb.Helper()
	l, found, err := journal.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l, found
}

func closeLog(tb testing.TB, l *journal.Log) {
	tb.Helper()
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
}

type entryReader interface {
	Read(e *journal.Entry) ([]byte, error)
}

// compare checks that exactly these transactions were found, with their data.
func compare(r entryReader, found *journal.Recovered, txns ...*want) error {
	var got, expected []zodb.TID
	for _, c := range found.Transactions {
		got = append(got, c.TID)
	}
	for _, w := range txns {
		expected = append(expected, w.tid)
	}
	if d := cmp.Diff(expected, got); d != "" {
		return fmt.Errorf("transactions (-want +got):\n%s", d)
	}
	for i, c := range found.Transactions {
		if err := same(r, c, txns[i]); err != nil {
			return fmt.Errorf("transaction %s: %w", c.TID, err)
		}
	}
	return nil
}

// same checks that a transaction is the one that was put.
func same(r entryReader, c *journal.Committed, w *want) error {
	if c.TID != w.tid || c.Previous != w.previous || c.MaxOID != w.maxOID {
		return fmt.Errorf("got tid %s, previous %s, highest oid %s", c.TID, c.Previous, c.MaxOID)
	}
	if !bytes.Equal(c.Meta.User, w.meta.User) || !bytes.Equal(c.Meta.Description, w.meta.Description) || !bytes.Equal(c.Meta.Extension, w.meta.Extension) {
		return fmt.Errorf("got metadata %q", c.Meta)
	}
	if len(c.Records) != len(w.entries) {
		return fmt.Errorf("got %d records, not %d", len(c.Records), len(w.entries))
	}
	for i := range c.Records {
		e := c.Records[i]
		data, err := r.Read(&e)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, w.data[i]) {
			return fmt.Errorf("object %s: the data differ", e.OID)
		}
		expected := w.entries[i]
		expected.TID, expected.Pos = w.tid, e.Pos
		expected.TakeHandle(&e)
		if e != expected {
			return fmt.Errorf("got entry %+v, not %+v", e, expected)
		}
	}
	return nil
}

// files lists the names in the journal, sorted.
func files(tb testing.TB, f vfs.FS) []string {
	tb.Helper()
	var names []string
	for e, err := range f.List(testDir) {
		if err != nil {
			tb.Fatal(err)
		}
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// segmentFiles lists the segments, oldest first.
func segmentFiles(tb testing.TB, f vfs.FS) []string {
	tb.Helper()
	return slices.DeleteFunc(files(tb, f), func(n string) bool { return !strings.HasPrefix(n, journal.SegmentPrefix) })
}

// edit changes a file of the log.
func edit(tb testing.TB, f vfs.FS, name string, change func(b []byte) []byte) {
	tb.Helper()
	name = path.Join(testDir, name)
	b, err := f.ReadFile(name)
	if err == nil {
		err = f.Remove(name)
	}
	if err != nil {
		tb.Fatal(err)
	}
	file, err := f.Create(name)
	if err == nil {
		_, err = file.Write(change(b))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		tb.Fatal(err)
	}
}
