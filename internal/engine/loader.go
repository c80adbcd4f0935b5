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
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Loader copies transactions of another storage into a HOME, without the log: many of them go into
// one file. It is for one goroutine. HOME is locked until Close.
//
// Anything out of the ordinary is refused with an error that matches errors.ErrUnsupported: then the
// rest is for a [Storage], which reports the fault, or can do it.
type Loader struct {
	ctx     context.Context // of OpenLoader
	home    *home.Home
	o       Options
	sublock vfs.Lock
	store   store.Store
	loading store.Loading

	begun   zodb.TID // the last transaction at the beginning; 0: there was none
	last    zodb.TID
	durable zodb.TID
	highest zodb.OID
	recent  map[zodb.OID]zodb.TID // current revisions that cannot be read yet
	counts  zodb.Counts           // Exact only if they are known
	staged  int
	buf     []byte // of the last transaction
	err     error  // of the store
}

// notLoaded is a transaction that a Loader leaves to a Storage.
func notLoaded(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errors.ErrUnsupported, fmt.Sprintf(format, args...))
}

// OpenLoader returns the Loader of a HOME that ends with a transaction; 0: of one that has none. It
// was closed cleanly, and all that it has is of another storage. An error that matches
// errors.ErrUnsupported says that it is not so, or that its format has no Loader. When ctx has ended,
// Close does not count any more.
func OpenLoader(ctx context.Context, path string, after zodb.TID, o Options) (*Loader, error) {
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
	l := &Loader{ctx: ctx, home: h, o: o, begun: after, last: after, durable: after, recent: make(map[zodb.OID]zodb.TID)}
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
		err = l.settled()
	}
	if err != nil {
		return err
	}
	if l.home.Settings.Filesystem.Sync {
		vfs.HoldBack(l.home.FS, asideHeld)
	}
	l.store, err = formats.Writable(formats.Options{FS: l.home.FS, Settings: l.home.Settings, Identity: l.home.IdentityBytes(), Clock: l.o.Clock})
	if err != nil {
		return err
	}
	err = l.ends()
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
	if err != nil {
		return err
	}
	space.Keep(l.home.FS, l.o.Reserve)
	if l.loading, err = loader.BeginLoading(); err != nil {
		return err
	}
	// The last step: A stays a snapshot where nothing is loaded.
	if err = l.leaveSnapshot(); err != nil {
		return errors.Join(err, l.loading.Close())
	}
	l.highest = max(l.highest, l.loading.HighestOID())
	return nil
}

// settled makes sure that there is nothing but A: no log, no transaction in B, no pack that goes on,
// and no history of its own.
func (l *Loader) settled() error {
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
	_, err := l.home.FS.Stat(histfile.Name)
	if err == nil {
		return notLoaded("there is %s", histfile.Name)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	going, err := pack.Pending(l.home.FS)
	if err == nil && going {
		err = notLoaded("a pack was interrupted")
	}
	return err
}

// ends makes sure that the last transaction is the one that the caller knows, and takes up the marks
// and the counts.
func (l *Loader) ends() error {
	mark, err := l.store.Mark(layout.XSerial)
	if err != nil {
		return err
	}
	last := zodb.TID(mark)
	if l.begun == 0 {
		older, err := l.store.OlderTransaction(state.LatestTID)
		if err != nil {
			return err
		}
		last = max(last, older)
	}
	if r, ok := l.store.(store.Reacher); ok && last == l.begun {
		last = r.Reach()
	}
	if last != l.begun {
		return notLoaded("the last transaction is %s", last)
	}
	highest, err := l.store.Mark(layout.XOID)
	l.highest = zodb.OID(highest)
	l.counts = flush.CountsUpTo(l.home, l.begun)
	return err
}

// leaveSnapshot takes back that A stands still since the clean close: somebody may have copied it, so
// later files bear later times.
func (l *Loader) leaveSnapshot() error {
	content, err := l.home.FS.ReadFile(snapshotFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && string(content) != snapfile.Shutdown {
		err = notLoaded("there is %s", snapshotFile)
	}
	if err == nil {
		_, err = l.store.RaiseFloor(l.o.Clock())
	}
	if err == nil {
		err = snapfile.Remove(l.home.FS, l.home.Sync())
	}
	return err
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
	state.Combine(&l.counts, t.counts(), 1)
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

// Close makes finished transactions durable, and gives HOME back. Without an error A is a snapshot then, as
// after the close of a storage.
func (l *Loader) Close() error {
	err := l.err
	if err == nil {
		err = l.end()
	}
	err = errors.Join(err, l.loading.Close())
	if err == nil && l.last != l.begun {
		err = l.count()
	}
	if err == nil {
		err = l.leaveClean()
	}
	return errors.Join(err, l.unlock())
}

// leaveClean says that A is a snapshot: an interrupted import may not come to open the storage behind the
// Loader, and a copy by hand looks for that.
func (l *Loader) leaveClean() error {
	if err := errors.Join(l.home.Check(), l.store.Sync()); err != nil {
		return err
	}
	moment := l.o.Clock()
	if _, err := l.store.RaiseFloor(moment); err != nil {
		return err
	}
	err := snapfile.Write(l.home.FS, snapfile.Record{Code: snapfile.Shutdown, Moment: moment.UTC(), TID: l.last}, l.home.Sync())
	if err != nil {
		err = errors.Join(err, snapfile.Remove(l.home.FS, l.home.Sync()))
	}
	return err
}

// count notes how much there is. It reads all of it only if nobody knows how much there was, and
// somebody waits for it; else nobody knows it afterwards, either.
func (l *Loader) count() error {
	if !l.counts.Exact {
		n, err := l.store.Count(l.ctx, store.Sides()...)
		if l.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		l.counts = state.CountsOf(n)
		l.counts.Exact = true
	}
	return flush.SaveCounts(l.home, l.counts, l.last)
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
