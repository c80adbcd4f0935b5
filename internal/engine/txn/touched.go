package txn

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine/packing"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// guarded is a transaction as the guard of packs sees it: it implements [packing.Txn].
type guarded struct{ t *Txn }

// Touched returns all objects that the transaction writes, relies on, or refers to. unseen is
// an error about a record whose references cannot be seen. The transaction holds its mutex.
func (g guarded) Touched() (list []packing.Touch, unseen, err error) {
	t := g.t
	for oid := range t.checks {
		list = append(list, packing.Touch{From: oid, To: oid})
	}
	var refs []zodb.OID
	for op := range t.ops.all() {
		oid := op.oid
		list = append(list, packing.Touch{From: oid, To: oid})
		if op.gone {
			continue
		}
		data, err := t.spool.get(op.data)
		if err != nil {
			return nil, nil, err
		}
		refs, err = pickle.AppendStrongRefs(refs[:0], data)
		if err != nil {
			unseen = errors.Join(unseen, &zodb.BrokenError{OID: oid, Err: fmt.Errorf("a record that was stored meanwhile: %w", err)})
			continue
		}
		for _, to := range refs {
			list = append(list, packing.Touch{From: oid, To: to})
		}
	}
	return list, unseen, nil
}
