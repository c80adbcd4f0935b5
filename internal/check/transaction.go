package check

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// transaction is a transaction file as read.
type transaction struct {
	tid      zodb.TID
	previous zodb.TID
	// linked tells that previous can be relied on. It can even where the checksum does
	// not fit, because that does not cover the header.
	linked bool
	oids   []zodb.OID
	path   string
	size   int64
	noSum  bool
}

// readTransaction reads and parses a transaction file. It reports nothing; for an
// unusable one defect is its fault.
func (c *checker) readTransaction(w *worker, tid zodb.TID) (t transaction, s state, defect Finding) {
	data, where, err := c.v.read(w, layout.Transaction(tid))
	t = transaction{tid: tid, path: where, size: int64(len(data))}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, missing, Finding{}
	case err != nil && !errors.Is(err, errLength):
		return t, unusable, c.transactionFinding(Unreadable, t, err.Error())
	}
	parsed, parseErr := record.ParseTransactionAs(data, where, tid, true)
	if err == nil {
		err = parseErr
	}
	if err != nil {
		kind, detail := transactionDefect(data, tid, err)
		if kind == TransactionChecksum || kind == TransactionFields {
			t.previous = zodb.TIDFromBytes(data[24:])
			t.linked = t.previous < tid
		}
		c.hadRoot.Store(true) // or not: that cannot be seen
		return t, unusable, c.transactionFinding(kind, t, detail)
	}
	t.previous, t.oids = parsed.Previous, parsed.OIDs
	if slices.Contains(t.oids, zodb.RootOID) {
		c.hadRoot.Store(true)
	}
	t.noSum = record.SumKindOf(data) == record.NoSum
	t.linked = t.previous < tid
	if !isZero(data[17:24]) {
		return t, unusable, c.transactionFinding(TransactionFields, t, "its reserved bytes are not zero")
	}
	if !t.linked {
		return t, unusable, c.transactionFinding(TransactionNotBackwards, t, "its previous transaction is "+t.previous.String())
	}
	return t, sound, Finding{}
}

// transactionDefect names the fault of a transaction file that can't be parsed.
func transactionDefect(b []byte, tid zodb.TID, err error) (Kind, string) {
	switch {
	case len(b) < 4 || !bytes.Equal(b[:4], []byte(record.TransactionMagic)):
		return TransactionMagic, fmt.Sprintf("begins with % X", b[:min(4, len(b))])
	case errors.Is(err, errLength) || len(b) < record.TransactionHeaderSize:
		return TransactionLength, errLength.Error()
	case int64(binary.BigEndian.Uint32(b[4:])) != int64(len(b)):
		return TransactionLength, fmt.Sprintf("%d bytes, the header says %d", len(b), binary.BigEndian.Uint32(b[4:]))
	case zodb.TIDFromBytes(b[8:]) != tid:
		return TransactionTID, "the header says " + zodb.TIDFromBytes(b[8:]).String()
	case record.SumFault(b) != "":
		return TransactionChecksum, changed + record.SumFault(b)
	default:
		return TransactionFields, err.Error()
	}
}

func (c *checker) transactionFinding(kind Kind, t transaction, detail string) Finding {
	return Finding{Kind: kind, Severity: Damage, TID: t.tid, Path: t.path, Detail: detail}
}

// transaction checks one transaction file and adds it to the sets that it
// takes part in. Whether the revisions that it lists are there, and whether it
// is in the chain, comes out when the sets are compared.
func (c *checker) transaction(w *worker, tid zodb.TID) {
	t, s, defect := c.readTransaction(w, tid)
	if s == missing {
		return
	}
	c.countTransaction(w, t)
	c.txSeen.addTransaction(tid)
	if s == unusable {
		c.out.add(defect)
		c.damagedTx.add(tid)
	}
	if t.linked && t.previous != 0 {
		c.txNamed.addTransaction(t.previous)
	}
	c.ends.add(t)
	if tid >= c.packed && s == sound {
		lists := c.tally(w).lists
		for _, oid := range t.oids {
			lists.remove(c.hash.revision(oid, tid))
		}
	}
}

func (c *checker) countTransaction(w *worker, t transaction) {
	c.counts.transactions.Add(1)
	c.countFile(w, t.size)
	if t.noSum {
		c.tally(w).withoutChecksum++
	}
}

// chainEnds keeps the newest and the oldest transaction file.
type chainEnds struct {
	mu     sync.Mutex
	any    bool // guarded by mu, as all below
	newest zodb.TID
	oldest transaction // without its oids
}

func (e *chainEnds) add(t transaction) {
	t.oids = nil
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.any || t.tid < e.oldest.tid {
		e.oldest = t
	}
	e.any = true
	e.newest = max(e.newest, t.tid)
}

// maxRemembered bounds the notes about findings while they are sorted out.
const maxRemembered = 1 << 20

// tidSet is a set of tids that had a finding. When it is full it has all: then there is
// so much damage that its consequences are better left unsaid.
type tidSet struct {
	mu   sync.Mutex
	tids map[zodb.TID]struct{} // guarded by mu
}

// add reports whether the tid is new.
func (s *tidSet) add(tid zodb.TID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tids[tid]; ok || len(s.tids) == maxRemembered {
		return false
	}
	if s.tids == nil {
		s.tids = make(map[zodb.TID]struct{})
	}
	s.tids[tid] = struct{}{}
	return true
}

func (s *tidSet) has(tid zodb.TID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.tids[tid]
	return ok || len(s.tids) == maxRemembered
}
