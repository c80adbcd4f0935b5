package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// sweptErrors are the errors of each operation.
var sweptErrors = []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}

// sweep is a long job of an administrator in which operations fail.
type sweep struct {
	name string
	// begin makes a disk on which the job can begin, once.
	begin func(ctx context.Context, t testing.TB) *crashfs.FS
	// run does the job. storage: only while this is on may operations fail.
	run func(ctx context.Context, f vfs.FS, faults func(on bool)) error
	// after looks at the disk without faults. done: run had returned nil.
	after func(ctx context.Context, disk *crashfs.FS, done bool) error
}

// storm lets operations fail: the first, or all from the first on.
type storm struct {
	cause   syscall.Errno
	first   int
	forEver bool

	mu     sync.Mutex
	on     bool
	ops    int
	failed string
}

func (s *storm) decide(op errfs.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on || op.Kind == "close" || op.Kind == "space" {
		return nil
	}
	s.ops++
	if s.first == 0 || s.ops < s.first || s.ops > s.first && !s.forEver {
		return nil
	}
	if s.failed == "" {
		s.failed = op.Kind + " " + op.Name
	}
	return s.cause
}

func (s *storm) faults(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

// TestErrorAtEveryOperationOfAJob lets operations of pack, undelete, check, the index
// of references, salvage, import and export fail, each in its turn, once and for
// ever, with each error. The job ends with an error that names the cause, or has
// done all of its work all the same; nothing that was acknowledged is lost, and the
// storage opens again and is sound.
func TestErrorAtEveryOperationOfAJob(t *testing.T) {
	t.Parallel()
	every := max(1, hometest.OneOf(61, 601, 1009)/hometest.Rounds(t, 1))
	for h, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		for i, w := range sweeps(format) {
			t.Run(w.name+" "+format.String(), func(t *testing.T) {
				t.Parallel()
				base := w.begin(t.Context(), t)
				ops := w.suffer(t, base, &storm{})
				for j, cause := range sweptErrors {
					for k, forEver := range []bool{false, true} {
						if testing.Short() && (h+j+k)%2 > 0 {
							continue
						}
						for n := range faulttest.Sample(ops, every, uint64(i+5*j+11*k), hometest.Phase(t)) {
							w.suffer(t, base, &storm{cause: cause, first: n, forEver: forEver})
						}
					}
				}
				t.Logf("%d operations", ops)
			})
		}
	}
}

func (w sweep) suffer(t *testing.T, base *crashfs.FS, s *storm) (ops int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	disk := base.Killed()
	f := errfs.New(disk, s.decide)
	f.ShortWrites()
	err := w.run(ctx, f, s.faults)
	s.faults(false)
	where := fmt.Sprintf("%v at operation %d (%s), for ever %v", s.cause, s.first, s.failed, s.forEver)
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s: it hangs", where)
	case err != nil && s.failed == "":
		t.Fatalf("without a fault: %v", err)
	case err != nil && !errors.Is(err, s.cause):
		t.Errorf("%s: the error does not name the cause: %v", where, err)
	}
	if aerr := w.after(ctx, disk.Killed(), err == nil); aerr != nil {
		t.Errorf("%s: the job said %v; afterwards: %v", where, err, aerr)
	}
	return s.ops
}

func sweepOptions(f vfs.FS) engine.Options {
	return engine.OnFS(engine.Options{SegmentSize: 64 << 10, RetryInterval: time.Millisecond, NoControlSocket: true}, f)
}

func openOn(ctx context.Context, f vfs.FS) (*engine.Storage, error) {
	return engine.Open(ctx, "", sweepOptions(f))
}

func sweptData(oid zodb.OID, n int) []byte {
	text := fmt.Sprintf("object %d in %d", oid, n)
	if oid == 0 {
		return pickletest.Record(text, 1, 2, 3, 4)
	}
	data := pickletest.Record(text)
	if oid == 2 || oid == 6 { // an import asks for the class before it looks for a blob
		data = bytes.Replace(data, []byte("cpersistent.mapping\nPersistentMapping"), []byte("cZODB.blob\nBlob"), 1)
	}
	return data
}

func sweptBlob(oid zodb.OID, n int) string { return fmt.Sprintf("blob of %d in %d", oid, n) }

// newSwept makes a storage with objects 0 to 7, of which 5 to 7 are garbage, 24
// transactions and blobs of 2 and 6, and closes it.
func newSwept(ctx context.Context, t testing.TB, format layout.Format, empty bool) *crashfs.FS {
	t.Helper()
	disk := crashfs.New(3)
	err := engine.CreateOn(disk, format, map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "1000000"})
	if err != nil {
		t.Fatal(err)
	}
	if empty {
		fillSwept(ctx, t, disk, 0, 0)
	} else {
		fillSwept(ctx, t, disk, 0, 24)
	}
	return disk
}

