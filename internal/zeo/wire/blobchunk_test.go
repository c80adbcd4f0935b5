package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// chunkCall is the frame of a storeBlobChunk.
func chunkCall(t testing.TB, e Encoding, id any, oneWay bool, args ...any) []byte {
	t.Helper()
	b, err := AppendRequest(nil, e, id, oneWay, blobChunkName, args...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nextCall reads the next frame as a piece if it is one; room is how much is read of it at a time.
func nextCall(r *Reader, e Encoding, room int) (piece, frame []byte, err error) {
	n, ok := r.BlobChunk(e)
	if !ok {
		frame, err = r.Next()
		return nil, frame, err
	}
	for piece = make([]byte, 0, n); len(piece) < n; {
		k := min(n-len(piece), room)
		if err := r.ReadChunk(piece[len(piece) : len(piece)+k]); err != nil {
			return nil, nil, err
		}
		piece = piece[:len(piece)+k]
	}
	return piece, nil, nil
}

// TestBlobChunksAreReadIntoTheirPlace among other frames, through connections that deliver them in
// different pieces: each piece is the argument of the call, and all else is left to Next.
func TestBlobChunksAreReadIntoTheirPlace(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, e := range []Encoding{Pickle, Msgpack} {
		type want struct {
			frame, piece []byte
			usual        bool
		}
		var all []want
		var payloads [][]byte
		add := func(frame, piece []byte, usual bool) {
			all, payloads = append(all, want{frame, piece, usual}), append(payloads, frame)
		}
		for _, n := range []int{59_000, 0, 1, 255, 256, 4 << 10, 5000, 59_000, 59_000, 65_000, 65_470, 65_500, 65_535, 65_536, 100_000, 59_000} {
			piece := make([]byte, n)
			for i := range piece {
				piece[i] = byte(rnd.Uint32())
			}
			frame := chunkCall(t, e, int64(0), true, piece)
			add(frame, piece, 4<<10 <= len(frame) && n < 64<<10 && len(frame) <= bufferLen-headLen)
			if n > 10_000 {
				add(chunkCall(t, e, int64(1), true, piece), piece, false)         // not the id of a call without an answer
				add(chunkCall(t, e, int64(0), false, piece), piece, false)        // one that is answered
				add(chunkCall(t, e, int64(0), true, piece, int64(1)), nil, false) // of two arguments
				add(chunkCall(t, e, int64(0), true), nil, false)                  // of none
				add(bytes.Replace(chunkCall(t, e, int64(0), true, piece), []byte("Chunk"), []byte("chunk"), 1), piece, false)
				add(nil, nil, false)
				add(piece, nil, false)
			}
		}
		stream := frames(payloads...)
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"at once":        func(r io.Reader) io.Reader { return r },
			"byte by byte":   iotest.OneByteReader,
			"halves":         iotest.HalfReader,
			"error with end": iotest.DataErrReader,
			"empty reads":    func(r io.Reader) io.Reader { return &hesitant{r: r} },
		} {
			for _, room := range []int{1 << 20, 777} {
				r := NewReader(wrap(bytes.NewReader(stream)), 1<<30)
				for i, want := range all {
					piece, frame, err := nextCall(r, e, room)
					if err != nil {
						t.Fatalf("%c, %s: frame %d: %v", e, name, i, err)
					}
					if want.usual && !bytes.Equal(piece, want.piece) || !want.usual && !bytes.Equal(frame, want.frame) || want.usual == (piece == nil) {
						t.Fatalf("%c, %s: frame %d of %d bytes: a piece of %d, a frame of %d", e, name, i, len(want.frame), len(piece), len(frame))
					}
				}
				for range 2 {
					if piece, frame, err := nextCall(r, e, room); err != io.EOF || piece != nil || frame != nil {
						t.Errorf("%c, %s: at the end: %d, %d bytes, %v", e, name, len(piece), len(frame), err)
					}
				}
			}
		}
	}
}

// TestBlobChunkThatIsCut anywhere is an error, and stays one.
func TestBlobChunkThatIsCut(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		stream := frames(chunkCall(t, e, int64(0), true, make([]byte, 5000)))
		for n := range stream {
			r := NewReader(bytes.NewReader(stream[:n]), 1<<30)
			piece, frame, err := nextCall(r, e, 2000)
			if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[n == 0]; err != want || piece != nil || frame != nil {
				t.Fatalf("%c, cut to %d bytes: %d, %d bytes, %v", e, n, len(piece), len(frame), err)
			}
			if _, again := r.Next(); again != err {
				t.Fatalf("%c, cut to %d bytes: %v, then %v", e, n, err, again)
			}
		}
	}
}

// TestBlobChunkWithAnotherEnd is not taken for one.
func TestBlobChunkWithAnotherEnd(t *testing.T) {
	t.Parallel()
	frame := chunkCall(t, Pickle, int64(0), true, make([]byte, 5000))
	for i := 1; i <= len(blobChunkPickleEnd); i++ {
		broken := bytes.Clone(frame)
		broken[len(broken)-i] ^= 1
		r := NewReader(bytes.NewReader(frames(broken, frame)), 1<<30)
		if piece, _, err := nextCall(r, Pickle, 5000); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes, %v", len(piece), err)
		}
		if _, err := r.Next(); err == nil {
			t.Error("the reader goes on")
		}
	}
}

// TestBlobChunkOverTheLimit is left to Next, which says so.
func TestBlobChunkOverTheLimit(t *testing.T) {
	t.Parallel()
	r := NewReader(bytes.NewReader(frames(chunkCall(t, Msgpack, int64(0), true, make([]byte, 5000)))), 4999)
	_, _, err := nextCall(r, Msgpack, 5000)
	if _, ok := errors.AsType[*TooLargeError](err); !ok {
		t.Errorf("%v", err)
	}
}
