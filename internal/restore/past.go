package restore

import (
	"encoding/hex"

	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// handOn leaves a mark in the new HOME that no HOME can have made itself. It holds the
// last transaction of the old copy, of which clients may know: the history that begins
// when the new one is opened has to begin after it, even if the clock is behind then.
func (r *run) handOn() error {
	if r.old == nil {
		return nil
	}
	identity := r.o.Plan.Chain[len(r.o.Plan.Chain)-1].Identity
	mark := histfile.Mark{Identity: identity, TID: r.lastOfOld(identity)}
	if err := histfile.Write(r.home, mark, vfs.SyncOptions{File: true, Dir: true}); err != nil {
		return err
	}
	return r.home.SyncDir("journal") // where it was written aside
}

// lastOfOld returns the newest transaction that the old copy tells of, in its marks or
// in its log. The copy may be damaged, which is a reason to restore: then the rest of
// it tells.
func (r *run) lastOfOld(identity string) (newest zodb.TID) {
	if m, err := histfile.Read(r.old); err == nil {
		newest = m.TID
	}
	for _, side := range store.Sides() {
		if tid, err := r.copies.Last(r.old, side); err == nil {
			newest = max(newest, tid)
		}
	}
	o := journal.Options{FS: r.old, Dir: "journal"}
	if id, err := hex.DecodeString(identity); err == nil {
		copy(o.Identity[:], id)
	}
	log, found, err := journal.OpenReadOnly(o)
	if err != nil {
		return newest
	}
	for _, t := range found.Transactions {
		newest = max(newest, t.TID)
	}
	_ = log.Close() // nothing was written
	return newest
}
