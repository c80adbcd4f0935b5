package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/engine/flush"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Loader copies the first transactions of another storage into a new HOME, without the log: many
// of them go into one file. It is for one goroutine. HOME is locked until Close.
//
// Anything out of the ordinary is refused with an error that matches errors.ErrUnsupported: then the
// rest is for a [Storage], which reports the fault, or can do it.
type Loader struct {
	home    *home.Home
	o       Options
	sublock vfs.Lock
	store   store.Store
	loading store.Loading

	last    zodb.TID
	durable zodb.TID
	highest zodb.OID
	recent  map[zodb.OID]zodb.TID // current revisions that cannot be read yet
	staged  int
	buf     []byte // of the last transaction
	err     error  // of the store
}

// notLoaded is a transaction that a Loader leaves to a Storage.
func notLoaded(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errors.ErrUnsupported, fmt.Sprintf(format, args...))
}

// OpenLoader returns the Loader of a HOME. An error that matches errors.ErrUnsupported says that
// the storage has transactions, or had any, or that its format has none.
func OpenLoader(ctx context.Context, path string, o Options) (*Loader, error) {
	o = o.withDefaults()
	f := o.fs
	if f == nil {
		var err error
		if f, err = vfs.OS(path); err != nil {
			return nil, err
		}
	}
	h, err := home.Read(f, o.Logger)
	if err != nil {
		return nil, err
	}
	if h.Settings.Structure.Format != layout.Bundled || !h.Full {
		return nil, notLoaded("format %s", h.Settings.Structure.Format)
	}
	if err := h.Lock(); err != nil {
		return nil, err
	}
	l := &Loader{home: h, o: o, recent: make(map[zodb.OID]zodb.TID)}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	return l, nil
}

func (l *Loader) open(ctx context.Context) (err error) {
	if l.sublock, err = l.home.FS.Lock(sublockFile); errors.Is(err, vfs.ErrLocked) {
		return notLoaded("somebody needs A to stand still")
	}
	if err == nil {
		err = l.vacant()
	}
	if err != nil {
		return err
	}
	l.store, err = formats.Writable(formats.Options{FS: l.home.FS, Settings: l.home.Settings, Identity: l.home.IdentityBytes(), Clock: l.o.Clock})
	if err != nil {
		return err
	}
	mark, err := l.store.Mark(layout.XSerial)
	var older zodb.TID
	if err == nil {
		older, err = l.store.OlderTransaction(state.LatestTID)
	}
	if err == nil && (mark != 0 || older != 0) {
		err = notLoaded("there is a transaction")
	}
	if err == nil {
		err = l.store.SyncFound()
	}
	if err == nil {
		err = ctx.Err()
	}
	loader, ok := l.store.(store.Loader)
	if err == nil && !ok {
		err = notLoaded("this store")
	}
	if err == nil {
		space.Keep(l.home.FS, l.o.Reserve)
		l.loading, err = loader.BeginLoading()
	}
	return err
}

// vacant makes sure that there is neither a log nor a snapshot.
func (l *Loader) vacant() error {
	for _, dir := range []string{home.JournalDir, string(store.B)} {
		for name, err := range vfs.Walk(l.home.FS, dir) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			if !strings.HasPrefix(name, home.JournalDir+"/aside-") && !strings.HasPrefix(name, loadedBlob) {
				return notLoaded("there is %s", name)
			}
			if err := l.home.FS.Remove(name); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{snapshotFile, histfile.Name} {
		_, err := l.home.FS.Stat(name)
		if err == nil {
			err = notLoaded("there is %s", name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Begin begins a transaction, of which Restore, Vote, Finish and Abort can be called.
func (l *Loader) Begin(_ context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error) {
	if l.err != nil {
		return nil, l.err
	}
	if o.TID <= l.last || o.TID >= state.LatestTID || max(len(meta.User), len(meta.Description), len(meta.Extension)) > zodb.MaxMetaLen {
		return nil, notLoaded("transaction %s after %s", o.TID, l.last)
	}
	return &loadTxn{l: l, meta: meta, tid: o.TID, packed: o.Status == zodb.StatusPacked, places: make(map[zodb.OID]int), buf: l.buf[:0]}, nil
}

// add hands a transaction over to the store.
func (l *Loader) add(t *loadTxn) error {
	if err := l.home.Check(); err != nil {
		return err
	}
	durable, err := l.loading.Add(t)
	if err != nil {
		return err
	}
	l.last = t.tid
	if durable {
		l.wasEnded()
		return nil
	}
	for i := range t.records {
		l.recent[t.records[i].oid] = t.tid
	}
	return nil
}

func (l *Loader) wasEnded() {
	l.durable = l.last
	clear(l.recent)
}

// end makes finished transactions durable.
func (l *Loader) end() error {
	if l.durable == l.last {
		return nil
	}
	if err := l.loading.End(); err != nil {
		return err
	}
	l.wasEnded()
	return nil
}

// serial returns the serial of the current revision of an object; 0: it has none.
func (l *Loader) serial(oid zodb.OID) (zodb.TID, error) {
	if l.last == 0 || oid > l.highest {
		return 0, nil
	}
	if tid, ok := l.recent[oid]; ok {
		return tid, nil
	}
	tid, err := l.store.Current(oid)
	if errors.Is(err, zodb.ErrNotFound) {
		return 0, nil
	}
	return tid, err
}

// Close makes finished transactions durable, and gives HOME back.
func (l *Loader) Close() error {
	err := l.err
	if err == nil {
		err = l.end()
	}
	err = errors.Join(err, l.loading.Close())
	if err == nil && l.last != 0 {
		err = l.count()
	}
	return errors.Join(err, l.unlock())
}

// count notes how much there is.
func (l *Loader) count() error {
	n, err := l.store.Count(context.Background(), store.Sides()...)
	if err != nil {
		return err
	}
	counts := state.CountsOf(n)
	counts.Exact = true
	return flush.SaveCounts(l.home, counts, l.last)
}

func (l *Loader) unlock() error {
	var errs []error
	if l.store != nil {
		errs = append(errs, l.store.Close())
	}
	if l.sublock != nil {
		errs = append(errs, l.sublock.Close())
	}
	return errors.Join(append(errs, l.home.Unlock())...)
}

// loadedSize is how many bytes of a transaction a Loader takes, at most: they are in memory.
func loadedSize() int { return int(budget.Within(16<<20, 8)) }

// oidsOf returns the objects of a transaction.
func (t *loadTxn) oidsOf() []zodb.OID {
	oids := make([]zodb.OID, 0, len(t.records))
	for i := range t.records {
		oids = append(oids, t.records[i].oid)
	}
	return slices.Clip(oids)
}
