package filestorage

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

// memory is a Destination.
type memory struct {
	data   []byte
	synced int
	closed bool
	fail   error // returned by WriteAt
}

func (m *memory) ReadAt(b []byte, pos int64) (int, error) {
	if pos >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(b, m.data[pos:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(b []byte, pos int64) (int, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	if missing := int(pos) + len(b) - len(m.data); missing > 0 {
		m.data = append(m.data, make([]byte, missing)...)
	}
	return copy(m.data[pos:], b), nil
}

func (m *memory) Sync() error  { m.synced = len(m.data); return nil }
func (m *memory) Close() error { m.closed = true; return nil }

// plain turns records of a file into those that an export hands over.
func plain(records iter.Seq2[Record, error]) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		for rec, err := range records {
			if !yield(rec.Record, err) {
				return
			}
		}
	}
}

// copyAll writes everything that r has.
func copyAll(t testing.TB, r *Reader) []byte {
	t.Helper()
	dst := new(memory)
	w := newWriter(dst)
	for txn, err := range r.Transactions(t.Context(), Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(&txn.Transaction, plain(txn.Records())); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if dst.synced != len(dst.data) || !dst.closed {
		t.Error("not made durable")
	}
	return dst.data
}

func TestCopyOfAGoldenFileIsIdentical(t *testing.T) {
	t.Parallel()
	for _, name := range golden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, want := goldenFile(t, name)
			if want.GoodSize != 0 {
				data = data[:want.GoodSize]
			}
			got := copyAll(t, open(t, data))
			if !bytes.Equal(got, data) {
				diff := cmp.Diff(want.Transactions, read(t, open(t, got), Position{}))
				t.Errorf("%d bytes, want %d (-want +got):\n%s", len(got), len(data), diff)
			}
		})
	}
}

// records makes an iterator; err comes last unless it is nil.
func records(err error, recs ...zodb.Record) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		for _, rec := range recs {
			if !yield(rec, nil) {
				return
			}
		}
		if err != nil {
			yield(zodb.Record{}, err)
		}
	}
}

func data(oid zodb.OID, data string, from zodb.TID) zodb.Record {
	return zodb.Record{OID: oid, Data: []byte(data), Exists: true, DataTID: from}
}

func gone(oid zodb.OID, from zodb.TID) zodb.Record { return zodb.Record{OID: oid, DataTID: from} }

func txn(tid zodb.TID) *zodb.Transaction {
	return &zodb.Transaction{TID: tid, Status: ' ', TxnMeta: zodb.TxnMeta{User: []byte("user")}}
}

// TestBackpointersAreWrittenWhereDataAreTheSame has a row for each case of ZODB's rule for copies.
func TestBackpointersAreWrittenWhereDataAreTheSame(t *testing.T) {
	t.Parallel()
	// Large records make the file go through the buffer, so that lookups lie in the destination.
	for name, filler := range map[string]int{"in the buffer": 10, "in the file": writeAhead} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := new(memory)
			w := newWriter(dst)
			fill := data(9, strings.Repeat("x", filler), 0)
			steps := []struct {
				name string
				rec  zodb.Record
				back zodb.TID // of the record that the pointer leads to; 0 = no pointer
			}{
				{"first", data(1, "one", 0), 0},
				{"second", data(1, "two", 0), 0},
				{"same as the first", data(1, "one", 1), 1},
				{"same as the pointer", data(1, "one", 3), 3},
				{"other data than named", data(1, "two", 4), 0},
				{"as long, but other data", data(1, "owt", 2), 0},
				{"no such transaction", data(1, "one", 100), 0},
				{"not in that transaction", data(2, "one", 1), 0},
				{"does not exist", gone(1, 0), 0},
				{"does not exist either", gone(1, 9), 9},
				{"data named, but does not exist", gone(1, 1), 0},
				{"exists, but named does not", data(1, "one", 9), 0},
				{"after all that", data(1, "one", 4), 4},
			}
			for i, s := range steps {
				if err := w.Append(txn(zodb.TID(i+1)), records(nil, s.rec, fill)); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r := open(t, dst.data)
			if _, err := r.Verify(t.Context()); err != nil || r.Warnings() != 0 {
				t.Fatalf("%d warnings, %v", r.Warnings(), err)
			}
			for txn, err := range r.Transactions(t.Context(), Position{}) {
				if err != nil {
					t.Fatal(err)
				}
				s := steps[txn.TID-1]
				for rec, err := range txn.Records() {
					if err != nil {
						t.Fatal(err)
					}
					if rec.OID == 9 {
						continue
					}
					if rec.DataTID != s.back || string(rec.Data) != string(s.rec.Data) || rec.Exists != s.rec.Exists {
						t.Errorf("%s: got %q of %s, want %q of %s", s.name, rec.Data, rec.DataTID, s.rec.Data, s.back)
					}
				}
			}
		})
	}
}

