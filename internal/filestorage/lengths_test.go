package filestorage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// large is the size of files, in bytes, of which tests take a part only.
const large = 20_000

// filesWithLengths are files of all kinds of ends.
func filesWithLengths(t *testing.T) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, name := range golden {
		files[name], _ = goldenFile(t, name)
	}
	files["records only"] = many(4).file
	b := many(2)
	b.begin(0x200, ' ')
	b.end()
	files["empty at the end"] = b.file
	b = many(1)
	for tid := range zodb.TID(3) {
		b.begin(0x200+tid, ' ')
		b.end()
	}
	files["empty ones at the end"] = b.file
	b = many(2)
	b.begin(0x200, 'u')
	b.file = append(b.file, "anything"...)
	b.end()
	files["undone at the end"] = b.file
	b = many(2)
	b.begin(0x200, 'c')
	b.data(1, 0, "voted")
	b.end()
	files["voted at the end"] = b.file
	for _, n := range []int{1, 7, 8, 15, 22, 23, 60, 100} {
		files[fmt.Sprintf("torn after %d bytes", n)] = append(bytes.Clone(many(3).file), many(5).file[len(many(3).file):][:n]...)
	}
	b = many(1)
	b.begin(0x200, ' ')
	b.data(9, 0, string(files["empty ones at the end"]))
	b.end()
	files["a Data.fs in a record"] = b.file
	return files
}

// txnAt is the transaction at a place of a sound file.
type txnAt struct {
	pos, length int64
	header      txnHeader
	records     []int64 // their positions
}

// walk returns all transactions in a file up to a torn end, by their lengths alone.
func walk(file []byte) (all []txnAt) {
	for pos := int64(magicLen); pos+txnHeaderLen <= int64(len(file)); {
		h := parseTxnHeader(file[pos:])
		if h.status == statusVoted || int64(h.length)+lengthLen > int64(len(file))-pos {
			break
		}
		txn := txnAt{pos: pos, length: int64(h.length), header: h}
		if h.status != statusUndone {
			for at := pos + h.size(); at < pos+txn.length; {
				txn.records = append(txn.records, at)
				at += dataHeaderLen + int64(parseDataHeader(file[at:]).body())
			}
		}
		all = append(all, txn)
		pos += txn.length + lengthLen
	}
	return all
}

// countTxns reads a file whole and counts its transactions.
func countTxns(t *testing.T, file []byte, salvage func(Skipped)) (n int, err error) {
	t.Helper()
	r := newReader(t, file)
	r.Salvage = salvage
	for txn, err := range r.Transactions(t.Context(), Position{}) {
		if err != nil {
			return n, err
		}
		for _, err := range txn.Records() {
			if err != nil {
				return n, err
			}
		}
		n++
	}
	return n, nil
}

// countRead counts the transactions that a reader finds.
func countRead(t *testing.T, r *Reader) (n int) {
	t.Helper()
	for _, err := range r.transactions(t.Context(), Position{}, headerAhead) {
		if err != nil {
			t.Error(err)
		}
		n++
	}
	return n
}

// TestNoFlippedBitOfALengthIsATornEnd flips each bit of each length in files of all kinds:
// both of each transaction, and, in small files, those of its texts and of its records.
// None may be read as a shorter file. Where it is one of the two lengths of a transaction,
// salvage has everything.
func TestNoFlippedBitOfALengthIsATornEnd(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for name, sound := range filesWithLengths(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, _, err := readAll(t, sound, nil)
			if err != nil {
				t.Fatal(err)
			}
			txns, err := countTxns(t, sound, nil)
			if err != nil {
				t.Fatal(err)
			}
			flip := func(at int64, size int, both bool) {
				for bit := range size * 8 {
					file := bytes.Clone(sound)
					file[at+int64(bit/8)] ^= 1 << (bit % 8)
					if n, err := countTxns(t, file, nil); !errors.Is(err, zodb.ErrCorrupt) {
						t.Errorf("bit %d of the length at byte %d: %d of %d transactions and %v", bit, at, n, txns, err)
					}
					if !both {
						continue
					}
					told := 0
					got, r, err := readAll(t, file, func(s Skipped) {
						if told++; !s.Taken {
							t.Errorf("bit %d of the length at byte %d: salvage skips %+v", bit, at, s)
						}
					})
					if err != nil || !maps.Equal(got, want) || told == 0 {
						t.Errorf("bit %d of the length at byte %d: salvage tells %d times, has %d of %d records, %v", bit, at, told, len(got), len(want), err)
					}
					if n := countRead(t, r); n != txns {
						t.Errorf("bit %d of the length at byte %d: salvage has %d of %d transactions, %+v", bit, at, n, txns, r.Truncated())
					}
				}
			}
			all := walk(sound)
			for i, txn := range all {
				if txn.header.status == statusUndone {
					continue // of which nothing can be lost; see below
				}
				if len(sound) > large && i%5 != 0 && i < len(all)-2 {
					continue
				}
				flip(txn.pos+8, 8, true)
				flip(txn.pos+txn.length, 8, true)
				if slices.Contains(golden, name) {
					continue
				}
				for i := range int64(3) {
					flip(txn.pos+17+2*i, 2, false)
				}
				for _, at := range txn.records {
					flip(at+34, 8, false)
				}
			}
		})
	}
}

