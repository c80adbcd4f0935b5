package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// chain compares the transactions that there are with those that are named as
// the previous one of another.
func (c *checker) chain(ctx context.Context) {
	if c.serialKnown && c.serial != 0 && c.serial >= c.packed && c.serial > c.ends.newest {
		c.transactionMissing(c.serial, "x.serial names it")
	}
	if !c.ends.any {
		return
	}
	// Nobody has to name the newest; and the oldest may name one that was packed away.
	c.txSeen.removeTransaction(c.ends.newest)
	if last := c.ends.oldest; last.linked && last.previous != 0 {
		c.txNamed.removeTransaction(last.previous)
		if last.previous >= c.packed {
			c.transactionMissing(last.previous, "transaction "+last.tid.String()+" names it as the previous one")
		}
	}
	var differ bucketSet
	differ.addDifference(c.txSeen, c.txNamed)
	if differ.count == 0 {
		return
	}
	var gaps chainGaps
	// As many buckets at a time as hold about as many transactions as may be kept.
	perBucket := c.counts.transactions.Load()/buckets + 1
	for part := range differ.parts(int(maxRemembered/perBucket) + 1) {
		c.compareChain(ctx, part, &gaps)
	}
	if ctx.Err() == nil {
		c.reportGaps(ctx, &gaps)
	}
}

func (c *checker) transactionMissing(tid zodb.TID, detail string) {
	c.hadRoot.Store(true) // or not: nobody knows what it wrote
	if !c.missingTx.add(tid) {
		return
	}
	f := Finding{Kind: TransactionMissing, Severity: Damage, TID: tid, Path: c.v.place(layout.Transaction(tid)), Detail: detail}
	if tid < c.packed {
		f.Severity = Warning
		f.Detail += "; " + leftByPack
	}
	c.out.add(f)
}

// chainGaps are transactions between which there is no link.
type chainGaps struct {
	unnamed []zodb.TID // that are there, but no later one leads to them
	dropped int        // more of them
	old     int        // of dropped, those before x.packed
}

// links is the knowledge about the transactions of some buckets.
type links struct {
	mu    sync.Mutex
	there map[zodb.TID]struct{} // guarded by mu
	named map[zodb.TID]zodb.TID // guarded by mu; by whom
}

// transactions calls f for each transaction file.
func (c *checker) transactions(ctx context.Context, f func(w *worker, tid zodb.TID)) {
	c.v.walk(ctx, c.workers, visitor{files: func(ctx context.Context, w *worker, entries []found) {
		for _, e := range entries {
			if e.name.Kind == layout.KindTransaction && ctx.Err() == nil {
				f(w, e.name.TID)
			}
		}
	}})
}

// compareChain names the members in which two buckets of sets differ.
func (c *checker) compareChain(ctx context.Context, part *bucketSet, gaps *chainGaps) {
	l := links{there: make(map[zodb.TID]struct{}), named: make(map[zodb.TID]zodb.TID)}
	in := func(tid zodb.TID) bool { return part.bits[c.hash.transactionBucket(tid)] }
	c.transactions(ctx, func(w *worker, tid zodb.TID) {
		t, s, _ := c.readTransaction(w, tid)
		l.mu.Lock()
		defer l.mu.Unlock()
		if in(tid) {
			l.there[tid] = struct{}{}
		}
		if s != missing && t.linked && t.previous != 0 && in(t.previous) {
			l.named[t.previous] = tid
		}
	})
	if ctx.Err() != nil {
		return
	}
	for tid, by := range l.named {
		if _, ok := l.there[tid]; !ok && by != c.ends.oldest.tid {
			c.transactionMissing(tid, "transaction "+by.String()+" names it as the previous one")
		}
	}
	for tid := range l.there {
		if _, ok := l.named[tid]; ok || tid == c.ends.newest {
			continue
		}
		if len(gaps.unnamed) == maxRemembered {
			gaps.dropped++
			if tid < c.packed {
				gaps.old++
			}
			continue
		}
		gaps.unnamed = append(gaps.unnamed, tid)
	}
}

// reportGaps reports the transactions that no later one leads to, except
// where that follows from damage to the next later one.
func (c *checker) reportGaps(ctx context.Context, gaps *chainGaps) {
	if len(gaps.unnamed) == 0 {
		return
	}
	slices.Sort(gaps.unnamed)
	next := make([]zodb.TID, len(gaps.unnamed)) // the next later transaction of each, 0 = none
	var mu sync.Mutex
	later := func(tid zodb.TID) {
		// A transaction is the next later one of at most the last that is earlier.
		i, _ := slices.BinarySearch(gaps.unnamed, tid)
		mu.Lock()
		defer mu.Unlock()
		if i > 0 && (next[i-1] == 0 || tid < next[i-1]) {
			next[i-1] = tid
		}
	}
	c.transactions(ctx, func(_ *worker, tid zodb.TID) { later(tid) })
	for tid := range maps.Keys(c.missingTx.tids) {
		later(tid)
	}
	for i, tid := range gaps.unnamed {
		if c.damagedTx.has(next[i]) || c.missingTx.has(next[i]) {
			continue
		}
		f := Finding{Kind: TransactionNotInChain, Severity: Damage, TID: tid, Path: c.v.place(layout.Transaction(tid)),
			Detail: fmt.Sprintf("the next later transaction, %s, does not name it as the previous one", next[i])}
		if tid < c.packed {
			f.Severity = Warning
			f.Detail += "; " + leftByPack
		}
		c.out.add(f)
	}
	if gaps.dropped > 0 {
		f := Finding{Kind: TooMany, Severity: Damage, Detail: human.Plural(int64(gaps.dropped), "more transaction that is not in the chain", "more transactions that are not in the chain")}
		if gaps.old == gaps.dropped {
			f.Severity = Warning
		}
		c.out.add(f)
	}
}
