package zeoclient

import (
	"bytes"

	"github.com/dirstorage/dirstorage/zodb"
)

// mostErrors is how many errors in a row an iterator may give. A server of this project has one for each
// damaged transaction, or record.
const mostErrors = 1 << 20

// errorsInARow tells an iterator that stands still from one that goes on behind an error.
type errorsInARow struct {
	n            int
	last, before string
}

// goesOn takes the next error. A server whose iterator does not go on says the same again, or two things by turns; or
// a new one for ever.
func (e *errorsInARow) goesOn(err error) bool {
	text := err.Error()
	if text == e.last || text == e.before || e.n >= mostErrors {
		return false
	}
	e.n, e.last, e.before = e.n+1, text, e.last
	return true
}

// mostEqual is how often a record may come again. Python's server has the record of a blob twice.
const mostEqual = 1000

// equalRecords tells an iterator that goes on from one that gives the same records again and again, in a
// circle of any length: each record is compared with an earlier one, in whose place a later one comes
// after twice as many records each time. So it need not keep them.
type equalRecords struct {
	n, until int64
	again    int
	one      zodb.Record
}

// err takes the next record.
func (e *equalRecords) err(rec *zodb.Record) error {
	if e.n++; rec.OID == e.one.OID && rec.DataTID == e.one.DataTID && bytes.Equal(rec.Data, e.one.Data) {
		e.again++
	}
	if e.again >= mostEqual {
		return protocolError("the server gives the record of object %s at %s more than %d times: its iterator does not go on", rec.OID, rec.TID, mostEqual)
	}
	if e.n > e.until {
		*e = equalRecords{n: e.n, until: max(2*e.n, 4*mostEqual), one: *rec}
	}
	return nil
}
