package journal_test

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// frames returns the offsets of the frames of one type in a segment, in order.
func frames(tb testing.TB, f vfs.FS, name string, t journal.FrameType) []int64 {
	tb.Helper()
	file, err := f.Open(path.Join(testDir, name))
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	offsets, err := journal.FrameOffsets(file, name, testIdentity, t)
	if err != nil {
		tb.Fatal(err)
	}
	return offsets
}

// flip changes one bit.
func flip(tb testing.TB, f vfs.FS, name string, offset int64) {
	tb.Helper()
	edit(tb, f, name, func(b []byte) []byte { b[offset] ^= 4; return b })
}

// crashedLog makes a log of several segments, of which every one but the last
// holds one transaction, and which was not closed. The last one holds
// transactions 5, 6 and 7, each committed by itself, and 8, which is not committed.
func crashedLog(tb testing.TB, o journal.Options) []*want {
	tb.Helper()
	l, _, err := journal.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	var all []*want
	for tid := zodb.TID(1); tid <= 4; tid++ {
		all = append(all, txn(tid, 1500, 1800))
	}
	for tid := zodb.TID(5); tid <= 7; tid++ {
		all = append(all, txn(tid, 300, 200))
	}
	put(tb, l, all...)
	if err := l.Append(txn(8, 100).pending()); err != nil {
		tb.Fatal(err)
	}
	if err := l.CloseFiles(); err != nil { // as a crash would
		tb.Fatal(err)
	}
	return all
}

func TestDamageStopsOpen(t *testing.T) {
	t.Parallel()
	at := func(segment int, t journal.FrameType, frame int, within int64) func(testing.TB, vfs.FS, []string) {
		return func(tb testing.TB, f vfs.FS, names []string) {
			flip(tb, f, names[segment], frames(tb, f, names[segment], t)[frame]+within)
		}
	}
	for _, tc := range []struct {
		name   string
		damage func(tb testing.TB, f vfs.FS, names []string)
		path   int // segment that the error names
		reason string
	}{
		{"data of an older segment", at(1, journal.FrameData, 1, 200), 1, "no valid frame"},
		{"frame head of an older segment", at(1, journal.FrameData, 0, 5), 1, "no valid frame"},
		{"metadata of an older segment", at(0, journal.FrameMeta, 0, 60), 0, "no valid frame"},
		{"commit frame of an older segment", at(2, journal.FrameCommit, 0, 20), 2, "no valid frame"},
		{"data of the last segment, committed by an earlier batch", at(4, journal.FrameData, 0, 100), 4, "no valid frame"},
		{"metadata of the last segment, committed by an earlier batch", at(4, journal.FrameMeta, 1, 30), 4, "no valid frame"},
		{"commit frame of an earlier batch of the last segment", at(4, journal.FrameCommit, 1, 30), 4, "no valid frame"},
		{"commit frame of the last batch, with a vote behind it", at(4, journal.FrameCommit, 2, 30), 4, "no valid frame"},
		{"header of an older segment", func(tb testing.TB, f vfs.FS, n []string) { flip(tb, f, n[1], 20) }, 1, "checksum of the header"},
		{"header of the last segment", func(tb testing.TB, f vfs.FS, n []string) { flip(tb, f, n[4], 50) }, 4, "checksum of the header"},
		{"magic of the last segment", func(tb testing.TB, f vfs.FS, n []string) { flip(tb, f, n[4], 0) }, 4, "does not start as"},
		{"last segment emptied", func(tb testing.TB, f vfs.FS, n []string) {
			edit(tb, f, n[4], func([]byte) []byte { return nil })
		}, 4, "the header has 0 bytes"},
		{"older segment shortened", func(tb testing.TB, f vfs.FS, n []string) {
			edit(tb, f, n[2], func(b []byte) []byte { return b[:1000] })
		}, 2, "no valid frame"},
		{"first segment missing", remove(0), 0, "is missing"},
		{"segment in the middle missing", remove(2), 2, "is missing"},
		{"older segment replaced by another", func(tb testing.TB, f vfs.FS, n []string) {
			other, err := f.ReadFile(path.Join(testDir, n[1]))
			if err != nil {
				tb.Fatal(err)
			}
			edit(tb, f, n[2], func([]byte) []byte { return other })
		}, 2, "the header is that of segment"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newHome(t)
			o := options(f)
			crashedLog(t, o)
			names := segmentFiles(t, f)
			if len(names) != 5 {
				t.Fatalf("%d segments", len(names))
			}
			tc.damage(t, f, names)
			before := contents(t, f)
			for _, openLog := range []func(journal.Options) error{
				func(o journal.Options) error { _, _, err := journal.OpenReadOnly(o); return err },
				func(o journal.Options) error { _, _, err := journal.Open(o); return err },
			} {
				err := openLog(o)
				c, ok := errors.AsType[*zodb.CorruptError](err)
				if !ok {
					t.Fatalf("got %v", err)
				}
				if want := path.Join(testDir, names[tc.path]); c.Path != want || !strings.Contains(c.Reason, tc.reason) || !strings.Contains(c.Reason, "Copy the whole HOME") {
					t.Errorf("got %v, not %q in %s", err, tc.reason, want)
				}
			}
			if d := cmp.Diff(before, contents(t, f)); d != "" {
				t.Errorf("files were changed: %s", d)
			}
		})
	}
}

