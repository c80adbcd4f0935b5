package filestorage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// builder puts a file together without the checks of Writer.
type builder struct {
	file []byte
	txn  int64
}

func newBuilder() *builder { return &builder{file: []byte(magicPython3)} }

func (b *builder) begin(tid zodb.TID, status byte) (pos int64) {
	b.txn = int64(len(b.file))
	b.file = txnHeader{tid: tid, status: status, user: 4}.append(b.file)
	b.file = append(b.file, "user"...)
	return b.txn
}

func (b *builder) header(oid zodb.OID, prev, length int64) (pos int64) {
	pos = int64(len(b.file))
	tid := zodb.TIDFromBytes(b.file[b.txn:])
	b.file = dataHeader{oid: oid, tid: tid, prev: uint64(prev), txn: uint64(b.txn), length: uint64(length)}.append(b.file)
	return pos
}

func (b *builder) data(oid zodb.OID, prev int64, data string) (pos int64) {
	pos = b.header(oid, prev, int64(len(data)))
	b.file = append(b.file, data...)
	return pos
}

func (b *builder) back(oid zodb.OID, prev, target int64) (pos int64) {
	pos = b.header(oid, prev, 0)
	b.file = binary.BigEndian.AppendUint64(b.file, uint64(target))
	return pos
}

func (b *builder) end() {
	length := uint64(int64(len(b.file)) - b.txn)
	binary.BigEndian.PutUint64(b.file[b.txn+8:], length)
	b.file = binary.BigEndian.AppendUint64(b.file, length)
}

// sample is a sound file of three transactions. Its places are named for the tests.
type sample struct {
	*builder
	txn1, txn2, txn3          int64
	first, other, again, copy int64
}

func newSample() sample {
	s := sample{builder: newBuilder()}
	s.txn1 = s.begin(0x10, ' ')
	s.first = s.data(1, 0, "first")
	s.other = s.data(2, 0, "other")
	s.end()
	s.txn2 = s.begin(0x11, ' ')
	s.again = s.data(1, s.first, "again")
	s.end()
	s.txn3 = s.begin(0x12, ' ')
	s.copy = s.back(1, s.again, s.first)
	s.end()
	return s
}

func (s sample) set64(pos int64, v uint64) { binary.BigEndian.PutUint64(s.file[pos:], v) }
func (s sample) set16(pos int64, v uint16) { binary.BigEndian.PutUint16(s.file[pos:], v) }

// TestDamageIsNamed has a row for each check of the format.
func TestDamageIsNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(s sample) (offset int64)
		reason string
	}{
		{"status", func(s sample) int64 { s.file[s.txn2+16] = 'x'; return s.txn2 }, "status"},
		{"length less than the header", func(s sample) int64 { s.set64(s.txn2+8, 22); return s.txn2 }, "less than its header"},
		{"length less than the texts", func(s sample) int64 { s.set16(s.txn2+21, 60000); return s.txn2 }, "less than its header"},
		{"length of another", func(s sample) int64 { s.set64(s.txn2+8, 100); return s.txn2 + 100 }, "length at the end"},
		{"length at the end", func(s sample) int64 { s.set64(s.txn3-8, 9); return s.txn3 - 8 }, "length at the end"},
		{"last length beyond everything", func(s sample) int64 { s.set64(s.txn3+8, 1<<64-1); return s.txn3 }, "damage of the length"},
		{"last length less than the header", func(s sample) int64 { s.set64(s.txn3+8, 5); return s.txn3 }, "damage of the length"},
		{"tid of a record", func(s sample) int64 { s.set64(s.again+8, 0x12); return s.again }, "has tid"},
		{"transaction of a record", func(s sample) int64 { s.set64(s.again+24, 4); return s.again }, "its transaction"},
		{"version", func(s sample) int64 { s.set16(s.again+32, 1); return s.again }, "version"},
		{"record too long", func(s sample) int64 { s.set64(s.again+34, 6); return s.again }, "past the end"},
		{"record far too long", func(s sample) int64 { s.set64(s.again+34, 1<<63+5); return s.again }, "past the end"},
		{"record too short", func(s sample) int64 { s.set64(s.again+34, 4); return s.again + 46 }, "1 bytes behind"},
		{"previous is itself", func(s sample) int64 { s.set64(s.again+16, uint64(s.again)); return s.again }, "not before"},
		{"previous is later", func(s sample) int64 { s.set64(s.again+16, 1<<63); return s.again }, "not before"},
		{"previous is of another oid", func(s sample) int64 { s.set64(s.again+16, uint64(s.other)); return s.again }, "newest one is at"},
		{"previous is too old", func(s sample) int64 { s.set64(s.copy+16, uint64(s.first)); return s.copy }, "newest one is at"},
		{"previous of the first", func(s sample) int64 { s.set64(s.other+16, uint64(s.first)); return s.other }, "newest one is at 0"},
		{"backpointer to itself", func(s sample) int64 { s.set64(s.copy+42, uint64(s.copy)); return s.copy }, "not before"},
		{"backpointer to what follows", func(s sample) int64 { s.set64(s.copy+42, 1<<63); return s.copy }, "not before"},
		{"backpointer to another oid", func(s sample) int64 { s.set64(s.copy+42, uint64(s.other)); return s.copy }, "no record of the object"},
		{"backpointer into the magic", func(s sample) int64 { s.set64(s.copy+42, 2); return s.copy }, "no place"},
		{"backpointer with data", func(s sample) int64 { s.set64(s.copy+34, 9); return s.copy }, "past the end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSample()
			if _, err := open(t, s.file).Verify(t.Context()); err != nil {
				t.Fatalf("the sound file: %v", err)
			}
			offset := tc.damage(s)
			_, err := open(t, s.file).Verify(t.Context())
			damage, ok := errors.AsType[*zodb.CorruptError](err)
			if !ok || damage.Path != "Data.fs" {
				t.Fatalf("got %v, want a CorruptError", err)
			}
			if damage.Offset != offset || !strings.Contains(damage.Reason, tc.reason) {
				t.Errorf("got %v, want %q at %d", err, tc.reason, offset)
			}
		})
	}
}

