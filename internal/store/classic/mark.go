package classic

import (
	"fmt"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// SetMark puts one of the x files, durably. The files that it stands for are durable
// before that: first all that the tree owes is paid, then the content is made durable,
// then it gets its name, and that is made durable. It may be repeated after an error.
// x.serial is refused while there are files that a failed sync may have lost, and that
// were not written anew: their transactions are still to be had from the log.
func (t *Store) SetMark(side store.Side, n layout.Name, data []byte) error {
	return t.setMark(side, n, data, zodb.MaxTID)
}

// SetLast implements [store.Writer]. Losses of later transactions do not matter: a batch
// that failed may be followed by the first part of it.
func (t *Store) SetLast(side store.Side, tid zodb.TID) error {
	return t.setMark(side, layout.XSerial, record.AppendX(nil, uint64(tid)), tid)
}

func (t *Store) setMark(side store.Side, n layout.Name, data []byte, upTo zodb.TID) error {
	if !isMark(n) {
		return fmt.Errorf("%s is not a mark", n)
	}
	if side == store.B {
		t.UseB()
	}
	if err := t.Sync(); err != nil {
		return err
	}
	if lost := t.debts.lostFiles(upTo); n == layout.XSerial && lost > 0 {
		return fmt.Errorf("a sync failed that may have lost %s, not written anew since", human.Number(int64(lost), "file"))
	}
	if err := t.putMark(side, n, data); err != nil {
		return err
	}
	return t.Sync()
}

// putMark gives a mark its name, when its content is durable.
func (t *Store) putMark(side store.Side, n layout.Name, data []byte) error {
	name := t.Path(side, n)
	if err := vfs.PutAside(t.fs, asideFile, data, vfs.PutOptions{Sync: t.o.Sync, Stamp: t.stamp}); err != nil {
		return err
	}
	if err := t.renameAside(asideFile, name); err != nil {
		return err
	}
	t.debts.name(dirOf(name))
	return nil
}
