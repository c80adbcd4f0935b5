package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// frames returns the bytes of frames with these payloads.
func frames(payloads ...[]byte) []byte {
	var out []byte
	for _, p := range payloads {
		out, _ = AppendFrame(out, func(b []byte) ([]byte, error) { return append(b, p...), nil })
	}
	return out
}

// TestFramesArrive reads frames of all sizes around the buffer's through connections
// that deliver them in different pieces.
func TestFramesArrive(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	var payloads [][]byte
	for _, size := range []int{
		0, 1, 5, 0, 100, bufferLen - 5, bufferLen - 4, bufferLen - 3, 3, bufferLen, bufferLen + 1, 7,
		2 * bufferLen, 10*bufferLen + 17, 1, 0,
		bufferLen - 100, bufferLen - 100, bufferLen - 100, bufferLen - 100, bufferLen - 100, // over the end of four
		4*bufferLen - 5, 4*bufferLen - 4, 4*bufferLen - 3, 4 * bufferLen, 2,
	} {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		payloads = append(payloads, p)
	}
	stream := frames(payloads...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"at once":        func(r io.Reader) io.Reader { return r },
		"byte by byte":   iotest.OneByteReader,
		"halves":         iotest.HalfReader,
		"error with end": iotest.DataErrReader,
		"empty reads":    func(r io.Reader) io.Reader { return &hesitant{r: r} },
	} {
		read := func(t *testing.T, r *Reader) {
			t.Parallel()
			for i, want := range payloads {
				if len(r.buf) < bufferLen && i == len(payloads)/2 {
					r.SetLimit(1 << 30)
				}
				got, err := r.Next()
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("frame %d: %d bytes, %v; want %d", i, len(got), err, len(want))
				}
			}
			for range 2 {
				if got, err := r.Next(); err != io.EOF || got != nil {
					t.Errorf("at the end: %d bytes, %v", len(got), err)
				}
			}
		}
		t.Run(name, func(t *testing.T) { read(t, NewReader(wrap(bytes.NewReader(stream)), 1<<30)) })
		t.Run(name+", small until its limit is set", func(t *testing.T) {
			read(t, NewSmallReader(wrap(bytes.NewReader(stream)), 1<<30))
		})
		t.Run(name+", large buffer", func(t *testing.T) {
			read(t, NewReaderSize(wrap(bytes.NewReader(stream)), 1<<30, 4*bufferLen))
		})
	}
}

// hesitant returns nothing at every second read.
type hesitant struct {
	r   io.Reader
	odd bool
}

func (h *hesitant) Read(b []byte) (int, error) {
	if h.odd = !h.odd; h.odd {
		return 0, nil
	}
	return h.r.Read(b)
}

// TestCutStreams cuts a stream at each byte.
func TestCutStreams(t *testing.T) {
	t.Parallel()
	stream := frames([]byte("one"), nil, []byte("three"))
	ends := map[int]bool{0: true, 7: true, 11: true, len(stream): true}
	for n := range len(stream) + 1 {
		r := NewReader(bytes.NewReader(stream[:n]), 100)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		want := io.ErrUnexpectedEOF
		if ends[n] {
			want = io.EOF
		}
		if err != want {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
	big := frames(make([]byte, 3*bufferLen))
	for _, n := range []int{4, 5, bufferLen, bufferLen + 4, 2 * bufferLen, len(big) - 1} {
		if _, err := NewReader(bytes.NewReader(big[:n]), 1<<30).Next(); err != io.ErrUnexpectedEOF {
			t.Errorf("large frame cut at %d: %v", n, err)
		}
	}
}

func TestLimitOfFrames(t *testing.T) {
	t.Parallel()
	stream := frames(make([]byte, 10), make([]byte, 11))
	r := NewReader(bytes.NewReader(stream), 10)
	if b, err := r.Next(); err != nil || len(b) != 10 {
		t.Fatal(len(b), err)
	}
	for range 2 {
		_, err := r.Next()
		tooLarge, ok := errors.AsType[*TooLargeError](err)
		if !ok || tooLarge.Size != 11 || tooLarge.Limit != 10 || !strings.Contains(err.Error(), "11") {
			t.Errorf("got %v", err)
		}
	}
	r = NewReader(bytes.NewReader(stream), 10)
	r.SetLimit(11)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Error(err)
		}
	}
}

