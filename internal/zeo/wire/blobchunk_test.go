package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"
	"weak"
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
		k, _, err := r.ReadChunk(piece[len(piece) : len(piece)+min(n-len(piece), room)])
		if err != nil {
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

// places is a connection that reads into several places, each time a random number of bytes up to
// most, or as many as there are.
type places struct {
	stream []byte
	rnd    *rand.Rand // nil: as many as there are
	most   int
	calls  int
}

func (p *places) Read(b []byte) (int, error) { return p.ReadPieces([][]byte{b}) }

func (p *places) ReadPieces(places [][]byte) (n int, err error) {
	p.calls++
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	left := len(p.stream)
	if p.rnd != nil {
		left = min(left, 1+p.rnd.IntN(p.most))
	}
	for _, b := range places {
		k := copy(b[:min(left, len(b))], p.stream)
		p.stream = p.stream[k:]
		left -= k
		n += k
	}
	return n, nil
}

// conversation reads a whole stream as a server does it, with room for so many bytes of pieces at
// once, and returns all pieces and frames, and the error at the end. Pieces in a row are one.
func conversation(r *Reader, e Encoding, room int) (said []string, err error) {
	var content []byte
	flush := func() {
		if content != nil {
			said = append(said, "pieces "+string(content))
			content = nil
		}
	}
	for {
		left, ok := r.BlobChunk(e)
		if !ok {
			frame, err := r.Next()
			flush()
			if err != nil {
				return said, err
			}
			said = append(said, "frame "+string(frame))
			continue
		}
		for b := make([]byte, room); left > 0; {
			n, begun, err := r.ReadChunk(b)
			content = append(content, b[:n]...)
			if err != nil {
				flush()
				return said, err
			}
			left += begun - n
		}
		if left < 0 {
			return said, fmt.Errorf("%d bytes more than there are pieces", -left)
		}
	}
}

// sameConversation compares the pieces of a stream that are read by a connection that reads into several places
// with those of a plain reader.
func sameConversation(t *testing.T, e Encoding, stream []byte, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	limit := int64(1 << 20)
	want, wantErr := conversation(NewReader(bytes.NewReader(stream), limit), e, bufferLen)
	most, room := []int{100, 10_000, 1 << 20}[rnd.IntN(3)], 1+rnd.IntN(300_000)
	got, err := conversation(NewReader(&places{stream: stream, rnd: rnd, most: most}, limit), e, room)
	if err.Error() != wantErr.Error() {
		t.Fatalf("seed %d, at most %d bytes a read, room for %d: %v, want %v", seed, most, room, err, wantErr)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("seed %d, at most %d bytes a read, room for %d: another conversation", seed, most, room)
	}
}

// TestPiecesThatArriveTogether are read as if each came alone, with anything between them.
func TestPiecesThatArriveTogether(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		for seed := range uint64(12) {
			rnd, noise := rand.New(rand.NewPCG(seed, 2)), rand.NewChaCha8([32]byte{byte(seed)})
			size := 4100 + rnd.IntN(61_000)
			var payloads [][]byte
			for range 3 + rnd.IntN(20) {
				n := size
				switch rnd.IntN(8) {
				case 0:
					n = 4096 + rnd.IntN(70_000)
				case 1:
					payloads = append(payloads, chunkCall(t, e, int64(rnd.IntN(2)), rnd.IntN(2) == 0, make([]byte, rnd.IntN(100_000))))
				}
				piece := make([]byte, n)
				_, _ = noise.Read(piece)
				payloads = append(payloads, chunkCall(t, e, int64(0), true, piece))
			}
			stream := frames(payloads...)
			sameConversation(t, e, stream, seed)
			sameConversation(t, e, stream[:rnd.IntN(len(stream))], seed)
			broken := bytes.Clone(stream)
			broken[rnd.IntN(len(broken))] ^= 1 << rnd.IntN(8)
			sameConversation(t, e, broken, seed)
		}
	}
}

