package bundled_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// tendBeside prepares a chore in another goroutine, while others do their work.
func (h *history) tendBeside(meanwhile func() error) error {
	c, err := h.s.Tend(store.Tending{Least: h.least})
	if err != nil || c == nil {
		return errors.Join(err, meanwhile())
	}
	type outcome struct {
		found bool
		err   error
	}
	ended := make(chan outcome)
	go func() {
		found, err := c.Prepare(context.Background())
		ended <- outcome{found, err}
	}()
	err = meanwhile()
	o := <-ended
	if err = errors.Join(err, o.err); err == nil && o.found {
		_, err = c.Publish()
	}
	return errors.Join(err, c.Close())
}

// bundlesIn returns how many bundles a side has, superseded ones included.
func bundlesIn(f vfs.FS, side store.Side) (n int, err error) {
	for e, err := range f.List(string(side) + "/bundles") {
		if err != nil {
			return 0, err
		}
		if _, number, ok := bundle.ParseName(e.Name); ok && number == 0 {
			n++
		}
	}
	return n, nil
}

func withBundles(t *testing.T, f vfs.FS, n int) *history {
	t.Helper()
	s, err := bundled.New(bundled.Options{FS: f, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2})
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(s, 3)
	err = h.thaw()
	for range n {
		err = errors.Join(err, h.put(store.A))
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestPublishedOrNot: a merged bundle is put although flushes came meanwhile, and is not after a pack
// has removed something, or a snapshot was entered.
func TestPublishedOrNot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(h *history) error
		put       bool
	}{
		"nothing":  {func(*history) error { return nil }, true},
		"a flush":  {func(h *history) error { return h.put(store.A) }, true},
		"a pack":   {(*history).packAll, false},
		"snapshot": {func(h *history) error { h.s.UseB(); return h.put(store.B) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := crashfs.New(1)
			if err := makeEmpty(disk); err != nil {
				t.Fatal(err)
			}
			h := withBundles(t, disk, 2)
			before, err := bundlesIn(disk, store.A)
			if err != nil {
				t.Fatal(err)
			}
			flushed := 0
			if name == "a flush" {
				flushed = 1
			}
			if err := h.tendBeside(func() error { return c.meanwhile(h) }); err != nil {
				t.Fatal(err)
			}
			after, err := bundlesIn(disk, store.A)
			if want := before + flushed; err != nil || (after < want) != c.put {
				t.Errorf("there are %d bundles, %d without the merge: %v", after, want, err)
			}
			if err := h.check(h.s); err != nil {
				t.Error(err)
			}
			if _, err := disk.Stat("journal/aside-merge"); err == nil {
				t.Error("the merge has left its file")
			}
		})
	}
}

// packAll packs until something was removed.
func (h *history) packAll() error {
	for n := len(h.gone); len(h.gone) == n; {
		if err := h.pack(); err != nil {
			return err
		}
	}
	return nil
}

// TestMergesThatFail: if anything fails while bundles are merged and rewritten, everything is read as
// before, flushes and packs go on, a power cut at that moment loses nothing, and it is done later.
func TestMergesThatFail(t *testing.T) {
	t.Parallel()
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			every := 1
			if testing.Short() {
				every = 5
			}
			failed := make(map[string]bool)
			n := 1
			for ; ; n += every {
				kind, err := mergeThatFails(t, n, cause)
				if err != nil {
					t.Fatalf("operation %d, %s: %v", n, kind, err)
				}
				if kind == "" {
					break
				}
				failed[kind] = true
			}
			if n < 20 || !failed["rename"] && !testing.Short() || !failed["syncdir"] && !testing.Short() {
				t.Errorf("%d operations, of the kinds %v, have failed: the work is not what it was", n, failed)
			}
		})
	}
}

// mergeThatFails lets the n-th operation fail, and returns its kind; "": there are fewer.
func mergeThatFails(t *testing.T, n int, cause error) (kind string, err error) {
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		return "", err
	}
	f := errfs.New(disk, nil)
	h := withBundles(t, f, 4)
	if err := errors.Join(h.packAll(), h.purge(), h.put(store.A)); err != nil {
		return "", err
	}
	seen := 0
	f.Decide(func(op errfs.Op) error {
		if !op.Changes() || strings.HasPrefix(op.Name, "misc/") {
			return nil
		}
		if seen++; seen == n {
			kind = op.Kind
			return cause
		}
		return nil
	})
	more, failures := true, 0
	for steps := 0; more || failures > 0 && steps < 3; steps++ {
		c, err := h.s.Tend(store.Tending{Least: 0.01})
		if err != nil {
			return kind, err
		}
		found, err := c.Prepare(t.Context())
		if err == nil && found {
			_, err = c.Publish()
		}
		if cerr := c.Close(); cerr != nil && err == nil {
			err = cerr
		}
		more = found || err != nil
		if err == nil {
			continue
		}
		if failures++; failures > 1 {
			return kind, fmt.Errorf("it fails again: %w", err)
		}
		if ferr := h.s.Failure(); ferr != nil {
			return kind, fmt.Errorf("nothing becomes durable any more: %w", ferr)
		}
		if err := errors.Join(h.check(h.s), h.put(store.A), h.check(h.s)); err != nil {
			return kind, fmt.Errorf("after the error: %w", err)
		}
		gone := maps.Clone(h.gone)
		if err := h.pack(); err != nil {
			if h.gone = gone; kind != "syncdir" {
				return kind, fmt.Errorf("pack after the error: %w", err)
			}
		} else if kind == "syncdir" && len(h.gone) > len(gone) {
			return kind, errors.New("a pack has removed something, and the list of it may be that of a lost bundle")
		}
		if err := h.checkCut(disk); err != nil {
			return kind, fmt.Errorf("after the error: %w", err)
		}
		if steps > 100 {
			return kind, errors.New("it does not end")
		}
	}
	f.Decide(nil)
	if err := errors.Join(h.packAll(), h.check(h.s), h.checkCut(disk)); err != nil {
		return kind, fmt.Errorf("at the end: %w", err)
	}
	if bundles, err := bundlesIn(disk, store.A); err != nil || bundles > 4 {
		return kind, fmt.Errorf("there are %d bundles at the end: %w", bundles, err)
	}
	return kind, h.s.Close()
}

// checkCut looks at the state after power cuts.
func (h *history) checkCut(disk *crashfs.FS) error {
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(7)} {
		s, err := bundled.New(bundled.Options{FS: disk.Crashed(mode), Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2})
		if err == nil {
			err = errors.Join(s.SyncFound(), h.check(s), s.Close())
		}
		if err != nil {
			return fmt.Errorf("power cut with %v: %w", mode, err)
		}
	}
	return nil
}
