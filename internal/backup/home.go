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

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// home is a storage in snapshot mode, as files: nothing but config and A is
// looked at.
type home struct {
	fs       vfs.FS
	format   layout.Format
	class    string
	identity string
	serial   zodb.TID
	packed   zodb.TID
	maxOID   zodb.OID
	lastSum  *archive.Sum // of the last transaction
	// undeleted is what came back since it was packed, and belongs to old transactions.
	undeleted pack.Undeleted
	// problem is told what is wrong with the storage and backed up as it is.
	problem func(string)
}

func openHome(f vfs.FS) (*home, error) {
	const settingsFile, identityFile = "config/settings", "config/identity"
	b, err := f.ReadFile(settingsFile)
	if err != nil {
		return nil, err
	}
	set, _, err := settings.Parse(b, settingsFile)
	if err != nil {
		return nil, err
	}
	h := &home{fs: f, format: set.Structure.Format, class: set.Storage.ClassName}
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
		b, err := f.ReadFile(h.path(n))
		if errors.Is(err, fs.ErrNotExist) && n == layout.XPacked {
			continue
		}
		if err == nil {
			x[i], err = record.ParseX(b, f.Path(h.path(n)))
		}
		if err != nil {
			return nil, err
		}
	}
	h.serial, h.maxOID, h.packed = zodb.TID(x[0]), zodb.OID(x[1]), zodb.TID(x[2])
	if h.full() && h.serial != 0 {
		b, err := f.ReadFile(h.path(layout.Transaction(h.serial)))
		if err != nil {
			return nil, fmt.Errorf("the last transaction, which x.serial names: %w", err)
		}
		h.lastSum = transactionSum(b)
	}
	return h, nil
}

func (h *home) full() bool { return h.class == settings.ClassFull }

func (h *home) path(n layout.Name) string { return "A/" + h.format.Path(n) }

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
		for name, err := range vfs.Walk(h.fs, "A") {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && (strings.HasSuffix(name, "-deleted") || archive.CheckName(name) != nil) {
				continue
			}
			if !yield(name, err) || err != nil {
				return
			}
		}
	}
}

// errUnlinked: the transactions since the reference can't be followed, because
// pack removed some of them.
var errUnlinked = errors.New("pack removed transactions since the reference")

// proveReference returns an error if the storage does not contain the
// transaction with which a backup ends: then that is of another history, though
// of the same identity, and nothing can build upon it.
func (h *home) proveReference(m *Manifest) error {
	if m.TID == 0 {
		return nil
	}
	if !h.full() {
		if h.remembers(m) {
			return nil
		}
		return fmt.Errorf("class Minimal keeps no transactions, and %s does not tell of backup %s, so nothing tells whether it is of this history", witnessFile, m.Name)
	}
	b, err := h.fs.ReadFile(h.path(layout.Transaction(m.TID)))
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.TID <= h.packed && m.TransactionSHA256 != nil && h.remembers(m):
		return nil
	case errors.Is(err, fs.ErrNotExist) && m.TID <= h.packed:
		return fmt.Errorf("transaction %s was packed away, so nothing tells whether backup %s is of this history", m.TID, m.Name)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the storage has no transaction %s: it was put back to an earlier state since backup %s", m.TID, m.Name)
	case err != nil:
		return err
	case !sameSum(transactionSum(b), m.TransactionSHA256):
		return fmt.Errorf("transaction %s is another one than in backup %s: the storage was put back to an earlier state since", m.TID, m.Name)
	}
	return nil
}

// changed yields the names of the files that transactions later than after wrote,
// newest transaction first, each once. It reads transactions and pointers. The
// error matches errUnlinked if pack took a link.
func (h *home) changed(ctx context.Context, after zodb.TID) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for tid := h.serial; tid > after; {
			t, err := h.transaction(tid)
			if errors.Is(err, fs.ErrNotExist) && tid <= h.packed && tid != h.serial {
				err = errUnlinked
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield("", err)
				return
			}
			if !yield(h.path(layout.Transaction(tid)), nil) {
				return
			}
			for _, oid := range t.OIDs {
				if !h.yieldRevision(oid, tid, yield) {
					return
				}
			}
			tid = t.Previous
		}
	}
}

