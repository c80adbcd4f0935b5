package bundle

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// countedReads counts the reads of a file.
type countedReads struct {
	io.ReaderAt
	n int
}

func (c *countedReads) ReadAt(b []byte, at int64) (int, error) {
	c.n++
	return c.ReaderAt.ReadAt(b, at)
}

// TestNearReadsAsReadersDo: revisions of two bundles in turn, in the order of the index and against it, are found and
// read as without the things that are kept, and neighbours are not found.
func TestNearReadsAsReadersDo(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := bundleOf(t, Options{FrameSize: 4096, Max: firstTID + zodb.TID(1000*len(shape)+5)}, shape)
			readers := []*Reader{m.open(t), m.open(t)}
			var list []Revision
			for e, err := range readers[0].RevisionsFrom(0) {
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, e)
			}
			var near Near
			for i := range list {
				for k, e := range []Revision{list[i], list[len(list)-1-i]} {
					r := readers[(i/7+k)%2]
					got, number, err := near.Find(r, e.OID, e.TID)
					want, wantNumber, wantErr := r.Find(e.OID, e.TID)
					if err != nil || wantErr != nil || got != want || number != wantNumber {
						t.Fatalf("%s is found as %+v, %d, %v; want %+v, %d, %v", e.Name(), got, number, err, want, wantNumber, wantErr)
					}
					b, err := near.Read(r, got.Place, e.Name())
					if err != nil || !bytes.Equal(b, m.content[e.Name()]) {
						t.Fatalf("%s is read as %d bytes, %v", e.Name(), len(b), err)
					}
					for j := range b { // they are the caller's
						b[j] = 0
					}
					for _, tid := range []zodb.TID{e.TID - 1, e.TID + 1} {
						if _, n, err := near.Find(r, e.OID, tid); n >= 0 || err != nil {
							t.Fatalf("%s of %s is found as %d, %v", tid, e.OID, n, err)
						}
					}
				}
			}
		})
	}
}

// TestNearReadsEachBlockOnce: one who reads in the order of the file reads each frame once, and the blocks of the
// index once or nearly so.
func TestNearReadsEachBlockOnce(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{}, [][]int{make([]int, 1000)})
	file := &countedReads{ReaderAt: bytes.NewReader(m.file)}
	r, err := Open(file, int64(len(m.file)), "A/bundles/x")
	if err != nil {
		t.Fatal(err)
	}
	var list []Revision
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	file.n = 0
	var near Near
	for _, e := range list {
		got, _, err := near.Find(r, e.OID, e.TID)
		if err == nil {
			_, err = near.Read(r, got.Place, e.Name())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	frames := 0
	for i, e := range list {
		if i == 0 || e.Frame != list[i-1].Frame {
			frames++
		}
	}
	most := frames + len(list)/placesInBlock + 1 + int(r.Frames)/framesInBlock + 1
	if frames == len(list) || file.n > most {
		t.Errorf("%d reads for %d revisions, which change their frame %d times", file.n, len(list), frames)
	}
}

// TestNearTellsOfTheDiskAgain: an unreadable part is not kept, and is an error each time; when the disk
// is well again it is read.
func TestNearTellsOfTheDiskAgain(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{FrameSize: 2048}, many(5))
	broken := errors.New("input/output error")
	disk := &failingReads{ReaderAt: bytes.NewReader(m.file)}
	r, err := Open(disk, int64(len(m.file)), "A/bundles/x")
	if err != nil {
		t.Fatal(err)
	}
	var near Near
	seen := 0
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		read := func() ([]byte, error) {
			at, number, err := near.Find(r, e.OID, e.TID)
			if err != nil {
				return nil, err
			}
			if number < 0 {
				t.Fatalf("%s is not found", e.Name())
			}
			return near.Read(r, at.Place, e.Name())
		}
		disk.err = broken
		for range 2 {
			b, err := read()
			switch {
			case err == nil && !bytes.Equal(b, m.content[e.Name()]):
				t.Fatalf("%s is read as %d bytes that were not written", e.Name(), len(b))
			case err != nil && !errors.Is(err, broken):
				t.Fatalf("%s: %v", e.Name(), err)
			case err != nil:
				seen++
			}
		}
		disk.err = nil
		if b, err := read(); err != nil || !bytes.Equal(b, m.content[e.Name()]) {
			t.Fatalf("%s is read as %d bytes, %v when the disk is well again", e.Name(), len(b), err)
		}
	}
	if seen == 0 {
		t.Error("no read has met the broken disk")
	}
}

// failingReads is a file that fails while there is an error.
type failingReads struct {
	io.ReaderAt
	err error
}

func (f *failingReads) ReadAt(b []byte, at int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(b, at)
}
