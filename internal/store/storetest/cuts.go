package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// cuts take copies back to each transaction, and between.
func cuts(impl Implementation, h history) error {
	whole, err := copyOf(h.disk, h.s.Files(context.Background()))
	if err != nil {
		return err
	}
	for to := zodb.TID(1); to <= 5; to++ {
		for _, after := range []zodb.TID{0, 1} { // the transaction, and a moment later
			if err := impl.cut(nil, whole, 0, h.all, tid(int(to)), after); err != nil {
				return fmt.Errorf("whole, to %d+%d: %w", to, after, err)
			}
			if to < 2 {
				continue
			}
			if err := impl.cut(h.base, h.rest, tid(2), h.all, tid(int(to)), after); err != nil {
				return fmt.Errorf("of two, to %d+%d: %w", to, after, err)
			}
		}
	}
	if err := impl.cut(nil, whole, 0, h.all, tid(1), ^zodb.TID(0)); !errors.Is(err, store.ErrBefore) {
		return fmt.Errorf("before the first transaction: %w", errors.Join(err, errContent))
	}
	p := secondPack()
	if err := p.do(h.s, p.stamp); err != nil {
		return err
	}
	if whole, err = copyOf(h.disk, h.s.Files(context.Background())); err != nil {
		return err
	}
	if err := impl.cut(nil, whole, 0, h.all, tid(3), 0); !errors.Is(err, store.ErrPacked) {
		return fmt.Errorf("to a removal of a pack: %w", errors.Join(err, errContent))
	}
	// Transactions that the pack removed are missing after it, too.
	if err := impl.cut(nil, whole, 0, h.all, tid(4), 0, p); err != nil {
		return fmt.Errorf("to after a removal of a pack: %w", err)
	}
	// Of the revisions that are left out one is missing: nothing proves that the one before them was
	// the current one, unless the file that has it says so still.
	if h, err = impl.history(h.tended); err != nil {
		return err
	}
	return errors.Join(cutsOfAGap(impl, h), h.s.Close())
}

func cutsOfAGap(impl Implementation, h history) error {
	if _, err := remove(h.s, 0, store.Removal{Revisions: []store.Revisions{{OID: 3, TIDs: []zodb.TID{tid(4)}}}}); err != nil {
		return err
	}
	whole, err := copyOf(h.disk, h.s.Files(context.Background()))
	if err != nil {
		return err
	}
	err = impl.cut(nil, whole, 0, h.all, tid(3), 0)
	if proven := err == nil && impl.named(whole); !proven && !errors.Is(err, store.ErrPacked) {
		return fmt.Errorf("to before a removal of a pack: %w", errors.Join(err, errContent))
	}
	return nil
}

// cut lays a copy over another one and takes it back to so much after a transaction.
func (impl Implementation) cut(below, c copied, base zodb.TID, all []store.Transaction, last, after zodb.TID, packs ...packed) error {
	disk, err := bare()
	if err == nil {
		err = impl.lay(disk, below, 0)
	}
	if err != nil {
		return err
	}
	put := func(name string, content io.Reader) error {
		b, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return putFile(disk, name, b)
	}
	cut, err := impl.Copies.Cut(store.CutOptions{Home: disk, Last: last + after, Base: base, Put: put})
	if err != nil {
		return err
	}
	var taken error
	for name, content := range c {
		take, err := cut.Take(name, int64(len(content)), bytes.NewReader(content))
		if err == nil && take {
			err = putFile(disk, name, content)
		}
		taken = errors.Join(taken, err)
	}
	if err := cut.End(taken); err != nil {
		return err
	}
	for name, err := range vfs.Walk(disk, "misc") {
		return fmt.Errorf("%s is left: %w", name, errors.Join(err, errContent))
	}
	return impl.same(disk, all, last, packs...)
}
