package bundled_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// remaking is a store that has lost its table in an error, and makes it again in the background.
type remaking struct {
	t     *testing.T
	disk  *crashfs.FS
	fs    *errfs.FS
	clock *testClock
	s     *bundled.Store
	h     *history
}

// newRemaking fills a disk, and has all changes of files of the table fail, at the open or in a flush.
// Then the disk is mended, and it is time to try again.
func newRemaking(t *testing.T, seed uint64, atOpen bool) *remaking {
	t.Helper()
	r := &remaking{t: t, disk: crashfs.New(int64(seed)), clock: new(testClock)}
	if err := makeEmpty(r.disk); err != nil {
		t.Fatal(err)
	}
	r.fs = errfs.New(r.disk, nil)
	fail := func(o errfs.Op) error {
		if o.Changes() && strings.Contains(o.Name, "current") {
			return syscall.ENOSPC
		}
		return nil
	}
	if atOpen {
		r.fs.Decide(fail)
	}
	var err error
	r.s, err = bundled.New(bundled.Options{FS: r.fs, Sync: true, DirSync: true, Clock: r.clock.now, MergeFactor: 2, CommitEvery: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.h = newHistory(r.s, seed)
	put := func() error { return r.h.put(store.A) }
	if err := errors.Join(r.h.thaw(), put(), put()); err != nil {
		t.Fatal(err)
	}
	r.fs.Decide(fail)
	if err := errors.Join(put(), r.h.pack(), put(), put()); err != nil {
		t.Fatal(err)
	}
	r.fs.Decide(nil)
	if has, _ := r.s.HasTable(); has {
		t.Fatal("the table did not fail")
	}
	r.clock.pass(time.Hour)
	return r
}

// remake makes the table by one chore, with other work in between. during is called around the chore.
func (r *remaking) remake(during func(on bool)) error {
	for range 20 { // others may be due before
		c, err := r.s.Tend(store.Tending{})
		if err != nil {
			return err
		}
		during(true)
		found, err := c.Prepare(r.t.Context())
		during(false)
		if err == nil {
			err = errors.Join(r.h.put(store.A), r.h.put(store.A))
		}
		if err == nil && found {
			during(true)
			_, err = c.Publish()
			during(false)
		}
		err = errors.Join(err, c.Close())
		if has, _ := r.s.HasTable(); err != nil || has {
			return err
		}
	}
	return nil
}

// rest goes on with the history, and closes the store.
func (r *remaking) rest() error {
	return errors.Join(r.h.pack(), r.h.put(store.A), tendAll(r.s), r.h.put(store.A), r.s.Close())
}

// TestTheTableIsMadeAgainThroughPowerCutsAndKills ends the process before each operation of a table that
// is made in the background, with and without a power cut, and of the work behind it. A store that is opened
// then gives the same answers as the indexes, and has or gets a table.
func TestTheTableIsMadeAgainThroughPowerCutsAndKills(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 2)
	var names []string
	for seed := range hometest.Rounds(t, 1) {
		names = append(names, fmt.Sprintf("seed %d", seed), fmt.Sprintf("seed %d, failed at the open", seed))
	}
	var made atomic.Int32
	t.Cleanup(func() {
		if made.Load() == 0 {
			t.Error("the table was never made in the background")
		}
	})
	ops := faulttest.SampledOf(t, hometest.OneOf(1, 13, 83), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, n int) (log []string, came bool) {
		r := newRemaking(t, uint64(c/2), c%2 == 1)
		begun, cut := r.disk.Ops(), faulttest.CutBefore(r.disk, at)
		err := r.remake(func(bool) {})
		if has, _ := r.s.HasTable(); err == nil && has {
			made.Add(1)
		}
		if err == nil {
			err = r.rest()
		}
		if log, came = r.disk.Log()[begun:], cut.Load(); err != nil && (!came || !errors.Is(err, crashfs.ErrCrashed)) {
			t.Fatalf("before %v, which did not come: %v", at, err)
		}
		for _, mode := range []crashfs.Mode{crashfs.KeepAll, crashfs.KeepNone, crashfs.Random(uint32(n))} {
			say := fmt.Sprintf("before %v, %s", at, mode)
			after := r.disk.Crashed(mode)
			s, err := openEvery(after, 2)
			if err != nil {
				t.Fatalf("%s: %v", say, err)
			}
			if has, _ := s.HasTable(); !has {
				t.Errorf("%s: there is no table", say)
			}
			compareWithout(t, s, after, say)
			if err := tendAll(s); err != nil {
				t.Fatalf("%s: %v", say, err)
			}
			compareWithout(t, s, after, say+", tended")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return log, came
	})
	if ops < 20*len(names) {
		t.Errorf("%d operations", ops)
	}
}

// TestErrorsWhileTheTableIsMadeAgain lets each operation of the chore fail, reads of the indexes too, once
// or from then on. Everything else goes on and is right, and the table is made when that is over.
func TestErrorsWhileTheTableIsMadeAgain(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	step := hometest.OneOf(2, 9, 23)
	for seed := range hometest.Rounds(t, 1) {
		cases := seed
		for _, cause := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
			for _, lasts := range []bool{false, true} {
				first := 1 + (cases+hometest.Phase(t))%step // other ones in each case
				cases++
				t.Run(fmt.Sprintf("seed %d, %s, lasting %t", seed, cause, lasts), func(t *testing.T) {
					t.Parallel()
					for n := first; ; n += step {
						r := newRemaking(t, uint64(seed), n/step%2 == 0)
						asked, failed, on := 0, false, false
						r.fs.Decide(func(errfs.Op) error {
							if !on {
								return nil
							}
							if asked++; asked < n || asked > n && !lasts {
								return nil
							}
							failed = true
							return cause
						})
						// The chore may say so; everything else does not.
						if err := r.remake(func(is bool) { on = is }); err != nil && !errors.Is(err, cause) {
							t.Fatalf("operation %d: %v", n, err)
						}
						compareWithout(t, r.s, r.disk, fmt.Sprintf("operation %d", n))
						r.fs.Decide(nil)
						r.clock.pass(time.Hour)
						if err := errors.Join(r.h.put(store.A), tendAll(r.s)); err != nil {
							t.Fatalf("operation %d, mended: %v", n, err)
						}
						if has, _ := r.s.HasTable(); !has {
							t.Errorf("operation %d: there is no table, although the disk was mended", n)
						}
						compareWithout(t, r.s, r.disk, fmt.Sprintf("operation %d, mended", n))
						if err := r.rest(); err != nil {
							t.Fatalf("operation %d, and then: %v", n, err)
						}
						if err := atMostMissing(r.disk); err != nil {
							t.Errorf("operation %d: %v", n, err)
						}
						s, err := openEvery(r.disk, 1)
						if err != nil {
							t.Fatal(err)
						}
						if has, rebuilt := s.HasTable(); !has || rebuilt {
							t.Errorf("operation %d, opened again: there is a table: %t, made anew: %t", n, has, rebuilt)
						}
						compareWithout(t, s, r.disk, fmt.Sprintf("operation %d, opened again", n))
						if err := s.Close(); err != nil {
							t.Fatal(err)
						}
						if !failed {
							if n < 10 {
								t.Errorf("%d operations", n)
							}
							break
						}
					}
				})
			}
		}
	}
}
