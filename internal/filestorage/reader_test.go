package filestorage

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

func open(t testing.TB, data []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(data), int64(len(data)), "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read returns all transactions from a position on.
func read(t testing.TB, r *Reader, from Position) []expectedTxn {
	t.Helper()
	var all []expectedTxn
	for txn, err := range r.Transactions(t.Context(), from) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, describe(t, txn))
	}
	return all
}

func TestGoldenFilesAreReadAsZODBReadsThem(t *testing.T) {
	t.Parallel()
	for _, name := range golden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, want := goldenFile(t, name)
			r := open(t, data)
			r.Warn = func(w Warning) { t.Errorf("warning: %+v", w) }
			if diff := cmp.Diff(want.Transactions, read(t, r, Position{})); diff != "" {
				t.Errorf("transactions (-want +got):\n%s", diff)
			}
			torn := r.Truncated()
			switch {
			case want.GoodSize == 0 && (torn != nil || r.Offset() != want.FileSize):
				t.Errorf("stopped at %d of %d, %+v", r.Offset(), want.FileSize, torn)
			case want.GoodSize != 0 && (torn == nil || torn.Offset != want.GoodSize || r.Offset() != want.GoodSize):
				t.Errorf("stopped at %d, %+v, want %d", r.Offset(), torn, want.GoodSize)
			}
			totals, err := r.Verify(t.Context())
			wantTotals := Totals{want.Counts["transactions"], want.Counts["records"], want.Counts["oids"]}
			if diff := cmp.Diff(wantTotals, totals); err != nil || diff != "" {
				t.Errorf("verify: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestIterationGoesOnAfterATransaction(t *testing.T) {
	t.Parallel()
	data, want := goldenFile(t, "undo.fs")
	r := open(t, data)
	for i, txn := range want.Transactions {
		for step, tid := range []zodb.TID{txn.TID - 1, txn.TID} {
			p, found, err := r.FindTID(t.Context(), tid)
			if err != nil || found != (step == 1) {
				t.Fatalf("find %s: %v, %v", tid, found, err)
			}
			rest := want.Transactions[i+step:]
			if diff := cmp.Diff(len(rest), len(read(t, r, p))); diff != "" {
				t.Errorf("transactions after %s (-want +got):\n%s", tid, diff)
			}
			for next, err := range r.Transactions(t.Context(), p) {
				if err != nil || next.TID != rest[0].TID || next.Previous != p.TID {
					t.Errorf("after %s comes %s with previous %s, %v", tid, next.TID, next.Previous, err)
				}
				break
			}
		}
	}
	beyond := Position{Offset: int64(len(data)) + 1}
	for _, err := range r.Transactions(t.Context(), beyond) {
		if err == nil {
			t.Error("a position behind the end gives a transaction")
		}
	}
}

func TestIterationStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	data, _ := goldenFile(t, "undo.fs")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range open(t, data).Transactions(ctx, Position{}) {
		n, last = n+1, err
		cancel()
	}
	if n != 2 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d steps, the last with %v", n, last)
	}
}

func TestLastOccurrenceInATransactionCounts(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.begin(10, ' ')
	b.data(1, 0, "first")
	b.data(2, 0, "other")
	again := b.data(1, 0, "second")
	b.end()
	b.begin(11, ' ')
	b.data(1, again, "third")
	b.end()
	r := open(t, b.file)
	var got []string
	for txn, err := range r.Transactions(t.Context(), Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		for rec, err := range txn.LastRecords() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(rec.Data))
		}
	}
	if diff := cmp.Diff([]string{"other", "second", "third"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n, err := r.Verify(t.Context()); err != nil || n.Objects != 2 || n.Records != 4 {
		t.Errorf("verify: %+v, %v", n, err)
	}
}

func TestEmptyAndForeignFiles(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{"nothing": "", "FS30": "FS30", "FS21": "FS21"} {
		r := open(t, []byte(data))
		if got := read(t, r, Position{}); len(got) != 0 || r.Truncated() != nil {
			t.Errorf("%s: %d transactions, %+v", name, len(got), r.Truncated())
		}
	}
	for _, data := range []string{"F", "FS3", "FS20....", "hello world"} {
		if _, err := NewReader(bytes.NewReader([]byte(data)), int64(len(data)), "x"); !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestUndoneTransactionIsSkipped(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.begin(10, 'u')
	b.file = append(b.file, "anything"...)
	b.end()
	b.begin(11, ' ')
	b.data(1, 0, "data")
	b.end()
	got := read(t, open(t, b.file), Position{})
	if len(got) != 1 || got[0].TID != 11 {
		t.Errorf("got %+v", got)
	}
}

func TestStrangeButHarmlessGivesWarnings(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.begin(10, 'p')
	b.data(1, 0, "data")
	b.end()
	lost := b.begin(12, ' ')
	record := b.data(1, 0, "previous position is lost")
	b.end()
	back := b.begin(11, ' ')
	b.end()
	var got []Warning
	r := open(t, b.file)
	r.Warn = func(w Warning) { got = append(got, Warning{Offset: w.Offset, TID: w.TID, OID: w.OID}) }
	if _, err := r.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []Warning{{Offset: record, TID: 12, OID: 1}, {Offset: back, TID: 11}}
	if diff := cmp.Diff(want, got); diff != "" || r.Warnings() != 2 {
		t.Errorf("(-want +got):\n%s (transaction at %d)", diff, lost)
	}
}
