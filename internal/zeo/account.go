package zeo

import (
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/budget"
)

// account is the memory that the steps of a transaction take until its end, in bytes. All methods
// may be called concurrently.
type account struct {
	share *budget.Share
	held  atomic.Int64
	extra atomic.Int64 // of late, beyond its share
}

// lateMost is the number of bytes of steps, coming while a vote waits, that are taken although
// there is no memory for them: a few are nothing beside the others of the transaction.
const lateMost = 16 << 10

// try takes n if there is so much.
func (a *account) try(n int64) bool { return a.add(n, a.share.Try) }

// inTurn is try for the one transaction that may take nearly all.
func (a *account) inTurn(n int64) bool { return a.add(n, a.share.TryInTurn) }

func (a *account) add(n int64, take func(int64) bool) bool {
	if n <= 0 {
		return true
	}
	if !take(n) {
		return false
	}
	a.held.Add(n)
	return true
}

// late is try for a step that comes while the vote waits, maybe for memory. No transaction gets
// more in all than the largest one may have.
func (a *account) late(n int64) bool {
	if a.held.Load()+n > a.share.MostInTurn() {
		return false
	}
	if a.try(n) {
		return true
	}
	if a.extra.Add(n) > lateMost || !a.inTurn(n) {
		a.extra.Add(-n)
		return false
	}
	return true
}

// give gives n of it back.
func (a *account) give(n int64) {
	a.held.Add(-n)
	a.share.Give(n)
}

// end gives all of it back.
func (a *account) end() { a.share.Give(a.held.Swap(0)) }
