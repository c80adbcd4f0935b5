package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// lockPoll is how often an outcome that waits tries the lock of the repository.
const lockPoll = 100 * time.Millisecond

// note is an outcome on its way into NAME.verified.json.
type note struct {
	m     *Manifest
	v     Verified
	known Verified // the outcome on record when this one was made; zero: none
}

// note returns the outcome of a verification that ends now.
func (r *Repository) note(m *Manifest, o VerifyOptions, found error) note {
	v := Verified{When: o.Now(), Level: o.Level, OK: found == nil, Archive: &m.Archive.SHA256}
	if o.Level == LevelSample {
		v.Percent = o.Percent
	}
	if found != nil {
		v.Error = found.Error()
	}
	known := r.Verified[m.Name]
	return note{m, v.behind(known), known}
}

// behind returns an outcome after another one. With two bad ones the level is the deeper one of both, which is not
// refuted yet.
func (v Verified) behind(old Verified) Verified {
	if old.Level != "" && !old.OK && !v.OK && !v.Level.covers(old.Level) {
		v.Level, v.Percent = old.Level, old.Percent
	}
	return v
}

// record writes an outcome. It is a remark: a failure to write it does not change the result, and is warned of.
// false: something else changes the backups.
func (r *Repository) record(ctx context.Context, n note, warn func(string)) bool {
	err := r.putNote(ctx, n)
	if err != nil {
		r.Verified[n.m.Name] = n.v
	}
	if errors.Is(err, vfs.ErrLocked) {
		return false
	}
	if err != nil {
		warn(fmt.Sprintf("the outcome for backup %s could not be recorded: %v", n.m.Name, err))
	}
	return true
}

// recordLater records outcomes that came while something else changed the backups. If one of them is bad, it waits
// for the end of that, such as of a backup: the next one must not build upon a bad one.
func (r *Repository) recordLater(ctx context.Context, notes []note, warn func(string)) {
	waits := func(n note) bool { return !n.v.OK }
	if i := slices.IndexFunc(notes, waits); i >= 0 {
		warn(fmt.Sprintf("backup %s is bad; something else changes the backups, and this is recorded when that has ended", notes[i].m.Name))
	}
	for len(notes) > 0 {
		if r.record(ctx, notes[0], warn) {
			notes = notes[1:]
			continue
		}
		if !slices.ContainsFunc(notes, waits) || ctx.Err() != nil {
			warn(fmt.Sprintf("the outcome for backup %s, and %d more, could not be recorded: something else changes the backups", notes[0].m.Name, len(notes)-1))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockPoll):
		}
	}
}

// putNote writes an outcome, unless its backup was removed, or another verification has learnt more meanwhile.
func (r *Repository) putNote(ctx context.Context, n note) (err error) {
	lock, err := r.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if r.Removed(ctx, n.m) != nil {
		return nil
	}
	if err := r.readVerified(ctx, n.m); err != nil {
		return err
	}
	old, ok := r.Verified[n.m.Name]
	// One that was there before is older, whatever its time: the clock may have been ahead.
	later := ok && !old.When.Equal(n.known.When) && old.When.After(n.v.When)
	if later && old.Level.covers(n.v.Level) || ok && !old.OK && n.v.OK && !n.v.Level.covers(old.Level) {
		return nil
	}
	v := n.v.behind(old)
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	r.Verified[n.m.Name] = v
	return put(ctx, r.Store, n.m.Name+verifiedSuffix, append(b, '\n'))
}
