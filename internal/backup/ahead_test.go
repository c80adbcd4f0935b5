package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/dirstorage/dirstorage/internal/archive"
)

func TestReadAhead(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		r    io.Reader
		want error
	}{
		"whole":          {bytes.NewReader(content), nil},
		"halves":         {iotest.HalfReader(bytes.NewReader(content)), nil},
		"data and error": {iotest.DataErrReader(bytes.NewReader(content)), nil},
		"broken":         {io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)), broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newHashReader(c.r)
			a := newAheadReader(in)
			defer a.Close()
			got, err := io.ReadAll(a)
			if !errors.Is(err, c.want) || !bytes.Equal(got, content) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if want := archive.Sum(sha256.Sum256(content)); in.sum() != want {
				t.Errorf("its hash is %s, want %s", in.sum(), want)
			}
		})
	}
}

// TestReadAheadIsGivenUp: nothing is read any more once it is closed, although nobody takes the buffers that are there.
func TestReadAheadIsGivenUp(t *testing.T) {
	t.Parallel()
	zeros := &counted{}
	a := newAheadReader(zeros)
	if _, err := a.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	n := zeros.reads
	if n < 1 || n > 2*aheadMost {
		t.Errorf("%d buffers were read ahead", n)
	}
}

// counted is endless.
type counted struct{ reads int }

func (c *counted) Read(b []byte) (int, error) {
	c.reads++
	return len(b), nil
}
