package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/ops"
	"github.com/dirstorage/dirstorage/internal/web"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

func newServe(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve [HOME]",
		Short: "Serve storages to ZEO clients: Zope, Plone, Pyramid, ERP5",
		Long: `Serve a storage to unmodified Python ZEO clients, in place of a Python ZEO server.
An empty directory becomes a new storage, and so does a HOME that does not exist, if
the command line names it (HOME, --storage). One that only the environment or a file
names has to be there, unless create is set there, too. --create=false makes none.

Several storages, TLS, limits and the rest are settings: flags, DIRSTORAGE_…
environment variables and a TOML file have the same names, and an existing zeo.conf
is understood too; dirstorage config shows the result. See dirstorage help
configuration.

SIGTERM and SIGINT end it cleanly, as does the end of its terminal, unless it was
started with nohup. SIGHUP reads certificates and the log level again.`,
		Example: `  dirstorage serve /srv/zodb
  dirstorage serve --listen 127.0.0.1:8100 --listen /run/zodb.sock \
    --storage main=/srv/main --storage cat=/srv/cat
  dirstorage serve --zeo-conf zeo.conf /srv/zodb`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{hangupReloads: "yes", ifInterrupted: "it was not serving yet, and nothing is lost: start it again"},
		SuggestFor:  []string{"run", "start", "server", "runzeo", "zeo"},
		RunE: func(c *cobra.Command, args []string) error {
			home := ""
			if len(args) == 1 {
				home = args[0]
			}
			load := func() (*config.Config, error) { return e.loadConfig(c, home) }
			conf, err := load()
			if err != nil {
				return err
			}
			s := &serving{e: e, conf: conf, load: load}
			return s.run(c.Context())
		},
	}
	config.AddFlags(c.Flags())
	groupSettings(c, "listen storage config zeo-conf read-only tls-certificate tls-key tls-authenticate http-listen web web-token-file backup-repository log-level")
	return c
}

// serving is one run of the server.
type serving struct {
	e    *env
	conf *config.Config
	load func() (*config.Config, error) // reads the configuration again

	level   slog.LevelVar
	log     *slog.Logger
	notify  *ops.Notifier
	metrics *metrics.Set
	certs   *certs.Server // nil: no TLS
	open    openedStorages
	found   foundDamage
	health  *ops.Server // nil: there is none
	made    []string    // HOMEs that did not exist
	memory  budget.Memory
	packs   webPacks
	backups webBackups
	server  atomic.Pointer[zeo.Server] // nil: not open to clients
}

// limitMemory keeps the process within its memory.
func (s *serving) limitMemory() {
	s.memory = s.e.Memory
	if s.conf.MemoryLimit > 0 {
		s.memory = budget.Memory{Limit: s.conf.MemoryLimit, Source: "memory-limit"}
		s.memory.Apply()
	}
	if s.memory.Limit == 0 { // nobody has asked
		s.memory.Limit = defaultMemory
	}
	s.log.Info("memory", "limit", s.memory.Limit, "from", s.memory.Source)
	if size := s.cacheSize(); size < s.conf.CacheSize {
		s.log.Info("the cache of each storage is smaller than cache-size: all of them may have a quarter of the memory", "cache_size", size, "limit", s.memory.Limit)
	}
}

// defaultMemory is assumed where the limit is unknown; clients may take seven eighths of it.
const defaultMemory = 16 << 30

// cacheSize is the setting, or a part of the memory there is.
func (s *serving) cacheSize() int64 {
	return min(s.conf.CacheSize, s.memory.Limit/4/int64(max(len(s.conf.Storages), 1)))
}

// endTime is how long the parts that come after the drain may take to end.
const endTime = 10 * time.Second

