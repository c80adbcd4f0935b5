package web

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// Root is the path of the pages in the listener.
const Root = "/web/"

// Reader is the part of a storage that pages may use: none of it writes.
type Reader interface {
	zodb.Loader
	zodb.Objects
	zodb.Transactions
	zodb.Histories
	zodb.Describer
	OpenBlob(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Blob, error)
	Blobs(ctx context.Context) iter.Seq2[zodb.BlobRevision, error]
}

// Storage is one storage for the pages.
type Storage struct {
	Name    string
	Reader  Reader
	Metrics *metrics.Storage
	// Backups opens the repository of its backups, and returns nil if there is none. It is called for
	// the page of backups alone, since a repository may be on a disk that hangs. nil: none is known.
	Backups func() objstore.Store
	// Behind tells how far flush, backup and verification are behind; nil: that is not known.
	Behind func() []Fact
	// Pack starts a pack to so many days ago, and does not wait for its end; nil: the pages offer none.
	Pack func(days int) error
	// DryRun tells the gain of a pack to so many days ago; nil: nobody can say it.
	DryRun func(ctx context.Context, days int) (zodb.PackResult, error)
	// BlobDownload: the administrator allows downloads of blobs.
	BlobDownload bool
}

// Fact is a line of the state of a storage.
type Fact struct {
	Name, Text string
}

// Problem is something wrong, or nearly so, as the command status tells it.
type Problem struct {
	Storage string `json:"storage,omitempty"` // empty: the server itself
	// Code is one word for programs.
	Code   string `json:"code,omitempty"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	// Warning: neither data nor clients suffer yet. Else the problem is severe.
	Warning bool `json:"warning,omitempty"`
}

// Options of the pages. Clock and Storages are mandatory.
type Options struct {
	// Clock is the time.
	Clock func() time.Time
	// Location is the zone in which times are shown; default UTC.
	Location *time.Location
	// Storages returns the storages that are open, in their order.
	Storages func() []Storage
	// Problems returns the faults, the worst first. It is called in one goroutine at a time.
	Problems func() []Problem
	// Activity returns the work of clients; false: the server is not open to them. nil: it is not known.
	Activity func() (zeo.Activity, bool)
	// Token lets in those who know it; empty: nobody.
	Token string
	// Certificates: a client certificate that the listener has verified lets in, too.
	Certificates bool
	// Revoked returns an error if the certificate of a connection was revoked after its handshake; nil:
	// that is not known.
	Revoked func(tls.ConnectionState) error
	// Origins are the addresses at which browsers reach the pages through a proxy, such as
	// https://zodb.example.org. IP addresses and localhost need not be listed.
	Origins []string
	// Version of the program.
	Version string
	Logger  *slog.Logger // default none
}

func (o Options) withDefaults() Options {
	if o.Clock == nil || o.Storages == nil {
		panic("web: no clock or no storages")
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Problems == nil {
		o.Problems = func() []Problem { return nil }
	}
	if o.Revoked == nil {
		o.Revoked = func(tls.ConnectionState) error { return nil }
	}
	o.Logger = logging.Limit(o.Logger)
	return o
}

// Site answers requests below [Root]. It has goroutines from [New] to [Site.Close].
type Site struct {
	o        Options
	pages    map[string]page // by path
	list     []page          // in the order of the navigation
	render   *renderer
	static   map[string]staticFile
	secret   []byte // of this process, for tokens against forgery
	sessions *sessions
	failures *failures
	origins  []origin
	making   chan struct{} // has a place for each page that is made
	sending  chan struct{} // has a place for each blob that is sent
	readers  readers       // of pages that are being sent
	asked    asked         // storages that are asked for their state
	live     *live
	faults   *faults
	contents *contents
	mux      *http.ServeMux
	life     context.Context // of the work of pages, until Close
	closing  sync.Once
	stop     context.CancelFunc // ends life
}

// pagesAtOnce bounds the memory and the work that pages take.
const pagesAtOnce = 4

// blobsAtOnce bounds the downloads: each may take hours, of a slow reader.
const blobsAtOnce = 8

// New returns the pages.
func New(o Options) (*Site, error) {
	o = o.withDefaults()
	s := &Site{
		o: o, secret: make([]byte, 32), sessions: newSessions(o.Clock), failures: newFailures(o.Clock),
		making: make(chan struct{}, pagesAtOnce), sending: make(chan struct{}, blobsAtOnce), pages: make(map[string]page), contents: newContents(o.Clock, o.Logger), asked: asked{log: o.Logger},
	}
	s.life, s.stop = context.WithCancel(context.Background())
	_, _ = rand.Read(s.secret) // never fails, see crypto/rand
	var err error
	if s.origins, err = parseOrigins(o.Origins); err != nil {
		return nil, err
	}
	if s.static, err = loadStatic(); err != nil {
		return nil, err
	}
	s.list = s.allPages()
	for _, p := range s.list {
		s.pages[p.path] = p
	}
	if s.render, err = newRenderer(s); err != nil {
		return nil, err
	}
	s.routes()
	s.live = startLive(o)
	s.faults = startFaults(o)
	return s, nil
}

// Close ends streams, goroutines and the work of pages that are being made; from then on no page asks a storage. A look for faults that
// hangs is left behind. It may be called again.
func (s *Site) Close() {
	s.closing.Do(func() {
		s.stop()
		s.contents.close()
		s.live.close()
		s.faults.close()
	})
}

// closed reports whether the site was closed.
func (s *Site) closed() bool {
	select {
	case <-s.live.closed:
		return true
	default:
		return false
	}
}

func (s *Site) routes() {
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET "+Root+"static/{name}", s.serveStatic)
	s.mux.HandleFunc("GET "+Root+"login", s.loginForm)
	s.mux.HandleFunc("POST "+Root+"login", s.login)
	s.mux.HandleFunc("POST "+Root+"logout", s.private(s.logout))
	s.mux.HandleFunc("POST "+Root+"pack", s.private(s.pack))
	s.mux.HandleFunc("POST "+Root+"classes", s.private(s.countClasses))
	s.mux.HandleFunc("GET "+Root+"events", s.private(s.events))
	s.mux.HandleFunc("GET "+Root, s.private(s.servePage))
}

// ServeHTTP implements [http.Handler].
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if why := s.foreign(r); why != nil {
		s.fail(w, r, why)
		return
	}
	if s.closed() {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "the server stops", http.StatusServiceUnavailable)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// storage returns a storage by its name, and the first one for none.
func (s *Site) storage(name string) (Storage, error) {
	list := s.o.Storages()
	for _, st := range list {
		if st.Name == name || name == "" {
			return st, nil
		}
	}
	if name == "" {
		return Storage{}, &failure{code: http.StatusServiceUnavailable, text: "no storage is open yet: wait, and reload"}
	}
	return Storage{}, notFound("storage %s: it is not served here, or not open yet", safe(name, 100))
}