func TestSeveralRecordsOfAnObjectInATransaction(t *testing.T) {
	t.Parallel()
	dst := new(memory)
	w := newWriter(dst)
	err := errors.Join(
		w.Append(txn(1), records(nil, data(1, "one", 0))),
		w.Append(txn(2), records(nil, data(1, "two", 0), data(1, "three", 0))),
		w.Append(txn(3), records(nil, data(1, "three", 2))),
		w.Close(),
	)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, dst.data)
	if _, err := r.Verify(t.Context()); err != nil || r.Warnings() != 0 {
		t.Errorf("%d warnings, %v", r.Warnings(), err)
	}
	if got := read(t, r, Position{}); *got[2].Records[0].Back != got[1].Records[1].Pos {
		t.Errorf("got %+v", got[2].Records[0])
	}
}

func TestWriterRefusesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken source")
	long := txn(5)
	long.Description = make([]byte, zodb.MaxMetaLen+1)
	voted := txn(5)
	voted.Status = 'c'
	for _, tc := range []struct {
		name string
		txn  *zodb.Transaction
		recs iter.Seq2[zodb.Record, error]
	}{
		{"same tid", txn(4), records(nil)},
		{"earlier tid", txn(3), records(nil)},
		{"status", voted, records(nil)},
		{"long description", long, records(nil)},
		{"data of no bytes", txn(5), records(nil, data(1, "", 0))},
		{"error of the source", txn(5), records(broken, data(1, "one", 0))},
	} {
		dst := new(memory)
		w := newWriter(dst)
		if err := w.Append(txn(4), records(nil)); err != nil {
			t.Fatal(err)
		}
		first := w.Append(tc.txn, tc.recs)
		if first == nil || tc.name == "error of the source" && !errors.Is(first, broken) {
			t.Errorf("%s: got %v", tc.name, first)
		}
		if err := w.Append(txn(6), records(nil)); !errors.Is(err, first) {
			t.Errorf("%s: goes on with %v", tc.name, err)
		}
		if err := w.Close(); !errors.Is(err, first) || dst.synced != 0 || !dst.closed {
			t.Errorf("%s: close gives %v, %d bytes synced", tc.name, err, dst.synced)
		}
	}
}

func TestWriteErrorsReachTheCaller(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	large := records(nil, data(1, strings.Repeat("x", writeAhead), 0))
	dst := &memory{fail: full}
	w := newWriter(dst)
	if err := w.Append(txn(1), large); !errors.Is(err, full) {
		t.Errorf("append: %v", err)
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Errorf("close after a failed append: %v", err)
	}
	dst = &memory{fail: full}
	w = newWriter(dst)
	if err := w.Append(txn(1), records(nil)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, full) || dst.synced != 0 {
		t.Errorf("close: %v", err)
	}
}

// TestPatchAcrossTheBuffer lets the border between file and buffer fall on
// every byte of a length field.
func TestPatchAcrossTheBuffer(t *testing.T) {
	t.Parallel()
	for border := range 12 {
		dst := &memory{data: []byte("0123456789AB")[:border]}
		w := &Writer{dst: dst, flushed: int64(border), buf: []byte("0123456789AB")[border:]}
		if err := w.patch(2, []byte("abcdefgh")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 12)
		if err := w.readAt(got, 0); err != nil || string(got) != "01abcdefghAB" {
			t.Errorf("border %d: %q, %v", border, got, err)
		}
		if all := slices.Concat(dst.data, w.buf); string(all) != "01abcdefghAB" {
			t.Errorf("border %d: wrote %q", border, all)
		}
	}
}
