package zeo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("the server was shut down")

// Server serves storages to ZEO clients. All methods may be called concurrently.
type Server struct {
	o       Options
	log     *slog.Logger
	budgets *budgets
	hubs    map[string]*hub
	order   []*hub
	started time.Time
	ctx     context.Context // ends when connections and packs have to
	stop    context.CancelFunc
	wait    sync.WaitGroup // connections
	packs   sync.WaitGroup // packs, which connections start

	recent     atomic.Pointer[conn] // that of the last request
	relieving  atomic.Bool          // see relieve
	wanting    atomic.Int64         // requests that wait for a file
	unanswered atomic.Int64         // requests that wait for memory for their answer
	numbers    atomic.Uint64        // of connections

	mu        sync.Mutex
	listeners map[net.Listener]struct{} // guarded by mu
	conns     map[*conn]struct{}        // guarded by mu
	lobby     lobby                     // guarded by mu: those of conns that have not registered
	served    int                       // guarded by mu: how many of conns have registered
	draining  bool                      // guarded by mu
	emptied   chan struct{}             // guarded by mu: closed when the last connection went after draining began
}

// New makes a server; it listens to nothing yet. The storages stay the caller's, which
// closes them after Shutdown.
func New(ctx context.Context, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, log: o.Logger, budgets: newBudgets(o.Limits), hubs: make(map[string]*hub), started: o.Clock(),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{}), lobby: newLobby(), emptied: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, so := range o.Storages {
		h, err := s.newHub(ctx, so)
		if err != nil {
			return nil, fmt.Errorf("storage %q: %w", so.Name, err)
		}
		s.hubs[so.Name] = h
		s.order = append(s.order, h)
	}
	return s, nil
}

func (s *Server) newHub(ctx context.Context, so StorageOptions) (*hub, error) {
	h := &hub{
		log:  s.log,
		name: so.Name, storage: so.Storage, readOnly: s.o.ReadOnly || so.ReadOnly, noGC: so.NoGC,
		full:     so.Storage.Status().Class == zodb.ClassFull,
		observer: s.o.Observer, clock: s.o.Clock, onRead: s.o.afterRead, conns: make(map[*conn]struct{}), missed: newMissed(s.o.InvalidationQueueSize),
	}
	h.largeOnes.begin(s.budgets.firstRead)
	if err := h.fill(ctx); err != nil {
		return nil, fmt.Errorf("read the last transactions: %w", err)
	}
	if so.BlobDir != "" {
		if !h.full {
			return nil, fmt.Errorf("a storage of class Minimal has no blobs to share in %s", so.BlobDir)
		}
		var err error
		if h.blobs, err = openBlobDir(ctx, so.BlobDir, so.Storage, s.log); err != nil {
			return nil, fmt.Errorf("shared blob directory %s: %w", so.BlobDir, err)
		}
	}
	h.storage.OnPacked(func() { h.packed(s.ctx, s.log) })
	return h, nil
}

// Serve accepts connections until Shutdown, and then returns ErrClosed. It closes l, and
// returns net.ErrClosed if somebody else did; no other error ends it.
func (s *Server) Serve(l net.Listener) error {
	l = listen.Steady(l, s.log)
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return errors.Join(ErrClosed, l.Close())
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer l.Close()
	listen.Each(l, s.log, s.welcome)
	if s.isDraining() {
		return ErrClosed
	}
	return net.ErrClosed
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// Connections returns how many there are, those included that have not
// registered yet.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown ends the server: it accepts nothing any more, has each client end its connection
// as soon as no transaction of it has been voted for, ends the connections of those that do not,
// and, when ctx ends, the others too, whose transactions are aborted. A running finish goes to its end. A pack is
// stopped then, between two of its steps. It returns when all connections have ended, and
// ctx's error if some had to be cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		s.wait.Wait()
		s.packs.Wait()
		return nil
	}
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	var strangers []*conn // who have not registered
	for c := range s.conns {
		conns = append(conns, c)
		if !c.admitted {
			strangers = append(strangers, c)
			continue
		}
		s.wait.Go(c.drain) // while c is waited for, too
	}
	if len(conns) == 0 {
		close(s.emptied)
	}
	s.wait.Go(func() { s.linger(conns) })
	s.mu.Unlock()
	endAll(strangers)
	var err error
	select {
	case <-s.emptied:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop()
	endAll(conns)
	s.wait.Wait()
	s.packs.Wait()
	for _, h := range s.order {
		if h.blobs != nil {
			err = errors.Join(err, h.blobs.close())
		}
	}
	return err
}

