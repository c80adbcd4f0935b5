package web

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// contents keeps the knowledge of pages about the contents of each storage.
type contents struct {
	clock  func() time.Time
	log    *slog.Logger
	bounds *inspect.Bounds // of all storages together

	mu     sync.Mutex
	closed bool                // guarded by mu
	by     map[string]*content // guarded by mu; by the name of the storage
}

// content is that of one storage.
type content struct {
	reader  Reader
	browser *inspect.Browser
	census  *inspect.Census

	reading   chan struct{}    // has one place, for who reads the repository
	backups   *inspect.Backups // guarded by the place; nil: never read
	backupsIn string           // guarded by the place: the repository
	backupsAt time.Time        // guarded by the place
}

func newContents(clock func() time.Time, log *slog.Logger) *contents {
	return &contents{clock: clock, log: log, bounds: inspect.NewBounds(), by: make(map[string]*content)}
}

// of returns the content of a storage.
func (c *contents) of(st Storage) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.by[st.Name]
	if found != nil && found.reader == st.Reader {
		return found
	}
	if found != nil {
		found.census.Close()
	}
	home, err := vfs.OS(st.Reader.Home())
	if err != nil {
		home = nil // then there is no index
	}
	found = &content{
		reader: st.Reader, reading: make(chan struct{}, 1), browser: inspect.NewBrowser(st.Reader, inspect.Options{Home: home, Bounds: c.bounds}),
		census: inspect.NewCensus(st.Reader, inspect.CensusOptions{
			Clock: c.clock, DryRun: st.DryRun,
			Failed: func(text string) { c.log.Error("a count of classes failed", "storage", st.Name, "err", text) },
		}),
	}
	if c.closed {
		found.census.Close()
	}
	c.by[st.Name] = found
	return found
}

// close ends the counts.
func (c *contents) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, one := range c.by {
		one.census.Close()
	}
}

// backupsFresh is how long the list of backups is kept: a repository has thousands of manifests.
const backupsFresh = 20 * time.Second

// backupsOf returns the repository of the backups of a storage, the backups, and when they were read;
// nil: there is no repository. On a disk that hangs one request hangs, and the others end with ctx.
func (c *content) backupsOf(ctx context.Context, st Storage, now time.Time) (string, *inspect.Backups, time.Time, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return "", nil, now, ctx.Err()
	}
	if age := now.Sub(c.backupsAt); c.backups != nil && age >= 0 && age < backupsFresh {
		return c.backupsIn, c.backups, c.backupsAt, nil
	}
	repository := st.Backups()
	if repository == nil {
		return "", nil, now, nil
	}
	r, err := backup.Open(ctx, repository)
	if err != nil {
		return "", nil, now, err
	}
	where := repository.Path("")
	c.backups, c.backupsIn, c.backupsAt = inspect.BackupsOf(r, st.Reader.Identity(), where), where, now
	return where, c.backups, now, nil
}
