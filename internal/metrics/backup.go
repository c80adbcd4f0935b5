package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Record is that a storage was backed up, or that a backup was verified. The
// zero value is that it never was.
type Record struct {
	TID  zodb.TID  // last transaction of the backup
	Time time.Time // when it was made, or verified
	// Bad is, with verified backups, the number of those that were not good when they were last
	// verified, or have a manifest that cannot be used, of whatever storage, but not for its newer release.
	Bad int
}

// backedUp is a line for each backup, newest last, that “backup run” leaves in HOME.
const backedUp = "misc/backed-up"

// HomeBackup returns a function that reads the record of the last backup out of a HOME. Time is
// when a backup last found new transactions.
func HomeBackup(home vfs.FS) func() (Record, error) {
	return func() (Record, error) {
		b, err := home.ReadFile(backedUp)
		if errors.Is(err, fs.ErrNotExist) {
			return Record{}, nil
		}
		if err != nil {
			return Record{}, err
		}
		info, err := home.Stat(backedUp)
		if err != nil {
			return Record{}, err
		}
		text := strings.TrimSpace(string(b))
		line := text[strings.LastIndexByte(text, '\n')+1:]
		tid, err := zodb.ParseTID(line[:max(strings.IndexByte(line, ' '), 0)])
		if err != nil {
			return Record{}, fmt.Errorf("%s: last line: %w", backedUp, err)
		}
		return Record{TID: tid, Time: info.ModTime}, nil
	}
}

// RepositoryBackup returns a function that finds the newest backup of a storage in a repository, by
// the identity of the storage. It reads all manifests, so it takes a while in a large repository.
func RepositoryBackup(store objstore.Store, identity string) func() (Record, error) {
	return inRepository(store, identity, func(_ *backup.Repository, m *backup.Manifest) (time.Time, bool) { return m.Ended, true }, nil)
}

// RepositoryVerified is RepositoryBackup for the newest backup that was found good when it was last
// verified, at any level. It counts the bad ones, too.
func RepositoryVerified(store objstore.Store, identity string) func() (Record, error) {
	return inRepository(store, identity, func(r *backup.Repository, m *backup.Manifest) (time.Time, bool) {
		v, ok := r.Verified[m.Name]
		return v.When, ok && v.OK
	}, func(r *backup.Repository) int {
		bad := 0
		for _, err := range r.Damaged {
			if !backup.IsNewer(err) { // which may be good
				bad++
			}
		}
		for _, m := range r.Backups {
			if v, ok := r.Verified[m.Name]; ok && !v.OK && m.Identity == identity {
				bad++
			}
		}
		return bad
	})
}

// inRepository counts by bad, unless it is nil.
func inRepository(store objstore.Store, identity string, when func(*backup.Repository, *backup.Manifest) (time.Time, bool), bad func(*backup.Repository) int) func() (Record, error) {
	return func() (Record, error) {
		r, err := backup.Open(context.Background(), store)
		if err != nil {
			return Record{}, err
		}
		var newest Record
		for _, m := range r.Backups { // the oldest first
			if m.Identity != identity {
				continue
			}
			if at, ok := when(r, m); ok && (m.TID > newest.TID || at.After(newest.Time)) {
				newest = Record{TID: m.TID, Time: at}
			}
		}
		if bad != nil {
			newest.Bad = bad(r)
		}
		return newest, nil
	}
}

// cached reads a record now and then.
type cached struct {
	read    func() (Record, error) // nil: nothing to show
	keep    time.Duration
	what    string
	storage *Storage

	mu     sync.Mutex
	until  time.Time // guarded by mu; zero: never read
	record Record    // guarded by mu
	err    error     // guarded by mu
}

// get reports false if the record is not known.
func (c *cached) get() (Record, bool) {
	if c.read == nil {
		return Record{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.storage.o.Clock()
	// A clock that was set back must not keep it for long.
	if c.until.IsZero() || !now.Before(c.until) || c.until.Sub(now) > c.keep {
		before := c.err
		c.record, c.err = c.read()
		if c.err != nil && (before == nil || before.Error() != c.err.Error()) {
			c.storage.o.Logger.Warn("the last "+c.what+" is not known", "storage", c.storage.name, "err", c.err)
		}
		c.until = now.Add(c.keep)
	}
	return c.record, c.err == nil
}
