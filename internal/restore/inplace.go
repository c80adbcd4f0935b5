package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// A target that is an empty directory, such as a mounted volume, cannot be replaced by
// a rename. The HOME grows in a directory within it; its parts get their places one
// by one, and config, which makes it a storage, the last of all.

const (
	// within is the name of the directory in which the HOME grows, in such a target.
	within = ".restoring"
	// unborn is the name of config there before everything else is durable.
	unborn = "config.new"
	// lostAndFound is on each new file system of some kinds.
	lostAndFound = "lost+found"
)

// parts are the directories that are moved, in this order: misc, with the state, after all that the
// state vouches for.
func parts() []string { return []string{string(store.A), string(store.B), "journal", "misc"} }

// emptyTarget reports whether the target is a directory in which nothing is, or only the
// remains of an interrupted restore.
func (r *run) emptyTarget() (bool, error) {
	p := r.o.Parent
	info, err := p.Stat(r.o.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() || r.o.Delta {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s, err := readState(vfs.Sub(p, r.o.Name))
	moved := err == nil && s.Done
	for _, grown := range []string{within, path.Join(within, madeDir)} {
		if s, err := readState(vfs.Sub(p, path.Join(r.o.Name, grown))); err == nil && s.Done {
			moved = true
		}
	}
	for e, err := range p.List(r.o.Name) {
		if err != nil {
			return false, err
		}
		switch {
		case e.Name == lostAndFound || e.Name == within || e.Name == layout.ProbeDir:
		case e.Name != unborn && !slices.Contains(parts(), e.Name), !moved:
			return false, nil
		}
		if !e.IsDir() {
			return false, nil
		}
	}
	return true, nil
}

// resumeMove goes on where a restore was interrupted while the parts got their places. It
// reports false if none was.
func (r *run) resumeMove() (bool, error) {
	p := r.o.Parent
	_, err := p.Stat(path.Join(r.o.Name, string(store.A)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s, err := readState(vfs.Sub(p, r.o.Name))
	for _, grown := range []string{r.grown(), r.work} { // that of one without another format, too
		if err != nil {
			s, err = readState(vfs.Sub(p, grown))
		}
	}
	if err != nil {
		return false, err
	}
	if !s.samePlan(r.state) {
		return false, fmt.Errorf("%s holds files of an interrupted restore of another state: restore that one, or empty the directory", p.Path(r.o.Name))
	}
	r.state, r.result.Resumed = s, true
	return true, r.moveIn()
}

// moveIn gives the parts of a HOME that is whole and durable their places. An error
// matches errAgain: from the first step on, the parts belong together.
func (r *run) moveIn() error {
	if err := r.moveParts(); err != nil {
		return fmt.Errorf("%w; %w", err, errAgain)
	}
	return nil
}

func (r *run) moveParts() error {
	p, target := r.o.Parent, r.o.Name
	move := func(from, to string) error {
		if _, err := p.Stat(from); errors.Is(err, fs.ErrNotExist) {
			return nil // it has been moved
		}
		return p.Rename(from, to)
	}
	for _, name := range parts() {
		if err := move(path.Join(r.grown(), name), path.Join(target, name)); err != nil {
			return err
		}
		// A directory that is moved is durable with its new name only, and the state
		// comes after the parts that it vouches for.
		if err := p.SyncDir(target); err != nil {
			return err
		}
	}
	if err := move(path.Join(r.grown(), "config"), path.Join(target, unborn)); err != nil {
		return err
	}
	if err := p.SyncDir(target); err != nil {
		return err
	}
	remove := p.Remove
	if r.convert {
		remove = func(name string) error { return vfs.RemoveAll(p, name) }
	}
	if err := remove(r.work); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := p.SyncDir(target); err != nil {
		return err
	}
	if err := p.Rename(path.Join(target, unborn), path.Join(target, "config")); err != nil {
		return err
	}
	return p.SyncDir(target)
}