func remove(segment int) func(testing.TB, vfs.FS, []string) {
	return func(tb testing.TB, f vfs.FS, names []string) {
		tb.Helper()
		if err := f.Remove(path.Join(testDir, names[segment])); err != nil {
			tb.Fatal(err)
		}
	}
}

// contents returns the checksums of all files.
func contents(tb testing.TB, f vfs.FS) map[string]string {
	tb.Helper()
	m := make(map[string]string)
	for _, n := range files(tb, f) {
		b, err := f.ReadFile(path.Join(testDir, n))
		if err != nil {
			tb.Fatal(err)
		}
		m[n] = string(b)
	}
	return m
}

func TestTornTailIsCut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(tb testing.TB, f vfs.FS, last string)
		kept   int
		cut    bool
	}{
		{"nothing", func(testing.TB, vfs.FS, string) {}, 7, false},
		{"data of what was not committed", func(tb testing.TB, f vfs.FS, last string) {
			o := frames(tb, f, last, journal.FrameData)
			flip(tb, f, last, o[len(o)-1]+100)
		}, 7, false},
		{"zeros from the last commit on", func(tb testing.TB, f vfs.FS, last string) {
			o := frames(tb, f, last, journal.FrameCommit)
			edit(tb, f, last, func(b []byte) []byte { clear(b[o[2]:]); return b })
		}, 6, false},
		{"cut within the last commit", func(tb testing.TB, f vfs.FS, last string) {
			o := frames(tb, f, last, journal.FrameCommit)
			edit(tb, f, last, func(b []byte) []byte { return b[:o[2]+30] })
		}, 6, false},
		{"data of the last batch, not known to be durable", func(tb testing.TB, f vfs.FS, last string) {
			data, commits := frames(tb, f, last, journal.FrameData), frames(tb, f, last, journal.FrameCommit)
			edit(tb, f, last, func(b []byte) []byte {
				clear(b[commits[2]+journal.CommitFrame:])
				b[data[4]+100] ^= 1
				return b
			})
		}, 6, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newHome(t)
			o := options(f)
			all := crashedLog(t, o)
			names := segmentFiles(t, f)
			tc.damage(t, f, names[len(names)-1])
			for range 2 {
				r, found, err := journal.OpenReadOnly(o)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(compare(r, found, all[:tc.kept]...), r.Close()); err != nil {
					t.Error(err)
				}
				if (found.Cut != nil) != tc.cut {
					t.Errorf("cut: %+v", found.Cut)
				}
			}
			l, found := open(t, o)
			if err := compare(l, found, all[:tc.kept]...); err != nil {
				t.Error(err)
			}
			more := txn(8, 200)
			more.previous = all[tc.kept-1].tid
			put(t, l, more)
			closeLog(t, l)
			l, found = open(t, o)
			if err := compare(l, found, append(slices.Clone(all[:tc.kept]), more)...); err != nil {
				t.Error(err)
			}
			if found.Cut != nil {
				t.Errorf("cut again: %+v", found.Cut)
			}
		})
	}
}

// The last batch before a close is protected by the mark that Close writes.
func TestDamageToTheLastBatchBeforeACloseIsFound(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _ := open(t, o)
	put(t, l, txn(1, 100))
	closeLog(t, l)
	name := segmentFiles(t, f)[0]
	flip(t, f, name, frames(t, f, name, journal.FrameCommit)[0]+20)
	if _, _, err := journal.Open(o); !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestOtherStorageAndNewerVersionAreRefused(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	crashedLog(t, o)
	before := contents(t, f)
	other := o
	other.Identity[0]++
	if _, _, err := journal.Open(other); !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), "another storage") {
		t.Errorf("another identity: %v", err)
	}
	if d := cmp.Diff(before, contents(t, f)); d != "" {
		t.Error(d)
	}
	names := segmentFiles(t, f)
	edit(t, f, names[4], func(b []byte) []byte {
		journal.PutNewerHeader(b, testIdentity, 5)
		return b
	})
	if _, _, err := journal.Open(o); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer version: %v", err)
	}
}

func TestUnsyncedLogIsCutInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(tb testing.TB, f vfs.FS, names []string)
		kept   func(all []*want) []*want
		freed  zodb.TID
	}{
		{"bad frame in an older segment", func(tb testing.TB, f vfs.FS, n []string) {
			flip(tb, f, n[2], frames(tb, f, n[2], journal.FrameData)[0]+50)
		}, func(all []*want) []*want { return all[:2] }, 0},
		{"bad frame in the last segment", func(tb testing.TB, f vfs.FS, n []string) {
			flip(tb, f, n[4], frames(tb, f, n[4], journal.FrameData)[2]+50)
		}, func(all []*want) []*want { return all[:5] }, 0},
		{"no header, no frames", func(tb testing.TB, f vfs.FS, n []string) {
			edit(tb, f, n[4], func(b []byte) []byte { clear(b); return b })
		}, func(all []*want) []*want { return all[:4] }, 0},
		{"first segment missing", remove(0), func(all []*want) []*want { return all[1:] }, 0},
		{"segment in the middle missing", remove(2), func(all []*want) []*want { return all[3:] }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newHome(t)
			o := options(f)
			o.Sync = false
			all := crashedLog(t, o)
			tc.damage(t, f, segmentFiles(t, f))
			kept := tc.kept(all)
			l, found := open(t, o)
			if err := compare(l, found, kept...); err != nil {
				t.Error(err)
			}
			more := txn(100, 3000)
			put(t, l, more)
			closeLog(t, l)
			l, found = open(t, o)
			if err := compare(l, found, append(slices.Clone(kept), more)...); err != nil {
				t.Error(err)
			}
		})
	}
}

// Whichever single bit of a log is flipped, open either fails or returns exactly the committed
// transactions, except for a suffix that no later frame proves durable.
func TestNoFlippedBitGivesWrongTransactions(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	all := []*want{txn(1, 40, 9), txn(2, 3900), txn(3, 30), txn(4, 30)}
	put(t, l, all...)
	if err := l.CloseFiles(); err != nil {
		t.Fatal(err)
	}
	damaged, cut := 0, 0
	for _, name := range segmentFiles(t, f) {
		info, err := f.Stat(path.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		file, err := f.OpenWrite(path.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		for offset := int64(0); offset < info.Size; offset += 11 {
			flipIn := func() {
				if _, err := file.ReadAt(b, offset); err != nil {
					t.Fatal(err)
				}
				b[0] ^= 1 << (offset % 8)
				if _, err := file.WriteAt(b, offset); err != nil {
					t.Fatal(err)
				}
			}
			flipIn()
			r, found, err := journal.OpenReadOnly(o)
			switch {
			case err != nil:
				damaged++
				if !errors.Is(err, zodb.ErrCorrupt) && !strings.Contains(err.Error(), "newer") {
					t.Fatalf("%s at %d: %v", name, offset, err)
				}
			default:
				n := len(found.Transactions)
				if n < 3 || n > 4 {
					t.Fatalf("%s at %d: %d transactions", name, offset, n)
				}
				if n == 3 {
					cut++
				}
				if err := errors.Join(compare(r, found, all[:n]...), r.Close()); err != nil {
					t.Fatalf("%s at %d: %v", name, offset, err)
				}
			}
			flipIn()
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if damaged < 300 || cut == 0 {
		t.Errorf("%d flips were damage, %d cut the end", damaged, cut)
	}
}

func TestSegmentsThatCameBackAreRemoved(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	o.Spares = -1
	l, _ := open(t, o)
	for tid := zodb.TID(1); tid <= 4; tid++ {
		put(t, l, txn(tid, 2500))
	}
	old := contents(t, f)
	for tid := zodb.TID(1); tid <= 3; tid++ {
		if err := l.Release(tid); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	back := fmt.Sprintf("%s%016X", journal.SegmentPrefix, 2) // and 1 and 3 do not
	file, err := f.Create(path.Join(testDir, back))
	if err == nil {
		_, err = file.Write([]byte(old[back]))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	l, found := open(t, o)
	if err := compare(l, found, txn(4, 2500)); err != nil {
		t.Error(err)
	}
	put(t, l, txn(5, 100)) // an open alone changes nothing
	if slices.Contains(files(t, f), back) {
		t.Error("it is still there")
	}
}
