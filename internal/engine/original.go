package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// replicaAfter is where an applied replica.tar goes, as in the original.
const replicaAfter = "misc/replica.previous"

// applyOriginals rolls forward the journal of an original DirectoryStorage. The
// transactions of its directories go into B, in their order: a newer name replaces an
// older one, and doing it again does no harm.
func (s *Storage) applyOriginals(ctx context.Context, o *journal.Original) error {
	if o.Empty() {
		return nil
	}
	if !s.state.HoldsSublock() && o.Replica != "" {
		return fmt.Errorf("%w: %s/%s has to go into A, but somebody holds misc/sublock; open the storage again when it is free", zodb.ErrLocked, home.JournalDir, o.Replica)
	}
	for _, d := range o.Done {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.applyDirectory(d); err != nil {
			return fmt.Errorf("roll forward %s/%s: %w", home.JournalDir, d.Dir, err)
		}
		if len(d.Names) > 0 {
			s.rolled++
		}
	}
	if o.Replica != "" {
		if err := s.applyReplica(); err != nil {
			return fmt.Errorf("roll forward %s/%s: %w", home.JournalDir, o.Replica, err)
		}
		s.rolled++
	}
	for _, dir := range o.Temps { // never committed
		if err := vfs.RemoveAll(s.home.FS, path.Join(home.JournalDir, dir)); err != nil {
			return err
		}
	}
	if err := s.syncJournalDir(); err != nil {
		return err
	}
	return s.readMarks()
}

// original returns the store as one that can take the journal of an original.
func (s *Storage) original() (store.Original, error) {
	o, ok := s.store.(store.Original)
	if !ok {
		return nil, fmt.Errorf("%w: an original DirectoryStorage has no format %s", zodb.ErrUnsupported, s.home.Settings.Structure.Format)
	}
	return o, nil
}

// applyDirectory moves the files of one transaction into B, and then removes
// its directory.
func (s *Storage) applyDirectory(d journal.OriginalDir) error {
	o, err := s.original()
	if err != nil {
		return err
	}
	b := o.Edit(store.B)
	dir := path.Join(home.JournalDir, d.Dir)
	for _, n := range d.Names {
		staged := path.Join(dir, n.String())
		info, err := s.home.FS.Stat(staged)
		if err != nil {
			return err
		}
		if err := b.Adopt(n, staged, info.Size); err != nil {
			return err
		}
	}
	if err := b.Sync(); err != nil {
		return err
	}
	return s.home.FS.Remove(dir)
}

// applyReplica unpacks replica.tar into A. Nothing in it is believed: a member
// that is not a file of the database below A is refused before any is put.
func (s *Storage) applyReplica() error {
	if !s.home.Full {
		return zodb.ErrUnsupported
	}
	o, err := s.original()
	if err != nil {
		return err
	}
	name := path.Join(home.JournalDir, journal.ReplicaFile)
	for other, err := range vfs.Walk(s.home.FS, string(store.B)) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: B must be empty, and holds %s", zodb.ErrJournalOlder, other)
	}
	if err := s.eachMember(o, name, func(layout.Name, []byte) error { return nil }); err != nil {
		return err
	}
	b := o.Edit(store.A)
	members := 0
	marks := make(map[layout.Name][]byte)
	err = s.eachMember(o, name, func(n layout.Name, data []byte) error {
		switch n {
		case layout.XOID, layout.XPacked, layout.XSerial: // last, as in every flush
			marks[n] = data
			return nil
		}
		if err := b.Replace(n, data); err != nil {
			return err
		}
		if members++; members%syncFiles == 0 {
			return b.Sync()
		}
		return nil
	})
	if err == nil {
		err = b.Sync()
	}
	for _, n := range []layout.Name{layout.XOID, layout.XPacked, layout.XSerial} {
		if data, ok := marks[n]; ok && err == nil {
			err = o.SetMark(store.A, n, data)
		}
	}
	if err == nil {
		err = s.home.FS.Rename(name, replicaAfter)
	}
	if err == nil && s.home.Sync().Dir {
		// Else it would be applied once more, over later commits.
		err = s.home.FS.SyncDir("misc")
	}
	return err
}

// maxMember bounds the memory for one member of a replica.tar.
const maxMember = 1 << 32

// syncFiles is after how many members of a replica.tar those are made durable.
const syncFiles = 500

func (s *Storage) eachMember(o store.Original, name string, f func(layout.Name, []byte) error) error {
	file, err := s.home.FS.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	r := tar.NewReader(file)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		n, ok := o.ParsePath(path.Clean(h.Name))
		if !ok || h.Typeflag != tar.TypeReg || h.Size > maxMember {
			return fmt.Errorf("its member %q is not a file of a database; nothing of it was applied", h.Name)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := f(n, data); err != nil {
			return err
		}
	}
}

func (s *Storage) syncJournalDir() error {
	if !s.home.Sync().Dir {
		return nil
	}
	return s.home.FS.SyncDir(home.JournalDir)
}
