package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/oidlock"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Txn is an open transaction. Its methods are called by one goroutine at a
// time. It ends with Finish or Abort; after an error of any method but Vote
// with *ConflictsError it should be aborted.
type Txn struct {
	m         *Manager
	number    uint64
	meta      zodb.TxnMeta
	given     zodb.TID
	packed    bool // where it was copied from
	mergeable func(class string) bool

	mu      sync.Mutex // held over each call, because Close aborts from another goroutine
	state   txnState
	ops     operations
	slimmed []zodb.OID // of a copy that was voted for: the objects of all operations; see slim
	checks  map[zodb.OID]zodb.TID
	undone  []zodb.TID // transactions that Undo was called for
	spool   spool
	blobs   []*stagedBlob // every file that was staged, also those that were replaced
	writers []*BlobWriter // all that were begun
	resolve bool          // a vote met conflicts
	lost    error         // why the content of a blob may be gone: the transaction cannot be voted for any more
	held    *oidlock.Request
	coming  bool             // counted by the commit queue
	first   bool             // it has the turn of the commit queue; guarded by mu of that
	pending *journal.Pending // in the log, from a successful vote until the commit

	claim state.Claim // its promised room for the log; see admit
}

type txnState uint8

const (
	txnOpen txnState = iota
	txnVoted
	txnEnded
)

func (st txnState) String() string {
	return [...]string{"open", "voted", "ended"}[st]
}

// Begin starts a transaction. Any number may be open. Errors: metadata too
// long, a tid after which there is none, storage read-only or closed.
func (m *Manager) Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (*Txn, error) {
	for _, f := range []struct {
		name string
		data []byte
	}{{"user", meta.User}, {"description", meta.Description}, {"extension", meta.Extension}} {
		if len(f.data) > zodb.MaxMetaLen {
			return nil, fmt.Errorf("the %s has %d bytes; the limit is %d", f.name, len(f.data), zodb.MaxMetaLen)
		}
	}
	if o.TID >= state.LatestTID {
		return nil, fmt.Errorf("a transaction cannot have the tid %s: there would be none after it", o.TID)
	}
	if o.TID != 0 {
		if err := m.o.CopyingIn(); err != nil {
			return nil, err
		}
		if err := m.o.State.WaitForMemory(ctx); err != nil {
			return nil, err
		}
	}
	if err := m.o.State.Writable(); err != nil {
		return nil, err
	}
	t := &Txn{m: m, number: m.numbers.Add(1), meta: cloneMeta(meta), given: o.TID, packed: o.Status == zodb.StatusPacked, mergeable: o.Mergeable}
	t.spool.m = m
	m.open.add(t)
	return t, nil
}

// Number names the transaction among all that were begun since the open, from 1 on. It may be called
// concurrently.
func (t *Txn) Number() uint64 { return t.number }

// cloneMeta returns a copy that the caller cannot change.
func cloneMeta(m zodb.TxnMeta) zodb.TxnMeta {
	return zodb.TxnMeta{User: bytes.Clone(m.User), Description: bytes.Clone(m.Description), Extension: bytes.Clone(m.Extension)}
}

// expect checks that a call is legal in the present state. mu must be held.
func (t *Txn) expect(want txnState) error {
	if t.state != want {
		return fmt.Errorf("%w: it is %s, not %s", zodb.ErrState, t.state, want)
	}
	return nil
}

// storing is the common part of all calls that bring data.
func (t *Txn) storing(data []byte) (spooled, error) {
	if err := t.expect(txnOpen); err != nil {
		return spooled{}, err
	}
	if int64(len(data)) > record.MaxData {
		return spooled{}, fmt.Errorf("a record of %d bytes; the limit is %d", len(data), int64(record.MaxData))
	}
	if err := t.m.o.State.Writable(); err != nil {
		return spooled{}, err
	}
	return t.spool.add(data)
}

// Store stores new data for an object. serial is the revision that the change
// is based on, 0 for a new object; it is compared at vote. data is not kept.
//
// It keeps the blob that this transaction stored for the object with StoreBlob before: a
// caller that stores the record again, or resolves a conflict, brings the record only.
// After a vote with *ConflictsError, for an undo that met a later change, data with the
// serial Current of the conflict is the merged record.
func (t *Txn) Store(oid zodb.OID, serial zodb.TID, data []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(data) == 0 && t.m.o.Home.Full {
		return fmt.Errorf("object %s: %w", oid, zodb.ErrEmptyRecord)
	}
	d, err := t.storing(data)
	if err != nil {
		return fmt.Errorf("store object %s: %w", oid, err)
	}
	op := operation{kind: opStore, serial: serial, data: d}
	if before := t.ops.get(oid); before != nil && before.kind == opStore {
		if b := before.blob(); b != nil {
			op.more = &aside{blob: b}
		}
	} else if before != nil && t.resolve {
		if next := before.merged(serial, d); next != nil {
			op = *next
		}
	}
	t.ops.put(oid, op)
	return nil
}

// Data returns the record that this transaction stores for an object, the last
// one, owned by the caller; of an undo that has to be merged, the one to merge with. A
// *zodb.KeyError if it stores none, or deletes the object, or is a copy, see
// [zodb.BeginOptions], that was voted for; zodb.ErrState if the transaction has ended.
func (t *Txn) Data(oid zodb.OID) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == txnEnded {
		return nil, t.expect(txnOpen)
	}
	op := t.ops.get(oid)
	if op == nil || op.gone {
		return nil, &zodb.KeyError{OID: oid, Reason: "the transaction stores no record for it"}
	}
	data, err := t.spool.get(op.data)
	return bytes.Clone(data), err
}

