package filestorage

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzReader asserts that any file is read without a panic, that every error names the damage, and
// that a copy of the read transactions holds the same.
func FuzzReader(f *testing.F) {
	f.Add(newSample().file)
	f.Add([]byte{})
	f.Add([]byte(magicPython2))
	chain := newSample()
	chain.begin(0x13, 'p')
	chain.back(1, chain.copy, chain.copy)
	chain.back(2, chain.other, 0)
	chain.end()
	f.Add(chain.file)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data), int64(len(data)), "Data.fs")
		if err != nil {
			named(t, err, data)
			return
		}
		if _, err := r.Verify(t.Context()); err != nil {
			named(t, err, data)
		}
		dst := new(memory)
		w := newWriter(dst)
		var want []expectedTxn
		for txn, err := range r.Transactions(t.Context(), Position{}) {
			if err == nil {
				for _, recErr := range txn.Records() {
					err = recErr
				}
			}
			if err != nil {
				named(t, err, data)
				break
			}
			if txn.TID <= w.last {
				break // that can't be copied
			}
			if err := w.Append(&txn.Transaction, plain(txn.Records())); err != nil {
				t.Fatal(err)
			}
			want = append(want, describe(t, txn))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := read(t, open(t, dst.data), Position{})
		if len(got) != len(want) {
			t.Fatalf("copied %d transactions, read %d", len(want), len(got))
		}
		for i := range want {
			same(t, want[i], got[i])
		}
	})
}

// named checks that an error tells the fault of the file.
func named(t *testing.T, err error, data []byte) {
	t.Helper()
	damage, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok || damage.Reason == "" || damage.Offset < 0 || damage.Offset > int64(len(data)) {
		t.Fatalf("error does not name the damage: %v", err)
	}
}

// same compares the fields that do not depend on positions.
func same(t *testing.T, want, got expectedTxn) {
	t.Helper()
	if want.TID != got.TID || want.Status != got.Status || want.User != got.User ||
		want.Description != got.Description || want.Extension != got.Extension || len(want.Records) != len(got.Records) {
		t.Fatalf("transaction %+v was copied as %+v", want, got)
	}
	for i, w := range want.Records {
		g := got.Records[i]
		if w.OID != g.OID || w.Gone != g.Gone || !w.Gone && *w.SHA256 != *g.SHA256 {
			t.Fatalf("record %+v was copied as %+v", w, g)
		}
	}
}
