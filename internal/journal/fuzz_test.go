package journal

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

// fuzzIdentity is that of the segments here.
var fuzzIdentity = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// memory is a segment in memory.
type memory struct{ b []byte }

func (m *memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, off) }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(m.b); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], p), nil
}

// sampleFrames writes one frame of each type, as segment 3.
func sampleFrames(tb testing.TB) []byte {
	tb.Helper()
	var m memory
	w := frameWriter{w: &m, seal: newSeal(fuzzIdentity, 3), offset: headerSize}
	h := header{seq: 3, identity: fuzzIdentity, oldest: 2, previous: 100, durable: true}
	if _, err := m.WriteAt(h.append(nil), 0); err != nil {
		tb.Fatal(err)
	}
	e := Entry{OID: 5, Previous: 1, UndoFrom: 1, Blob: true, BlobFile: "journal/blob-x", BlobSize: 3, Len: 6, handle: 9}
	add := func(t frameType, a, b []byte) {
		if err := w.frame(t, a, b); err != nil {
			tb.Fatal(err)
		}
	}
	add(frameData, e.appendHead(nil), []byte("record"))
	e = Entry{OID: 6, Gone: true, handle: 9}
	add(frameData, e.appendHead(nil), nil)
	metaAt := Position{3, w.offset}
	m1 := meta{handle: 9, first: headerSize, records: 2, durable: Position{3, headerSize}, TxnMeta: zodb.TxnMeta{User: []byte("u"), Extension: []byte("e")}}
	add(frameMeta, m1.append(nil), nil)
	c := commit{handle: 9, tid: 2, previous: 1, maxOID: 6, meta: metaAt, durable: Position{3, headerSize}}
	add(frameCommit, c.append(nil), nil)
	mk := mark{oldest: 3, durable: Position{3, metaAt.Offset}}
	add(frameMark, mk.append(nil), nil)
	if err := w.flush(); err != nil {
		tb.Fatal(err)
	}
	return m.b
}

func TestScanTakesEveryFrame(t *testing.T) {
	t.Parallel()
	b := sampleFrames(t)
	for _, bounded := range []bool{true, false} {
		s, err := scan(&memory{b}, fuzzIdentity, 3, int64(len(b)), bounded)
		if err != nil {
			t.Fatal(err)
		}
		if s.end != int64(len(b)) || s.why != "" || s.valid != 5 || len(s.items) != 2 || s.oldest != 3 || s.durable <= headerSize {
			t.Errorf("bounded %v: %+v", bounded, s)
		}
	}
	for name, s := range map[string]func() (*scanned, error){
		"another segment":  func() (*scanned, error) { return scan(&memory{b}, fuzzIdentity, 4, int64(len(b)), false) },
		"another storage":  func() (*scanned, error) { return scan(&memory{b}, [16]byte{}, 3, int64(len(b)), false) },
		"moved by 8 bytes": func() (*scanned, error) { return scan(&memory{b[8:]}, fuzzIdentity, 3, int64(len(b)-8), false) },
	} {
		got, err := s()
		if err != nil {
			t.Fatal(err)
		}
		if got.valid != 0 || got.end != headerSize {
			t.Errorf("%s: %d frames are valid", name, got.valid)
		}
	}
}

// FuzzScan makes sure that no content of a segment gives positions outside of
// it, and that frames in the content of which the checksums are made to fit
// are told from garbage by their structure.
func FuzzScan(f *testing.F) {
	sample := sampleFrames(f)
	f.Add(sample, true)
	f.Add(sample, false)
	f.Add(sample[:200], true)
	f.Add([]byte{}, false)
	f.Add(append(bytes.Repeat([]byte{0}, 128), sample[headerSize:]...), true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix {
			b = fixFrames(bytes.Clone(b))
		}
		size := int64(len(b))
		for _, bounded := range []bool{true, false} {
			s, err := scan(&memory{b}, fuzzIdentity, 3, size, bounded)
			if err != nil {
				t.Fatal(err)
			}
			if s.end < headerSize || s.end > max(size, headerSize) || s.why == "" && s.end < size {
				t.Fatalf("ends at %d of %d: %q", s.end, size, s.why)
			}
			last := int64(headerSize)
			for _, it := range s.items {
				if it.offset < last || it.offset >= s.end || (it.vote == nil) == (it.commit == nil) {
					t.Fatalf("item %+v after %d", it, last)
				}
				last = it.offset
				if it.vote != nil {
					checkVote(t, b, it.vote)
				}
			}
		}
	})
}

