package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// witnessFile remembers the backups that were made of a HOME, and those of which it was restored. An incremental one
// is built upon these only: nothing else tells that a backup has all that the storage has of the transactions up to
// it. Files may have come back by a salvage or an undelete, or be from before a pack, and A does not tell. The file is not in
// config or A, and its lines name the A that they are of. So neither a copy of the storage nor one with another A in
// its place has it.
const (
	witnessFile  = "misc/backed-up"
	witnessAside = "misc/backed-up.new"
	// maxWitnesses is a year of backups each hour, of all repositories.
	maxWitnesses = 10_000
)

// witnesses are the lines of a HOME.
type witnesses struct {
	fs    vfs.FS
	a     string // the identity of A; "" = it has none
	lines []string
}

// readWitnesses reads those of a HOME.
func readWitnesses(f vfs.FS) (*witnesses, error) {
	w := &witnesses{fs: f}
	if is, err := vfs.Identify(f, string(store.A)); err == nil {
		w.a = fmt.Sprintf("%d-%d-%d", is.Ino, is.Born, is.Volume) // with each name in it, it is changed
	}
	b, err := f.ReadFile(witnessFile)
	if text := strings.TrimSpace(string(b)); err == nil && text != "" {
		w.lines = strings.Split(text, "\n")
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return w, err
}

// line names the snapshot, too: backups before and after a pack may end with the same transaction.
func (w *witnesses) line(m *Manifest) string {
	sum := "minimal"
	if m.TransactionSHA256 != nil {
		sum = m.TransactionSHA256.String()
	}
	return m.TID.String() + " " + sum + " " + m.SnapshotAt.UTC().Format(time.RFC3339Nano) + " " + w.a
}

// has reports whether a backup was made of this HOME, with the A that it has, or whether it was restored of it.
func (w *witnesses) has(m *Manifest) bool { return w.a != "" && slices.Contains(w.lines, w.line(m)) }

// add adds backups, durably. It reports whether there were new ones.
func (w *witnesses) add(list ...*Manifest) (bool, error) {
	lines := w.lines
	for _, m := range list {
		if m.TID != 0 && !m.original && !slices.Contains(lines, w.line(m)) {
			lines = append(lines, w.line(m))
		}
	}
	if len(lines) == len(w.lines) {
		return false, nil
	}
	text := strings.Join(lines[max(0, len(lines)-maxWitnesses):], "\n") + "\n"
	return true, vfs.WriteFileAtomic(w.fs, witnessAside, witnessFile, []byte(text), vfs.SyncOptions{File: true, Dir: true})
}

// remember adds a backup to the witnesses.
func (h *home) remember(m *Manifest) error {
	w, err := readWitnesses(h.fs) // anew: the storage may have been opened meanwhile
	if err == nil {
		_, err = w.add(m)
	}
	return err
}

// HandOn leaves in a HOME that was restored what the one that was backed up has told: of the last undelete or
// salvage, and, if it has all of the last backup, of the backups that may be built upon, those of the chain.
func HandOn(f vfs.FS, p *Plan) error {
	last := p.Chain[len(p.Chain)-1]
	if last.Undeleted != "" {
		u := pack.Undeleted{Time: last.Ended} // if that means nothing here, no backup has this one
		if at, err := time.Parse(time.RFC3339Nano, last.Undeleted); err == nil {
			u.Time = at
		}
		if err := u.Note(f, vfs.SyncOptions{File: true, Dir: true}); err != nil {
			return err
		}
	}
	if p.Cut {
		return nil
	}
	w, err := readWitnesses(f)
	if err != nil {
		return err
	}
	if added, err := w.add(p.Chain...); err != nil || !added {
		return err
	}
	return f.SetModTime(witnessFile, last.Ended) // which is the time of the last backup
}
