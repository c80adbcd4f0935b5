package filestorage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// many is a sound file of n transactions with two records each.
func many(n int) *builder {
	b := newBuilder()
	prev := map[zodb.OID]int64{}
	for i := range n {
		b.begin(zodb.TID(0x100+i), ' ')
		for _, oid := range []zodb.OID{1, 2} {
			prev[oid] = b.data(oid, prev[oid], fmt.Sprintf("data %02d of %d", i, oid))
		}
		b.end()
	}
	return b
}

// readAll returns the data of all records by tid and oid.
func readAll(t *testing.T, file []byte, salvage func(Skipped)) (map[string]string, *Reader, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), int64(len(file)), "test.fs")
	if err != nil {
		return nil, nil, err
	}
	r.Salvage = salvage
	got := make(map[string]string)
	for txn, err := range r.Transactions(t.Context(), Position{}) {
		if err != nil {
			return got, r, err
		}
		for rec, err := range txn.LastRecords() {
			if err != nil {
				return got, r, err
			}
			got[fmt.Sprint(txn.TID, rec.OID)] = string(rec.Data)
		}
	}
	return got, r, nil
}

// TestNoFlippedBitMakesAFileShorter flips each bit of a file. Read strictly, that is damage,
// or no matter, and a torn end only in the last transaction. Read for salvage, nothing is
// lost but the transaction in which the bit is, and nothing that was not written comes.
func TestNoFlippedBitMakesAFileShorter(t *testing.T) {
	t.Parallel()
	const n = 6
	sound := many(n)
	want, _, err := readAll(t, sound.file, nil)
	if err != nil || len(want) != 2*n {
		t.Fatal(want, err)
	}
	lastTxn := sound.txn
	size := (len(sound.file) - magicLen) / n
	for i := magicLen; i < len(sound.file); i++ {
		for bit := range 8 {
			file := bytes.Clone(sound.file)
			file[i] ^= 1 << bit
			got, r, err := readAll(t, file, nil)
			switch {
			case err != nil && !errors.Is(err, zodb.ErrCorrupt):
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			case err != nil:
			case r.Truncated() != nil && r.Truncated().Offset != lastTxn:
				t.Errorf("byte %d bit %d: the file is taken for torn at %d", i, bit, r.Truncated().Offset)
			case r.Truncated() == nil && len(got) != 2*n && file[(i-magicLen)/size*size+magicLen+16] != statusUndone:
				t.Errorf("byte %d bit %d: %d records and no error", i, bit, len(got))
			}
			got, _, err = readAll(t, file, func(Skipped) {})
			if err != nil {
				t.Fatalf("byte %d bit %d: salvage: %v", i, bit, err)
			}
			hit := (i - magicLen) / size
			for tx := range n {
				if tx == hit {
					continue
				}
				for oid := range zodb.OID(2) {
					key := fmt.Sprint(zodb.TID(0x100+tx), oid+1)
					if got[key] != want[key] {
						t.Errorf("byte %d bit %d: salvage has %q of %s, want %q", i, bit, got[key], key, want[key])
					}
				}
			}
			for key, data := range got {
				if different := differ(data, want[key]); want[key] != "" && different > 1 {
					t.Errorf("byte %d bit %d: salvage makes %q of %q", i, bit, data, want[key])
				}
			}
		}
	}
}

