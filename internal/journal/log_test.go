package journal_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestCommittedIsFoundByTheNextOpen(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, found := open(t, o)
	if err := compare(l, found); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	var all []*want
	for tid := zodb.TID(1); tid <= 60; tid++ {
		all = append(all, anyTxn(rnd, tid, 900))
	}
	put(t, l, all...)
	closeLog(t, l)
	for range 3 { // opening changes nothing of it
		l, found = open(t, o)
		if err := compare(l, found, all...); err != nil {
			t.Fatal(err)
		}
		if found.Cut != nil {
			t.Errorf("cut: %+v", found.Cut)
		}
		closeLog(t, l)
	}
	l, _ = open(t, o)
	more := txn(61, 10)
	put(t, l, more)
	closeLog(t, l)
	l, found = open(t, o)
	if err := compare(l, found, append(all, more)...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasNotCommittedIsNotFound(t *testing.T) {
	t.Parallel()
	o := options(newHome(t))
	l, _ := open(t, o)
	a, b, c := txn(1, 50), txn(2, 50), txn(2, 60)
	put(t, l, a)
	if err := l.Append(b.pending()); err != nil {
		t.Fatal(err)
	}
	aborted := b.pending()
	if err := l.Append(aborted); err != nil {
		t.Fatal(err)
	}
	l.Abort(aborted)
	put(t, l, c)
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, a, c); err != nil {
		t.Fatal(err)
	}
}

func TestCommitFrameMayBeInALaterSegment(t *testing.T) {
	t.Parallel()
	o := options(newHome(t))
	l, _ := open(t, o)
	early, late := txn(1, 100), txn(9, 10)
	late.previous = 8
	p := late.pending()
	if err := l.Append(p); err != nil {
		t.Fatal(err)
	}
	all := []*want{early}
	for tid := zodb.TID(2); tid <= 8; tid++ {
		all = append(all, txn(tid, 2000))
	}
	put(t, l, all...)
	if err := l.Commit([]journal.CommitRecord{late.record(p)}); err != nil {
		t.Fatal(err)
	}
	if n := l.Stats().Segments; n < 3 {
		t.Fatalf("%d segments", n)
	}
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, append(all, late)...); err != nil {
		t.Fatal(err)
	}
}

func TestBatchIsCommittedWithOneSync(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		sync bool
		want int64
	}{{"sync", true, 1}, {"no sync", false, 0}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := options(newHome(t))
			o.Sync, o.SegmentSize = tc.sync, 1<<20
			l, _ := open(t, o)
			var batch []journal.CommitRecord
			var all []*want
			for tid := zodb.TID(1); tid <= 20; tid++ {
				w := txn(tid, 100, 0)
				p := w.pending()
				if err := l.Append(p); err != nil {
					t.Fatal(err)
				}
				all, batch = append(all, w), append(batch, w.record(p))
			}
			before := l.Stats().Syncs
			if err := l.Commit(batch); err != nil {
				t.Fatal(err)
			}
			if n := l.Stats().Syncs - before; n != tc.want {
				t.Errorf("%d fsyncs, not %d", n, tc.want)
			}
			for i, r := range batch {
				if err := same(l, r.Committed(), all[i]); err != nil {
					t.Error(err)
				}
			}
			closeLog(t, l)
			l, found := open(t, o)
			if err := compare(l, found, all...); err != nil {
				t.Error(err)
			}
			if !tc.sync && l.Stats().Syncs != 0 {
				t.Errorf("%d fsyncs", l.Stats().Syncs)
			}
		})
	}
}

func TestTransactionLargerThanASegmentIsStoredWhole(t *testing.T) {
	t.Parallel()
	o := options(newHome(t))
	l, _ := open(t, o)
	a, b, c := txn(1, 3<<20, 1, 300<<10, 0, 255<<10), txn(2, 10), txn(3, 10000)
	put(t, l, a, b, c)
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, a, b, c); err != nil {
		t.Fatal(err)
	}
}

// TestNewSegmentIsWrittenAheadOfItsEnd also looks that no frame is ever written over.
func TestNewSegmentIsWrittenAheadOfItsEnd(t *testing.T) {
	t.Parallel()
	o := options(newHome(t))
	o.SegmentSize = 3*journal.ZeroAhead + 1000
	l, _ := open(t, o)
	var all []*want
	for tid := zodb.TID(1); l.Stats().Segments <= 1; tid++ {
		n := int(tid%5) * 9000
		if tid == 7 {
			n = journal.ZeroAhead + 5 // passes the zeros that were written ahead
		}
		w := txn(tid, n, 100)
		put(t, l, w)
		all = append(all, w)
		written, end, size := l.WrittenAhead(0)
		if l.Stats().Segments == 1 && (written < end && written < size-journal.ZeroAhead && tid != 7 || written > size) {
			t.Errorf("written up to %d, and the end is at %d of %d", written, end, size)
		}
	}
	if written, _, size := l.WrittenAhead(0); written != size {
		t.Errorf("written up to %d of %d", written, size)
	}
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, all...); err != nil {
		t.Fatal(err)
	}
}

