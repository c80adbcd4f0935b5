package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// madeOf is a storage of transactions with so many records of some size. It counts the bytes that were read.
type madeOf struct {
	records []int
	size    int
	read    atomic.Int64
	fails   string // where an error comes
	err     error
	reading atomic.Int64 // sequences of records that have not ended
}

func (m *madeOf) transactions(ctx context.Context) iter.Seq2[*zodb.Transaction, error] {
	return func(yield func(*zodb.Transaction, error) bool) {
		for i, n := range m.records {
			txn := &zodb.Transaction{TID: zodb.TID(i + 1), OIDs: make([]zodb.OID, n)}
			if m.fails == fmt.Sprint(txn.TID) {
				yield(nil, m.err)
				return
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(txn, nil) {
				return
			}
		}
	}
}

func (m *madeOf) Records(_ context.Context, t *zodb.Transaction) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		m.reading.Add(1)
		defer m.reading.Add(-1)
		for i := range t.OIDs {
			if m.fails == fmt.Sprintf("%s/%d", fmt.Sprint(t.TID), i) {
				yield(zodb.Record{}, m.err)
				return
			}
			m.read.Add(int64(m.size))
			if !yield(zodb.Record{OID: zodb.OID(i), TID: t.TID, Data: make([]byte, m.size)}, nil) {
				return
			}
		}
	}
}

// TestReadAheadYieldsTheSame: transactions and records come in their order, errors behind all that is before
// them, whether all records of a transaction are asked for, or some, or none.
func TestReadAheadYieldsTheSame(t *testing.T) {
	t.Parallel()
	records := []int{1, 0, 300, 64, 2, 128, 1}
	broken := errors.New("broken")
	for _, fails := range []string{"", "1", "4", "1/0", "3/0", "3/200", "3/299", "4/63", "7/0"} {
		for _, most := range []int{0, 1, 64, 1000} {
			t.Run(fmt.Sprintf("%s, %d records", fails, most), func(t *testing.T) {
				t.Parallel()
				look := func(list iter.Seq2[aheadTxn, error]) (seen []string) {
					for txn, err := range list {
						if err != nil {
							return append(seen, err.Error())
						}
						seen = append(seen, txn.TID.String())
						left := most
						for rec, err := range txn.records {
							if left--; left < 0 {
								break
							}
							if err != nil {
								seen = append(seen, err.Error())
								break
							}
							seen = append(seen, fmt.Sprint(rec.OID, rec.TID, len(rec.Data)))
						}
					}
					return seen
				}
				m := &madeOf{records: records, size: 3000, fails: fails, err: broken}
				want := look(func(yield func(aheadTxn, error) bool) {
					for txn, err := range m.transactions(t.Context()) {
						if err != nil {
							yield(aheadTxn{}, err)
							return
						}
						if !yield(aheadTxn{txn, m.Records(t.Context(), txn)}, nil) {
							return
						}
					}
				})
				if got := look(transactionsAhead(t.Context(), m.transactions, m)); !slices.Equal(got, want) {
					t.Errorf("%d came; want %d:\n%q\n%q", len(got), len(want), got, want)
				}
			})
		}
	}
}

// TestReadAheadTakesLittleMemory: of small records and of large ones not more is read ahead than the bound
// and one record. Nothing reads any more when the sequence has ended.
func TestReadAheadTakesLittleMemory(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 1000, aheadBytes / 2, 3 * aheadBytes} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			m := &madeOf{records: slices.Repeat([]int{3, 700}, 3), size: size}
			if size >= aheadBytes/2 {
				m.records = []int{2, 9, 1}
			}
			used, last := int64(0), int64(0)
			for txn, err := range transactionsAhead(t.Context(), m.transactions, m) {
				for rec, err := range txn.records {
					if err != nil {
						t.Fatal(err)
					}
					if ahead := m.read.Load() - used; ahead > aheadBytes+aheadBytes/4+2*int64(size) {
						t.Fatalf("%d bytes are in memory", ahead)
					}
					used += int64(len(rec.Data))
				}
				if err != nil {
					t.Fatal(err)
				}
				if last = int64(txn.TID); int(last) == len(m.records)-1 {
					break
				}
			}
			if n := m.reading.Load(); n != 0 || last != int64(len(m.records)-1) {
				t.Errorf("%d sequences are being read after transaction %d", n, last)
			}
		})
	}
}

// TestReadAheadEndsWithItsContext: a reader that waits for room ends.
func TestReadAheadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m := &madeOf{records: slices.Repeat([]int{100}, 50), size: aheadBytes / 8}
	var ended error
	n := 0
	for _, err := range transactionsAhead(ctx, m.transactions, m) {
		if err != nil {
			ended = err
			break
		}
		n++
		cancel()
	}
	if !errors.Is(ended, context.Canceled) || n == len(m.records) {
		t.Errorf("%d transactions, %v", n, ended)
	}
}

// TestCompareInAnyOrder: a copy has the objects of a transaction in another order, and of those of which packs
// took the revision from the source some more. A difference is found wherever its object stands.
func TestCompareInAnyOrder(t *testing.T) {
	t.Parallel()
	build := func(oids []zodb.OID, other zodb.OID) zodb.Storage {
		s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0"}}), engine.Options{})
		for tid := zodb.TID(1000); tid < 1002; tid++ {
			txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
			for _, oid := range oids {
				text := fmt.Sprint("object ", oid, tid)
				if oid == other && tid == 1001 {
					text = "another"
				}
				if err == nil {
					err = txn.Restore(t.Context(), zodb.Record{OID: oid, Exists: true, Data: enginetest.Record(text)}, nil)
				}
			}
			if err == nil {
				err = txn.Vote(t.Context())
			}
			if err == nil {
				_, err = txn.Finish(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	source := build([]zodb.OID{0, 1, 2, 3, 4, 5}, 99)
	orders := [][]zodb.OID{{0, 3, 1, 5, 2, 4}, {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {1, 2, 3, 4, 5, 0}}
	if testing.Short() {
		orders = orders[:1]
	}
	for _, order := range orders {
		if done, err := Compare(t.Context(), source, build(order, 99), CompareOptions{}); err != nil || done.Records != 12 || done.Transactions != 2 {
			t.Errorf("%v: %+v, %v", order, done, err)
		}
		for _, other := range []zodb.OID{1, 5} {
			want := fmt.Sprintf("the copy differs: object %s has another record in transaction %s", other, zodb.TID(1001))
			if _, err := Compare(t.Context(), source, build(order, other), CompareOptions{}); !errors.Is(err, ErrDiffers) || err.Error() != want {
				t.Errorf("%v: %v; want %s", order, err, want)
			}
		}
		if _, err := Compare(t.Context(), source, build(append([]zodb.OID{9}, order...), 99), CompareOptions{}); !errors.Is(err, ErrDiffers) {
			t.Errorf("%v and an object more: %v", order, err)
		}
		if _, err := Compare(t.Context(), source, build(order[1:], 99), CompareOptions{}); !errors.Is(err, ErrDiffers) {
			t.Errorf("%v: %v", order[1:], err)
		}
	}
}
