package storetest

import (
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Txn is a transaction for tests: it stores its tid as the data of some objects. Its contents have
// checksums of both kinds, as builds of all times put them.
type Txn struct {
	Tid      zodb.TID
	Previous zodb.TID
	OIDs     []zodb.OID
	Before   map[zodb.OID]zodb.TID // the serials that the objects had
	Blob     string                // staged file of the first object; its name is its content
	Kinds    int                   // other numbers give other kinds of checksums
}

// noSums are the kinds of checksums that are not computed: damage of such contents is not found.
const noSums = 2

var _ store.Transaction = (*Txn)(nil)

// TID implements [store.Transaction].
func (x *Txn) TID() zodb.TID { return x.Tid }

// HighestOID implements [store.Transaction].
func (x *Txn) HighestOID() zodb.OID { return slices.Max(x.OIDs) }

// Len implements [store.Transaction].
func (x *Txn) Len() int { return len(x.OIDs) }

// Revision implements [store.Transaction].
func (x *Txn) Revision(i int) store.Revision {
	r := store.Revision{OID: x.OIDs[i], First: x.Before[x.OIDs[i]] == 0}
	if i == 0 && x.Blob != "" {
		r.Blob, r.BlobSize = x.Blob, int64(len(x.Blob))
	}
	return r
}

// AppendRevision implements [store.Transaction].
func (x *Txn) AppendRevision(dst []byte, i int) ([]byte, error) {
	o := record.Object{OID: x.OIDs[i], Serial: x.Tid, Previous: x.Before[x.OIDs[i]], Data: x.Tid.Bytes()}
	if i == 0 && x.Blob != "" {
		o.BlobSum = record.SumBlob([]byte(x.Blob))
	}
	return o.Append(dst, x.sumKind(i+1))
}

// AppendTransaction implements [store.Transaction].
func (x *Txn) AppendTransaction(dst []byte) ([]byte, error) {
	t := record.Transaction{TID: x.Tid, Previous: x.Previous, OIDs: x.OIDs}
	return t.Append(dst, x.sumKind(0))
}

// sumKind is the kind of checksum of the i-th of the contents.
func (x *Txn) sumKind(i int) record.SumKind {
	if x.Kinds == noSums {
		return record.NoSum
	}
	return []record.SumKind{record.XXH64, record.MD5}[(int(x.Tid>>20)+i+x.Kinds)%2]
}

// Chain returns transactions 1, 2, … that write the objects of each, with the serials that
// they replace.
func Chain(objects ...[]zodb.OID) []store.Transaction {
	var list []store.Transaction
	current := make(map[zodb.OID]zodb.TID)
	for i, oids := range objects {
		x := &Txn{Tid: tid(i + 1), OIDs: oids, Before: make(map[zodb.OID]zodb.TID)}
		if i > 0 {
			x.Previous = tid(i)
		}
		for _, oid := range oids {
			x.Before[oid] = current[oid]
			current[oid] = x.Tid
		}
		list = append(list, x)
	}
	return list
}

// tid returns the tid of the i-th transaction.
func tid(i int) zodb.TID { return zodb.TID(i) << 20 }

// stage gives the first object of each transaction a blob, durably.
func stage(f vfs.FS, all []store.Transaction) error {
	for i, x := range all {
		name := fmt.Sprintf("journal/staged-%d", i+1)
		x.(*Txn).Blob = name
		if err := vfs.WriteFileAtomic(f, "journal/aside-staged", name, []byte(name), vfs.SyncOptions{File: true, Dir: true}); err != nil {
			return err
		}
	}
	return nil
}
