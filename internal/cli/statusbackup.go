package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// backupState is how far backups and their verification are behind a storage.
type backupState struct {
	// Repository is the directory that was looked at; empty: there is none.
	Repository string `json:"repository"`
	// Error is why the repository, or the note in HOME, cannot be read.
	Error string `json:"error,omitempty"`
	// TID is the last transaction that a backup has, zeros in one of an empty storage, and Time when that
	// backup was made; null: no backup is known.
	TID  zodb.TID   `json:"tid"`
	Time *time.Time `json:"time"`
	// BehindSeconds is the age of that transaction, or of an empty backup, if there are later ones; else 0.
	BehindSeconds float64 `json:"behind_seconds"`
	// Verified is the newest backup that was found good; nil: none was.
	Verified *verifiedState `json:"verified,omitempty"`
	// Failed are the backups that were not good when they were last verified, the newest first.
	Failed []failedBackup `json:"failed,omitempty"`
	// Unusable are the backups whose manifests cannot be used.
	Unusable []string `json:"unusable,omitempty"`
	newer    []string // those of them that a newer release made
}

// verifiedState is a verification that found a backup good.
type verifiedState struct {
	Backup string       `json:"backup"`
	TID    zodb.TID     `json:"tid"` // last transaction of the backup
	Time   time.Time    `json:"time"`
	Level  backup.Level `json:"level"`
}

// failedBackup is a verification that did not.
type failedBackup struct {
	Backup string    `json:"backup"`
	Time   time.Time `json:"time"`
	Error  string    `json:"error"`
}

// lookAround reads the note of the last backup in HOME, and the repository: the one that was asked
// for, that of the server, or HOME/backups, which need not be there; the records of jobs; and it looks
// at the place.
func (st *homeStatus) lookAround(ctx context.Context, e *env, repository string) error {
	if st.Server != nil {
		repository = cmp.Or(repository, st.Server.Repository)
	}
	n, err := readNotes(ctx, e, st.Home, st.Identity, repository)
	if err != nil {
		return err
	}
	n.backup.compare(st.LastTID, e.Now())
	st.take(n)
	st.addFound()
	return nil
}

// readNotes reads the files beside the database, and looks at the place. The only errors are those of
// ctx.
func readNotes(ctx context.Context, e *env, path, identity, repository string) (*homeNotes, error) {
	home, err := vfs.OS(path)
	if err != nil {
		return &homeNotes{backup: &backupState{Error: err.Error()}}, nil
	}
	n := &homeNotes{jobs: readJobs(home, identity, storeOf(repositoryIn(path, repository))), place: doctor.Place(home, e.Mount), unkept: !runs.Reserved(home, runs.InHome)}
	n.backup, err = readBackups(ctx, path, identity, repository)
	return n, err
}

// repositoryIn is the place of the backups: the repository, if one is set.
func repositoryIn(home, repository string) string {
	return cmp.Or(repository, filepath.Join(home, "backups"))
}

// readBackups reads the note and the repository. The only errors are those of ctx.
func readBackups(ctx context.Context, path, identity, repository string) (*backupState, error) {
	dir := repositoryIn(path, repository)
	b := &backupState{}
	home, err := vfs.OS(path)
	if err == nil {
		var r metrics.Record
		r, err = metrics.HomeBackup(home)()
		b.note(r.TID, r.Time)
	}
	var store vfs.FS
	if err == nil {
		store, err = vfs.OS(dir)
	}
	if err == nil {
		_, err = store.Stat(".")
	}
	var r *backup.Repository
	if err == nil {
		r, err = backup.Open(ctx, objstore.NewDir(store))
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case repository == "" && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		b.Repository, b.Error = dir, err.Error()
	default:
		b.Repository = dir
		b.read(r, identity)
	}
	return b, nil
}

// compare finds out how far the backups are behind the last transaction.
func (b *backupState) compare(last zodb.TID, now time.Time) {
	if b.Time == nil || b.TID >= last {
		return
	}
	since := b.TID.Time()
	if b.TID == 0 { // it is empty
		since = *b.Time
	}
	b.BehindSeconds = max(0, now.Sub(since).Seconds())
}

// note notes a backup, if it has later transactions. Of the same ones, the manifest has the exact time,
// and the note in HOME may be younger: it is written after the backup, or again.
func (b *backupState) note(tid zodb.TID, at time.Time) {
	if !at.IsZero() && tid >= b.TID {
		b.TID, b.Time = tid, &at
	}
}

// read reads the manifests of a storage, and the outcome of their verification.
func (b *backupState) read(r *backup.Repository, identity string) {
	for _, m := range r.Backups { // the oldest first
		if m.Identity != identity {
			continue
		}
		b.note(m.TID, m.Ended)
		switch v, ok := r.Verified[m.Name]; {
		case ok && v.OK:
			if b.Verified == nil || v.When.After(b.Verified.Time) || m.TID > b.Verified.TID {
				b.Verified = &verifiedState{m.Name, m.TID, v.When, v.Level}
			}
		case ok:
			b.Failed = append(b.Failed, failedBackup{m.Name, v.When, v.Error})
		}
	}
	slices.Reverse(b.Failed)
	for name, err := range r.Damaged {
		b.Unusable = append(b.Unusable, name)
		if backup.IsNewer(err) {
			b.newer = append(b.newer, name)
		}
	}
	slices.Sort(b.Unusable)
}
