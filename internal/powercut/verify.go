//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// walkA yields each file of A with its stamp.
func walkA(home string, yield func(name string, s stamp)) error {
	root := filepath.Join(home, "A")
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		yield(rel, stamp{info.ModTime().UnixNano(), info.Sys().(*syscall.Stat_t).Ino})
		return err
	})
}

// expectation is the state promised by the events before a cut.
type expectation struct {
	acks      []ack
	newest    map[zodb.OID]zodb.TID // last acknowledged revision
	live      map[zodb.OID]bool     // the last acknowledged buckets refer to it
	packedTo  zodb.TID
	snapshots []snapshot
	wrong     []string
}

func expect(events []event) expectation {
	x := expectation{newest: make(map[zodb.OID]zodb.TID), live: make(map[zodb.OID]bool)}
	refs := make(map[zodb.OID]object)
	for _, e := range events {
		switch {
		case e.Ack != nil:
			x.acks = append(x.acks, *e.Ack)
			for _, o := range e.Ack.Objects {
				if e.Ack.TID > x.newest[o.OID] {
					x.newest[o.OID] = e.Ack.TID
					if o.OID <= writers {
						refs[o.OID] = o
					}
				}
			}
		case e.Pack != nil:
			x.packedTo = max(x.packedTo, e.Pack.To)
		case e.Snapshot != nil:
			x.snapshots = append(x.snapshots, *e.Snapshot)
		case e.Wrong != "":
			x.wrong = append(x.wrong, e.Wrong)
		}
	}
	for _, o := range refs {
		x.live[o.OID] = true
		for _, oid := range o.Live {
			x.live[oid] = true
		}
	}
	return x
}

// verify opens the storage after a cut, compares it with the promises, closes it, and looks at its
// files. The error says that it could not look.
func verify(home string, name string) ([]string, error) {
	events, err := readEvents(name)
	if err != nil {
		return nil, err
	}
	x := expect(events)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := engine.Open(ctx, home, options())
	if err != nil {
		return append(x.wrong, "open: "+err.Error()), nil
	}
	step := func(name string, err error) {
		if err != nil {
			x.wrong = append(x.wrong, name+": "+err.Error())
		}
	}
	step("the pack that was interrupted", s.WaitPack(ctx))
	x.wrong = append(x.wrong, x.look(ctx, s)...)
	step("wait", s.WaitNormal(ctx))
	step("close", s.Close())
	left, err := x.check(ctx, home)
	if err != nil {
		return nil, err
	}
	stamps, err := x.stamps(home)
	x.wrong = append(x.wrong, stamps...)
	if err == nil && len(left) > 0 {
		err = x.repair(ctx, home, name, left)
	}
	return x.wrong, err
}

// check returns the leftovers that an interrupted pack or undelete may leave.
func (x *expectation) check(ctx context.Context, home string) (left []string, err error) {
	dir, err := vfs.OS(home)
	if err != nil {
		return nil, err
	}
	_, err = check.Run(ctx, check.Options{FS: dir, Workers: 1, SnapshotOnly: true}, func(f check.Finding) {
		text := fmt.Sprintf("check: %s %s %s %s", f.Severity, f.Kind, f.Path, f.Detail)
		switch {
		case f.Severity == check.Note:
		case f.Severity == check.Warning && strings.HasSuffix(f.Detail, "the next one repairs it"):
			left = append(left, text)
		default:
			x.wrong = append(x.wrong, text)
		}
	})
	if err != nil {
		x.wrong = append(x.wrong, "check: "+err.Error())
	}
	return left, nil
}

// repair runs the documented repair of the leftovers of an interrupted pack.
func (x *expectation) repair(ctx context.Context, home, name string, was []string) error {
	s, err := engine.Open(ctx, home, options())
	if err != nil {
		x.wrong = append(x.wrong, "open again: "+err.Error())
		return nil
	}
	if _, err := s.Undelete(ctx, 0); err != nil {
		x.wrong = append(x.wrong, err.Error())
	}
	log, err := openEvents(name)
	if err != nil {
		return err
	}
	if err := log.put(event{Pack: &packed{s.LastTransaction()}}); err != nil {
		return err
	}
	if _, err := s.Pack(ctx, zodb.PackOptions{}); err != nil {
		x.wrong = append(x.wrong, err.Error())
	}
	if err := errors.Join(s.WaitNormal(ctx), s.Close()); err != nil {
		x.wrong = append(x.wrong, "close again: "+err.Error())
	}
	left, err := x.check(ctx, home)
	if len(left) > 0 {
		x.wrong = append(x.wrong, fmt.Sprintf("after an undelete and a pack that repair %d, such as %s, there are %d: %s", len(was), was[0], len(left), left[0]))
	}
	return err
}

// look reads all that was acknowledged.
func (x *expectation) look(ctx context.Context, s *engine.Storage) (wrong []string) {
	bad := func(a ack, o object, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s of %s: ", o.OID, a.TID)+fmt.Sprintf(format, args...))
	}
	current := make(map[zodb.OID]zodb.TID)
	for oid := range x.newest {
		if r, err := s.Load(ctx, oid); err == nil {
			current[oid] = r.Serial
		} else if !errors.Is(err, zodb.ErrNotFound) {
			wrong = append(wrong, fmt.Sprintf("%s: %v", oid, err))
		}
	}
	for _, a := range x.acks {
		if _, err := s.Transaction(ctx, a.TID); err != nil && (a.TID > x.packedTo || !errors.Is(err, zodb.ErrNotFound)) {
			wrong = append(wrong, fmt.Sprintf("transaction %s: %v", a.TID, err))
		}
		for _, o := range a.Objects {
			if a.TID == x.newest[o.OID] && x.live[o.OID] && current[o.OID] < a.TID {
				bad(a, o, "its current revision is %s", current[o.OID])
			}
			data, err := s.LoadSerial(ctx, o.OID, a.TID)
			if errors.Is(err, zodb.ErrNotFound) && a.TID <= x.packedTo && !(current[o.OID] == a.TID) {
				continue
			}
			if err != nil {
				bad(a, o, "%v", err)
				continue
			}
			if hash(data) != o.Data {
				bad(a, o, "other data")
			}
			blob, err := readBlob(ctx, s, o.OID, a.TID)
			switch {
			case o.Blob == "" && errors.Is(err, zodb.ErrNotFound):
			case err != nil && a.TID <= x.packedTo && !(x.live[o.OID] && a.TID == x.newest[o.OID]):
				// Garbage that a pack had begun to remove, or an undelete to bring back.
			case err != nil:
				bad(a, o, "blob: %v", err)
			case hash(blob) != o.Blob:
				bad(a, o, "another blob")
			}
		}
	}
	return wrong
}

// stamps looks for files that are new since a snapshot and bear an earlier time
// than the moment at which it was asked for.
func (x *expectation) stamps(home string) (wrong []string, err error) {
	err = walkA(home, func(name string, is stamp) {
		if len(wrong) > 20 || strings.HasSuffix(name, "-deleted") {
			return
		}
		for _, s := range slices.Backward(x.snapshots) {
			if s.Files[name] != is && is.Mtime < s.Asked {
				wrong = append(wrong, fmt.Sprintf("A/%s is new since a snapshot and its time is %v before that", name, time.Duration(s.Asked-is.Mtime)))
				return
			}
		}
	})
	return wrong, err
}
