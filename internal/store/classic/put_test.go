package classic_test

import (
	"runtime"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestLargeTransactionIsPutInPieces counts the files put between two syncs.
func TestLargeTransactionIsPutInPieces(t *testing.T) {
	t.Parallel()
	const every, part, lanes = 20, 3, 2
	disk := crashfs.New(1)
	if err := makeEmpty(disk, layout.Chunky); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	s, err := open(f, classic.Options{Format: layout.Chunky, Lanes: lanes, LanesFrom: 1, PartLen: part, SyncEvery: every})
	if err != nil {
		t.Fatal(err)
	}
	var oids []zodb.OID
	for i := range 200 {
		oids = append(oids, zodb.OID(i))
	}
	all := storetest.Chain(oids, oids[:5], oids[3:90])
	syncs := 0
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "syncall" {
			syncs++
		}
		return nil
	})
	for _, batch := range [][]store.Transaction{all[:1], all[1:]} {
		syncs = 0
		var p store.Progress
		if err := s.Put(store.A, batch, &p); err != nil {
			t.Fatal(err)
		}
		work := 0
		for _, x := range batch {
			work += 1 + 2*x.Len()
		}
		if least := work / (every + part); syncs < least {
			t.Errorf("a Put of up to %d files had %d syncs, want %d at least", work, syncs, least)
		}
		if err := s.SetLast(store.A, batch[len(batch)-1].TID()); err != nil {
			t.Fatal(err)
		}
		if left := p.Left(); left < 0.15 || left > 0.25 {
			t.Errorf("%v of the work seems to be left; the last sync is a fifth", left)
		}
	}
	storetest.Check(t, s, all)
}

// largeTxn is a transaction of many new objects. It takes no memory for them.
type largeTxn struct {
	n       int
	written func() // called with the file of the transaction
}

func (x *largeTxn) TID() zodb.TID        { return 1 << 32 }
func (x *largeTxn) HighestOID() zodb.OID { return zodb.OID(x.n) }
func (x *largeTxn) Len() int             { return x.n }
func (x *largeTxn) Revision(i int) store.Revision {
	return store.Revision{OID: zodb.OID(i), First: true}
}
func (x *largeTxn) AppendRevision(dst []byte, i int) ([]byte, error) {
	o := record.Object{OID: zodb.OID(i), Serial: x.TID(), Data: []byte("data")}
	return o.Append(dst, record.NoSum)
}

func (x *largeTxn) AppendTransaction(dst []byte) ([]byte, error) {
	x.written()
	return append(dst, "transaction"...), nil
}

// quick is a file system that has nothing to sync.
type quick struct{ vfs.FS }

func (quick) SyncAll() error { return nil }

// TestPutOfALargeTransactionTakesLittleMemory measures the memory of a Put when all
// revisions are put.
func TestPutOfALargeTransactionTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes many files")
	}
	const n, most = 2_000, 40 // bytes an object
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"A", "B", "journal", "misc"} {
		if err := f.Mkdir(d); err != nil {
			t.Fatal(err)
		}
	}
	s, err := open(quick{f}, classic.Options{Format: layout.Chunky, SyncEvery: 200})
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	begin := inUse()
	var each int64
	x := &largeTxn{n: n, written: func() { each = (inUse() - begin) / n }}
	if err := s.Put(store.A, []store.Transaction{x}, new(store.Progress)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes an object", each)
	if each > most {
		t.Errorf("an object takes %d bytes, at most %d are allowed", each, most)
	}
}
