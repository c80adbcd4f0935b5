package txn

import "github.com/dirstorage/dirstorage/zodb"

// MaxMerges is maxMerges for tests of package txn_test.
const MaxMerges = maxMerges

// LoseLocks lets others between two votes, as a vote does that needs more locks than
// the one before.
func LoseLocks(txn zodb.Txn) {
	t := txn.(*Txn)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held != nil {
		t.held.Unlock()
		t.held = nil
	}
}
