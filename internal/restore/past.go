package restore

import (
	"encoding/hex"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// handOn leaves in the new HOME what the old one has told of backups, unless it is of another format, and a mark that no
// HOME can have made itself. It holds the
// last transaction of the old copy and of all backups, of which clients may know: the history that begins
// when the new one is opened has to begin after it, even if the clock is behind then. So the backups that come are
// newer than those of the history that was given up.
func (r *run) handOn() error {
	last := r.o.Plan.Chain[len(r.o.Plan.Chain)-1]
	mark := histfile.Mark{Identity: last.Identity}
	if !r.convert {
		if err := backup.HandOn(r.home, r.o.Plan); err != nil {
			return err
		}
		mark.Restored = r.result.TID
	}
	for _, m := range r.o.Repository.Backups {
		if m.Identity == last.Identity {
			mark.TID = max(mark.TID, m.TID)
		}
	}
	if r.old != nil {
		mark.TID = max(mark.TID, r.lastOfOld(last.Identity))
	}
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
