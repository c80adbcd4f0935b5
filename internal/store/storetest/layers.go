package storetest

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// has reports whether the copy has a file.
func (c copied) has(path string) bool { return c[path] != nil }

// named reports whether there are files in it that only their names tell.
func (impl Implementation) named(c copied) bool {
	for name := range c {
		if impl.Copies.Describe(name).Named {
			return true
		}
	}
	return false
}

// layered: of copies that lie over each other each file is taken once, from the newest one.
func layered(impl Implementation, h history) error {
	disk, err := bare()
	if err != nil {
		return err
	}
	l := impl.Copies.Layers()
	seen := make(copied)
	for _, c := range []copied{h.rest, h.base} {
		chosen := make(copied)
		for name, content := range c {
			take, err := l.Take(name)
			if err != nil {
				return err
			}
			if take && seen.has(name) {
				return fmt.Errorf("%s counts twice: %w", name, errContent)
			}
			if take {
				seen[name], chosen[name] = content, content
			}
		}
		below := zodb.TID(0)
		if impl.named(c) || len(seen) == len(chosen) {
			below = tid(2)
		}
		if err := impl.lay(disk, chosen, below); err != nil {
			return err
		}
	}
	return impl.same(disk, h.all, tid(5))
}

// strangers are in a whole copy, and in no copy of changes.
func strangers(impl Implementation, h history) error {
	stranger := string(store.A) + "/README"
	if err := putFile(h.disk, stranger, []byte("hello")); err != nil {
		return err
	}
	whole, err := copyOf(h.disk, h.s.Files(context.Background()))
	if err != nil {
		return err
	}
	since, err := copyOf(h.disk, h.s.FilesSince(context.Background(), tid(1), nil, nil))
	if err != nil {
		return err
	}
	if _, ok := since[stranger]; ok || string(whole[stranger]) != "hello" {
		return fmt.Errorf("a stray file is %q in the whole copy, and among the changed files: %t: %w", whole[stranger], ok, errContent)
	}
	if d := impl.Copies.Describe(stranger); d.Name != (layout.Name{}) || d.Replaced || d.Side != store.A {
		return fmt.Errorf("a stray file is %+v: %w", d, errContent)
	}
	return nil
}
