package zeo

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPiecesAreTheFramesOfCalls compares the frames of blobs of many sizes, and of blobs whose file
// has another size than it is known to have, with calls that are encoded as others are.
func TestPiecesAreTheFramesOfCalls(t *testing.T) {
	t.Parallel()
	const oid, tid = zodb.OID(0x0102030405060708), zodb.TID(0x1112131415161718)
	broken := errors.New("broken")
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		for _, size := range []int{0, 1, 2, 254, 255, 256, 257, 1000, 65535, 65536, blobPiece - 1, blobPiece, blobPiece + 1, blobPiece + 200,
			2*blobPiece + 255, partPieces*blobPiece - 1, partPieces * blobPiece, partPieces*blobPiece + 1, 3*partPieces*blobPiece + 77} {
			content := bytes.Repeat([]byte{0xFF, 'b', 0, 'd'}, size/4+1)[:size]
			for wrong, known := range map[string]int{"": size, "longer": size + blobPiece, "shorter": size / 2} {
				for _, fails := range []bool{false, true} {
					r := io.Reader(bytes.NewReader(content))
					if fails {
						r = io.MultiReader(r, iotest.ErrReader(broken))
					}
					p := pieces{r: r, size: int64(known), around: func(n int) (head, tail []byte, err error) {
						return wire.AroundBytes(e, n, "receiveBlobChunk", oid, tid)
					}}
					var stream []byte
					var err error
					for part, perr := range p.readAhead() {
						if err = perr; err == nil {
							stream = append(stream, part.frames...)
						}
					}
					if want := map[bool]error{true: broken}[fails]; err != want {
						t.Fatalf("%c, %d bytes, %s: %v, want %v", e, size, wrong, err, want)
					}
					in := wire.NewReader(bytes.NewReader(stream), 1<<30)
					var got []byte
					for {
						frame, err := in.Next()
						if err == io.EOF {
							break
						}
						m, derr := wire.Decode(e, frame)
						if err != nil || derr != nil {
							t.Fatalf("%c, %d bytes, %s: %v, %v", e, size, wrong, err, derr)
						}
						piece := elements(m.Args)[2].([]byte)
						if again, err := wire.AppendCall(nil, e, "receiveBlobChunk", oid, tid, piece); err != nil || !bytes.Equal(again, frame) {
							t.Fatalf("%c, %d bytes, %s: a piece of %d bytes is sent otherwise than a call: %v", e, size, wrong, len(piece), err)
						}
						if len(piece) > blobPiece || known == size && len(piece) != min(blobPiece, size-len(got)) {
							t.Fatalf("%c, %d bytes: a piece of %d behind %d", e, size, len(piece), len(got))
						}
						got = append(got, piece...)
					}
					if !bytes.HasPrefix(content, got) || !fails && len(got) != size {
						t.Fatalf("%c, %d bytes, %s: %d came, or others", e, size, wrong, len(got))
					}
				}
			}
		}
	}
}

// TestOwnedFramesComeBack: whether they were written, or not any more.
func TestOwnedFramesComeBack(t *testing.T) {
	t.Parallel()
	var written bytes.Buffer
	share := budget.NewPool(1 << 20).Share(1000)
	o := newOutbox(&sink{w: &written}, 1<<20, 1<<20, share, time.Now)
	put := func(text string) chan struct{} {
		sent := make(chan struct{})
		o.putPart(part{frames: []byte(text)}, sent)
		return sent
	}
	isSent := func(sent chan struct{}) bool {
		select {
		case <-sent:
			return true
		default:
			return false
		}
	}
	o.putRaw(nil)
	first := put("own")
	o.putRaw(nil)
	second := put("ed")
	if isSent(first) || isSent(second) || share.Held() != 4+3+4+2 {
		t.Errorf("before it is written: %t, %t, %d bytes of memory", isSent(first), isSent(second), share.Held())
	}
	if err := o.flush(); err != nil {
		t.Fatal(err)
	}
	if want := "\x00\x00\x00\x00own\x00\x00\x00\x00ed"; written.String() != want || !isSent(first) || !isSent(second) || share.Held() != 0 || o.pending != 0 {
		t.Errorf("%q, %t, %t; %d bytes of memory, %d wait", written.String(), isSent(first), isSent(second), share.Held(), o.pending)
	}
	waiting := put("never")
	o.close(ErrClosed)
	late := put("late")
	if !isSent(waiting) || !isSent(late) || share.Held() != 0 {
		t.Errorf("after the end: %t, %t, %d bytes of memory", isSent(waiting), isSent(late), share.Held())
	}
}
