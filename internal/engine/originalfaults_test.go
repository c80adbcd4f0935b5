package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// leftByOriginal makes a HOME with a journal as an original leaves it: a transaction in
// a directory, or all files in a replica.tar. It returns that transaction.
func leftByOriginal(ctx context.Context, disk *crashfs.FS, replica bool) (zodb.TID, error) {
	model := crashfs.New(1)
	if err := errors.Join(engine.PopulateHome(model, zodb.ClassFull, layout.Bushy), engine.PopulateHome(disk, zodb.ClassFull, layout.Bushy)); err != nil {
		return 0, err
	}
	s, err := engine.Open(ctx, "", engine.ScriptOptions(model))
	if err != nil {
		return 0, err
	}
	var list []enginetest.Change
	for oid := range zodb.OID(30) {
		list = append(list, enginetest.Change{OID: oid, Data: pickletest.Record(fmt.Sprint("object ", oid))})
	}
	tid, err := enginetest.TryCommit(s, zodb.TxnMeta{}, list...)
	if err = errors.Join(err, s.WaitNormal(ctx), s.Flush(ctx), s.Close()); err != nil {
		return 0, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dir := "journal/working_" + tid.String() + "_done"
	if err := disk.Mkdir(dir); err != nil {
		return 0, err
	}
	for name, err := range vfs.Walk(model, "A") {
		var data []byte
		if err == nil {
			data, err = model.ReadFile(name)
		}
		n, ok := layout.Bushy.Parse(name[2:])
		if err != nil || !ok {
			return 0, errors.Join(err, fmt.Errorf("%s is not a file of a database", name))
		}
		if replica {
			err = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))})
			if err == nil {
				_, err = w.Write(data)
			}
		} else {
			_, err = vfs.Put(disk, path.Join(dir, n.String()), data, true)
		}
		if err != nil {
			return 0, err
		}
	}
	if replica {
		err = errors.Join(w.Close(), disk.Remove(dir))
		if err == nil {
			_, err = vfs.Put(disk, "journal/replica.tar", b.Bytes(), true)
		}
	}
	return tid, errors.Join(err, disk.SyncAll())
}

// originalFaults makes a job that rolls forward the journal of an original, and commits.
func originalFaults(t testing.TB, replica bool) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		tid, err := leftByOriginal(t.Context(), disk, replica)
		if err != nil {
			return nil, err
		}
		o := engine.ScriptOptions(disk)
		var s *engine.Storage
		var acked []string
		end := func() {
			if s != nil {
				_ = s.Close() // it may be closed
				s = nil
			}
		}
		return &faulttest.Job{
			Run: func(f vfs.FS) (err error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				end()
				o = engine.OnFS(o, f)
				if s, err = engine.Open(ctx, "", o); err != nil {
					s = nil
					return err
				}
				text := fmt.Sprint("changed ", len(acked))
				if _, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 1, Data: pickletest.Record(text)}); err != nil {
					return err
				}
				acked = append(acked, text)
				return errors.Join(s.WaitNormal(ctx), s.Flush(ctx))
			},
			Check: func(after *crashfs.FS, _ bool) error {
				o := o
				o = engine.OnFS(o, after)
				s, err := engine.Open(t.Context(), "", o)
				if err != nil {
					return err
				}
				defer s.Close()
				for oid := range zodb.OID(30) {
					r, err := s.Load(t.Context(), oid)
					want := pickletest.Record(fmt.Sprint("object ", oid))
					if oid == 1 && len(acked) > 0 {
						want = pickletest.Record(acked[len(acked)-1])
					}
					if err != nil || string(r.Data) != string(want) && (oid != 1 || r.Serial <= tid) {
						return fmt.Errorf("object %s: %.60q, %w", oid, r.Data, err)
					}
				}
				return errors.Join(s.WaitNormal(t.Context()), s.Close(), engine.Sound(t.Context(), after, false))
			},
			End: end,
		}, nil
	}
}

// TestFaultsInWhatAnOriginalLeft kills or fails each operation of rolling forward the journal of an
// original, goes on, and cuts the power.
func TestFaultsInWhatAnOriginalLeft(t *testing.T) {
	t.Parallel()
	for what, replica := range map[string]bool{"directory": false, "replica": true} {
		for i := range hometest.Rounds(t, 1) {
			o := faulttest.Options{Every: engine.Stride(5), Seed: uint64(i), Phase: hometest.Phase(t), Retries: 2}
			t.Run(fmt.Sprintf("%s seed %d killed", what, i), func(t *testing.T) {
				t.Parallel()
				faulttest.Killed(t, o, originalFaults(t, replica))
			})
			for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
				t.Run(fmt.Sprintf("%s seed %d %v", what, i, cause), func(t *testing.T) {
					t.Parallel()
					faulttest.Failed(t, o, cause, originalFaults(t, replica))
				})
			}
		}
	}
}
