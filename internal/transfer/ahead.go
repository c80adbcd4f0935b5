package transfer

import (
	"context"
	"iter"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// aheadBytes is how many bytes of records are read before they are asked for. One record more may
// be in memory.
const aheadBytes = 256 << 10

// aheadRecords is how many records are handed over at a time.
const aheadRecords = 64

// readAhead reads transactions with their records in a goroutine of its own, so that it waits for the
// disk, or decodes, while the records before are used.
type readAhead struct {
	mu      sync.Mutex
	changed *sync.Cond
	pieces  []piece // guarded by mu; not taken yet
	held    int64   // guarded by mu; bytes of the pieces, and of the one that was taken last
	ended   bool    // guarded by mu; there are no more
	stopped bool    // guarded by mu; nobody takes them any more

	// Of the goroutine that takes them:

	taken   int64  // bytes of the piece that was taken last
	pending *piece // was taken, and is the beginning of the next transaction
}

// piece is the beginning of a transaction, or some of its records, or an error.
type piece struct {
	txn     *zodb.Transaction
	records []zodb.Record
	size    int64 // of their data
	err     error // behind the records; of the sequence of transactions if ofTxns
	ofTxns  bool
}

// aheadTxn is a transaction that is read ahead. Its records can be read once, and before the next
// transaction is asked for.
type aheadTxn struct {
	*zodb.Transaction
	records iter.Seq2[zodb.Record, error]
}

// transactionsAhead yields transactions, and the records that a storage has of them, as both sequences would: an
// error comes where it would come. A record that nobody asks for may be read all the same.
func transactionsAhead(ctx context.Context, list func(context.Context) iter.Seq2[*zodb.Transaction, error], s recorder) iter.Seq2[aheadTxn, error] {
	return func(yield func(aheadTxn, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		a := new(readAhead)
		a.changed = sync.NewCond(&a.mu)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer a.stop()
		defer cancel()
		reading.Go(func() {
			defer a.end()
			a.read(ctx, list(ctx), s)
		})
		for {
			p, ok := a.take()
			switch {
			case !ok:
				return
			case p.ofTxns:
				yield(aheadTxn{Transaction: p.txn}, p.err)
				return
			case p.txn == nil: // of a transaction whose records nobody wanted
			case !yield(aheadTxn{p.txn, a.records}, nil):
				return
			}
		}
	}
}

// recorder is the part of a storage that yields the records of a transaction.
type recorder interface {
	Records(ctx context.Context, t *zodb.Transaction) iter.Seq2[zodb.Record, error]
}

// read hands over everything, until nobody takes it any more.
func (a *readAhead) read(ctx context.Context, list iter.Seq2[*zodb.Transaction, error], s recorder) {
	for txn, err := range list {
		if err != nil {
			a.hand(piece{txn: txn, err: err, ofTxns: true})
			return
		}
		if !a.hand(piece{txn: txn}) {
			return
		}
		var p piece
		for rec, err := range s.Records(ctx, txn) {
			if err != nil {
				p.err = err
				break
			}
			p.records = append(p.records, rec)
			p.size += int64(len(rec.Data))
			if len(p.records) < aheadRecords && p.size < aheadBytes/4 {
				continue
			}
			if !a.hand(p) {
				return
			}
			p = piece{}
		}
		if (len(p.records) > 0 || p.err != nil) && !a.hand(p) {
			return
		}
	}
}

// hand hands a piece over, and waits until there is room for another one.
func (a *readAhead) hand(p piece) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.held > 0 && a.held+p.size > aheadBytes && !a.stopped {
		a.changed.Wait()
	}
	a.pieces = append(a.pieces, p)
	a.held += p.size
	a.changed.Broadcast()
	for (a.held > aheadBytes || len(a.pieces) > aheadPieces) && !a.stopped {
		a.changed.Wait()
	}
	return !a.stopped
}

// aheadPieces bounds the pieces without data.
const aheadPieces = 64

// take returns the next piece, and gives up that before it; false: there is none.
func (a *readAhead) take() (p piece, ok bool) {
	if a.pending != nil {
		p, a.pending = *a.pending, nil
		return p, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held -= a.taken
	a.taken = 0
	a.changed.Broadcast()
	for len(a.pieces) == 0 && !a.ended {
		a.changed.Wait()
	}
	if len(a.pieces) == 0 {
		return piece{}, false
	}
	p, a.pieces = a.pieces[0], a.pieces[1:]
	a.taken = p.size
	return p, true
}

// records yields the records of the transaction that was taken last.
func (a *readAhead) records(yield func(zodb.Record, error) bool) {
	for {
		p, ok := a.take()
		if !ok {
			return
		}
		if p.txn != nil || p.ofTxns {
			a.pending = &p
			return
		}
		for _, rec := range p.records {
			if !yield(rec, nil) {
				return
			}
		}
		if p.err != nil {
			yield(zodb.Record{}, p.err)
			return
		}
	}
}

func (a *readAhead) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.changed.Broadcast()
}

func (a *readAhead) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.changed.Broadcast()
}