func TestReleasedSegmentsAreUsedAgain(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _ := open(t, o)
	for tid := zodb.TID(1); tid <= 100; tid++ {
		put(t, l, txn(tid, 1500))
		if tid > 3 {
			if err := l.Release(tid - 3); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(files(t, f)); n > 3+journal.DefaultSpares {
			t.Fatalf("%d files after transaction %d: %v", n, tid, files(t, f))
		}
	}
	if err := l.Release(1); err == nil {
		t.Error("a transaction was released twice")
	}
	closeLog(t, l)
	l, found := open(t, o)
	if len(found.Transactions) < 3 {
		t.Fatalf("found %d transactions", len(found.Transactions))
	}
	for _, c := range found.Transactions {
		if err := same(l, c, txn(c.TID, 1500)); err != nil {
			t.Error(err)
		}
	}
}

func TestSegmentsAreGivenUpOldestFirst(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	o.Spares = -1
	l, _ := open(t, o)
	var all []*want
	for tid := zodb.TID(1); tid <= 8; tid++ {
		all = append(all, txn(tid, 2500)) // one segment each
	}
	put(t, l, all...)
	before := segmentFiles(t, f)
	for _, tid := range []zodb.TID{2, 3, 4, 6} {
		if err := l.Release(tid); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(before, segmentFiles(t, f)); d != "" {
		t.Errorf("segments were given up before the oldest: %s", d)
	}
	if err := l.Release(1); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before[4:], segmentFiles(t, f)); d != "" {
		t.Error(d)
	}
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, all[4:]...); err != nil {
		t.Error(err)
	}
}

func TestCommitOfGivenUpDataIsNoDamage(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _ := open(t, o)
	early := txn(1, 10)
	p := early.pending()
	if err := l.Append(p); err != nil {
		t.Fatal(err)
	}
	filler := txn(9, 3900)
	if err := l.Append(filler.pending()); err != nil { // rolls
		t.Fatal(err)
	}
	if err := l.Commit([]journal.CommitRecord{early.record(p)}); err != nil {
		t.Fatal(err)
	}
	later := txn(2, 10)
	put(t, l, later)
	if err := l.Release(1); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, later); err != nil {
		t.Error(err)
	}
	if found.Freed != 1 {
		t.Errorf("freed %s", found.Freed)
	}
	if err := l.Release(2); err != nil {
		t.Error(err)
	}
}

func TestCleanLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	for round := range 3 {
		l, found := open(t, o)
		if err := compare(l, found); err != nil {
			t.Fatal(err)
		}
		for tid := zodb.TID(1); tid <= 20; tid++ {
			put(t, l, txn(tid, 1000))
		}
		if err := l.Clean(); err == nil {
			t.Fatal("a log with transactions that are needed was removed")
		}
		for tid := zodb.TID(1); tid <= 20; tid++ {
			if err := l.Release(tid); err != nil {
				t.Fatal(err)
			}
		}
		if round == 1 {
			closeLog(t, l)
			l, found = open(t, o)
			for _, c := range found.Transactions { // those of the last segment
				if err := l.Release(c.TID); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Clean(); err != nil {
			t.Fatal(err)
		}
		if n := files(t, f); len(n) > 0 {
			t.Fatalf("left %v", n)
		}
		if err := l.Append(txn(21, 1).pending()); !errors.Is(err, journal.ErrClosed) {
			t.Errorf("append after clean: %v", err)
		}
	}
}

func TestStateIsChecked(t *testing.T) {
	t.Parallel()
	l, _ := open(t, options(newHome(t)))
	put(t, l, txn(5, 1))
	p := txn(6, 1).pending()
	if err := l.Commit([]journal.CommitRecord{{Txn: p, TID: 6, Previous: 5}}); !errors.Is(err, zodb.ErrState) {
		t.Errorf("commit of what was not appended: %v", err)
	}
	if err := l.Append(p); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(p); !errors.Is(err, zodb.ErrState) {
		t.Errorf("append again: %v", err)
	}
	for _, r := range []journal.CommitRecord{{TID: 5, Previous: 4}, {TID: 6, Previous: 6}, {TID: 7, Previous: 3}} {
		r.Txn = p
		if err := l.Commit([]journal.CommitRecord{r}); err == nil {
			t.Errorf("tid %s after %s was committed", r.TID, r.Previous)
		}
	}
	r := journal.CommitRecord{Txn: p, TID: 6, Previous: 5}
	if err := l.Commit([]journal.CommitRecord{r, {Txn: p, TID: 7, Previous: 6}}); !errors.Is(err, zodb.ErrState) {
		t.Errorf("commit twice in a batch: %v", err)
	}
	if err := l.Commit([]journal.CommitRecord{r}); err != nil {
		t.Error(err)
	}
	l.Abort(p)
	if err := l.Release(6); err != nil {
		t.Error(err)
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	o := options(newHome(t))
	l, _ := open(t, o)
	for _, tc := range []struct {
		name string
		p    journal.Pending
	}{
		{"metadata", journal.Pending{Meta: zodb.TxnMeta{User: make([]byte, zodb.MaxMetaLen+1)}}},
		{"data", journal.Pending{Records: []journal.Entry{{Len: journal.MaxData + 1}}}},
		{"negative length", journal.Pending{Records: []journal.Entry{{Len: -1}}}},
		{"data of what is gone", journal.Pending{Records: []journal.Entry{{Len: 1, Gone: true}}}},
		{"blob without a file", journal.Pending{Records: []journal.Entry{{Blob: true}}}},
		{"file without a blob", journal.Pending{Records: []journal.Entry{{BlobFile: "x"}}}},
		{"name of the blob", journal.Pending{Records: []journal.Entry{{Blob: true, BlobFile: strings.Repeat("x", journal.MaxBlobFile+1)}}}},
		{"other length than said", journal.Pending{Records: []journal.Entry{{Len: 3}}, Data: func(int) ([]byte, error) { return []byte("ab"), nil }}},
		{"no data", journal.Pending{Records: []journal.Entry{{Len: 3}}, Data: func(int) ([]byte, error) { return nil, errors.New("spool") }}},
	} {
		if err := l.Append(&tc.p); err == nil {
			t.Errorf("%s: accepted", tc.name)
		}
	}
	long := txn(1, 1)
	long.meta = zodb.TxnMeta{User: make([]byte, zodb.MaxMetaLen), Description: make([]byte, zodb.MaxMetaLen), Extension: make([]byte, zodb.MaxMetaLen)}
	put(t, l, long)
	closeLog(t, l)
	l, found := open(t, o)
	if err := compare(l, found, long); err != nil {
		t.Error(err)
	}
}

func TestReadReturnsTheRightBytesOrAnError(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _ := open(t, o)
	w := txn(1, 500, 400)
	p := w.pending()
	if err := l.Append(p); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(e *journal.Entry){
		"oid":      func(e *journal.Entry) { e.OID++ },
		"serial":   func(e *journal.Entry) { e.Previous++ },
		"length":   func(e *journal.Entry) { e.Len-- },
		"longer":   func(e *journal.Entry) { e.Len += 8 },
		"handle":   func(e *journal.Entry) { e.NextHandle() },
		"position": func(e *journal.Entry) { e.Pos.Offset += 8 },
		"end":      func(e *journal.Entry) { e.Pos.Offset = journal.MinSegmentSize - 8 },
		"other":    func(e *journal.Entry) { e.Pos = p.Records[1].Pos },
	} {
		e := p.Records[0]
		change(&e)
		if data, err := l.Read(&e); data != nil || !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("%s: got %d bytes, %v", name, len(data), err)
		}
	}
	e := p.Records[0]
	e.Pos.Segment = 99
	if _, err := l.Read(&e); err == nil {
		t.Error("read from a segment that does not exist")
	}
	if err := l.Commit([]journal.CommitRecord{w.record(p)}); err != nil {
		t.Fatal(err)
	}
	file, err := f.OpenWrite(path.Join(testDir, segmentFiles(t, f)[0]))
	if err == nil {
		_, err = file.WriteAt([]byte{'?'}, p.Records[0].Pos.Offset+journal.FrameHead+journal.DataFixed+100)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = l.Read(&p.Records[0])
	c, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok || c.OID != 1 || !strings.Contains(c.Path, journal.SegmentPrefix) {
		t.Errorf("read of changed data: %v", err)
	}
	if _, err := l.Read(&p.Records[1]); err != nil {
		t.Error(err)
	}
}

func TestReadersOnlySeeWholeTransactions(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _ := open(t, o)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		defer close(stop)
		for tid := zodb.TID(1); tid <= 150; tid++ {
			put(t, l, txn(tid, 700, 300))
			if tid > 5 {
				if err := l.Release(tid - 5); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	rounds, read := 0, 0
	for done := false; !done; rounds++ {
		select {
		case <-stop:
			done = true
		default:
		}
		r, found, err := journal.OpenReadOnly(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range found.Transactions {
			err := same(r, c, txn(c.TID, 700, 300))
			// The place may have been used again; then the files have it.
			if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
				t.Error(err)
			}
			if err == nil {
				read++
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	wait.Wait()
	t.Logf("%d rounds, %d transactions read", rounds, read)
	if read == 0 {
		t.Error("nothing was read")
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	r, found, err := journal.OpenReadOnly(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(compare(r, found), r.Close()); err != nil {
		t.Error(err)
	}
	l, _ := open(t, o)
	a := txn(1, 100)
	put(t, l, a)
	closeLog(t, l)
	before := files(t, f)
	r, found, err = journal.OpenReadOnly(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(compare(r, found, a), r.Close()); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, files(t, f)); d != "" {
		t.Error(d)
	}
	o.Dir = "nowhere"
	if _, _, err := journal.OpenReadOnly(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestAppendersReadersAndCommitterRunSideBySide(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o := options(f)
	l, _ := open(t, o)
	const writers, each = 8, 21
	type vote struct {
		p *journal.Pending
		w *want
	}
	votes := make(chan vote, writers)
	var wait sync.WaitGroup
	for g := range writers {
		wait.Go(func() {
			for i := range each {
				w := txn(1, 10+i*20, g)
				p := w.pending()
				if err := l.Append(p); err != nil {
					t.Error(err)
					return
				}
				if i%7 == 6 {
					l.Abort(p)
					continue
				}
				data, err := l.Read(&p.Records[0])
				if err != nil || string(data) != string(w.data[0]) {
					t.Errorf("read before commit: %v", err)
				}
				votes <- vote{p, w}
			}
		})
	}
	go func() { wait.Wait(); close(votes) }()
	var tid zodb.TID
	var released sync.WaitGroup
	var kept []*want
	for v := range votes {
		tid++
		v.w.tid, v.w.previous = tid, tid-1
		if err := l.Commit([]journal.CommitRecord{v.w.record(v.p)}); err != nil {
			t.Fatal(err)
		}
		c := v.w.record(v.p).Committed()
		if tid%5 == 0 {
			kept = append(kept, v.w)
			continue
		}
		released.Go(func() {
			if err := errors.Join(same(l, c, v.w), l.Release(c.TID)); err != nil {
				t.Error(err)
			}
		})
	}
	released.Wait()
	closeLog(t, l)
	l, found := open(t, o)
	all := found.Transactions
	found.Transactions = slices.DeleteFunc(slices.Clone(all), func(c *journal.Committed) bool { return c.TID%5 != 0 })
	if err := compare(l, found, kept...); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	for name, o := range map[string]journal.Options{
		"no file system": {Dir: testDir},
		"no directory":   {FS: f},
		"segment size":   {FS: f, Dir: testDir, SegmentSize: 100},
	} {
		if _, _, err := journal.Open(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, _, err := journal.OpenReadOnly(o); err == nil {
			t.Errorf("%s: accepted read-only", name)
		}
	}
	if o := (journal.Options{}).WithDefaults(); o.SegmentSize != 16<<20 || o.Spares != 2 || o.Logger == nil {
		t.Errorf("defaults: %+v", o)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	l, _ := open(t, options(newHome(t)))
	if d := cmp.Diff(journal.Stats{}, l.Stats()); d != "" {
		t.Error(d)
	}
	put(t, l, txn(1, 1000)) // which makes the first segment
	before := l.Stats()
	put(t, l, txn(2, 1000))
	after := l.Stats()
	want := journal.Stats{Syncs: before.Syncs + 1, Segments: 1, Bytes: before.Bytes + journal.CommitFrame, Size: before.Size}
	if before.Size < before.Bytes {
		t.Errorf("%d bytes in files of %d", before.Bytes, before.Size)
	}
	w := txn(1, 1000)
	size, err := w.pending().Size()
	if err != nil {
		t.Fatal(err)
	}
	want.Bytes += size
	if d := cmp.Diff(want, after); d != "" {
		t.Error(d)
	}
}
