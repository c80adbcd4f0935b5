package flush

import (
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// outgoing is a committed transaction that a flush hands over to the store.
type outgoing struct {
	w *Worker
	c *state.Committed
}

var _ store.Transaction = (*outgoing)(nil)

// outgoing returns a batch as the store wants it.
func (w *Worker) outgoing(batch []*state.Committed) []store.Transaction {
	list := make([]store.Transaction, len(batch))
	for i, c := range batch {
		list[i] = &outgoing{w, c}
	}
	return list
}

// TID implements [store.Transaction].
func (o *outgoing) TID() zodb.TID { return o.c.TID }

// HighestOID implements [store.Transaction].
func (o *outgoing) HighestOID() zodb.OID { return o.c.MaxOID }

// Len implements [store.Transaction].
func (o *outgoing) Len() int { return len(o.c.Records) }

// Revision implements [store.Transaction].
func (o *outgoing) Revision(i int) store.Revision {
	e := &o.c.Records[i]
	r := store.Revision{OID: e.OID, First: e.Previous == 0}
	if e.Blob {
		r.Blob, r.BlobSize = e.BlobFile, e.BlobSize
	}
	return r
}

// AppendRevision implements [store.Transaction]: it may have to be read from the log.
func (o *outgoing) AppendRevision(dst []byte, i int) ([]byte, error) {
	object, err := o.w.o.Unflushed.FromLog(o.c.Revision(i))
	if err != nil {
		return dst, err
	}
	return object.Append(dst, o.w.sumKind())
}

// AppendTransaction implements [store.Transaction].
func (o *outgoing) AppendTransaction(dst []byte) ([]byte, error) {
	return o.c.File().Append(dst, o.w.sumKind())
}

// sumKind returns the kind of checksum of what is handed over.
func (w *Worker) sumKind() record.SumKind { return w.o.Home.SumKind(w.o.Store) }
