package current

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

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

// batch is what one transaction puts.
type batch struct {
	tid     zodb.TID
	entries []Entry
}

func someBatch(rnd *rand.Rand, tid zodb.TID) batch {
	b := batch{tid: tid}
	for range rnd.IntN(40) {
		e := Entry{OID: someOID(rnd)}
		if rnd.IntN(8) > 0 {
			e.Slot = Slot{TID: tid, Bundle: rnd.Uint32(), Offset: rnd.Int64(), Size: rnd.Uint32(), Block: uint16(rnd.Uint32()), Flags: 3}
		}
		b.entries = append(b.entries, e)
	}
	return b
}

func (b batch) apply(m map[zodb.OID]Slot) {
	for _, e := range b.entries {
		if m[e.OID] = e.Slot; e.Slot == (Slot{}) {
			delete(m, e.OID)
		}
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
	if err := f.Mkdir("misc"); err != nil {
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
			if err := b.put(table); err != nil {
				t.Fatal(err)
			}
			compare(t, table, want, rnd, fmt.Sprintf("seed %d, tid %d", seed, tid))
			if rnd.IntN(4) > 0 {
				continue
			}
			mark := [32]byte{byte(tid)}
			if err := errors.Join(table.Commit(tid+1, mark), table.Close()); err != nil {
				t.Fatal(err)
			}
			if table, err = Open(f, identity); err != nil {
				t.Fatal(err)
			}
			if upTo, m := table.UpTo(); upTo != tid+1 || m != mark {
				t.Errorf("up to %s, mark %x", upTo, m)
			}
			compare(t, table, want, rnd, fmt.Sprintf("seed %d, opened at %d", seed, tid))
		}
		if _, err := Open(f, [16]byte{9}); !errors.Is(err, ErrDamaged) {
			t.Errorf("a table of another database: %v", err)
		}
	}
}

// TestCrashAtEveryOperation opens the table after each, puts again what is later than it says,
// and finds what was put.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
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
				upTo, _ := table.UpTo()
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
		err = table.Commit(0, [32]byte{})
	}
	if err != nil {
		return nil, false, true
	}
	for tid := zodb.TID(1); tid <= 12; tid++ {
		b := someBatch(rnd, tid)
		batches = append(batches, b)
		if err = b.put(table); err == nil && rnd.IntN(3) == 0 {
			err = table.Commit(tid, [32]byte{})
		}
		if err != nil {
			return batches, true, true
		}
	}
	return batches, true, false
}

// TestNoFlippedBitIsAnotherSlot flips bits of both files.
func TestNoFlippedBitIsAnotherSlot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Mkdir("misc"); err != nil {
		t.Fatal(err)
	}
	table, err := Create(f, identity)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[zodb.OID]Slot)
	rnd := rand.New(rand.NewPCG(1, 1))
	for tid := range zodb.TID(5) {
		b := someBatch(rnd, tid+1)
		b.apply(want)
		if err := b.put(table); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(table.Commit(5, [32]byte{}), table.Close()); err != nil {
		t.Fatal(err)
	}
	damage := 0
	for _, name := range []string{Name, PagesName} {
		file, err := f.OpenWrite(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for range 600 {
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
	if err := f.Mkdir("misc"); err != nil {
		t.Fatal(err)
	}
	table, err := Create(f, identity)
	if err != nil {
		t.Fatal(err)
	}
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
