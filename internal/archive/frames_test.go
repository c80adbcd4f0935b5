package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// mixed makes frames, some of them stored, and their content.
func mixed(t *testing.T, rnd *rand.Rand, frames int) (packed, content []byte) {
	t.Helper()
	// With a checksum, as the writer: so no frame of it looks like a stored one.
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range frames {
		plain := make([]byte, rnd.IntN(1+rnd.IntN(1+rnd.IntN(300<<10))))
		for i := range plain {
			plain[i] = "abcdefgh"[rnd.IntN(1+rnd.IntN(8))]
		}
		switch rnd.IntN(4) {
		case 0, 1:
			packed = appendStored(packed, plain)
		case 2:
			packed = e.EncodeAll(plain, packed)
		case 3: // of which the size is not known
			var b bytes.Buffer
			w, err := zstd.NewWriter(&b)
			if err == nil {
				_, err = w.Write(plain)
			}
			if err == nil {
				err = w.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			packed = append(packed, b.Bytes()...)
		}
		content = append(content, plain...)
	}
	return packed, content
}

// decoded reads frames with ours.
func decoded(r io.Reader) ([]byte, error) {
	f := newFrameReader(r)
	defer f.Close()
	return io.ReadAll(f)
}

func TestStoredAndCompressedFramesAreMixed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		packed, content := mixed(t, rnd, rnd.IntN(12))
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader,
			"data and error": iotest.DataErrReader,
		} {
			got, err := decoded(wrap(bytes.NewReader(packed)))
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("seed %d, %s: %d bytes, want %d; %v", seed, name, len(got), len(content), err)
			}
		}
		broken := errors.New("broken")
		r := io.MultiReader(bytes.NewReader(packed), iotest.ErrReader(broken))
		if _, err := decoded(r); !errors.Is(err, broken) {
			t.Fatalf("seed %d: an error of the reader is lost", seed)
		}
	}
}

// TestDamagedFramesAreReadAsTheDecoderDoes: of a stored frame in which a byte was changed, or that
// was cut, nothing else comes than from a decoder of zstd.
func TestDamagedFramesAreReadAsTheDecoderDoes(t *testing.T) {
	t.Parallel()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := appendStored(nil, []byte("a stored frame"))
	packed = e.EncodeAll(bytes.Repeat([]byte("compressed "), 20), packed)
	packed = appendStored(packed, bytes.Repeat([]byte("y"), 300))
	compare := func(what string, b []byte) {
		t.Helper()
		z, err := newDecoder(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		want, wantErr := io.ReadAll(z)
		got, gotErr := decoded(bytes.NewReader(b))
		if (gotErr == nil) != (wantErr == nil) || wantErr == nil && !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; the decoder has %d bytes, %v", what, len(got), gotErr, len(want), wantErr)
		}
	}
	for i := range packed {
		compare(fmt.Sprintf("cut after %d bytes", i), packed[:i])
		for bit := range 8 {
			b := bytes.Clone(packed)
			b[i] ^= 1 << bit
			compare(fmt.Sprintf("bit %d of byte %d", bit, i), b)
		}
	}
}