// TestLengthIsNotTrusted announces 4 GiB and sends little.
func TestLengthIsNotTrusted(t *testing.T) {
	stream := append([]byte{0xff, 0xff, 0xff, 0xff}, make([]byte, 300_000)...)
	r := NewReader(bytes.NewReader(stream), 1<<40)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
		t.Errorf("%d bytes of memory for 300,000", n)
	}
}

// TestLargeFramesAreGivenBack looks at the buffer that a Reader keeps.
func TestLargeFramesAreGivenBack(t *testing.T) {
	t.Parallel()
	r := NewReader(bytes.NewReader(frames(make([]byte, 1<<20), []byte("x"))), 1<<30)
	if b, err := r.Next(); err != nil || len(b) != 1<<20 {
		t.Fatal(len(b), err)
	}
	if _, err := r.Next(); err != nil || r.big != nil || len(r.buf) != bufferLen {
		t.Errorf("keeps %d bytes, %v", len(r.big), err)
	}
}

func TestBuffered(t *testing.T) {
	t.Parallel()
	connection, server := io.Pipe()
	r := NewReader(connection, 10)
	one := frames([]byte("abc"))
	for _, step := range []struct {
		name  string
		bytes []byte
		want  bool // after the next frame
	}{
		{"nothing follows", one, false},
		{"a part of the length", append(frames([]byte("abc")), one[:3]...), false},
		{"a part of the frame", append(one[3:len(one):len(one)], one[:6]...), false},
		{"a whole one", append(one[6:len(one):len(one)], one...), true},
		{"nothing read", nil, false},
		{"an empty one", append(frames([]byte("abc")), 0, 0, 0, 0), true},
		{"nothing read again", nil, false},
		{"one that is too large", append(frames([]byte("abc")), 0, 0, 0, 11), true},
	} {
		if step.bytes != nil {
			go server.Write(step.bytes)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(step.name, err)
		}
		if got := r.Buffered(); got != step.want {
			t.Errorf("%s: %v", step.name, got)
		}
	}
	if _, err := r.Next(); err == nil || !r.Buffered() {
		t.Errorf("after an error: %v, %v", err, r.Buffered())
	}
	connection.Close()
}

// TestFramesAreNotCopied asks for two frames that arrived together.
func TestFramesAreNotCopied(t *testing.T) {
	r := NewReader(bytes.NewReader(bytes.Repeat(frames(make([]byte, 60)), 2000)), 1000)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

func TestStuckReader(t *testing.T) {
	t.Parallel()
	if _, err := NewReader(stuck{}, 100).Next(); err != io.ErrNoProgress {
		t.Errorf("got %v", err)
	}
	broken := errors.New("broken")
	if _, err := NewReader(iotest.ErrReader(broken), 100).Next(); err != broken {
		t.Errorf("got %v", err)
	}
}

// stuck never returns anything.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestAppendFrame(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	dst := append(make([]byte, 0, 100), "before"...)
	got, err := AppendFrame(dst, func(b []byte) ([]byte, error) { return append(b, "xyz"...), broken })
	if err != broken || string(got) != "before" {
		t.Errorf("%q, %v", got, err)
	}
	got, err = AppendFrame(dst, func(b []byte) ([]byte, error) { return append(b, "xyz"...), nil })
	if err != nil || string(got) != "before\x00\x00\x00\x03xyz" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzFrames cuts any bytes into frames, in two ways, and puts them together again.
func FuzzFrames(f *testing.F) {
	f.Add(frames([]byte("one"), nil, []byte("three")), uint16(1000))
	f.Add(frames(make([]byte, 70_000), []byte("x")), uint16(65535))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, uint16(10))
	f.Fuzz(func(t *testing.T, stream []byte, limit uint16) {
		a := NewReader(bytes.NewReader(stream), int64(limit))
		b := NewReader(iotest.HalfReader(bytes.NewReader(stream)), int64(limit))
		var again []byte
		for {
			x, errX := a.Next()
			y, errY := b.Next()
			if !bytes.Equal(x, y) {
				t.Fatalf("%x and %x", x, y)
			}
			if (errX == nil) != (errY == nil) {
				t.Fatalf("%v and %v", errX, errY)
			}
			if errX != nil {
				if errX.Error() != errY.Error() {
					t.Fatalf("%v and %v", errX, errY)
				}
				break
			}
			if len(x) > int(limit) {
				t.Fatalf("%d bytes", len(x))
			}
			again = binary.BigEndian.AppendUint32(again, uint32(len(x)))
			again = append(again, x...)
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatalf("%x are not the frames of %x", again, stream)
		}
	})
}
