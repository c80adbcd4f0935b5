package current

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

var identity = [16]byte{1, 2, 3}

// oids are near to each other, far apart, and at the ends.
func someOID(rnd *rand.Rand) zodb.OID {
	switch rnd.IntN(4) {
	case 0:
		return zodb.OID(rnd.Uint64())
	case 1:
		return ^zodb.OID(0) - zodb.OID(rnd.IntN(100))
	}
	return zodb.OID(rnd.IntN(400))
}

// batch are the entries that one transaction puts.
type batch struct {
	tid     zodb.TID
	entries []Entry
}

func someBatch(rnd *rand.Rand, tid zodb.TID) batch {
	b := batch{tid: tid}
	for range rnd.IntN(40) {
		b.entries = append(b.entries, Entry{someOID(rnd), Slot{TID: tid, Bundle: rnd.Uint32(), Offset: rnd.Int64(), Size: rnd.Uint32(), Block: uint16(rnd.Uint32()), Flags: 3}})
	}
	return b
}

func (b batch) apply(m map[zodb.OID]Slot) {
	for _, e := range b.entries {
		m[e.OID] = e.Slot
	}
}

func (b batch) put(t *Table) error { return t.Put(append([]Entry(nil), b.entries...)) }

func compare(t *testing.T, table *Table, want map[zodb.OID]Slot, rnd *rand.Rand, say string) {
	t.Helper()
	for oid, w := range want {
		if got, err := table.Get(oid); got != w || err != nil {
			t.Fatalf("%s: %s is %+v, %v; want %+v", say, oid, got, err, w)
		}
	}
	for range 100 {
		oid := someOID(rnd)
		if got, err := table.Get(oid); got != want[oid] || err != nil {
			t.Fatalf("%s: %s is %+v, %v; want %+v", say, oid, got, err, want[oid])
		}
	}
}

func home(t *testing.T, seed int64) *crashfs.FS {
	t.Helper()
	f := crashfs.New(seed)
	if err := errors.Join(f.Mkdir("misc"), f.Mkdir("journal")); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTableIsAMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		f := home(t, int64(seed))
		table, err := Create(f, identity)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[zodb.OID]Slot)
		for tid := range zodb.TID(30) {
			b := someBatch(rnd, tid+1)
			b.apply(want)
			held := rnd.IntN(3) == 0
			if held {
				table.Hold()
			}
			if err := b.put(table); err != nil {
				t.Fatal(err)
			}
			if !held {
				compare(t, table, want, rnd, fmt.Sprintf("seed %d, tid %d", seed, tid))
			}
			if !held && rnd.IntN(4) > 0 {
				continue
			}
			note := fmt.Sprint("note ", tid)
			if err := errors.Join(table.Commit(tid+1, []byte(note)), table.Close()); err != nil {
				t.Fatal(err)
			}
			if table, err = Open(f, identity); err != nil {
				t.Fatal(err)
			}
			if upTo, got := table.UpTo(); upTo != tid+1 || string(got) != note {
				t.Errorf("up to %s, note %q; want %q", upTo, got, note)
			}
			compare(t, table, want, rnd, fmt.Sprintf("seed %d, opened at %d", seed, tid))
		}
		if _, err := Open(f, [16]byte{9}); !errors.Is(err, ErrDamaged) {
			t.Errorf("a table of another database: %v", err)
		}
	}
}

// TestCrashAtEveryOperation opens the table after each, puts the later entries again,
// and finds all of them.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for seed := range uint64(3) {
		for at := 1; ; at++ {
			f := home(t, int64(seed))
			f.CrashAt(f.Ops() + at)
			batches, created, crashed := run(f, seed)
			modes := []crashfs.Mode{crashfs.Random(1), crashfs.Random(2), crashfs.Random(uint32(at))}
			for _, mode := range modes {
				after := f.Crashed(mode)
				table, err := Open(after, identity)
				if !created && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged)) {
					continue
				}
				if err != nil {
					t.Fatalf("seed %d, operation %d, %s: %v", seed, at, mode, err)
				}
				upTo, note := table.UpTo()
				if want := fmt.Append(nil, upTo); upTo > 0 && !bytes.Equal(note, want) {
					t.Fatalf("seed %d, operation %d, %s: the note is %q, and it is up to %s", seed, at, mode, note, upTo)
				}
				want := make(map[zodb.OID]Slot)
				for _, b := range batches {
					b.apply(want)
					if b.tid > upTo {
						if err := b.put(table); err != nil {
							t.Fatal(err)
						}
					}
				}
				compare(t, table, want, rand.New(rand.NewPCG(seed, 5)), fmt.Sprintf("seed %d, operation %d, %s", seed, at, mode))
			}
			if !crashed {
				break
			}
		}
	}
}