// yieldRevision yields what a transaction wrote of one object. Its pointer
// comes with the newest revision.
func (h *home) yieldRevision(oid zodb.OID, tid zodb.TID, yield func(string, error) bool) bool {
	revision, blob, pointer := h.path(layout.Revision(oid, tid)), h.path(layout.Blob(oid, tid)), h.path(layout.Pointer(oid))
	_, err := h.fs.Stat(revision)
	if errors.Is(err, fs.ErrNotExist) {
		if tid > h.packed {
			h.problem(fmt.Sprintf("%s is missing: transaction %s lists it", h.fs.Path(revision), tid))
		}
		return true
	}
	if !yield(revision, err) || err != nil {
		return false
	}
	if _, err = h.fs.Stat(blob); err == nil && !yield(blob, nil) {
		return false
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		yield("", err)
		return false
	}
	b, err := h.fs.ReadFile(pointer)
	if errors.Is(err, fs.ErrNotExist) {
		h.problem(fmt.Sprintf("%s is missing: the object has revision %s", h.fs.Path(pointer), tid))
		return true
	}
	if err != nil {
		yield("", err)
		return false
	}
	current, err := record.ParsePointer(b, h.fs.Path(pointer), oid)
	if err != nil {
		return yield(pointer, nil) // what is wrong with it is told when it is read again
	}
	return current != tid || yield(pointer, nil)
}

func (h *home) transaction(tid zodb.TID) (*record.Transaction, error) {
	name := h.path(layout.Transaction(tid))
	b, err := h.fs.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t, err := record.ParseTransactionAs(b, h.fs.Path(name), tid, true)
	if err == nil && t.Previous >= tid {
		err = &zodb.CorruptError{Path: h.fs.Path(name), TID: tid, Reason: "history does not go backwards"}
	}
	return t, err
}

// changedByName yields the same as changed from a walk over all names of A. It
// is for what the transactions do not tell: class Minimal, which has none, and
// what a pack removed that keeps undoable transactions only.
func (h *home) changedByName(ctx context.Context, after zodb.TID) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range h.whole(ctx) {
			if err != nil {
				yield("", err)
				return
			}
			n, ok := h.format.Parse(strings.TrimPrefix(name, "A/"))
			if !ok {
				continue
			}
			later, err := h.later(n, name, after)
			if err != nil || later {
				if !yield(name, err) || err != nil {
					return
				}
			}
		}
	}
}

// later reports whether a file is of a transaction later than after.
func (h *home) later(n layout.Name, name string, after zodb.TID) (bool, error) {
	switch n.Kind {
	case layout.KindRevision, layout.KindTransaction, layout.KindBlob:
		return n.TID > after, nil
	case layout.KindPointer:
		b, err := h.fs.ReadFile(name)
		if err != nil {
			return false, err
		}
		tid, err := record.ParsePointer(b, h.fs.Path(name), n.OID)
		return tid > after, err
	case layout.KindObject:
		head, size, err := readHead(h.fs, name)
		if err != nil {
			return false, err
		}
		o, _, err := record.ParseObjectHeader(head, size, h.fs.Path(name))
		return err == nil && o.Serial > after, err
	}
	return false, nil
}

func readHead(f vfs.FS, name string) (b []byte, size int64, err error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	b = make([]byte, min(info.Size, record.ObjectHeaderSize))
	_, err = file.ReadAt(b, 0)
	return b, info.Size, err
}

// witnessFile remembers the last transactions of backups, so that a pack which
// removes such a transaction does not make a full backup necessary; and for class
// Minimal, which keeps none. It is not in config or A, so no copy of the storage has
// it: one that is put back to an earlier state starts without. Where A alone is put
// back, the next start makes void what is in it.
const (
	witnessFile  = "misc/backed-up"
	witnessAside = "misc/backed-up.new"
	maxWitnesses = 1000
)

func witness(m *Manifest) string {
	if m.TransactionSHA256 == nil {
		return m.TID.String() + " minimal"
	}
	return m.TID.String() + " " + m.TransactionSHA256.String()
}

func (h *home) remembers(m *Manifest) bool {
	b, err := h.fs.ReadFile(witnessFile)
	return err == nil && slices.Contains(strings.Split(string(b), "\n"), witness(m))
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
