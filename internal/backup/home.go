package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// home is a storage in snapshot mode: nothing but config and A is looked at.
type home struct {
	fs       vfs.FS
	a        formats.Snapshot
	copies   store.Copies
	format   layout.Format
	class    string
	version  string // of the structure
	identity string
	serial   zodb.TID
	packed   zodb.TID
	maxOID   zodb.OID
	lastSum  *archive.Sum // of the last transaction
	// undeleted describes files that came back, and belong to old
	// transactions.
	undeleted pack.Undeleted
}

// openHome opens the source of a backup. The caller closes it.
func openHome(f vfs.FS) (h *home, err error) {
	const settingsFile, identityFile = "config/settings", "config/identity"
	b, err := f.ReadFile(settingsFile)
	if err != nil {
		return nil, err
	}
	set, _, err := settings.Parse(b, settingsFile)
	if err != nil {
		return nil, err
	}
	a, err := formats.Still(f, set)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	h = &home{fs: f, a: a, format: set.Structure.Format, copies: formats.Copies(set.Structure.Format), class: set.Storage.ClassName, version: set.Structure.Version}
	if b, err = f.ReadFile(identityFile); err != nil {
		return nil, err
	}
	if h.identity, err = settings.ParseIdentity(b); err != nil {
		return nil, err
	}
	if h.undeleted, err = pack.ReadUndeleted(f); err != nil {
		return nil, err
	}
	var x [3]uint64
	for i, n := range []layout.Name{layout.XSerial, layout.XOID, layout.XPacked} {
		b, place, err := h.a.Get(n)
		if errors.Is(err, fs.ErrNotExist) && n == layout.XPacked {
			continue
		}
		if err == nil {
			x[i], err = record.ParseX(b, f.Path(place))
		}
		if err != nil {
			return nil, err
		}
	}
	h.serial, h.maxOID, h.packed = zodb.TID(x[0]), zodb.OID(x[1]), zodb.TID(x[2])
	if h.full() && h.serial != 0 {
		b, _, err := h.a.Get(layout.Transaction(h.serial))
		if err != nil {
			return nil, fmt.Errorf("the last transaction, which x.serial names: %w", err)
		}
		h.lastSum = transactionSum(b)
	}
	return h, nil
}

func (h *home) close() error { return h.a.Close() }

func (h *home) full() bool { return h.class == settings.ClassFull }

// config returns the files of config, sorted, and a hash over them.
func (h *home) config() (names []string, sum archive.Sum, err error) {
	for name, err := range vfs.Walk(h.fs, "config") {
		if err != nil {
			return nil, sum, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	all := sha256.New()
	for _, name := range names {
		b, err := h.fs.ReadFile(name)
		if err != nil {
			return nil, sum, err
		}
		one := sha256.Sum256(b)
		fmt.Fprintf(all, "%s\n%x\n", name, one)
	}
	return names, archive.Sum(all.Sum(nil)), nil
}

// whole yields the names of all files of A that belong into a full backup.
func (h *home) whole(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range h.a.Files(ctx) {
			if err == nil && archive.CheckName(name) != nil {
				continue
			}
			if !yield(name, err) {
				return
			}
		}
	}
}

// proveReference returns an error if the storage does not contain the
// transaction with which a backup ends: then that is of another history, though
// of the same identity, and nothing can build upon it. Nor can it if a pack may have removed from
// the backup what the storage has.
func (h *home) proveReference(m *Manifest) error {
	if m.TID == 0 {
		return nil
	}
	remembered := h.remembers(m)
	switch {
	case m.Packed > h.packed:
		return fmt.Errorf("backup %s is packed up to %s, and the storage to %s: it was put back to the state before a pack", m.Name, m.Packed, h.packed)
	case m.Packed > 0 && !remembered:
		// The storage may have been put back to before that pack. A backup since lacks revisions that the storage has,
		// and an increment would not have them, because they are older than it.
		return fmt.Errorf("%s does not tell of backup %s, so the storage may have revisions that a pack had removed when that was made", witnessFile, m.Name)
	}
	if !h.full() {
		if remembered {
			return nil
		}
		return fmt.Errorf("class Minimal keeps no transactions, and %s does not tell of backup %s, so nothing tells whether it is of this history", witnessFile, m.Name)
	}
	b, _, err := h.a.Get(layout.Transaction(m.TID))
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.TID <= h.packed && m.TransactionSHA256 != nil && remembered:
		return nil
	case errors.Is(err, fs.ErrNotExist) && m.TID <= h.packed:
		return fmt.Errorf("transaction %s was packed away, so nothing tells whether backup %s is of this history", m.TID, m.Name)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the storage has no transaction %s: it was put back to an earlier state since backup %s", m.TID, m.Name)
	case err != nil:
		return err
	case !sameSum(transactionSum(b), m.TransactionSHA256):
		return fmt.Errorf("transaction %s differs from that of backup %s: the storage was put back to an earlier state since", m.TID, m.Name)
	}
	return nil
}

// witnessFile remembers the last transactions of backups, so that a pack does not make a full
// backup necessary; and for class Minimal, which keeps none. It is not in config or A, so no copy of the storage has
// it: one that is put back to an earlier state starts without. Where A alone is put
// back, the next start voids its content.
const (
	witnessFile  = "misc/backed-up"
	witnessAside = "misc/backed-up.new"
	maxWitnesses = 1000
)

// witness names the snapshot, too: backups before and after a pack may end with the same transaction.
func witness(m *Manifest) string {
	sum := "minimal"
	if m.TransactionSHA256 != nil {
		sum = m.TransactionSHA256.String()
	}
	return m.TID.String() + " " + sum + " " + m.SnapshotAt.UTC().Format(time.RFC3339Nano)
}

// remembers reports whether the backup was made of this HOME, with the A that it has.
func (h *home) remembers(m *Manifest) bool {
	b, err := h.fs.ReadFile(witnessFile)
	return err == nil && slices.Contains(strings.Split(string(b), "\n"), witness(m)) && !h.hasAnotherA()
}

// hasAnotherA reports whether A was put in the place of the one that the storage had when it was open. The next open
// notices that, too, and voids the witnesses. Where nothing tells, it is the same.
func (h *home) hasAnotherA() bool {
	mark, err := histfile.Read(h.fs)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	is, err := vfs.Identify(h.fs, string(store.A))
	is.Changed = 0 // with each name in it
	return err != nil || is != mark.A
}

// remember adds a backup to the witnesses.
func (h *home) remember(m *Manifest) error {
	if m.TID == 0 || h.remembers(m) {
		return nil
	}
	b, err := h.fs.ReadFile(witnessFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var lines []string
	if text := strings.TrimSpace(string(b)); text != "" {
		lines = strings.Split(text, "\n")
	}
	lines = append(lines, witness(m))
	text := strings.Join(lines[max(0, len(lines)-maxWitnesses):], "\n") + "\n"
	return vfs.WriteFileAtomic(h.fs, witnessAside, witnessFile, []byte(text), vfs.SyncOptions{File: true, Dir: true})
}
