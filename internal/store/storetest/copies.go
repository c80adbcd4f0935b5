package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// copied is a copy, by paths relative to HOME, as an archive holds it.
type copied map[string][]byte

// copyOf reads the files of a copy. Each comes once.
func copyOf(f vfs.FS, paths iter.Seq2[string, error]) (copied, error) {
	c := make(copied)
	for name, err := range paths {
		if err != nil {
			return nil, err
		}
		if _, again := c[name]; again {
			return nil, fmt.Errorf("%s comes twice", name)
		}
		if c[name], err = f.ReadFile(name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// putFile puts a file, and replaces an existing one.
func putFile(f vfs.FS, name string, content []byte) error {
	if _, err := vfs.MkdirAll(f, path.Dir(name)); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(f, "journal/aside-copy", name, content, vfs.SyncOptions{})
}

// bare returns a disk with the directories of a HOME.
func bare() (*crashfs.FS, error) {
	disk := crashfs.New(1)
	for _, dir := range []string{string(store.A), string(store.B), "journal", "misc"} {
		if err := disk.Mkdir(dir); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

// lay lays a copy over one which ends with a transaction.
func (impl Implementation) lay(disk vfs.FS, c copied, below zodb.TID) error {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		over := impl.Copies.Over(name, bytes.Clone(c[name]), below)
		if !impl.Copies.Describe(name).Linked && !bytes.Equal(over, c[name]) {
			return fmt.Errorf("%s is another one over a copy, and names no transaction: %w", name, errContent)
		}
		if err := putFile(disk, name, over); err != nil {
			return err
		}
	}
	return nil
}

// history is a storage with copies that were made on the way.
type history struct {
	disk       *crashfs.FS
	s          store.Store
	all        []store.Transaction
	base, rest copied // up to tid(2), and the later part
	middle     copied // up to tid(3)
	tended     bool   // the store has tended to its files between them
}

func (impl Implementation) history(tended bool) (h history, err error) {
	h.disk, h.tended = crashfs.New(1), tended
	if err := impl.Make(h.disk); err != nil {
		return h, err
	}
	h.all = Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{3, 0, 2}, []zodb.OID{3}, []zodb.OID{1, 3})
	if err := stage(h.disk, h.all); err != nil {
		return h, err
	}
	if h.s, err = impl.Open(h.disk); err != nil {
		return h, err
	}
	step := func(to *copied, last int, since zodb.TID) {
		if err == nil {
			err = flush(h.s, store.A, h.all[:last])
		}
		if err == nil && tended {
			err = tend(h.s)
		}
		if err != nil {
			return
		}
		paths := h.s.Files(context.Background())
		if since != 0 {
			paths = h.s.FilesSince(context.Background(), since, nil, nil)
		}
		*to, err = copyOf(h.disk, paths)
	}
	step(&h.base, 2, 0)
	step(&h.middle, 3, 0)
	step(&h.rest, 5, tid(2))
	return h, err
}

// same opens the result of copies that were laid over each other, or cut to their end, and compares.
func (impl Implementation) same(disk *crashfs.FS, all []store.Transaction, last zodb.TID, packs ...packed) error {
	return impl.opened(disk, func(s store.Store) error { return sameAs(s, all, last, packs) })
}

func sameAs(s store.Store, all []store.Transaction, last zodb.TID, packs []packed) error {
	// x.oid may be later.
	v, err := s.Mark(layout.XSerial)
	if err != nil || zodb.TID(v) != last {
		return fmt.Errorf("it ends with %s, want %s: %w", zodb.TID(v), last, errors.Join(err, errContent))
	}
	c, err := contentsOf(all, last)
	for _, p := range packs {
		removed := c.removed(p.removal)
		err = errors.Join(err, c.relinked(p.links))
		for n := range removed {
			err = errors.Join(err, hasNot(s, n))
		}
	}
	return errors.Join(err, c.all(s, true), objects(s, c))
}

// Copies tests the promises of [store.Filer] and [store.Copies], for a store that has
// files.
func Copies(t *testing.T, impl Implementation) {
	for name, test := range map[string]func(impl Implementation, h history) error{
		"whole": func(impl Implementation, h history) error {
			disk, err := bare()
			return errors.Join(err, impl.lay(disk, h.base, 0), impl.same(disk, h.all, tid(2)))
		},
		"over each other": func(impl Implementation, h history) error {
			disk, err := bare()
			return errors.Join(err, impl.lay(disk, h.base, 0), impl.lay(disk, h.rest, tid(2)), impl.same(disk, h.all, tid(5)))
		},
		"nothing changed":             nothingChanged,
		"layers":                      layered,
		"descriptions":                descriptions,
		"damage":                      damagedCopies,
		"strangers":                   strangers,
		"past the removals of a pack": pastPack,
		"another history":             anotherHistory,
		"cut":                         cuts,
		"space":                       space,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, tended := range []bool{false, true} {
				h, err := impl.history(tended)
				if err == nil {
					err = errors.Join(test(impl, h), h.s.Close())
				}
				if err != nil {
					t.Errorf("tended %t: %v", tended, err)
				}
			}
		})
	}
}

// nothingChanged: the marks are there all the same, and nothing else.
func nothingChanged(impl Implementation, h history) error {
	whole, err := copyOf(h.disk, h.s.Files(context.Background()))
	if err != nil {
		return err
	}
	for _, has := range []func(string) bool{nil, whole.has} {
		c, err := copyOf(h.disk, h.s.FilesSince(context.Background(), tid(5), has, nil))
		if err != nil || len(c) == 0 {
			return fmt.Errorf("%d files: %w", len(c), errors.Join(err, errContent))
		}
		for name := range c {
			if d := impl.Copies.Describe(name); !d.Replaced || d.Name.Kind == layout.KindObject {
				return fmt.Errorf("%s is not a mark: %w", name, errContent)
			}
		}
	}
	return nil
}

// descriptions count the items in a copy.
func descriptions(impl Implementation, h history) error {
	c, err := copyOf(h.disk, h.s.Files(context.Background()))
	if err != nil {
		return err
	}
	want, err := h.s.Count(context.Background(), store.A)
	if err != nil {
		return err
	}
	want.Bytes, want.BlobBytes = 0, 0
	counter := impl.Copies.Counter()
	blobs := int64(0)
	for name, content := range c {
		d := impl.Copies.Describe(name)
		if d.Side != store.A {
			return fmt.Errorf("%s lies in %q: %w", name, d.Side, errContent)
		}
		if w := counter.File(name, int64(len(content))); w != nil {
			if _, err := w.Write(content); err != nil {
				return err
			}
		}
		blob, err := impl.Copies.Inspect(name, name, bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return err
		}
		if blob {
			blobs++
		}
		if d.Points {
			current, err := impl.Copies.Current(name, name, content)
			if want, werr := h.s.Current(d.Name.OID); err != nil || werr != nil || current != want {
				return fmt.Errorf("%s names %s, want %s: %w", name, current, want, errors.Join(err, werr, errContent))
			}
		}
	}
	if impl.named(c) { // files of many things do not say which revisions have blobs
		blobs = want.Blobs
	}
	if got := counter.Counts(); got != want || blobs != want.Blobs {
		return fmt.Errorf("the files have %+v and %d blobs, want %+v: %w", got, blobs, want, errContent)
	}
	last, err := impl.Copies.Last(h.disk, store.A)
	if err != nil || last != tid(5) {
		return fmt.Errorf("the last transaction in A is %s: %w", last, errors.Join(err, errContent))
	}
	return nil
}

// damagedCopies: every file that is looked at as a whole is told to be damaged when a byte of it
// is another one.
func damagedCopies(impl Implementation, h history) error {
	looked := false
	for name, content := range h.middle {
		if d := impl.Copies.Describe(name); !d.Whole && !d.Named {
			continue
		}
		looked = true
		content[len(content)-1] ^= 1
		if _, err := impl.Copies.Inspect(name, name, bytes.NewReader(content), int64(len(content))); err == nil {
			return fmt.Errorf("%s is damaged, and nothing is said: %w", name, errContent)
		}
	}
	if !looked {
		return fmt.Errorf("no file is looked at: %w", errContent)
	}
	return nil
}

// pastPack: a pack removed the transaction with which the copy below ends, and linked the next one
// past it. Over each other they are one chain again. The files that it put aside are in
// no copy.
func pastPack(impl Implementation, h history) error {
	p := secondPack()
	if err := p.do(h.s, p.stamp); err != nil {
		return err
	}
	latest, err := copyOf(h.disk, h.s.FilesSince(context.Background(), tid(3), h.middle.has, nil))
	if err != nil {
		return err
	}
	disk, err := bare()
	if err = errors.Join(err, impl.lay(disk, h.middle, 0), impl.lay(disk, latest, tid(3))); err != nil {
		return err
	}
	c, err := contentsOf(h.all, tid(5))
	if err == nil && impl.named(latest) { // then the copy equals the store
		c.removed(p.removal)
		err = c.relinked(p.links)
	}
	if err != nil {
		return err
	}
	err = impl.opened(disk, func(s store.Store) error {
		if err := c.all(s, true); err != nil {
			return err
		}
		data, place, err := s.Get(layout.Transaction(tid(4)))
		if err != nil {
			return err
		}
		r, err := record.ParseTransactionAs(data, place, tid(4), true)
		if err != nil || r.Previous != c.previous[tid(4)] {
			return fmt.Errorf("transaction 4 names %s: %w", r.Previous, errors.Join(err, errContent))
		}
		return nil
	})
	if err != nil {
		return err
	}
	whole, err := copyOf(h.disk, h.s.Files(context.Background()))
	if err != nil {
		return err
	}
	if disk, err = bare(); err == nil {
		err = impl.lay(disk, whole, 0)
	}
	if err == nil {
		err = impl.opened(disk, func(s store.Store) error {
			var errs []error
			for n := range c.removed(p.removal) {
				errs = append(errs, hasNot(s, n))
			}
			return errors.Join(errs...)
		})
	}
	if err != nil {
		return err
	}
	for name := range whole {
		d := impl.Copies.Describe(name)
		if d.Name.Kind == 0 && !d.Named || d.Name == layout.Revision(3, tid(3)) || d.Name == layout.Transaction(tid(3)) {
			return fmt.Errorf("%s was put aside, and is copied: %w", name, errContent)
		}
	}
	return nil
}

// anotherHistory: a transaction that is none of the storage's is refused.
func anotherHistory(_ Implementation, h history) error {
	if c, err := copyOf(h.disk, h.s.FilesSince(context.Background(), tid(2)+1, nil, nil)); err == nil {
		return fmt.Errorf("%d files since a transaction of another history: %w", len(c), errContent)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := copyOf(h.disk, h.s.FilesSince(ended, tid(2), nil, nil)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a list goes on after the end of its context: %w", errors.Join(err, errContent))
	}
	return nil
}

// space: the files put aside are told by pack, and are a part of their side.
func space(_ Implementation, h history) error {
	before, err := h.s.Space(context.Background())
	if err != nil || len(before.Removed.Aside) != 0 || before.Sides[store.A].Files == 0 {
		return fmt.Errorf("%+v: %w", before, errors.Join(err, errContent))
	}
	first, second := firstPack(), secondPack()
	if err := errors.Join(first.do(h.s, first.stamp), second.do(h.s, second.stamp)); err != nil {
		return err
	}
	after, err := h.s.Space(context.Background())
	if err != nil || after.Removed.Aside[firstStamp].Bytes == 0 || after.Removed.Aside[secondStamp].Bytes == 0 || len(after.Removed.Aside) != 2 ||
		after.Sides[store.A].Bytes < after.Removed.Aside[firstStamp].Bytes+after.Removed.Aside[secondStamp].Bytes {
		return fmt.Errorf("%+v: %w", after, errors.Join(err, errContent))
	}
	return nil
}
