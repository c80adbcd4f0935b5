package space

import "github.com/dirstorage/dirstorage/internal/vfs"

// Short reports whether space is so low that chores that give some back come before all others of the
// store: less is free than counts as little, or than the reserve takes, or
// the reserve was given up.
func (w *Watch) Short() bool {
	sp, err := w.o.FS.Space()
	if err != nil || sp.TotalBytes == 0 {
		return false
	}
	reserve := w.o.reserveOn(sp)
	return sp.FreeBytes < uint64(w.o.lowOn(sp)) || reserve > 0 && !w.HasReserve(reserve) && sp.FreeBytes < 4*uint64(reserve)
}

// ForReclaim is how many bytes of the disk a file may take that gives more space back when it is
// whole. That of the reserve is in it if that may be taken, and that which the journal needs when it is
// flushed is not.
func (w *Watch) ForReclaim(withReserve bool) int64 {
	sp, reserve := w.freeAndReserve()
	if !withReserve {
		reserve = 0
	}
	return max(0, int64(min(sp.FreeBytes, 1<<62))+reserve-w.o.State.Owed().Bytes)
}

// ClaimForReclaim gives up the reserve for a file of so many bytes that gives more back, if it does not
// have room without.
func (w *Watch) ClaimForReclaim(bytes int64) {
	sp, reserve := w.freeAndReserve()
	if int64(min(sp.FreeBytes, 1<<62))-w.o.State.Owed().Bytes >= bytes || reserve == 0 || !GiveUpReserve(w.o.FS) {
		return
	}
	w.o.Log.Warn("disk full: the reserve is given up to have space back that packs have freed; commits are refused until there is room", "path", ReserveFile)
	w.o.State.RefuseCommits()
}

// LookSoon has the next [Watch.Look] look, whenever the one before was. For the worker alone.
func (w *Watch) LookSoon() { w.next = w.o.Clock() }

// freeAndReserve returns the free space, boundless if nobody can tell, and the size of the reserve
// that there is.
func (w *Watch) freeAndReserve() (sp vfs.Space, reserve int64) {
	sp, err := w.o.FS.Space()
	if err != nil || sp.TotalBytes == 0 {
		sp = vfs.Space{FreeBytes: 1 << 62}
	}
	if info, err := w.o.FS.Stat(ReserveFile); err == nil {
		reserve = info.Size
	}
	return sp, reserve
}