// run puts batches and commits, until the file system crashes. created: a Create, and
// the names that it made, are durable.
func run(f *crashfs.FS, seed uint64) (batches []batch, created, crashed bool) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	table, err := Create(f, identity)
	if err == nil {
		err = f.SyncDir("misc")
	}
	if err == nil {
		err = table.Commit(0, nil)
	}
	if err != nil {
		return nil, false, true
	}
	for tid := zodb.TID(1); tid <= 12; tid++ {
		b := someBatch(rnd, tid)
		batches = append(batches, b)
		if err = b.put(table); err == nil && rnd.IntN(3) == 0 {
			err = table.Commit(tid, fmt.Append(nil, tid))
		}
		if err != nil {
			return batches, true, true
		}
	}
	return batches, true, false
}

// createIn makes a table in an empty directory.
func createIn(t *testing.T, f vfs.FS) *Table {
	t.Helper()
	if err := errors.Join(f.Mkdir("misc"), f.Mkdir("journal")); err != nil {
		t.Fatal(err)
	}
	table, err := Create(f, identity)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestNoFlippedBitIsAnotherSlot flips bits of both files.
func TestNoFlippedBitIsAnotherSlot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	table := createIn(t, f)
	want := make(map[zodb.OID]Slot)
	rnd := rand.New(rand.NewPCG(1, 1))
	for tid := range zodb.TID(5) {
		b := someBatch(rnd, tid+1)
		b.apply(want)
		if err := b.put(table); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(table.Commit(4, []byte("a note")), table.Commit(5, []byte("another note")), table.Close()); err != nil {
		t.Fatal(err)
	}
	damage := 0
	for _, name := range []string{Name, PagesName, VersionsName, noteOf(0), noteOf(1)} {
		file, err := f.OpenWrite(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for range min(600, info.Size) {
			at, bit := rnd.Int64N(info.Size), byte(1)<<rnd.IntN(8)
			if name == Name && rnd.IntN(2) == 0 {
				at %= 2 * headerSize
			}
			flip(t, file, at, bit)
			damage += lookAround(t, f, want, name, at)
			flip(t, file, at, bit)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if damage < 100 {
		t.Errorf("damage was seen %d times", damage)
	}
}

func flip(t *testing.T, f vfs.File, at int64, bit byte) {
	t.Helper()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func lookAround(t *testing.T, f vfs.FS, want map[zodb.OID]Slot, name string, at int64) int {
	t.Helper()
	table, err := Open(f, identity)
	if errors.Is(err, ErrDamaged) {
		return 1
	}
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for oid, w := range maps.All(want) {
		got, err := table.Get(oid)
		if errors.Is(err, ErrDamaged) {
			return 1
		}
		if upTo, _ := table.UpTo(); err != nil || got != w && upTo == 5 {
			t.Fatalf("%s at %d flipped: %s is %+v, %v; want %+v", name, at, oid, got, err, w)
		}
	}
	return 0
}

func TestReadersBesideTheWriter(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	table := createIn(t, f)
	defer table.Close()
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			last := make(map[zodb.OID]zodb.TID)
			for oid := zodb.OID(0); ; oid = (oid + 1) % 300 {
				select {
				case <-done:
					return
				default:
				}
				s, err := table.Get(oid)
				if err != nil || s.TID < last[oid] || s != (Slot{}) && s.Offset != int64(s.TID)*3 {
					t.Errorf("%s: %+v, %v, after %s", oid, s, err, last[oid])
					return
				}
				last[oid] = s.TID
			}
		})
	}
	for tid := zodb.TID(1); tid < 400; tid++ {
		var entries []Entry
		for oid := range zodb.OID(300) {
			entries = append(entries, Entry{oid, Slot{TID: tid, Offset: int64(tid) * 3}})
		}
		if err := table.Put(entries); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}

// TestNewerSlotsStay puts entries in any order of their tids.
func TestNewerSlotsStay(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		f := home(t, 1)
		table, err := Create(f, identity)
		if err != nil {
			t.Fatal(err)
		}
		if held {
			table.Hold()
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		want := make(map[zodb.OID]Slot)
		for range 100 {
			b := someBatch(rnd, zodb.TID(1+rnd.IntN(50)))
			for _, e := range b.entries {
				if want[e.OID].TID <= e.TID {
					want[e.OID] = e.Slot
				}
			}
			if err := b.put(table); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Commit(50, nil); err != nil {
			t.Fatal(err)
		}
		compare(t, table, want, rnd, fmt.Sprintf("held: %t", held))
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSparse: a table does not grow without bounds where oids are far apart, and it is remembered
// that there is no use in one.
func TestSparse(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err == nil {
		err = errors.Join(f.Mkdir("misc"), f.Mkdir("journal"))
	}
	if err != nil {
		t.Fatal(err)
	}
	table, err := Create(f, identity)
	if err != nil {
		t.Fatal(err)
	}
	table.Hold()
	rnd := rand.New(rand.NewPCG(1, 1))
	put := 0
	for err == nil && put < 1<<20 {
		entries := make([]Entry, 1000)
		for i := range entries {
			entries[i] = Entry{zodb.OID(rnd.Uint64()), Slot{TID: 1}}
		}
		err = table.Put(entries)
		put += len(entries)
	}
	if !errors.Is(err, ErrSparse) || put < freePages || put > freePages+1000 {
		t.Errorf("after %d objects: %v; want %v after %d", put, err, ErrSparse, freePages)
	}
	if err := table.Commit(1, nil); !errors.Is(err, ErrSparse) {
		t.Errorf("Commit: %v", err)
	}
	if err := errors.Join(table.Sparse(), table.Close()); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(Name); err != nil || info.Size > freePages*pageSize+headerSpace {
		t.Errorf("the table has %d bytes, %v", info.Size, err)
	}
	if _, err := Open(f, identity); !errors.Is(err, ErrSparse) {
		t.Errorf("Open: %v", err)
	}
	if table, err = Create(f, identity); err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	table.Hold()
	oid := zodb.OID(1 << 62) // eight of a page are enough
	for range 100 {
		var entries []Entry
		for range 1000 {
			for range 8 {
				entries = append(entries, Entry{oid, Slot{TID: 1, Offset: int64(oid)}})
				oid++
			}
			oid += 1 << 20
		}
		if err := table.Put(entries); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Commit(1, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := table.Get(1<<62 + 7); err != nil || s.Offset != 1<<62+7 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// BenchmarkPut puts a million objects, a thousand at a time.
func BenchmarkPut(b *testing.B) {
	for _, held := range []bool{false, true} {
		b.Run(fmt.Sprintf("held=%t", held), func(b *testing.B) {
			f, err := vfs.OS(b.TempDir())
			if err == nil {
				err = errors.Join(f.Mkdir("misc"), f.Mkdir("journal"))
			}
			if err != nil {
				b.Fatal(err)
			}
			entries := make([]Entry, 1000)
			for b.Loop() {
				table, err := Create(f, identity)
				if err != nil {
					b.Fatal(err)
				}
				if held {
					table.Hold()
				}
				for from := zodb.OID(0); from < 1e6; from += 1000 {
					for i := range entries {
						entries[i] = Entry{from + zodb.OID(i), Slot{TID: 1, Offset: int64(from), Size: 6000}}
					}
					if err := table.Put(entries); err != nil {
						b.Fatal(err)
					}
				}
				if err := errors.Join(table.Commit(1, nil), table.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestWritesThatWereLost: a page is as it was before its last write. It is whole, and is not
// believed, neither at once nor after the next open; entries that may be older do not take its place.
func TestWritesThatWereLost(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{false, true} {
		f := home(t, 1)
		table, err := Create(f, identity)
		if err != nil {
			t.Fatal(err)
		}
		entry := func(oid zodb.OID, tid zodb.TID) Entry { return Entry{oid, Slot{TID: tid, Size: 1, Block: 1}} }
		if err := errors.Join(table.Put([]Entry{entry(1, 5), entry(2, 5), entry(40, 5)}), table.Commit(5, nil)); err != nil {
			t.Fatal(err)
		}
		before := make([]byte, pageSize)
		if _, err := table.file.ReadAt(before, headerSpace); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(table.Put([]Entry{entry(1, 9)}), table.Commit(9, nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := table.file.WriteAt(before, headerSpace); err != nil {
			t.Fatal(err)
		}
		if closed {
			if err := table.Close(); err != nil {
				t.Fatal(err)
			}
			if table, err = Open(f, identity); err != nil {
				t.Fatal(err)
			}
		}
		look := func(want map[zodb.OID]zodb.TID) {
			t.Helper()
			for oid, tid := range want {
				if got, err := table.Get(oid); got.TID != tid || (tid == 0) != errors.Is(err, ErrDamaged) {
					t.Errorf("closed: %t, object %s: %+v, %v; want %s", closed, oid, got, err, tid)
				}
			}
		}
		look(map[zodb.OID]zodb.TID{1: 0, 2: 0, 40: 5})
		if err := table.Refresh([]Entry{entry(1, 5), entry(2, 5)}); err != nil {
			t.Fatal(err)
		}
		look(map[zodb.OID]zodb.TID{1: 0, 2: 0, 40: 5})
		if err := table.Put([]Entry{entry(1, 11)}); err != nil {
			t.Fatal(err)
		}
		look(map[zodb.OID]zodb.TID{1: 11, 2: 0, 40: 5})
		if err := errors.Join(table.Commit(11, nil), table.Close()); err != nil {
			t.Fatal(err)
		}
		if table, err = Open(f, identity); err != nil {
			t.Fatal(err)
		}
		look(map[zodb.OID]zodb.TID{1: 11, 2: 0, 40: 5})
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPagesThatWereLost: zeros in the place of written slots are not taken for objects that do not
// exist, and entries that may be older do not take their place.
func TestPagesThatWereLost(t *testing.T) {
	t.Parallel()
	f := home(t, 1)
	table, err := Create(f, identity)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(oid zodb.OID, tid zodb.TID) Entry { return Entry{oid, Slot{TID: tid, Size: 1, Block: 1}} }
	if err := errors.Join(table.Put([]Entry{entry(1, 9), entry(3, 9), entry(40, 9)}), table.Commit(9, nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get(2); got != (Slot{}) || err != nil {
		t.Errorf("an object that is not there: %+v, %v", got, err)
	}
	if _, err := table.file.WriteAt(make([]byte, pageSize), headerSpace); err != nil {
		t.Fatal(err)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if table, err = Open(f, identity); err != nil {
		t.Fatal(err)
	}
	lost := func(oids ...zodb.OID) {
		t.Helper()
		for _, oid := range oids {
			if got, err := table.Get(oid); !errors.Is(err, ErrDamaged) {
				t.Errorf("object %s, whose slot is lost: %+v, %v", oid, got, err)
			}
		}
	}
	lost(1, 2, 3)
	if err := table.Refresh([]Entry{entry(1, 5), entry(40, 9)}); err != nil {
		t.Fatal(err)
	}
	lost(1, 2, 3)
	if err := table.Put([]Entry{entry(1, 10)}); err != nil {
		t.Fatal(err)
	}
	lost(2, 3)
	for oid, want := range map[zodb.OID]zodb.TID{1: 10, 40: 9, 41: 0} {
		if got, err := table.Get(oid); got.TID != want || err != nil {
			t.Errorf("object %s: %+v, %v; want %s", oid, got, err, want)
		}
	}
}