// fillSwept opens a storage, commits those of the 24 transactions from one to before another, and
// closes it.
func fillSwept(ctx context.Context, t testing.TB, disk *crashfs.FS, from, to int) {
	t.Helper()
	s, err := openOn(ctx, disk)
	if err != nil {
		t.Fatal(err)
	}
	for n := from; n < to; n++ {
		txn, err := s.Begin(ctx, zodb.TxnMeta{User: []byte("u"), Description: fmt.Append(nil, n)}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		oids := []zodb.OID{zodb.OID(n % 8), zodb.OID((n*3 + 1) % 8)}
		if n == 0 {
			oids = []zodb.OID{0, 1, 2, 3, 4, 5, 6, 7}
		} else if oids[0] == oids[1] {
			oids = oids[:1]
		}
		for _, oid := range oids {
			data := sweptData(oid, n)
			r, err := s.Load(ctx, oid) // if there is one
			if err != nil && !errors.Is(err, zodb.ErrNotFound) {
				t.Fatal(err)
			}
			if oid == 2 || oid == 6 {
				err = txn.StoreBlob(oid, r.Serial, data, zodb.BlobSource{Reader: strings.NewReader(sweptBlob(oid, n))})
			} else {
				err = txn.Store(oid, r.Serial, data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := txn.Vote(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := txn.Finish(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if n%6 == 0 { // so that there are several bundles
			if err := s.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(s.WaitNormal(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// contents is all that a storage holds: its revisions and blobs by oid and tid,
// transactions by tid.
func contents(ctx context.Context, s *engine.Storage) (map[string]string, error) {
	all := make(map[string]string)
	for t, err := range s.Transactions(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		all["t"+t.TID.String()] = string(t.Description)
		for r, err := range s.Records(ctx, t) {
			if err != nil {
				return nil, err
			}
			all[r.OID.String()+" "+r.TID.String()] = string(r.Data)
			switch b, err := s.OpenBlob(ctx, r.OID, r.TID); {
			case err == nil:
				data, err := io.ReadAll(b)
				if err = errors.Join(err, b.Close()); err != nil {
					return nil, err
				}
				all[r.OID.String()+" "+r.TID.String()+" blob"] = string(data)
			case !errors.Is(err, zodb.ErrNotFound):
				return nil, err
			}
		}
	}
	return all, nil
}

// newest are the transactions of [newSwept] that wrote objects 0 to 4 last.
var newest = [...]int{21, 17, 19, 22, 20}

// currentIs compares the objects that the root object leads to with those of newSwept.
func currentIs(ctx context.Context, s *engine.Storage) error {
	for oid, n := range newest {
		r, err := s.Load(ctx, zodb.OID(oid))
		if err != nil {
			return err
		}
		if !bytes.Equal(r.Data, sweptData(zodb.OID(oid), n)) {
			return fmt.Errorf("object %d is %q", oid, r.Data)
		}
		if oid == 2 {
			b, err := s.OpenBlob(ctx, 2, r.Serial)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(b)
			if err := errors.Join(err, b.Close()); err != nil {
				return err
			}
			if string(data) != sweptBlob(2, n) {
				return fmt.Errorf("the blob of object %d is %q", oid, data)
			}
		}
	}
	return nil
}

// inspect opens the storage, lets look see it, closes it, and checks its files.
func inspect(ctx context.Context, f vfs.FS, look func(s *engine.Storage) error) error {
	s, err := openOn(ctx, f)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = errors.Join(s.WaitPack(ctx), s.WaitNormal(ctx))
	if err == nil {
		err = look(s)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	return checked(ctx, f)
}

// checked is the error of a check, or of its findings.
func checked(ctx context.Context, f vfs.FS) error {
	_, err := checktest.Sound(ctx, f)
	return err
}

// within opens the storage without faults and does something with it.
func within(ctx context.Context, f vfs.FS, do func(s *engine.Storage) error) error {
	s, err := openOn(ctx, f)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

// runOpen opens the storage, does something with it among faults, and closes it
// among them.
func runOpen(ctx context.Context, f vfs.FS, faults func(bool), do func(s *engine.Storage) error) error {
	s, err := openOn(ctx, f)
	if err != nil {
		return err
	}
	if err := s.WaitNormal(ctx); err != nil {
		return errors.Join(err, s.Close())
	}
	faults(true)
	defer faults(false)
	err = do(s)
	_ = s.Close() // the next open does the rest
	return err
}

// sweptIndex writes an index of references.
type sweptIndex struct {
	w   *refindex.Writer
	mu  sync.Mutex
	err error
}

func (x *sweptIndex) note(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		x.err = err
	}
}

func (x *sweptIndex) Begin(zodb.TID)        {}
func (x *sweptIndex) Add(from, to zodb.OID) { x.note(x.w.Add(from, to)) }
func (x *sweptIndex) Skip(damaged bool)     { x.w.Skip(damaged) }
func (x *sweptIndex) End(ctx context.Context, complete bool) {
	if complete && x.err == nil {
		_, err := x.w.Finish(ctx, vfs.SyncOptions{File: true, Dir: true})
		x.note(err)
	}
}

// foundError is the findings of a check; an error that it met is in the text.
type foundError []string

func (e foundError) Error() string { return strings.Join(e, "; ") }

func (e foundError) Is(target error) bool {
	return slices.ContainsFunc(e, func(text string) bool { return strings.Contains(text, target.Error()) })
}

// lost is where files go that lose their names.
const lost = "lost"

// loseFiles takes the names of some files away: a revision, a blob, a transaction, a pointer.
func loseFiles(disk *crashfs.FS) error {
	if err := disk.Mkdir(lost); err != nil {
		return err
	}
	var names []string
	for name, err := range vfs.Walk(disk, "A") {
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if strings.HasPrefix(name, "A/x/") || strings.HasPrefix(name, "A/x.") || i%3 > 0 {
			continue
		}
		if err := disk.Rename(name, fmt.Sprintf("%s/#%d", lost, i)); err != nil {
			return err
		}
	}
	return disk.SyncAll()
}

func salvageAll(ctx context.Context, f vfs.FS) error {
	from, home := vfs.Sub(f, lost), f
	actions, err := salvage.Plan(ctx, from, home, time.Unix(1e9, 0))
	if err != nil {
		return err
	}
	return salvage.Apply(ctx, from, home, actions, time.Unix(1e9, 0), func(bool) error { return nil })
}

// exportTo exports to Data.fs, blobs to the directory blobs.
func exportTo(ctx context.Context, s *engine.Storage, f vfs.FS) error {
	if err := f.Mkdir("blobs"); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	w, err := filestorage.Create(f, "Data.fs")
	if err != nil {
		return err
	}
	if _, err := transfer.Export(ctx, s, w, transfer.ExportOptions{Blobs: vfs.Sub(f, "blobs")}); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Close()
}

func importAll(ctx context.Context, s *engine.Storage, f vfs.FS) error {
	r, err := filestorage.Open(f, "Data.fs")
	if err != nil {
		return err
	}
	_, err = transfer.Import(ctx, s, r, transfer.ImportOptions{Blobs: vfs.Sub(f, "blobs")})
	return errors.Join(err, r.Close())
}

// toImport makes an empty storage beside the export of a full one.
func toImport(ctx context.Context, t testing.TB, format layout.Format) *crashfs.FS {
	t.Helper()
	full, empty := newSwept(ctx, t, format, false), newSwept(ctx, t, format, true)
	if err := within(ctx, full, func(s *engine.Storage) error { return exportTo(ctx, s, full) }); err != nil {
		t.Fatal(err)
	}
	names := []string{"Data.fs"}
	for name, err := range vfs.Walk(full, "blobs") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for _, name := range names {
		data, err := full.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.MkdirAll(empty, path.Dir(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.Put(empty, name, data, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty.SyncAll(); err != nil {
		t.Fatal(err)
	}
	return empty
}

func sweeps(format layout.Format) []sweep {
	filled := func(ctx context.Context, t testing.TB) *crashfs.FS { return newSwept(ctx, t, format, false) }
	return []sweep{
		{
			name:  "pack",
			begin: filled,
			run: func(ctx context.Context, f vfs.FS, faults func(bool)) error {
				return runOpen(ctx, f, faults, func(s *engine.Storage) error {
					_, err := s.Pack(ctx, zodb.PackOptions{References: true})
					return err
				})
			},
			after: func(ctx context.Context, disk *crashfs.FS, _ bool) error {
				return inspect(ctx, disk, func(s *engine.Storage) error { return currentIs(ctx, s) })
			},
		},
		{
			name: "undelete",
			begin: func(ctx context.Context, t testing.TB) *crashfs.FS {
				disk := filled(ctx, t)
				err := within(ctx, disk, func(s *engine.Storage) error {
					_, err := s.Pack(ctx, zodb.PackOptions{})
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return disk
			},
			run: func(ctx context.Context, f vfs.FS, faults func(bool)) error {
				return runOpen(ctx, f, faults, func(s *engine.Storage) error {
					_, err := s.Undelete(ctx, 0)
					return err
				})
			},
			after: func(ctx context.Context, disk *crashfs.FS, done bool) error {
				return inspect(ctx, disk, func(s *engine.Storage) error {
					if !done {
						if _, err := s.Undelete(ctx, 0); err != nil {
							return err
						}
					}
					got, err := contents(ctx, s)
					if err == nil && len(got) < 24 {
						err = fmt.Errorf("%d transactions and revisions", len(got))
					}
					return errors.Join(err, currentIs(ctx, s))
				})
			},
		},
		{
			name:  "check with the index of references",
			begin: filled,
			run: func(ctx context.Context, f vfs.FS, faults func(bool)) error {
				faults(true)
				defer faults(false)
				w, err := refindex.New(f, "misc", 1, 1<<20)
				if err != nil {
					return err
				}
				defer w.Abort()
				index := &sweptIndex{w: w}
				var found []string
				_, err = check.Run(ctx, check.Options{FS: f, Workers: 2, Index: index}, func(f check.Finding) { found = append(found, f.Detail) })
				if err = errors.Join(err, index.err); err != nil || len(found) == 0 {
					return err
				}
				return foundError(found)
			},
			after: func(ctx context.Context, disk *crashfs.FS, done bool) error {
				r, err := refindex.Open(disk, "misc/refs")
				switch {
				case err == nil:
					err = r.Close()
				case !done && errors.Is(err, fs.ErrNotExist):
					err = nil
				}
				return errors.Join(err, inspect(ctx, disk, func(s *engine.Storage) error { return currentIs(ctx, s) }))
			},
		},
		{
			name: "salvage",
			begin: func(ctx context.Context, t testing.TB) *crashfs.FS {
				disk := filled(ctx, t)
				if err := loseFiles(disk); err != nil {
					t.Fatal(err)
				}
				return disk
			},
			run: func(ctx context.Context, f vfs.FS, faults func(bool)) error {
				faults(true)
				defer faults(false)
				return salvageAll(ctx, f)
			},
			after: func(ctx context.Context, disk *crashfs.FS, done bool) error {
				if !done {
					if err := salvageAll(ctx, disk); err != nil {
						return fmt.Errorf("again: %w", err)
					}
				}
				return inspect(ctx, disk, func(s *engine.Storage) error { return currentIs(ctx, s) })
			},
		},
		{
			name:  "import",
			begin: func(ctx context.Context, t testing.TB) *crashfs.FS { return toImport(ctx, t, format) },
			run: func(ctx context.Context, f vfs.FS, faults func(bool)) error {
				return runOpen(ctx, f, faults, func(s *engine.Storage) error { return importAll(ctx, s, f) })
			},
			after: func(ctx context.Context, disk *crashfs.FS, _ bool) error {
				return inspect(ctx, disk, func(s *engine.Storage) error {
					return errors.Join(importAll(ctx, s, disk), currentIs(ctx, s))
				})
			},
		},
		{
			name:  "export",
			begin: filled,
			run: func(ctx context.Context, f vfs.FS, faults func(bool)) error {
				return runOpen(ctx, f, faults, func(s *engine.Storage) error { return exportTo(ctx, s, f) })
			},
			after: func(ctx context.Context, disk *crashfs.FS, done bool) error {
				// After an error it is whole or not there.
				_, err := disk.Stat("Data.fs")
				whole := err == nil
				if done && !whole {
					return err
				}
				return inspect(ctx, disk, func(s *engine.Storage) error {
					if !whole {
						// The rest is removed by hand, as the command says.
						for _, name := range []string{"Data.fs.tmp", "blobs"} {
							if err := vfs.RemoveAll(disk, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
								return err
							}
						}
						if err := exportTo(ctx, s, disk); err != nil {
							return fmt.Errorf("again: %w", err)
						}
					}
					r, err := filestorage.Open(disk, "Data.fs")
					if err != nil {
						return err
					}
					defer r.Close()
					n := 0
					for _, err := range r.Transactions(ctx, filestorage.Position{}) {
						if err != nil {
							return err
						}
						n++
					}
					if n != 24 {
						return fmt.Errorf("%d transactions in Data.fs", n)
					}
					return currentIs(ctx, s)
				})
			},
		},
	}
}