// differ counts the bytes in which two texts differ.
func differ(a, b string) int {
	if len(a) != len(b) {
		return max(len(a), len(b))
	}
	n := 0
	for i := range len(a) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// TestLengthThatRunsPastTheEndIsDamageIfSomethingFollows: one bit of the length of the
// second of 50 transactions, by which ZODB loses 49.
func TestLengthThatRunsPastTheEndIsDamageIfSomethingFollows(t *testing.T) {
	t.Parallel()
	b := many(50)
	size := (len(b.file) - magicLen) / 50
	file := bytes.Clone(b.file)
	file[magicLen+size+8] ^= 0x40
	got, _, err := readAll(t, file, nil)
	damage := &zodb.CorruptError{}
	if !errors.As(err, &damage) || damage.Offset != int64(magicLen+size) || len(got) != 2 {
		t.Errorf("%d records, then %v", len(got), err)
	}
	var skipped []Skipped
	got, r, err := readAll(t, file, func(s Skipped) { skipped = append(skipped, s) })
	if err != nil || len(got) != 100 || r.Truncated() != nil {
		t.Errorf("salvage: %d records, %v", len(got), err)
	}
	if len(skipped) != 1 || !skipped[0].Taken || skipped[0].Offset != int64(magicLen+size) || skipped[0].Length != int64(size) {
		t.Errorf("skipped %+v", skipped)
	}
	// And a torn end behind it stays one.
	file = append(file, b.file[magicLen:magicLen+size/2]...)
	skipped = nil
	got, r, err = readAll(t, file, func(s Skipped) { skipped = append(skipped, s) })
	if err != nil || len(got) != 100 || len(skipped) != 1 || r.Truncated() == nil || r.Truncated().Offset != int64(len(b.file)) {
		t.Errorf("with a torn end: %d records, skipped %+v, %+v, %v", len(got), skipped, r.Truncated(), err)
	}
}

// TestTornEndWithADataFSInItStaysOne: transactions inside a record do not say that they are there.
func TestTornEndWithADataFSInItStaysOne(t *testing.T) {
	t.Parallel()
	b := many(2)
	good := len(b.file)
	b.begin(0x200, 'c')
	b.data(3, 0, string(many(5).file))
	r := newReader(t, b.file)
	n := 0
	for _, err := range r.Transactions(t.Context(), Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 || r.Truncated() == nil || r.Truncated().Offset != int64(good) {
		t.Errorf("%d transactions, %+v", n, r.Truncated())
	}
}

// TestRenumberedFile has tids that go back, come twice, are 0 and beyond all.
func TestRenumberedFile(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	var pos, prev int64
	for i, tid := range []zodb.TID{0, 0x20, 0x10, 0x10, 1<<64 - 256, 0x30} {
		b.begin(tid, ' ')
		if i == 4 {
			pos = b.back(1, prev, pos)
		} else {
			pos = b.data(1, prev, fmt.Sprint("data ", i))
		}
		prev = pos
		b.end()
	}
	r := newReader(t, b.file)
	r.Renumber = true
	var got []zodb.TID
	var from zodb.TID
	var ends []Position
	for txn, err := range r.Transactions(t.Context(), Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, txn.TID)
		ends = append(ends, txn.End())
		for rec, err := range txn.Records() {
			if err != nil || rec.TID != txn.TID {
				t.Errorf("record %+v, %v", rec, err)
			}
			from = max(from, rec.DataTID)
		}
	}
	if want := []zodb.TID{1, 0x20, 0x21, 0x22, 0x23, 0x30}; fmt.Sprint(got) != fmt.Sprint(want) || from != 0x22 || r.Renumbered() != 4 {
		t.Errorf("tids %v, want %v; data from %s; %d renumbered", got, want, from, r.Renumbered())
	}
	// Who goes on later gets the same.
	again := newReader(t, b.file)
	again.Renumber = true
	p, found, err := again.FindTID(t.Context(), 0x22)
	if err != nil || !found || p != ends[3] {
		t.Errorf("found %t at %+v, %v; want %+v", found, p, err, ends[3])
	}
	for txn, err := range again.Transactions(t.Context(), p) {
		if err != nil || txn.TID != 0x23 || txn.Previous != 0x22 {
			t.Errorf("goes on with %s after %s, %v", txn.TID, txn.Previous, err)
		}
		break
	}
}

func newReader(t *testing.T, file []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), int64(len(file)), "test.fs")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOnlyOrdinaryFilesAreOpened(t *testing.T) {
	t.Parallel()
	dev, err := vfs.OS("/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"null", "."} {
		if r, err := Open(dev, name); err == nil {
			r.Close()
			t.Errorf("%s was opened", name)
		}
	}
	for begins, want := range map[string]string{
		"\x1f\x8b\x08\x00....": "gunzip", "BZh91AY&": "bunzip2", "\xfd7zXZ\x00..": "unxz", "\x28\xb5\x2f\xfd....": "unzstd", "PK\x03\x04....": "unzip",
		"\x1f": "", "some text": "", "FS3": "",
	} {
		e := &NotAFileStorageError{}
		if _, err := NewReader(bytes.NewReader([]byte(begins)), int64(len(begins)), "x"); !errors.As(err, &e) || e.Unpack() != want {
			t.Errorf("a file that begins with %q: %v", begins, err)
		}
	}
	for magic, python2 := range map[string]bool{magicPython2: true, magicPython3: false} {
		if r := newReader(t, []byte(magic)); r.Python2() != python2 {
			t.Errorf("%s: Python 2 %t", magic, r.Python2())
		}
	}
}

// TestSearchBehindDamageEndsWithItsContext: it may be long.
func TestSearchBehindDamageEndsWithItsContext(t *testing.T) {
	t.Parallel()
	file := append(many(1).file, make([]byte, 1<<20)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range newReader(t, file).Transactions(ctx, Position{}) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
}
