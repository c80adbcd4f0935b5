package bundled

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// A damaged file keeps a store from being opened for writing: nothing may be built upon unknown
// content. Readers beside it get at the rest: a bundle whose index is damaged is read frame by
// frame; one that has lost members is passed over, and all that it may have had is an error;
// of a damaged gone list the one before counts.

// unusable adds advice to an error.
func unusable(err error) error {
	if !errors.Is(err, zodb.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w; the storage can be opened for reading only, and serves the undamaged rest; to mend it, move the file out of HOME "+
		"into a directory DIR, and run “dirstorage salvage DIR HOME”, which puts back all that can be read of it", err)
}

// openAnyway gives a bundle that is damaged a reader, for who reads beside. It returns nil if that has all of
// its members, else the cause; or a *layout.NewerError, if the list that the bundle carries is whole and of a newer
// release, which is the one to mend it. below is the end of the range before it.
func (s *Store) openAnyway(o *opened, below zodb.TID, cause error) error {
	if !errors.Is(cause, zodb.ErrCorrupt) {
		return cause
	}
	n := o.name
	r, _, err := bundle.Rebuild(o, o.size, o.path, bundle.RebuildOptions{Name: n, Flags: flagsOfContent, Previous: previousOf})
	if err == nil && r.ListNewer() != nil {
		return r.ListNewer()
	}
	if !s.o.Beside {
		return cause
	}
	if err != nil || !r.Complete() || r.Min != n.Min || r.Max != n.Max || r.Generation != n.Generation || r.Previous != below {
		s.warnOnce(o.path, "a damaged bundle is passed over: reads of objects that it may have had are errors", cause)
		return cause
	}
	text := "the index of a bundle is damaged: it is read frame by frame"
	if r.ListLost() {
		text += "; so is its list of removed members: these can be read again"
	}
	s.warnOnce(o.path, text, cause)
	o.Reader, o.rebuilt = r, true
	return nil
}

// leaveAlone marks the bundle that an error is about: it is damaged, and is neither merged nor rewritten
// any more. ok: it was not marked. A part that is not damaged is merged all the same.
func (s *Store) leaveAlone(v *view, err error) (ok bool) {
	p := v.named(err)
	if p == nil || p.damaged.Load() {
		return false
	}
	s.mark(p.opened, true)
	s.warnOnce(p.path, "a bundle is damaged: it is left as it is, and others are merged around it; “check” lists the damage", err)
	return true
}

// named returns the part that an error about damage is about; nil: it is about none.
func (v *view) named(err error) *part {
	damage, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok {
		return nil
	}
	for i := range v.parts {
		if v.parts[i].path == damage.Path {
			return &v.parts[i]
		}
	}
	return nil
}

// leftAlone reports whether an error is about a bundle that is left alone.
func (v *view) leftAlone(err error) bool {
	p := v.named(err)
	return p != nil && p.damaged.Load()
}

// damaged returns the paths of the bundles that are left alone.
func (v *view) damaged() (paths []string) {
	for i := range v.parts {
		if v.parts[i].damaged.Load() {
			paths = append(paths, v.parts[i].path)
		}
	}
	return paths
}

// Damaged implements [store.Tender]. Where bundles are missing, or contradict each other, it has their
// directory.
func (s *Store) Damaged() []string {
	v := s.view()
	defer v.release()
	paths := append(v.damaged(), v.passed...)
	for i := range v.parts {
		if p := &v.parts[i]; p.rebuilt && !p.damaged.Load() {
			paths = append(paths, p.path)
		}
	}
	if len(v.passed) == 0 && !v.whole() {
		paths = append(paths, dirOf(store.A))
	}
	slices.Sort(paths)
	return paths
}

// warnOnce warns of a file once.
func (s *Store) warnOnce(path, text string, err error) {
	s.warnMu.Lock()
	defer s.warnMu.Unlock()
	if s.o.Warn == nil || slices.Contains(s.warned, path) {
		return
	}
	s.warned = append(s.warned, path)
	s.o.Warn(text, err)
}

// passOver reports whether a damaged file is passed over.
func (s *Store) passOver(err error) bool { return s.o.Beside && errors.Is(err, zodb.ErrCorrupt) }

// consistent leaves out the bundles whose ranges contradict each other: nobody knows which of them
// belong here. Their members are missing then.
func consistent(all []bundle.Name) (rest []bundle.Name) {
	counts := func(n bundle.Name) bool {
		return !slices.ContainsFunc(all, func(other bundle.Name) bool { return other != n && other.Supersedes(n) })
	}
	for _, n := range all {
		if !slices.ContainsFunc(all, func(other bundle.Name) bool {
			return other != n && n.Min <= other.Max && other.Min <= n.Max && !n.Supersedes(other) && !other.Supersedes(n) && counts(n) && counts(other)
		}) {
			rest = append(rest, n)
		}
	}
	return rest
}

// flagsOfContent returns the flags that the index has for a member.
func flagsOfContent(n layout.Name, b []byte) uint16 {
	if n.Kind == layout.KindRevision {
		if o, err := record.ParseObjectAs(b, n.String(), n.OID, n.TID, false); err == nil {
			return flagsOf(o)
		}
	} else if t, err := record.ParseTransactionAs(b, n.String(), n.TID, false); err == nil && t.Packed {
		return bundle.FlagPacked
	}
	return 0
}

// previousOf returns which transaction the file of one names.
func previousOf(b []byte) zodb.TID {
	t, err := record.ParseTransaction(b, "", false)
	if err != nil {
		return 0
	}
	return t.Previous
}