// withDefaults returns the options with their defaults, or an error.
func (o Options) withDefaults() (Options, error) {
	switch {
	case len(o.Storages) == 0:
		return o, errors.New("a server needs at least one storage")
	case o.Clock == nil:
		return o, errors.New("a server needs a clock")
	}
	names := make(map[string]bool)
	storages := make(map[zodb.Storage]bool)
	for _, so := range o.Storages {
		if storages[so.Storage] && so.Storage != nil {
			// The clients of one name would not be told about the commits of the others.
			return o, fmt.Errorf("storage %q: it is served under another name already", so.Name)
		}
		storages[so.Storage] = true
		if so.Name == "" || so.Storage == nil || names[so.Name] {
			return o, fmt.Errorf("storage %q: each needs a storage and a name of its own", so.Name)
		}
		names[so.Name] = true
	}
	if o.Announce == 0 {
		o.Announce = wire.Pickle
	}
	if o.Announce != wire.Pickle && o.Announce != wire.Msgpack {
		return o, fmt.Errorf("unknown encoding %q", byte(o.Announce))
	}
	if o.TransactionTimeout == 0 {
		o.TransactionTimeout = 5 * time.Minute
	}
	if o.LargeTransactionTimeout == 0 {
		o.LargeTransactionTimeout = time.Minute
	}
	if o.lookTime == 0 {
		o.lookTime = min(max(o.LargeTransactionTimeout/8, 10*time.Millisecond), 5*time.Second)
	}
	if o.lingerTime == 0 {
		o.lingerTime = lingerTime
	}
	if o.processors == 0 {
		o.processors = runtime.GOMAXPROCS(0)
	}
	if o.copyTimeout == 0 {
		o.copyTimeout = 30 * time.Second
	}
	if o.InvalidationQueueSize <= 0 {
		o.InvalidationQueueSize = 1000
	}
	o.Logger = logging.Limit(o.Logger)
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	asked := o.Limits.Connections
	if o.Limits = o.Limits.withDefaults(); o.Limits.Connections < asked {
		o.Logger.Warn("there may be fewer connections than were asked for: memory-limit and the limit of open files have no room for more",
			"asked", asked, "limit", o.Limits.Connections, "memory", o.Limits.Memory, "files", o.Limits.Files)
	}
	return o, nil
}

func (l Limits) withDefaults() Limits {
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.Message, 1<<30)
	set(&l.Transaction, 16<<30)
	set(&l.Blob, 1<<40)
	set(&l.Queue, 256<<20)
	set(&l.Memory, 16<<30)
	set(&l.Files, 1<<16)
	if l.Connections == 0 {
		l.Connections = 1000
	}
	// The rest of the files is for the storages, blobs and the others that listen.
	l.Connections = min(l.Connections, int(l.Files/2), int(max(l.Memory/connectionMemory, fewConnections)))
	if l.Unregistered == 0 {
		l.Unregistered = max(l.Connections, fewUnregistered)
	}
	l.Unregistered = min(l.Unregistered, int(l.Files/4), int(max(l.Memory/(4*connectionMemory), fewUnregistered)))
	if l.Hello == 0 {
		l.Hello = 30 * time.Second
	}
	return l
}

// nobody is an Observer that does not look.
type nobody struct{}

func (nobody) Connections(string, int)         {}
func (nobody) Loaded(string, time.Duration)    {}
func (nobody) Committed(string, time.Duration) {}
func (nobody) Voted(string, time.Duration)     {}
func (nobody) Conflicted(string)               {}
func (nobody) Aborted(string)                  {}
func (nobody) Refused(string)                  {}