// checkVote reads the data that a vote refers to.
func checkVote(t *testing.T, b []byte, v *vote) {
	t.Helper()
	for i := range v.records {
		e := &v.records[i]
		data, err := readEntry(&memory{b}, newSeal(fuzzIdentity, 3), "x", e)
		if err != nil {
			t.Fatalf("scan found %+v, and read says %v", e, err)
		}
		if int64(len(data)) != e.Len {
			t.Fatalf("%d bytes, not %d", len(data), e.Len)
		}
	}
}

// fixFrames makes the checksums of frames fit, wherever the lengths lead.
func fixFrames(b []byte) []byte {
	s := newSeal(fuzzIdentity, 3)
	for offset := headerSize; offset+frameHead <= len(b); {
		length := int(b[offset+6])<<8 | int(b[offset+7])
		if offset+frameHead+length > len(b) {
			break
		}
		payload := b[offset+frameHead : offset+frameHead+length]
		t := frameType(b[offset+12])
		copy(b[offset:], s.appendFrame(nil, int64(offset), t, payload)[:frameHead])
		offset += int(frameSize(int64(length)))
	}
	return b
}

// FuzzPayload checks that a decoded payload is encoded to the same bytes, and that the values of
// other bytes are decoded again the same.
func FuzzPayload(f *testing.F) {
	sample := sampleFrames(f)
	r := frameReader{w: window{f: &memory{sample}, limit: int64(len(sample))}, seal: newSeal(fuzzIdentity, 3)}
	for offset := int64(headerSize); ; {
		fr, ok, err := r.frame(offset)
		if err != nil || !ok {
			break
		}
		f.Add(byte(fr.t), bytes.Clone(fr.start))
		offset = fr.end
	}
	f.Add(byte(0), sample[:headerSize])
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		switch frameType(kind) {
		case frameData:
			if e, err := parseEntry(b, int64(len(b))); err == nil {
				if e.payload() != int64(len(b)) {
					t.Errorf("payload of %d bytes, not %d", e.payload(), len(b))
				}
				equal(t, b[:int64(len(b))-e.Len], e.appendHead(nil))
			}
		case frameMeta:
			if m, err := parseMeta(b); err == nil {
				equal(t, b, m.append(nil))
			}
		case frameCommit:
			if c, err := parseCommit(b); err == nil {
				equal(t, b, c.append(nil))
			}
		case frameMark:
			if m, err := parseMark(b); err == nil {
				equal(t, b, m.append(nil))
			}
		default:
			h, err := parseHeader(b)
			if err != nil && len(b) >= headerSize {
				h, err = parseHeader(resum(bytes.Clone(b)))
			}
			if err == nil {
				again, err := parseHeader(h.append(nil))
				if d := cmp.Diff(h, again, cmp.AllowUnexported(header{})); d != "" || err != nil {
					t.Error(err, d)
				}
			}
		}
	})
}

func equal(t *testing.T, want, got []byte) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSegmentNames(t *testing.T) {
	t.Parallel()
	for _, seq := range []uint64{0, 1, 0xABCDEF, 1<<64 - 1} {
		if got, ok := parseSegmentName(segmentName(seq)); !ok || got != seq {
			t.Errorf("%s gives %d, %v", segmentName(seq), got, ok)
		}
	}
	for name, want := range map[string]bool{
		"log-0000000000000001": true, "spare-0": true, "spare-12": true,
		"log-000000000000000a": false, "log-1": false, "log-00000000000000001": false, "spare-": false, "spare-x": false,
		"spare--1": false, "replica.tar": false, "": false, "working_0000000000000001_done": false,
	} {
		if IsSegment(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// TestFramesBehindZerosAreFound: wherever among zeros a commit is, it is counted.
func TestFramesBehindZerosAreFound(t *testing.T) {
	t.Parallel()
	seal := newSeal(fuzzIdentity, 3)
	whole := sampleFrames(t)
	for at := int64(len(whole) + alignment); at < int64(len(whole))+2*zeroPiece+5*alignment; at += alignment {
		b := append(bytes.Clone(whole), make([]byte, at-int64(len(whole)))...)
		c := commit{handle: 9, tid: 2, previous: 1, maxOID: 6, meta: Position{3, headerSize}, durable: Position{3, at}}
		b = seal.appendFrame(b, at, frameCommit, c.append(nil))
		b = append(b, make([]byte, 2*zeroPiece)...)
		got, err := scan(&memory{b}, fuzzIdentity, 3, int64(len(b)), false)
		if err != nil || got.end != int64(len(whole)) || got.behind != 1 || got.durable != at {
			t.Fatalf("a commit at %d, %d behind the end: %+v, %v", at, at-int64(len(whole)), got, err)
		}
	}
}
