package zeo

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options of a server. The zero value of each field gives the default.
type Options struct {
	// Storages that are served, by the names under which clients register; at least one.
	Storages []StorageOptions
	// Announce is the encoding that the server announces; both are accepted. Default wire.Pickle.
	Announce wire.Encoding
	// ReadOnly refuses everything that writes, pack excepted.
	ReadOnly bool
	// TLS, if not nil, is used for every connection that comes in over TCP.
	TLS *tls.Config
	// TransactionTimeout is how long a transaction may stay between the begin of its vote and
	// its end; then the connection is closed. Negative = no limit. Default 5 minutes. One that
	// is copied, for which the finish of all others waits, has 30 seconds at most.
	TransactionTimeout time.Duration
	copyTimeout        time.Duration // those 30 seconds
	// LargeTransactionTimeout is how long nothing may come of a transaction that was begun while
	// the vote of another one waits for the memory that it has; then it is aborted, and its client
	// is told at its vote. Negative = no limit. Default 1 minute.
	LargeTransactionTimeout time.Duration
	// InvalidationQueueSize is the number of transactions for which a client that
	// reconnects can be told the transactions that it missed. Default 1000.
	InvalidationQueueSize int
	// InvalidationAge is the greatest age of transactions that the queue has no more and
	// that are answered from the storage. Default 0: never.
	InvalidationAge time.Duration

	// MergeUndo selects the classes, as module.name, of which clients merge an undo with
	// later changes; nil: none. See MergeableClasses.
	MergeUndo func(class string) bool

	Limits   Limits
	Logger   *slog.Logger     // default none
	Clock    func() time.Time // required
	Observer Observer         // default none
	// Damage is told of the errors about damage that requests meet, by the name of the storage; default
	// none. It may be called concurrently, and does not wait.
	Damage func(storage string, err error)

	afterRead func() // tests: called between the read of a revision and its answer

	lookTime   time.Duration // how often a vote that waits for memory looks at its holder
	lingerTime time.Duration // see lingerTime
	processors int           // of the runtime; see sole
	looked     func()        // tests: called when it has
	relieved   func()        // tests: called when relieve has looked, and found nobody to cut off
}

// StorageOptions is one storage of a server.
type StorageOptions struct {
	Name    string
	Storage zodb.Storage
	// BlobDir is a directory in which clients that share it find the blobs, as hard
	// links; empty = none.
	BlobDir string
	// ReadOnly is Options.ReadOnly for this storage.
	ReadOnly bool
	// NoGC makes a client's pack keep the objects that nothing refers to, because other
	// databases may.
	NoGC bool
}

// Limits bound the cost of clients. Each has a default that is said here.
type Limits struct {
	Message     int64 // bytes of one message; 1 GiB
	Connections int   // that are served at once; 1000. One for each 96 KiB of Memory at most
	// Unregistered is how many connections there may be besides that have not registered: a
	// newcomer takes the place of another one. Default as many as Connections, 100 at least,
	// and else one for each 384 KiB of Memory at most.
	Unregistered int
	Transaction  int64         // bytes of records in one transaction; 16 GiB
	Blob         int64         // bytes of one blob; 1 TiB
	Hello        time.Duration // from accepting to registering; 30 seconds
	Queue        int64         // bytes that wait to be read by a client; 256 MiB

	// Memory is how many bytes the process may have, of which clients take seven eighths at
	// most: further requests wait for the others, or are refused. 16 GiB.
	Memory int64
	// Files is how many files it may have open; an eighth of them is for blobs,
	// half of that for large transactions. 65,536.
	Files int64
}

// Observer is told about events, for metrics. All methods may be called concurrently and must be
// quick.
type Observer interface {
	// Connections is called with the change of the number of registered connections of a storage.
	Connections(storage string, change int)
	// Loaded is called for each loadBefore that took d.
	Loaded(storage string, d time.Duration)
	// Committed is called for each transaction that was finished: d is the time of its tpc_finish.
	Committed(storage string, d time.Duration)
	// Voted is called for each vote, with its whole time, waiting for locks included.
	Voted(storage string, d time.Duration)
	// Conflicted is called for each vote that met conflicts.
	Conflicted(storage string)
	// Aborted is called for each transaction that was aborted.
	Aborted(storage string)
	// Refused is called for each thing that a limit refused: message, connections,
	// unregistered, transaction, blob, hello, queue, timeout, memory, files.
	Refused(limit string)
}
