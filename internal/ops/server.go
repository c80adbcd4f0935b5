package ops

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/logging"
)

// defaultAddress is where the listener is unless another is asked for.
const defaultAddress = "127.0.0.1:9818"

// Options of a listener. The zero value of each field gives the default.
type Options struct {
	// Address is HOST:PORT; port 0 takes a free one. Default 127.0.0.1:9818.
	Address string
	// Live returns an error if the process is stuck, see [Probe.Ask]; it must not
	// take longer than a few seconds. Default: never.
	Live func(context.Context) error
	// Ready returns the reasons why the storages are not served, see [NotReady]. It is
	// called in one goroutine at a time. Default: nothing.
	Ready func() []Reason
	// ReadyTimeout is how long Ready may take; default 10 seconds.
	ReadyTimeout time.Duration
	// Metrics answers /metrics; default: there is none.
	Metrics http.Handler
	// Web answers everything below WebRoot; nil: there is no page. It authenticates by itself.
	Web http.Handler
	// WebRoot is the path of Web, with a slash at both ends.
	WebRoot string
	// Stopping is called when Shutdown begins, and ends answers of Web that do not end by themselves.
	Stopping func()
	// TLS: connections are encrypted; nil: they are not.
	TLS    *tls.Config
	Logger *slog.Logger // default none
}

func (o Options) withDefaults() Options {
	if o.Address == "" {
		o.Address = defaultAddress
	}
	if o.Live == nil {
		o.Live = func(context.Context) error { return nil }
	}
	if o.Ready == nil {
		o.Ready = func() []Reason { return nil }
	}
	if o.Metrics == nil {
		o.Metrics = http.NotFoundHandler()
	}
	o.Logger = logging.Limit(o.Logger)
	return o
}

// Server is a listener. It answers from [Listen] to [Server.Shutdown].
type Server struct {
	o        Options
	listener net.Listener
	http     *http.Server
	ready    flight[[]Reason]
	phase    atomic.Pointer[Code] // nil: serving
	served   chan struct{}        // closed when the listener has ended

	connections connections
	ending      sync.WaitGroup // of EndRevoked
}

// The limits of a connection: only programs ask, and their requests are short.
const (
	headerTime  = 5 * time.Second
	requestTime = 10 * time.Second
	// answerTime has to be more than the time that the probes and the metrics may take.
	answerTime  = 30 * time.Second
	idleTime    = 2 * time.Minute
	headerBytes = 8 << 10
	bodyBytes   = 1 << 10
)

// Listen starts to answer. The server is not ready until [Server.Serving] is called.
func Listen(o Options) (*Server, error) {
	o = o.withDefaults()
	l, err := listen.Open(o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for probes and metrics: %w", err)
	}
	s := &Server{o: o, listener: l, served: make(chan struct{})}
	s.ready = flight[[]Reason]{work: func(context.Context) []Reason { return o.Ready() }, timeout: o.ReadyTimeout}
	s.setPhase(Starting)
	s.http = &http.Server{
		Handler:           http.MaxBytesHandler(s.routes(), bodyBytes),
		ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerBytes, ConnState: s.connections.changed,
		ErrorLog: log.New(httpErrors{o.Logger}, "", 0),
	}
	if o.Stopping != nil {
		s.http.RegisterOnShutdown(o.Stopping)
	}
	if Reachable(l.Addr()) && o.Web != nil && o.TLS == nil {
		o.Logger.Warn("the token and the pages go over the network unencrypted: set http-tls, or put a proxy with TLS in front", "address", l.Addr().String())
	}
	if Reachable(l.Addr()) {
		o.Logger.Warn("probes and metrics can be read from other machines, without a password", "address", l.Addr().String())
	}
	go s.serve()
	o.Logger.Info("listening for probes and metrics", "address", l.Addr().String())
	return s, nil
}

// httpErrors logs errors of clients.
type httpErrors struct{ log *slog.Logger }

func (h httpErrors) Write(line []byte) (int, error) {
	h.log.Debug("a request for probes or metrics", "err", strings.TrimSpace(string(line)))
	return len(line), nil
}

// Reachable reports whether other machines can reach an address that a listener
// is at, as far as that can be seen from here.
func Reachable(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

func (s *Server) serve() {
	defer close(s.served)
	l := s.listener
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	if err := s.http.Serve(listen.Steady(l, s.o.Logger)); !errors.Is(err, http.ErrServerClosed) {
		s.o.Logger.Error("probes and metrics have ended", "err", err)
	}
}

// Addr is the address of the listener.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serving says that the server has started: from now on it is ready, unless
// Options.Ready knows better.
func (s *Server) Serving() { s.phase.Store(nil) }

// Draining says that the server is about to stop: from now on it is not ready.
func (s *Server) Draining() { s.setPhase(Draining) }

func (s *Server) setPhase(c Code) { s.phase.Store(&c) }

// Shutdown ends the listener, and waits for the answers that are under way until
// ctx ends; then it breaks them off. It comes last: a process that is stopping
// still has to answer /live.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	s.ending.Wait()
	return errors.Join(err, s.ready.close(ctx))
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	if s.o.Web != nil {
		mux.Handle(s.o.WebRoot, s.o.Web)
	}
	mux.HandleFunc("GET /live", s.answerLive)
	mux.HandleFunc("GET /ready", s.answerReady)
	mux.Handle("GET /metrics", s.o.Metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	text := "dirstorage\n\n/live     is the process alive\n/ready    should clients come here\n/metrics  for Prometheus\n"
	if s.o.Web != nil {
		text += fmt.Sprintf("%-9s pages for people\n", s.o.WebRoot)
	}
	answer(w, http.StatusOK, "text/plain; charset=utf-8", []byte(text))
}

func (s *Server) answerLive(w http.ResponseWriter, r *http.Request) {
	if err := s.o.Live(r.Context()); err != nil {
		answer(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte(err.Error()+"\n"))
		return
	}
	answer(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// readiness is the answer of /ready.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []Reason `json:"reasons"` // never null
	// Warnings are conditions that need attention, though clients may come.
	Warnings []Reason `json:"warnings,omitempty"`
}

func (s *Server) answerReady(w http.ResponseWriter, r *http.Request) {
	found := readiness{Reasons: []Reason{}}
	for _, reason := range s.reasons(r.Context()) {
		if reason.Code.Warning() {
			found.Warnings = append(found.Warnings, reason)
		} else {
			found.Reasons = append(found.Reasons, reason)
		}
	}
	found.Ready = len(found.Reasons) == 0
	code := http.StatusOK
	if !found.Ready {
		code = http.StatusServiceUnavailable
	}
	b, err := json.Marshal(found)
	if err != nil {
		panic("ops: " + err.Error()) // strings only
	}
	answer(w, code, "application/json", append(b, '\n'))
}

// reasons returns why the server is not ready. Before it has started and while it
// stops, no storage is asked: they may be busy with just that.
func (s *Server) reasons(ctx context.Context) []Reason {
	if phase := s.phase.Load(); phase != nil {
		return []Reason{{Code: *phase}}
	}
	reasons, err := s.ready.do(ctx)
	if err != nil {
		return []Reason{{Code: Stuck, Detail: err.Error()}}
	}
	return append([]Reason{}, reasons...)
}

func answer(w http.ResponseWriter, code int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client may be gone
}