// run serves until ctx ends.
func (s *serving) run(ctx context.Context) (err error) {
	if err := s.startLogging(); err != nil {
		return err
	}
	for _, w := range s.conf.Warnings {
		s.log.Warn("configuration", "warning", w)
	}
	s.limitMemory()
	ctx, hangups, stop := s.hangups(ctx)
	defer stop()

	if s.conf.PidFile != "" {
		remove, perr := writePidFile(s.conf.PidFile)
		if perr != nil {
			return perr
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	var tlsConfig *tls.Config
	if s.conf.TLS != nil {
		files := *s.conf.TLS
		files.Clock = s.e.Now
		files.Refused = s.logRevoked
		if s.certs, err = certs.Load(files); err != nil {
			return noListYet(err, files.Revoked)
		}
		tlsConfig = s.certs.Config()
	}
	names := make([]string, len(s.conf.Storages))
	for i, st := range s.conf.Storages {
		names[i] = st.Name
	}
	build := buildInfo()
	s.metrics = metrics.New(names, metrics.Options{Clock: s.e.Now, Version: build.Version, Revision: build.Commit, Logger: s.log, Certificates: s.certificateEnds()})

	if err := checkAddresses(s.conf.Listen); err != nil {
		return err
	}
	probe := ops.NewProbe(s.alive, 0)
	site, err := s.newSite(ctx)
	if err != nil {
		return err
	}
	if site != nil {
		defer site.Close()
	}
	health, err := s.startHealth(probe, site)
	if err != nil {
		return err
	}
	if health != nil {
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
			defer cancel()
			err = errors.Join(err, health.Shutdown(end))
		}()
	}
	defer func() {
		if site != nil { // from here on no page asks a storage
			site.Close()
			s.packs.end()
		}
		err = errors.Join(err, s.closeStorages(ctx))
	}()
	if err := s.extended(func() error { return s.openStorages(ctx) }); err != nil {
		return err
	}
	server, err := zeo.New(ctx, s.options(tlsConfig))
	if err != nil {
		return err
	}
	// Last of all: a client that connects finds everything ready, a shared blob directory included.
	listeners, err := listenAll(s.conf.Listen)
	if err != nil {
		return errors.Join(err, server.Shutdown(ctx))
	}
	defer func() {
		for _, l := range listeners {
			l.Close() // those that the server has are closed already
		}
	}()
	return s.serve(ctx, server, listeners, health, probe, hangups)
}

// serve accepts connections until ctx ends, and then drains.
func (s *serving) serve(ctx context.Context, server *zeo.Server, listeners []net.Listener, health *ops.Server, probe *ops.Probe, hangups <-chan os.Signal) error {
	s.server.Store(server)
	s.answerTools(server, listeners)
	accepting, failed := errgroup.WithContext(ctx)
	for _, l := range listeners {
		s.warnOpen(l)
		accepting.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, zeo.ErrClosed) {
				return fmt.Errorf("%s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	if health != nil {
		health.Serving()
		s.health = health
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.notify.Watchdog(background, probe.Ask)
	if err := s.greet(listeners); err != nil {
		return err
	}
	s.notify.Ready(s.statusLine(listeners))
	s.logCertificates()
	daily := time.NewTicker(certificatesEvery)
	defer daily.Stop()
	waiting, files := hangups, make(chan reread, 1)
	var slow <-chan time.Time
	for running := true; running; {
		select {
		case <-waiting:
			waiting = nil // until the files are read: their disk may hang, and does not keep the server from its end
			s.notify.Reloading()
			slow = time.After(reloadPatience)
			go func() { files <- s.readAgain() }()
		case <-slow:
			s.log.Warn("reload has not ended: a file of it is not read to its end, its disk may hang; what was in force stays so, and later requests to reload wait", "dur", reloadPatience)
		case r := <-files:
			waiting, slow = hangups, nil
			s.reload(r, listeners)
		case <-daily.C:
			s.logCertificates()
		case <-failed.Done():
			running = false
		}
	}
	s.log.Info("stopping", "connections", server.Connections())
	s.notify.Stopping("draining")
	if health != nil {
		health.Draining()
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.conf.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		s.log.Warn("connections with open transactions or downloads were cut off", "err", err)
	}
	return accepting.Wait()
}

func (s *serving) startLogging() error {
	format, err := logging.ParseFormat(s.conf.LogFormat)
	if err != nil {
		return &status{code: exitUsage, err: err}
	}
	if err := s.setLevel(s.conf.LogLevel); err != nil {
		return &status{code: exitUsage, err: err}
	}
	o := logging.Options{Format: format, Level: &s.level}
	if f, ok := s.e.Stderr.(*os.File); ok {
		o.Journal = logging.ToJournal(f, s.e.Getenv)
	}
	s.log = logging.Limit(logging.New(s.e.Stderr, o))
	s.notify = ops.NewNotifier(s.log)
	return nil
}

func (s *serving) setLevel(text string) error {
	level, err := logging.ParseLevel(text)
	if err != nil {
		return err
	}
	if s.e.Verbose {
		level = slog.LevelDebug
	}
	s.level.Set(level)
	return nil
}

// extended runs something that may take long, and tells systemd meanwhile that it does.
func (s *serving) extended(f func() error) error {
	const step = 10 * time.Second
	done := make(chan struct{})
	defer close(done)
	go func() {
		ticker := time.NewTicker(step)
		defer ticker.Stop()
		for {
			s.notify.Extend(3 * step)
			select {
			case <-ticker.C:
			case <-done:
				return
			}
		}
	}()
	return f()
}

func (s *serving) options(t *tls.Config) zeo.Options {
	c := s.conf
	o := zeo.Options{
		Storages: s.open.all(), ReadOnly: c.ReadOnly, TLS: t, Announce: wire.Pickle,
		TransactionTimeout: c.TransactionTimeout, LargeTransactionTimeout: c.LargeTimeout,
		InvalidationQueueSize: c.InvalidationQueueSize, InvalidationAge: c.InvalidationAge,
		Limits: zeo.Limits{Message: c.MaxMessage, Connections: c.MaxConnections, Transaction: c.MaxTransaction,
			Blob: c.MaxBlob, Hello: c.HelloTimeout, Queue: c.MaxQueue, Memory: s.memory.Limit, Files: budget.Files()},
		Logger: s.log, Clock: s.e.Now, Observer: s.metrics, Damage: s.met,
	}
	if c.MergeUndo {
		o.MergeUndo = zeo.MergeableClasses(c.MergeUndoClasses)
	}
	if c.TransactionTimeout == 0 {
		o.TransactionTimeout = -1
	}
	if c.LargeTimeout == 0 {
		o.LargeTransactionTimeout = -1
	}
	if c.Announce == "msgpack" {
		o.Announce = wire.Msgpack
	}
	return o
}

// alive is asked by the watchdog: it fails if a storage does not answer.
func (s *serving) alive(context.Context) error {
	for _, st := range s.open.all() {
		st.Storage.LastTransaction()
	}
	return nil
}

func (s *serving) startHealth(probe *ops.Probe, site *web.Site) (*ops.Server, error) {
	if s.conf.HTTPListen == "" {
		return nil, nil
	}
	o := ops.Options{Address: s.conf.HTTPListen, Live: probe.Ask, Metrics: s.metrics.Handler(), Logger: s.log, Ready: s.ready}
	if site != nil {
		o.Web, o.WebRoot, o.Stopping = site, web.Root, site.Close
	}
	if s.conf.HTTPTLS {
		o.TLS = s.certs.ConfigIfGiven() // probes and Prometheus have no certificate
	}
	server, err := ops.Listen(o)
	if err != nil {
		return nil, withListenHint(err, s.conf.HTTPListen, "--http-listen")
	}
	return server, nil
}

// ready returns the reasons why the storages that are open so far are not ready.
func (s *serving) ready() []ops.Reason {
	var reasons []ops.Reason
	for _, st := range s.open.all() {
		reasons = append(reasons, ops.NotReady(st.Name, st.Storage.Status())...)
	}
	return reasons
}

func (s *serving) statusLine(listeners []net.Listener) string {
	var on []string
	for _, l := range listeners {
		on = append(on, l.Addr().String())
	}
	return "serving on " + strings.Join(on, ", ")
}

// greet shows a person the next steps; in the system's journal nobody needs that.
func (s *serving) greet(listeners []net.Listener) error {
	if s.conf.LogFormat != "text" || s.e.Getenv("NOTIFY_SOCKET") != "" {
		return nil
	}
	g := greeting{conf: s.conf, made: s.made, server: s.certs, container: inContainer(s.e.Getenv), host: hostName(), pages: s.pagesURL()}
	for _, l := range listeners {
		g.addresses = append(g.addresses, l.Addr())
	}
	return writeGreeting(s.e.Stdout, g)
}
