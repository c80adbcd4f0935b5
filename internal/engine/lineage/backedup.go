package lineage

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// backedUpFile is written by backups: they vouch for the history that they saw.
const backedUpFile = "misc/backed-up"

// doubtBackups makes the notes of backups about the history void, when it may differ from
// the one that they saw: then the next one builds upon none of them. The tids stay, and so does
// the time stamp: it is the time of the last backup.
func (l *Lineage) doubtBackups() {
	b, err := l.o.Home.FS.ReadFile(backedUpFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var info vfs.Info
	if err == nil {
		info, err = l.o.Home.FS.Stat(backedUpFile)
	}
	var void strings.Builder
	for line := range strings.Lines(string(b)) {
		tid, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Fprintf(&void, "%s void\n", tid)
	}
	if err == nil && void.String() != string(b) {
		err = vfs.WriteFileAtomic(l.o.Home.FS, home.JournalDir+"/aside-backed-up", backedUpFile, []byte(void.String()), l.o.Home.Sync())
		if err == nil {
			err = l.o.Home.FS.SetModTime(backedUpFile, info.ModTime)
		}
	}
	if err != nil {
		l.o.Log.Warn("make a full backup: it cannot be noted that those before may be of another history", "path", backedUpFile, "err", err)
	}
}
