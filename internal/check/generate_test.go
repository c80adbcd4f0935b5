package check

import (
	"crypto/md5"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// testHome is a home that is made file by file, without the engine.
type testHome struct {
	tb     testing.TB
	dir    string
	fs     vfs.FS
	format layout.Format
	last   zodb.TID
	maxOID zodb.OID
	serial map[zodb.OID]zodb.TID
}

const firstTID zodb.TID = 0x03F6ED1800000000

func newTestHome(tb testing.TB, format layout.Format, class string) *testHome {
	tb.Helper()
	dir := tb.TempDir()
	f, err := vfs.OS(dir)
	if err != nil {
		tb.Fatal(err)
	}
	h := &testHome{tb: tb, dir: dir, fs: f, format: format, serial: make(map[zodb.OID]zodb.TID)}
	for _, d := range []string{"A", "B", "journal", "misc"} {
		h.mkdir(d)
	}
	h.write("config/identity", []byte("00112233445566778899aabbccddeeff"))
	h.write("config/settings", settings.Default(class, format).Render())
	h.put(layout.XPacked, record.AppendX(nil, 0))
	h.marks()
	return h
}

func (h *testHome) mkdir(dir string) {
	h.tb.Helper()
	if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o777); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *testHome) write(name string, b []byte) {
	h.tb.Helper()
	h.mkdir(filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(h.dir, name), b, 0o640); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *testHome) read(name string) []byte {
	h.tb.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.tb.Fatal(err)
	}
	return b
}

func (h *testHome) remove(names ...string) {
	h.tb.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(h.dir, name)); err != nil {
			h.tb.Fatal(err)
		}
	}
}

func (h *testHome) path(n layout.Name) string { return "A/" + h.format.Path(n) }

func (h *testHome) put(n layout.Name, b []byte) {
	h.tb.Helper()
	h.write(h.path(n), b)
}

func (h *testHome) marks() {
	h.tb.Helper()
	h.put(layout.XSerial, record.AppendX(nil, uint64(h.last)))
	h.put(layout.XOID, record.AppendX(nil, uint64(h.maxOID)))
}

// stored is one record of a transaction of a testHome.
type stored struct {
	oid      zodb.OID
	data     []byte
	blob     []byte
	undoFrom zodb.TID
}

// object encodes a revision file.
func (h *testHome) object(o record.Object) []byte {
	h.tb.Helper()
	b, err := o.Append(nil, sumKind(o.Serial, o.OID))
	if err != nil {
		h.tb.Fatal(err)
	}
	return b
}

// sumKind gives files checksums of both kinds, in every format.
func sumKind(tid zodb.TID, oid zodb.OID) record.SumKind {
	return []record.SumKind{record.XXH64, record.MD5}[(uint64(tid>>32)+uint64(oid))%2]
}

func (h *testHome) transaction(t record.Transaction) []byte {
	h.tb.Helper()
	b, err := t.Append(nil, sumKind(t.TID, 0))
	if err != nil {
		h.tb.Fatal(err)
	}
	return b
}

// commit adds a transaction as a flush would.
func (h *testHome) commit(records ...stored) zodb.TID {
	h.tb.Helper()
	tid := h.last + 1<<32
	if h.last == 0 {
		tid = firstTID
	}
	t := record.Transaction{TID: tid, Previous: h.last, User: []byte("user"), Description: []byte("what")}
	for _, r := range records {
		t.OIDs = append(t.OIDs, r.oid)
		o := record.Object{OID: r.oid, Previous: h.serial[r.oid], Serial: tid, Data: r.data, UndoFrom: r.undoFrom}
		if r.blob != nil {
			o.BlobSum = record.SumBlob(r.blob)
			h.put(layout.Blob(r.oid, tid), r.blob)
		}
		h.put(layout.Revision(r.oid, tid), h.object(o))
		h.put(layout.Pointer(r.oid), record.AppendPointer(nil, tid))
		h.serial[r.oid] = tid
		h.maxOID = max(h.maxOID, r.oid)
	}
	h.put(layout.Transaction(tid), h.transaction(t))
	h.last = tid
	h.marks()
	return tid
}

// data is a record of class test.Thing that refers to other objects.
func data(refs ...zodb.OID) []byte {
	b := []byte("\x80\x02ctest\nThing\n.\x80\x02]")
	for _, to := range refs {
		b = append(b, "(U\x08"...)
		b = to.Append(b)
		b = append(b, "ctest\nThing\ntQa"...)
	}
	return append(b, '.')
}

// fill makes a database of n objects in a tree below the root, in transactions
// of at most per objects, and then changes each tenth of them.
func (h *testHome) fill(n, per int) {
	h.tb.Helper()
	var batch []stored
	flush := func() {
		if len(batch) > 0 {
			h.commit(batch...)
			batch = batch[:0]
		}
	}
	for i := range n {
		var refs []zodb.OID
		for child := 8*i + 1; child <= 8*i+8 && child < n; child++ {
			refs = append(refs, zodb.OID(child))
		}
		batch = append(batch, stored{oid: zodb.OID(i), data: data(refs...)})
		if len(batch) == per {
			flush()
		}
	}
	flush()
	for i := 0; i < n; i += 10 {
		b := h.read(h.path(layout.Revision(zodb.OID(i), h.serial[zodb.OID(i)])))
		batch = append(batch, stored{oid: zodb.OID(i), data: b[record.ObjectHeaderSize:]})
		if len(batch) == per {
			flush()
		}
	}
	flush()
}

// findings runs a check.
func findings(tb testing.TB, o Options) ([]Finding, Summary) {
	tb.Helper()
	var all []Finding
	s, err := Run(tb.Context(), o, func(f Finding) { all = append(all, f) })
	if err != nil {
		tb.Fatal(err)
	}
	return all, s
}

// patch changes bytes of a file and, for an object or transaction, makes its
// checksum fit again.
func patch(b []byte, at int, with []byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], with)
	switch string(b[:4]) {
	case record.ObjectMagic:
		putSum(b[40:56], b[56:])
	case record.TransactionMagic:
		putSum(b[32:48], b[48:])
	}
	return b
}

// putSum makes a checksum fit a content again.
func putSum(sum, content []byte) {
	if string(sum[:5]) == "xxh64" {
		binary.BigEndian.PutUint64(sum[8:], xxhash.Sum64(content))
		return
	}
	is := md5.Sum(content)
	copy(sum, is[:])
}

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
