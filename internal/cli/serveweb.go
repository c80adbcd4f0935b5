package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/web"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// minToken is the least length of a token for the pages, in bytes.
const minToken = 16

// newSite returns the pages for people; nil if they are not switched on. They look at backups until
// ctx ends.
func (s *serving) newSite(ctx context.Context) (*web.Site, error) {
	w := s.conf.Web
	if !w.On {
		return nil, nil
	}
	token := w.Token
	if w.TokenFile != "" {
		var err error
		if token, err = readToken(w.TokenFile); err != nil {
			return nil, err
		}
	}
	limits, err := s.e.parseLimits(usualBackupAge, usualVerifyAge)
	if err != nil {
		return nil, err
	}
	o := web.Options{
		Clock: s.e.Now, Location: time.Local, Storages: func() []web.Storage { return s.webStorages(ctx) },
		Problems: func() []web.Problem { return s.webProblems(ctx, limits) }, Activity: s.activity, Token: token,
		Certificates: s.conf.HTTPTLS, Origins: w.Origins, Version: buildInfo().Version, Logger: s.log,
	}
	if s.certs != nil {
		o.Revoked = s.certs.Revoked
	}
	return web.New(o)
}

// readToken reads the first line of a file that others than its owner may not read.
func readToken(name string) (string, error) {
	dir, base, err := vfs.Split(name)
	if err != nil {
		return "", err
	}
	info, err := dir.Stat(base)
	if err != nil {
		return "", fmt.Errorf("web-token-file: %w", err)
	}
	const others = 0o077
	if mode := info.Mode.Perm(); mode&others != 0 {
		return "", &status{code: exitUsage, err: hint(fmt.Errorf("web-token-file %s: others than its owner may read it (mode %04o)", name, mode), "chmod 600 %s", shellWord(name))}
	}
	b, err := dir.ReadFile(base)
	if err != nil {
		return "", fmt.Errorf("web-token-file: %w", err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	if first = strings.TrimSpace(first); len(first) < minToken {
		return "", usage("web-token-file %s: the token on its first line has %d characters; want %d at least, as openssl rand -hex 24 makes them", name, len(first), minToken)
	}
	return first, nil
}

// webStorages are the storages that are open.
func (s *serving) webStorages(ctx context.Context) (list []web.Storage) {
	for _, st := range s.open.all() {
		conf := s.conf.Storages[slices.IndexFunc(s.conf.Storages, func(c config.Storage) bool { return c.Name == st.Name })]
		one := web.Storage{Name: st.Name, Reader: st.Storage, Metrics: s.metrics.Storage(st.Name), Backups: func() objstore.Store { return repositoryOf(conf) }}
		one.BlobDownload = slices.Contains(s.conf.Web.Allow, "blobs")
		one.Behind = func() []web.Fact { return s.webBehind(ctx, st) }
		one.DryRun = func(ctx context.Context, days int) (zodb.PackResult, error) {
			return st.Storage.Pack(ctx, zodb.PackOptions{Time: daysAgo(s.e.Now(), days), NoGC: st.NoGC, DryRun: true})
		}
		if slices.Contains(s.conf.Web.Allow, "pack") {
			one.Pack = func(days int) error { return s.packs.start(s, st, days) }
		}
		list = append(list, one)
	}
	return list
}

// repositoryOf returns the repository of the backups; nil if there is none.
func repositoryOf(st config.Storage) objstore.Store {
	repo, err := vfs.OS(repositoryIn(st.Home, st.Repository))
	if err != nil {
		return nil
	}
	if _, err := repo.Stat("."); err != nil {
		return nil
	}
	return objstore.NewDir(repo)
}

// activity is the work of clients; false before the server is open to them.
func (s *serving) activity() (zeo.Activity, bool) {
	server := s.server.Load()
	if server == nil {
		return zeo.Activity{}, false
	}
	return server.Activity(), true
}

// webPacks are the packs that were asked for on the pages.
type webPacks struct {
	running sync.WaitGroup
	mu      sync.Mutex
	stop    context.CancelFunc // guarded by mu; nil: none runs
}

// start begins a pack of a storage, and returns. One is under way at a time.
func (p *webPacks) start(s *serving, st zeo.StorageOptions, days int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil || st.Storage.Status().Pack != nil {
		return errors.New("a pack is under way; wait for its end")
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.running.Go(func() {
		_, err := st.Storage.Pack(ctx, zodb.PackOptions{Time: daysAgo(s.e.Now(), days), NoGC: st.NoGC})
		if err != nil && ctx.Err() == nil {
			s.log.Error("pack failed", "storage", st.Name, "err", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		stop()
		p.stop = nil
	})
	return nil
}

func daysAgo(now time.Time, days int) time.Time {
	const day = 24 * time.Hour
	return now.Add(-time.Duration(days) * day)
}

// end stops a pack and waits for it.
func (p *webPacks) end() {
	p.mu.Lock()
	if p.stop != nil {
		p.stop()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// pagesURL is the place of the pages for a browser on this machine; "": there are none.
func (s *serving) pagesURL() string {
	if s.health == nil || !s.conf.Web.On {
		return ""
	}
	scheme := "http://"
	if s.conf.HTTPTLS {
		scheme = "https://"
	}
	at := s.health.Addr()
	if at.Network() == "unix" { // no browser gets there
		return ""
	}
	return scheme + endpointOf(at).address + web.Root
}
