package zeo

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/oidlock"
	"github.com/dirstorage/dirstorage/zodb"
)

// Activity is the work of all clients of a server at a moment. Counters grow from the start of the
// server, or of the connection, on; rates are differences of two of them.
type Activity struct {
	Time    time.Time `json:"time"`
	Started time.Time `json:"started"` // the server
	// Unregistered is the number of connections that have not registered with a storage.
	Unregistered int               `json:"unregistered"`
	Storages     []StorageActivity `json:"storages"` // as in Options.Storages
}

// StorageActivity is the part of one storage.
type StorageActivity struct {
	Storage   string `json:"storage"` // the name under which clients register
	Loads     int64  `json:"loads"`
	Stores    int64  `json:"stores"`
	Commits   int64  `json:"commits"`
	Aborts    int64  `json:"aborts"`
	Conflicts int64  `json:"conflicts"` // votes that met conflicts
	// Clients are the registered connections, the oldest first.
	Clients []ClientActivity `json:"clients"`
	// Waits are the votes that wait for a lock, the earliest first, at most maxWaits of them.
	Waits []LockWait `json:"waits"`
}

// ClientActivity is one registered connection.
type ClientActivity struct {
	Client   uint64    `json:"client"`  // number of the connection; none is used twice
	Address  string    `json:"address"` // “unix” for a socket
	Label    string    `json:"label"`   // the name that the client gave itself; empty: none
	ReadOnly bool      `json:"read_only"`
	Since    time.Time `json:"since"`
	Loads    int64     `json:"loads"`
	Stores   int64     `json:"stores"`
	Commits  int64     `json:"commits"`
	Aborts   int64     `json:"aborts"`
	// Conflicts are the votes that met conflicts. A client that can resolve them votes again.
	Conflicts int64 `json:"conflicts"`
	// SentBytes is the size of everything that was to be sent, QueueBytes the part of it that the client
	// has not taken. ReceivedBytes is the size of records and blobs in its transactions.
	SentBytes     int64 `json:"sent_bytes"`
	QueueBytes    int64 `json:"queue_bytes"`
	ReceivedBytes int64 `json:"received_bytes"`
	// Running is the number of requests under way that read from the disk, or wait.
	Running int `json:"running"`
	// Transaction is the open one; nil: none is.
	Transaction *TxnActivity `json:"transaction,omitempty"`
	// Largest is the one with most bytes among those that it has committed; nil: none.
	Largest *LargestTxn `json:"largest,omitempty"`
}

// TxnActivity is an open transaction.
type TxnActivity struct {
	State       string    `json:"state"`       // begun, voting, resolving, voted or finishing
	Begun       time.Time `json:"begun"`       // the transaction
	StateSince  time.Time `json:"state_since"` // the state
	User        string    `json:"user"`        // the beginning of it, as the description
	Description string    `json:"description"`
	Records     int64     `json:"records"` // that came so far
	Bytes       int64     `json:"bytes"`   // of these records, and of blobs
}

// LargestTxn is a committed transaction.
type LargestTxn struct {
	TID     zodb.TID `json:"tid"`
	Records int64    `json:"records"`
	Bytes   int64    `json:"bytes"`
}

// LockWait is a vote that waits for a lock of an object.
type LockWait struct {
	Client uint64 `json:"client"` // whose vote waits
	// Known is false if the transaction is so large that the other fields cannot be told.
	Known bool     `json:"known"`
	OID   zodb.OID `json:"oid"` // the object
	// Existence: the lock is that of the existence of the object, which a reference and a deletion take;
	// else that of its revision.
	Existence bool `json:"existence"`
	// Holder is the client that is in the way; 0: a transaction that is not a client's. Held: it has the
	// lock. Else it waits as well, and came earlier.
	Holder uint64 `json:"holder"`
	Held   bool   `json:"held"`
}

// maxWaits is the length of the longest list of votes that wait.
const maxWaits = 1000

// tally counts the work of a connection.
type tally struct {
	loads, stores, commits, aborts, conflicts, received atomic.Int64

	mu      sync.Mutex
	largest LargestTxn // guarded by mu
}

// committed notes a transaction.
func (t *tally) committed(tid zodb.TID, p *progress) {
	t.commits.Add(1)
	records, bytes := p.records.Load(), p.bytes.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.largest.TID == 0 || bytes > t.largest.Bytes {
		t.largest = LargestTxn{tid, records, bytes}
	}
}

