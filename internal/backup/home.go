package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/human"
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
	witnesses *witnesses
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
	h.witnesses, _ = readWitnesses(f) // if they cannot be read, there are none
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

// proveReference returns an error if nothing tells that a backup has all that the storage has of the transactions up
// to its last one: it may be of another history, though of the same identity; or the storage was packed before it
// was put back, or files came back to it. Then nothing can build upon the backup.
func (h *home) proveReference(m *Manifest) error {
	if m.TID == 0 {
		return nil
	}
	if m.Packed > h.packed {
		return fmt.Errorf("backup %s is packed up to %s, and the storage to %s: it was put back to the state before a pack", m.Name, m.Packed, h.packed)
	}
	if h.full() {
		b, _, err := h.a.Get(layout.Transaction(m.TID))
		switch {
		case errors.Is(err, fs.ErrNotExist) && m.TID <= h.packed && m.TransactionSHA256 != nil:
			// It was packed away.
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("the storage has no transaction %s: it was put back to an earlier state since backup %s", m.TID, m.Name)
		case err != nil:
			return err
		case !sameSum(transactionSum(b), m.TransactionSHA256):
			return fmt.Errorf("transaction %s differs from that of backup %s: the storage was put back to an earlier state since", m.TID, m.Name)
		}
	}
	if !h.witnesses.has(m) {
		return &unknownError{[]string{m.Name}}
	}
	return nil
}

// unknownError says that the storage does not tell of backups, the newest first.
type unknownError struct{ names []string }

func (e *unknownError) Error() string {
	text := fmt.Sprintf("%s does not tell of backup %s", witnessFile, e.names[0])
	if older := len(e.names) - 1; older > 0 {
		text += fmt.Sprintf(" and %s", human.Number(int64(older), "older one"))
	}
	return text + ", so the storage may have files of older transactions that it lacks"
}
