package record

import (
	"bytes"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzObject asserts that a parsed file is written again as it was, and
// that with a checksum no other bytes after the header can be.
func FuzzObject(f *testing.F) {
	for _, kind := range sumKinds() {
		f.Add(mustAppend(f, sampleObject.Append, kind))
	}
	f.Add(wrongTag(mustAppend(f, sampleObject.Append, XXH64)))
	f.Add([]byte(ObjectMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseObject(b, "p", true)
		header, n, headerErr := ParseObjectHeader(b, int64(len(b)), "p")
		if err != nil {
			return
		}
		if headerErr != nil || header.OID != o.OID || header.Serial != o.Serial || n != int64(len(o.Data)) {
			t.Errorf("header %+v, %d bytes of data, %v; whole %+v", header, n, headerErr, o)
		}
		if _, err := ParseObjectAs(b, "p", o.OID, o.Serial, true); err != nil {
			t.Error(err)
		}
		if again := mustAppend(t, o.Append, SumKindOf(b)); !bytes.Equal(again, b) {
			t.Errorf("%x was written as %x", b, again)
		}
	})
}

func FuzzTransaction(f *testing.F) {
	for _, kind := range sumKinds() {
		f.Add(mustAppend(f, sampleTxn.Append, kind))
	}
	f.Add(wrongTag(mustAppend(f, sampleTxn.Append, XXH64)))
	for name, b := range hometest.Files(f, "flat") {
		if len(name) > 3 && name[:3] == "A/t" {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		txn, err := ParseTransaction(b, "p", true)
		if err != nil {
			return
		}
		if _, err := ParseTransactionAs(b, "p", txn.TID, true); err != nil {
			t.Error(err)
		}
		again := mustAppend(t, txn.Append, SumKindOf(b))
		// Reserved bytes are not kept.
		want := bytes.Clone(b)
		clear(want[transactionReserved:transactionPrevious])
		if !bytes.Equal(again, want) {
			t.Errorf("%x was written as %x", want, again)
		}
	})
}

func FuzzPointer(f *testing.F) {
	f.Add(AppendPointer(nil, 5))
	f.Add(append([]byte(pointerMagic), AppendPointer(nil, 5)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		serial, err := ParsePointer(b, "p", 1)
		if err == nil && !bytes.HasSuffix(b, AppendPointer(nil, serial)) {
			t.Errorf("%x reads as %s", b, serial)
		}
		if v, err := ParseX(b, "p"); err == nil && (zodb.TID(v) != serial || !bytes.Equal(AppendX(nil, v), b)) {
			t.Errorf("%x reads as %d", b, v)
		}
	})
}