// Deletes reports whether this transaction deletes an object.
func (t *Txn) Deletes(oid zodb.OID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	op := t.ops.get(oid)
	return op != nil && op.kind == opDelete
}

// OIDs returns the objects that this transaction writes, in the order first
// stored. It may be called after the end of the transaction too.
func (t *Txn) OIDs() []zodb.OID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slimmed != nil {
		return slices.Clone(t.slimmed)
	}
	return t.ops.oids()
}

// StoreBlob stores new data for an object together with a blob. See Store.
func (t *Txn) StoreBlob(oid zodb.OID, serial zodb.TID, data []byte, src zodb.BlobSource) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.storeBlob(oid, operation{kind: opStore, serial: serial}, data, src)
}

func (t *Txn) storeBlob(oid zodb.OID, op operation, data []byte, src zodb.BlobSource) error {
	if !t.m.o.Home.Full {
		return fmt.Errorf("store the blob of object %s: %w", oid, zodb.ErrUnsupported)
	}
	d, err := t.storing(data)
	if err != nil {
		return fmt.Errorf("store object %s: %w", oid, err)
	}
	var b *stagedBlob
	if src.Path == "" && src.Staged != nil {
		b, err = stagedOf(src.Staged, t)
	} else if b, err = t.m.stage(src); b != nil {
		t.blobs = append(t.blobs, b)
	}
	if err != nil {
		return fmt.Errorf("store the blob of object %s: %w", oid, t.m.o.State.Refused(err))
	}
	rest := op.aside()
	rest.blob = b
	op.data, op.more = d, &rest
	t.ops.put(oid, op)
	return nil
}

// Delete makes an object not exist from this transaction on. Whether something
// still refers to it is the caller's business: only a read of everything would tell.
func (t *Txn) Delete(oid zodb.OID, serial zodb.TID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.m.o.Home.Full {
		return fmt.Errorf("delete object %s: %w", oid, zodb.ErrUnsupported)
	}
	if err := t.expect(txnOpen); err != nil {
		return err
	}
	t.ops.put(oid, operation{kind: opDelete, serial: serial, gone: true})
	return nil
}

// CheckCurrent makes the vote fail unless serial is the current revision of the
// object then, and keeps it so until the transaction ends.
func (t *Txn) CheckCurrent(oid zodb.OID, serial zodb.TID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.expect(txnOpen); err != nil {
		return err
	}
	if t.checks == nil {
		t.checks = make(map[zodb.OID]zodb.TID)
	}
	t.checks[oid] = serial
	return nil
}

// Restore stores a record of a copied transaction: without looking for
// conflicts or dangling references, as the next revision of the object here.
// DataTID is kept if the revision that it names is here with the same data.
// blob is nil unless a blob belongs to it.
func (t *Txn) Restore(ctx context.Context, rec zodb.Record, blob *zodb.BlobSource) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.given == 0 {
		return fmt.Errorf("restore object %s: %w: a transaction that restores must be given its tid at begin", rec.OID, zodb.ErrState)
	}
	op := operation{kind: opRestore, gone: !rec.Exists}
	if op.gone {
		if err := t.expect(txnOpen); err != nil {
			return err
		}
		t.ops.put(rec.OID, op)
		return nil
	}
	if rec.DataTID != 0 {
		same, err := t.m.sameData(ctx, rec.OID, rec.DataTID, rec.Data)
		if err != nil {
			return fmt.Errorf("restore object %s: %w", rec.OID, err)
		}
		if same {
			op.more = &aside{undoFrom: rec.DataTID}
		}
	}
	if blob != nil {
		return t.storeBlob(rec.OID, op, rec.Data, *blob)
	}
	d, err := t.storing(rec.Data)
	if err != nil {
		return fmt.Errorf("restore object %s: %w", rec.OID, err)
	}
	op.data = d
	t.ops.put(rec.OID, op)
	return nil
}

// sameData reports whether a revision is here and holds that data.
func (m *Manager) sameData(ctx context.Context, oid zodb.OID, tid zodb.TID, data []byte) (bool, error) {
	o, err := m.o.Read.Revision(ctx, oid, tid)
	if errors.Is(err, zodb.ErrNotFound) {
		return false, nil
	}
	return err == nil && string(o.Data) == string(data), err
}

// Abort ends a transaction that was not finished and frees its locks. Calling
// it again, or after Finish, does nothing.
func (t *Txn) Abort() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == txnEnded {
		return nil
	}
	t.state = txnEnded
	return t.end()
}

// end gives back all that the transaction holds. The staged blobs go too,
// unless they belong to a committed transaction, or to one that may be.
func (t *Txn) end() error {
	t.notComing()
	if t.given != 0 {
		t.m.commits.notFirst(t)
	}
	t.m.o.State.Release(&t.claim)
	if t.pending != nil {
		t.m.journal.Abort(t.pending)
		t.pending = nil
	}
	if t.held != nil {
		t.held.Unlock()
		t.held = nil
	}
	errs := []error{t.spool.close()}
	for _, w := range t.writers {
		errs = append(errs, w.Abort())
	}
	for _, b := range t.blobs {
		if b.kept {
			continue
		}
		// On a full disk it may never have been there.
		if err := t.m.o.Home.FS.Remove(b.name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	t.m.o.Guard.Ended(guarded{t})
	t.m.open.remove(t)
	return errors.Join(errs...)
}

// notComing takes the transaction out of those whose Finish may be near.
func (t *Txn) notComing() {
	if t.coming {
		t.coming = false
		t.m.commits.coming.Add(-1)
	}
}
