package web

import (
	"context"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// contents keeps the knowledge of pages about the contents of each storage.
type contents struct {
	clock func() time.Time

	mu     sync.Mutex
	closed bool                // guarded by mu
	by     map[string]*content // guarded by mu; by the name of the storage
}

// content is that of one storage.
type content struct {
	reader  Reader
	browser *inspect.Browser
	census  *inspect.Census

	mu        sync.Mutex       // held while the repository is read, so that this is done once
	backups   *inspect.Backups // guarded by mu; nil: never read
	backupsAt time.Time        // guarded by mu
}

func newContents(clock func() time.Time) *contents {
	return &contents{clock: clock, by: make(map[string]*content)}
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
		reader: st.Reader, browser: inspect.NewBrowser(st.Reader, inspect.Options{Home: home}),
		census: inspect.NewCensus(st.Reader, inspect.CensusOptions{Clock: c.clock, DryRun: st.DryRun}),
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

// backupsOf returns the backups of a storage, and when they were read.
func (c *content) backupsOf(ctx context.Context, st Storage, now time.Time) (*inspect.Backups, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.backupsAt); c.backups != nil && age >= 0 && age < backupsFresh {
		return c.backups, c.backupsAt, nil
	}
	r, err := backup.Open(ctx, st.Backups)
	if err != nil {
		return nil, now, err
	}
	c.backups, c.backupsAt = inspect.BackupsOf(r, st.Reader.Identity(), st.Backups.Path("")), now
	return c.backups, now, nil
}
