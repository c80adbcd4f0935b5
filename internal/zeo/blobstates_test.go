package zeo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// countedBlob is a blob that counts its reads.
type countedBlob struct {
	*bytes.Reader
	size  int64
	sum   string
	fault error // of each read
	reads int
}

func (b *countedBlob) Size() int64  { return b.size }
func (b *countedBlob) Sum() string  { return b.sum }
func (b *countedBlob) Close() error { return nil }

func (b *countedBlob) Read(p []byte) (int, error) {
	if b.reads++; b.fault != nil {
		return 0, b.fault
	}
	return b.Reader.Read(p)
}

func blobOf(size int, sum string) *countedBlob {
	return &countedBlob{Reader: bytes.NewReader(make([]byte, size)), size: int64(size), sum: sum}
}

func TestFirstDownloadIsComparedBefore(t *testing.T) {
	t.Parallel()
	var s blobStates
	compare := func(b *countedBlob, oid zodb.OID) int {
		t.Helper()
		if err := s.compareFirst(t.Context(), b, oid, 1); err != nil {
			t.Fatal(err)
		}
		if at, err := b.Seek(0, io.SeekCurrent); at != 0 || err != nil {
			t.Errorf("it is at %d, %v", at, err)
		}
		return b.reads
	}
	if reads := compare(blobOf(3*compareBytes+1, "x"), 1); reads < 4 {
		t.Errorf("the first time: %d reads", reads)
	}
	if reads := compare(blobOf(10, "x"), 1); reads != 0 {
		t.Errorf("the second time: %d reads", reads)
	}
	if reads := compare(blobOf(0, "x"), 2); reads == 0 {
		t.Error("an empty one is not read")
	}
	s.uploaded([]zodb.OID{3}, 1)
	if reads := compare(blobOf(10, "x"), 3); reads != 0 {
		t.Errorf("uploaded: %d reads", reads)
	}
	if reads := compare(blobOf(10, ""), 4); reads != 0 {
		t.Errorf("without a checksum: %d reads", reads)
	}
	large := blobOf(10, "x")
	if large.size = comparedFirst + 1; compare(large, 5) != 0 {
		t.Errorf("a large one: %d reads", large.reads)
	}
	if large.size = comparedFirst; compare(large, 5) == 0 {
		t.Error("the largest one that is compared is not read")
	}
}

// TestBlobThatFailsIsNotWhole: it is compared again the next time.
func TestBlobThatFailsIsNotWhole(t *testing.T) {
	t.Parallel()
	var s blobStates
	fault := errors.New("of the disk")
	bad := blobOf(10, "x")
	bad.fault = fault
	if err := s.compareFirst(t.Context(), bad, 1, 1); !errors.Is(err, fault) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.compareFirst(ctx, blobOf(10, "x"), 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(s.whole) != 0 {
		t.Error("it counts as whole")
	}
}

func TestWholeBlobsThatAreKnownAreBounded(t *testing.T) {
	t.Parallel()
	var s blobStates
	for oid := range zodb.OID(mostWhole + 10) {
		s.setWhole(blobID{oid, 1})
		if _, known := s.whole[blobID{oid, 1}]; !known {
			t.Fatalf("%s is not known", oid)
		}
	}
	if len(s.whole) != mostWhole {
		t.Errorf("%d are known", len(s.whole))
	}
}

// TestManyDamagedBlobsTakeBoundedMemory: nothing of a further one is sent, although none is noted any more.
func TestManyDamagedBlobsTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	var s blobStates
	s.setWhole(blobID{1, 1})
	reads := func(oid zodb.OID) int {
		b := blobOf(10, "x")
		b.size = comparedFirst + 1 // as it says
		if err := s.compareFirst(t.Context(), b, oid, 1); err != nil {
			t.Fatal(err)
		}
		return b.reads
	}
	for i := range 2 * mostBegun {
		if i == mostBegun-1 && reads(1)+reads(2) != 0 {
			t.Error("a large one, or one that is known as whole, is read before")
		}
		s.begunDamaged(zodb.OID(10+i), 1, io.ErrUnexpectedEOF)
	}
	if len(s.begun) != mostBegun {
		t.Errorf("%d are noted", len(s.begun))
	}
	if reads(1) == 0 || reads(2) == 0 {
		t.Error("they are not compared before")
	}
	damaged := blobOf(10, "x")
	damaged.fault = io.ErrUnexpectedEOF
	if err := s.compareFirst(t.Context(), damaged, 10+2*mostBegun-1, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("one that is not noted: %v", err)
	}
	if err := s.compareFirst(t.Context(), blobOf(10, "x"), 10, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("one that is noted: %v", err)
	}
}
