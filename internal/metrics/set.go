package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/logging"
)

// Options of a set. Clock is mandatory.
type Options struct {
	// Clock says when records of backups are too old.
	Clock func() time.Time
	// KeepBackup and KeepVerified are how long results of Source.Backup and Source.Jobs, and those of
	// Source.Verified and Source.Verify, are shown again before they are called anew. Defaults 10
	// seconds, and 5 minutes: the latter are read out of a repository.
	KeepBackup, KeepVerified time.Duration
	// Version and Revision of the program, for dirstorage_build_info.
	Version, Revision string
	// Certificates are the ends of the certificates of the server, each use and name once; nil: it
	// has none.
	Certificates func() []certs.End
	// Logger gets errors of reading; default none.
	Logger *slog.Logger
	// NoRuntime leaves out the metrics of Go's runtime and of the process.
	NoRuntime bool
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		panic("metrics: no clock")
	}
	if o.KeepBackup == 0 {
		o.KeepBackup = 10 * time.Second
	}
	if o.KeepVerified == 0 {
		o.KeepVerified = 5 * time.Minute
	}
	o.Logger = logging.Limit(o.Logger)
	return o
}

// limits are the values of the label of dirstorage_refused_total, those of zeo.Observer.
// Any other value is counted as the last one.
func limits() []string {
	return []string{"message", "connections", "unregistered", "transaction", "blob", "hello", "queue", "timeout", "memory", "files", "other"}
}

// Set is the metrics of a server, in a registry of its own. It implements
// zeo.Observer. All methods may be called concurrently.
type Set struct {
	o        Options
	storages map[string]*Storage // never changed
	limits   []string            // never changed
	refused  []atomic.Uint64     // by the index in limits
	registry *prometheus.Registry
}

// New returns the metrics of a server that has these storages. Events of any other storage are not
// counted.
func New(storages []string, o Options) *Set {
	s := &Set{o: o.withDefaults(), storages: make(map[string]*Storage), limits: limits(), registry: prometheus.NewRegistry()}
	s.refused = make([]atomic.Uint64, len(s.limits))
	for _, name := range storages {
		s.storages[name] = newStorage(name, &s.o)
	}
	s.registry.MustRegister(newCollector(s))
	if !o.NoRuntime {
		s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return s
}

// Storage returns the metrics of one storage; nil if [New] was not given its name.
func (s *Set) Storage(name string) *Storage { return s.storages[name] }

// Handler answers in the format of Prometheus, four requests at a time.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{s.o.Logger},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             20 * time.Second,
	})
}

// errorLog is the log of promhttp.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) {
	l.log.Warn("metrics could not be shown", "err", strings.TrimSpace(fmt.Sprintln(v...)))
}

// Connections is called with the change of the number of connections.
func (s *Set) Connections(storage string, change int) {
	if st := s.storages[storage]; st != nil {
		st.connections.Add(int64(change))
	}
}

// Loaded is called for each loadBefore.
func (s *Set) Loaded(storage string, d time.Duration) {
	if st := s.storages[storage]; st != nil {
		st.load.observe(d)
	}
}

// Committed is called for each transaction that was finished.
func (s *Set) Committed(storage string, d time.Duration) {
	if st := s.storages[storage]; st != nil {
		st.commit.observe(d)
	}
}

// Voted is called for each vote.
func (s *Set) Voted(storage string, d time.Duration) {
	if st := s.storages[storage]; st != nil {
		st.vote.observe(d)
	}
}

// Conflicted is called for each vote that met conflicts.
func (s *Set) Conflicted(storage string) {
	if st := s.storages[storage]; st != nil {
		st.conflicts.Add(1)
	}
}

// Aborted is called for each transaction that was aborted.
func (s *Set) Aborted(storage string) {
	if st := s.storages[storage]; st != nil {
		st.aborts.Add(1)
	}
}

// Refused is called for each thing that a limit refused.
func (s *Set) Refused(limit string) {
	i := slices.Index(s.limits, limit)
	if i < 0 {
		i = len(s.limits) - 1
	}
	s.refused[i].Add(1)
}