// TestChainsOfBackpointersEnd covers pointers that lead to pointers.
func TestChainsOfBackpointersEnd(t *testing.T) {
	t.Parallel()
	s := newSample()
	s.begin(0x13, ' ')
	chain := s.back(1, s.copy, s.copy)
	gone := s.back(2, s.other, 0)
	s.end()
	s.begin(0x14, ' ')
	toGone := s.back(2, gone, gone)
	s.end()
	for _, txn := range read(t, open(t, s.file), Position{})[3:] {
		for _, rec := range txn.Records {
			switch rec.Pos {
			case chain:
				if rec.Gone || *rec.Length != 5 || *rec.DataTxn != 0x12 {
					t.Errorf("pointer to a pointer: %+v", rec)
				}
			case gone:
				if !rec.Gone || rec.DataTxn != nil {
					t.Errorf("object that does not exist: %+v", rec)
				}
			case toGone:
				if !rec.Gone || *rec.DataTxn != 0x13 {
					t.Errorf("pointer to what does not exist: %+v", rec)
				}
			}
		}
	}
	loop := s.file[:len(s.file):len(s.file)]
	binary.BigEndian.PutUint64(loop[s.copy+42:], uint64(s.copy))
	for txn, err := range open(t, loop).Transactions(t.Context(), Position{TID: 0x12, Offset: chain - txnHeaderLen - 4}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range txn.Records() {
			if !errors.Is(err, zodb.ErrCorrupt) {
				t.Errorf("pointer to a loop: %v", err)
			}
			break
		}
		break
	}
}

func TestTornEndIsToldNotFailed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		tear   func(s sample) []byte
		reason string
	}{
		{"voted", func(s sample) []byte { s.file[s.txn3+16] = 'c'; return s.file }, "not finished"},
		{"one byte", func(s sample) []byte { return s.file[:s.txn3+1] }, "1 bytes are left"},
		{"22 bytes", func(s sample) []byte { return s.file[:s.txn3+22] }, "22 bytes are left"},
		{"header", func(s sample) []byte { return s.file[:s.txn3+23] }, "past the end"},
		{"without the last byte", func(s sample) []byte { return s.file[:len(s.file)-1] }, "past the end"},
		{"length beyond everything", func(s sample) []byte { s.set64(s.txn3+8, 1<<64-1); return s.file[:len(s.file)-1] }, "past the end"},
		{"zeros", func(s sample) []byte { return append(s.file[:s.txn3], make([]byte, 5000)...) }, "less than its header"},
		{"short length, then rubbish", func(s sample) []byte {
			s.set64(s.txn3+8, 5)
			return append(s.file[:len(s.file)-8], "rubbish rubbish"...)
		}, "less than its header"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSample()
			r := open(t, tc.tear(s))
			n, err := r.Verify(t.Context())
			if err != nil || n.Transactions != 2 {
				t.Fatalf("%d transactions, %v", n.Transactions, err)
			}
			if torn := r.Truncated(); torn == nil || torn.Offset != s.txn3 || !strings.Contains(torn.Reason, tc.reason) {
				t.Errorf("got %+v, want %q at %d", torn, tc.reason, s.txn3)
			}
		})
	}
}

// failing fails the read after the first n.
type failing struct {
	data []byte
	n    int
	err  error
}

func (f *failing) ReadAt(b []byte, pos int64) (int, error) {
	if f.n--; f.n < 0 {
		return 0, f.err
	}
	return copy(b, f.data[pos:]), nil
}

// TestEveryReadErrorReachesTheCaller fails one read after the other. A failed
// read is not damage: it must not look like it.
func TestEveryReadErrorReachesTheCaller(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken disk")
	s := newSample()
	for n := 0; ; n++ {
		src := &failing{data: s.file, n: n, err: broken}
		r, err := NewReader(src, int64(len(s.file)), "Data.fs")
		if err == nil {
			_, err = r.Verify(t.Context())
		}
		if src.n >= 0 {
			if err != nil || n < 5 {
				t.Errorf("%d reads, %v", n, err)
			}
			return
		}
		if !errors.Is(err, broken) || errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("read %d failed: %v", n, err)
		}
	}
}

// TestFileThatBecomesShorterIsAnError: it was truncated while it was read.
func TestFileThatBecomesShorterIsAnError(t *testing.T) {
	t.Parallel()
	s := newSample()
	r, err := NewReader(bytes.NewReader(s.file[:s.txn3+30]), int64(len(s.file)), "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
