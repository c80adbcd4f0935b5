package txn

import "sync"

// openTxns are the transactions that were begun and have not ended.
type openTxns struct {
	mu  sync.Mutex
	set map[*Txn]struct{}
}

func (o *openTxns) add(t *Txn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set == nil {
		o.set = make(map[*Txn]struct{})
	}
	o.set[t] = struct{}{}
}

func (o *openTxns) remove(t *Txn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.set, t)
}

func (o *openTxns) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.set)
}

// abortAll is called by Close. Calls that are under way come to their end first.
func (o *openTxns) abortAll() {
	o.mu.Lock()
	list := make([]*Txn, 0, len(o.set))
	for t := range o.set {
		list = append(list, t)
	}
	o.mu.Unlock()
	for _, t := range list {
		// The next open removes its leftovers.
		_ = t.Abort()
	}
}
