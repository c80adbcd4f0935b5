package lineage

import "fmt"

// SameA says why A may differ from the A beside which the files in misc were written, or from
// its successor here; nil: it is the same. Another process may have gone on with a copy of A,
// and garbage may be in use there: this HOME has guarded none of the transactions that were
// committed to it.
func (l *Lineage) SameA() error {
	last, flushed := l.o.State.LastTID(), l.o.State.FlushedTID()
	switch counted := l.o.Counted.TID(); {
	case l.err != nil:
		return fmt.Errorf("it cannot be told whether A is the one that it was made for: %w", l.err)
	case l.reason != "":
		return fmt.Errorf("the directory A may not be the one that it was made for: %s", l.reason)
	case l.past > last:
		return fmt.Errorf("the directory A is older than it was when transaction %s was there", l.past)
	case counted < flushed: // which is written before x.serial, by each flush
		return fmt.Errorf("the directory A ends with transaction %s, and the transactions flushed here end with %s", flushed, counted)
	}
	return nil
}