// TestLengthOfAnUndoneTransaction: of one at the end too, since transactions behind it would be
// lost.
func TestLengthOfAnUndoneTransaction(t *testing.T) {
	t.Parallel()
	sound := filesWithLengths(t)["undone at the end"]
	txns := walk(sound)
	last := txns[len(txns)-1]
	for bit := range 64 {
		for _, at := range []int64{last.pos + 8, last.pos + last.length} {
			file := bytes.Clone(sound)
			file[at+int64(bit/8)] ^= 1 << (bit % 8)
			if n, err := countTxns(t, file, nil); !errors.Is(err, zodb.ErrCorrupt) || n != 2 {
				t.Errorf("bit %d of the length at byte %d: %d transactions, %v", bit, at, n, err)
			}
			if n, err := countTxns(t, file, func(Skipped) {}); err != nil || n != 2 {
				t.Errorf("bit %d of the length at byte %d: salvage has %d transactions, %v", bit, at, n, err)
			}
		}
	}
}

// TestEveryCutIsATornEnd cuts files behind each byte: a write that a crash tore off, or a
// copy that ended early.
func TestEveryCutIsATornEnd(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for name, sound := range filesWithLengths(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, from := int64(magicLen), Position{}
			txns, whole, step := walk(sound), 0, int64(1)
			if len(sound) > large {
				step = 17
			}
			for cut := int64(magicLen); cut <= int64(len(sound)); cut += step {
				for len(txns) > 0 && txns[0].pos+txns[0].length+lengthLen <= cut {
					from = Position{Offset: txns[0].pos} // all before was read for an earlier cut
					good = txns[0].pos + txns[0].length + lengthLen
					whole = 1
					if txns[0].header.status == statusUndone {
						whole = 0
					}
					txns = txns[1:]
				}
				r := newReader(t, sound[:cut])
				n := 0
				for _, err := range r.Transactions(t.Context(), from) {
					if err != nil {
						t.Fatalf("cut at %d: %v", cut, err)
					}
					n++
				}
				torn := r.Truncated()
				if n != whole || (torn == nil) != (good == cut) || torn != nil && torn.Offset != good {
					t.Errorf("cut at %d: %d transactions, want %d; %+v, want %d", cut, n, whole, torn, good)
				}
			}
		})
	}
}

// TestOIDThatLooksLikeALength: the header of a record that was torn off begins with an oid,
// and where it begins, a whole transaction has its length.
func TestOIDThatLooksLikeALength(t *testing.T) {
	t.Parallel()
	b := many(1)
	start := b.begin(0x2000000000000001, ' ')
	b.data(1, 0, "first")
	length := int64(len(b.file)) - start
	at := b.header(zodb.OID(length), 0, 10_000)
	binary.BigEndian.PutUint64(b.file[start+8:], uint64(length)+12_345)
	for cut := at; cut < int64(len(b.file)); cut++ {
		r := newReader(t, b.file[:cut])
		n, err := r.Verify(t.Context())
		if cut == at+8 {
			// The file ends with bytes that lead back to the transaction: not to be told apart.
			if !errors.Is(err, zodb.ErrCorrupt) {
				t.Errorf("cut at %d: %v", cut, err)
			}
			continue
		}
		if err != nil || n.Transactions != 1 || r.Truncated() == nil {
			t.Errorf("cut at %d: %d transactions, %v", cut, n.Transactions, err)
		}
	}
}

// TestSalvageTakesARecordBehindADamagedOne: the end of the file leads back to the
// transaction, so that its sound records can be taken although the others tell nothing.
func TestSalvageTakesARecordBehindADamagedOne(t *testing.T) {
	t.Parallel()
	s := newSample()
	s.begin(0x13, ' ')
	s.data(3, 0, "third")
	broken := s.data(4, 0, "fourth")
	s.data(5, 0, "fifth")
	s.end()
	s.file[s.txn+8] ^= 1     // its length
	s.file[broken+24] ^= 1   // says that it is in another transaction
	s.file[s.txn1+18] ^= 128 // and something that has nothing to do with it
	if n, err := countTxns(t, s.file, nil); !errors.Is(err, zodb.ErrCorrupt) || n != 0 {
		t.Errorf("%d transactions, %v", n, err)
	}
	got, _, err := readAll(t, s.file, func(Skipped) {})
	if err != nil || got["0000000000000013 0000000000000005"] != "fifth" {
		t.Errorf("salvage has %v, %v", got, err)
	}
}