// progress is the part of a transaction that others may look at.
type progress struct {
	begun             time.Time
	user, description string
	number            uint64       // by which the storage names it; 0: it names none
	since             atomic.Int64 // nanoseconds since 1970 when the state changed
	records, bytes    atomic.Int64
}

// newProgress is for a transaction that begins.
func newProgress(now time.Time, user, description []byte, t zodb.Txn) *progress {
	p := &progress{begun: now, user: beginning(user), description: beginning(description)}
	if n, ok := t.(interface{ Number() uint64 }); ok {
		p.number = n.Number()
	}
	p.enter(now)
	return p
}

// beginning returns the beginning of a text of a client.
func beginning(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), maxLabel)]), "\uFFFD")
}

// enter notes that the state changes.
func (p *progress) enter(now time.Time) { p.since.Store(now.UnixNano()) }

// took counts a record.
func (c *conn) took(w *work, n int) {
	w.seenBy.records.Add(1)
	w.seenBy.bytes.Add(int64(n))
	c.tally.received.Add(int64(n))
}

// tookBlob counts a blob that has come whole.
func (c *conn) tookBlob(n int64) {
	c.tally.received.Add(n)
	if x := c.open(); x != nil {
		x.seenBy.bytes.Add(n)
	}
}

// Activity returns the work of the clients at this moment. It keeps nobody waiting, and takes some
// microseconds for each client.
func (s *Server) Activity() Activity {
	a := Activity{Time: s.o.Clock(), Started: s.started}
	s.mu.Lock()
	a.Unregistered = len(s.conns) - s.served
	s.mu.Unlock()
	for _, h := range s.order {
		a.Storages = append(a.Storages, h.activity())
	}
	return a
}

func (h *hub) activity() StorageActivity {
	st := &h.stats
	a := StorageActivity{Storage: h.name, Loads: st.loads.Load(), Stores: st.stores.Load(), Commits: st.commits.Load(),
		Aborts: st.aborts.Load(), Conflicts: st.conflicts.Load(), Clients: []ClientActivity{}, Waits: []LockWait{}}
	owners := make(map[uint64]uint64) // clients by the numbers of their transactions
	for _, c := range h.registered() {
		client, x := c.activity()
		if x != nil && x.seenBy.number != 0 {
			owners[x.seenBy.number] = c.number
		}
		a.Clients = append(a.Clients, client)
	}
	slices.SortFunc(a.Clients, func(a, b ClientActivity) int { return cmp.Compare(a.Client, b.Client) })
	locks, ok := h.storage.(interface{ LockWaits(most int) []oidlock.Wait })
	if !ok {
		return a
	}
	for _, w := range locks.LockWaits(maxWaits) {
		client := owners[w.Owner]
		if client == 0 { // not a client's, or of one that came just now
			continue
		}
		a.Waits = append(a.Waits, LockWait{Client: client, Known: w.Known, OID: w.Key.OID, Existence: w.Key.Existence,
			Holder: owners[w.Holder], Held: w.Held})
	}
	return a
}

// registered returns the connections.
func (h *hub) registered() []*conn {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]*conn, 0, len(h.conns))
	for c := range h.conns {
		list = append(list, c)
	}
	return list
}

// activity returns the work of the connection, and its open transaction.
func (c *conn) activity() (ClientActivity, *txn) {
	t := &c.tally
	a := ClientActivity{Client: c.number, Address: c.address, ReadOnly: c.readOnly, Since: c.since, Loads: t.loads.Load(), Stores: t.stores.Load(),
		Commits: t.commits.Load(), Aborts: t.aborts.Load(), Conflicts: t.conflicts.Load(), ReceivedBytes: t.received.Load(), Running: len(c.slow)}
	if l := c.label.Load(); l != nil {
		a.Label = *l
	}
	a.SentBytes, a.QueueBytes = c.out.counts()
	t.mu.Lock()
	if t.largest.TID != 0 {
		largest := t.largest
		a.Largest = &largest
	}
	t.mu.Unlock()
	x := c.open()
	if x == nil {
		return a, nil
	}
	p := x.seenBy
	a.Transaction = &TxnActivity{State: x.stage.State().String(), Begun: p.begun, StateSince: time.Unix(0, p.since.Load()), User: p.user,
		Description: p.description, Records: p.records.Load(), Bytes: p.bytes.Load()}
	return a, x
}
