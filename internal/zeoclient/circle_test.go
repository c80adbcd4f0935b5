package zeoclient

import (
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestRecordsInACircleAreNoticed: however long the circle is, and whatever came before it.
func TestRecordsInACircleAreNoticed(t *testing.T) {
	t.Parallel()
	for _, length := range []int{1, 2, 3, 7, 200} {
		for _, before := range []int{0, 1, 5_000} {
			var e equalRecords
			n, most := 0, before*3+(length+2)*4*mostEqual
			for ; n < most; n++ {
				oid := zodb.OID(n)
				if n >= before {
					oid = zodb.OID(before + (n-before)%length)
				}
				if e.err(&zodb.Record{OID: oid, TID: 1, Data: []byte("x")}) != nil {
					break
				}
			}
			if n == most {
				t.Errorf("%d records in a circle of %d behind %d others, and no error", n, length, before)
			}
			if n < before+mostEqual {
				t.Errorf("an error after %d records: a circle of %d behind %d others", n, length, before)
			}
		}
	}
}

// TestRecordsThatAreThereAgainAreNoCircle: each some hundred times, and many.
func TestRecordsThatAreThereAgainAreNoCircle(t *testing.T) {
	t.Parallel()
	var e equalRecords
	for n := range 100_000 {
		if err := e.err(&zodb.Record{OID: zodb.OID(n / 500), TID: 1, Data: []byte("x")}); err != nil {
			t.Fatal(n, err)
		}
	}
}
