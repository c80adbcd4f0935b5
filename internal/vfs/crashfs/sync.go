package crashfs

import (
	"maps"
)

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, err := f.findDir(name)
	if err == nil {
		err = f.step("syncdir %s", name)
	}
	if err != nil {
		return f.pathError("sync", name, f.first(err))
	}
	f.syncDir(dir.ino)
	return nil
}

// SyncAll implements vfs.FS.
func (f *FS) SyncAll() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step("syncall"); err != nil {
		return f.pathError("sync file system of", ".", err)
	}
	for _, op := range f.pending {
		f.harden(op)
	}
	f.pending = nil
	for n := range maps.Values(f.nodes) {
		if !n.isDir() {
			n.syncAll()
		}
	}
	return nil
}

// SyncFailed has the effects of a SyncAll that fails with that error. Nobody can say which files it
// concerns: here, each file that is not open and has unwritten data. The first to open and sync
// such a file gets the error, once; the next SyncAll succeeds.
func (f *FS) SyncFailed(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range maps.Values(f.nodes) {
		if !n.isDir() && n.handles == 0 && len(n.writes) > 0 {
			if n.lose(); n.lost {
				n.unseen = cause
			}
		}
	}
}