// TestPiecesInARowTakeFewReads where they are there already.
func TestPiecesInARowTakeFewReads(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		piece := chunkCall(t, e, int64(0), true, make([]byte, 59_000))
		conn := &places{stream: frames(slices.Repeat([][]byte{piece}, 100)...)}
		said, err := conversation(NewReader(conn, 1<<20), e, 256<<10)
		if err != io.EOF || len(said) != 1 || len(said[0]) != len("pieces ")+100*59_000 {
			t.Fatalf("%c: %d, %v", e, len(said), err)
		}
		if conn.calls > 35 {
			t.Errorf("%c: %d reads of 100 pieces, want about 25", e, conn.calls)
		}
	}
}

// TestRoomForPiecesIsGivenBack: a Reader lives as long as its connection, and keeps no buffer of a blob
// until then.
func TestRoomForPiecesIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		piece := chunkCall(t, e, int64(0), true, make([]byte, 59_000))
		conn := &places{stream: frames(slices.Repeat([][]byte{piece}, 8)...)}
		r := NewReader(conn, 1<<20)
		room := make([]byte, 256<<10)
		kept := weak.Make(&room[0])
		left, ok := r.BlobChunk(e)
		for ok && left > 0 {
			n, begun, err := r.ReadChunk(room)
			if err != nil {
				t.Fatal(err)
			}
			left += begun - n
		}
		if conn.calls > 6 || len(conn.stream) > 0 {
			t.Fatalf("%c: %d reads, %d bytes are left: not read together", e, conn.calls, len(conn.stream))
		}
		room = nil
		runtime.GC()
		if kept.Value() != nil {
			t.Errorf("%c: the room is kept", e)
		}
		runtime.KeepAlive(r)
	}
}

// TestBytesReadTooEarlyAreBounded: they are counted until they are used, or until their Reader ends.
// Beyond the bound each piece is read alone.
func TestBytesReadTooEarlyAreBounded(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		piece := chunkCall(t, e, int64(0), true, make([]byte, 59_000))
		stream := frames(piece, piece, make([]byte, 150_000), piece, piece)
		early := NewEarly(1000)
		read := func() (*Reader, *places) {
			t.Helper()
			conn := &places{stream: stream}
			r := NewReader(conn, 1<<20)
			r.SetEarly(early)
			for room := make([]byte, 256<<10); ; {
				left, ok := r.BlobChunk(e)
				if !ok {
					return r, conn
				}
				for left > 0 {
					n, begun, err := r.ReadChunk(room)
					if err != nil {
						t.Fatal(err)
					}
					left += begun - n
				}
			}
		}
		one, _ := read()
		held := early.Held()
		if held < 100_000 || held > 256<<10 {
			t.Fatalf("%c: %d bytes are counted", e, held)
		}
		other, conn := read()
		if got := early.Held(); got != held || len(conn.stream) < 150_000+2*len(piece)-100 {
			t.Errorf("%c: beyond the bound %d bytes are counted, before it %d; %d are not read", e, got, held, len(conn.stream))
		}
		for _, r := range []*Reader{one, other} {
			if frame, err := r.Next(); len(frame) != 150_000 || err != nil {
				t.Errorf("%c: %d bytes, %v", e, len(frame), err)
			}
		}
		if _, err := conversation(one, e, 256<<10); err != io.EOF {
			t.Errorf("%c: %v", e, err)
		}
		if got := early.Held(); got != 0 {
			t.Errorf("%c: %d bytes are counted at the end", e, got)
		}
		third, _ := read()
		if early.Held() == 0 {
			t.Errorf("%c: nothing is read ahead any more", e)
		}
		if third.Close(); early.Held() != 0 {
			t.Errorf("%c: %d bytes are counted after Close", e, early.Held())
		}
	}
}

// FuzzPieces are a stream, which is read in both ways.
func FuzzPieces(f *testing.F) {
	for _, e := range []Encoding{Pickle, Msgpack} {
		one := chunkCall(f, e, int64(0), true, make([]byte, 4200))
		f.Add(frames(one, one, one), uint64(1), e == Pickle)
		f.Add(frames(one, chunkCall(f, e, int64(0), true, make([]byte, 5000)), one, []byte("x")), uint64(2), e == Pickle)
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, pickle bool) {
		e := Msgpack
		if pickle {
			e = Pickle
		}
		sameConversation(t, e, stream, seed)
	})
}
