package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"

	"github.com/dirstorage/dirstorage/internal/budget"
)

// Sum is a SHA-256. As text it is 64 lower-case hexadecimal digits.
type Sum [sha256.Size]byte

// String returns the hexadecimal digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText returns the hexadecimal digits.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the form that MarshalText writes.
func (s *Sum) UnmarshalText(b []byte) error {
	if len(b) != 2*len(s) {
		return fmt.Errorf("%q is no SHA-256", b)
	}
	_, err := hex.Decode(s[:], b)
	return err
}

// ErrDamaged is matched by errors about an archive or index that was changed since it was written.
var ErrDamaged = errors.New("damaged")

// damaged makes an error that matches ErrDamaged.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// indexLine is a line of the index, see the documentation of the package.
type indexLine struct {
	Name   string `json:"name,omitempty"`
	Size   *int64 `json:"size,omitempty"`
	SHA256 *Sum   `json:"sha256,omitempty"`
	At     int64  `json:"at,omitempty"`
	Dir    bool   `json:"dir,omitempty"`
	Frame  *Frame `json:"frame,omitempty"`
}

// MarshalJSON leaves out fields that a line does not have.
func (l indexLine) MarshalJSON() ([]byte, error) {
	type plain indexLine // without this method
	p := plain(l)
	if l.Dir {
		p.Size, p.SHA256 = nil, nil
	}
	if l.Frame == nil && !l.Dir {
		return json.Marshal(struct {
			Name   string `json:"name"`
			Size   int64  `json:"size"`
			SHA256 *Sum   `json:"sha256"`
			At     int64  `json:"at"`
		}{l.Name, *l.Size, l.SHA256, l.At})
	}
	return json.Marshal(p)
}

// Line is a line of an index: an entry or a frame, the other is nil.
type Line struct {
	Entry *Entry
	Frame *Frame
}

// maxLine is the longest line of an index in bytes.
const maxLine = 64 << 10

// ReadIndex yields the lines of an index. Entries have names that [CheckName]
// accepts, and come in order. Errors about the content match ErrDamaged.
func ReadIndex(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		z, err := newDecoder(r)
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer z.Close()
		lines := bufio.NewScanner(z)
		lines.Buffer(make([]byte, 4096), maxLine)
		at := int64(-1)
		for lines.Scan() {
			line, err := parseLine(lines.Bytes(), &at)
			if !yield(line, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Line{}, damaged("the index can't be read: %w", err))
		}
	}
}

func parseLine(b []byte, at *int64) (Line, error) {
	var l indexLine
	if err := json.Unmarshal(b, &l); err != nil {
		return Line{}, damaged("a line of the index is no JSON: %w", err)
	}
	if l.Frame != nil {
		if l.Frame.At < 0 || l.Frame.Offset < 0 || l.Frame.Size <= 0 {
			return Line{}, damaged("the index has a frame that can't be: %+v", *l.Frame)
		}
		return Line{Frame: l.Frame}, nil
	}
	e := &Entry{Name: l.Name, At: l.At, Dir: l.Dir}
	if err := CheckName(l.Name); err != nil {
		return Line{}, damaged("the index: %w", err)
	}
	if l.At <= *at {
		return Line{}, damaged("the index has %s out of order", l.Name)
	}
	*at = l.At
	if !l.Dir {
		if l.Size == nil || *l.Size < 0 || l.SHA256 == nil {
			return Line{}, damaged("the index has no size or no SHA-256 of %s", l.Name)
		}
		e.Size, e.Sum = *l.Size, *l.SHA256
	}
	return Line{Entry: e}, nil
}

// newDecoder limits the memory that a stream can ask for. Low memory is that buffers are made as
// large as their blocks need: else they are of the largest, 5 MB, for any stream.
func newDecoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderMaxMemory(1<<40), zstd.WithDecoderConcurrency(min(2, budget.Workers(workerMemory))), zstd.WithDecoderLowmem(true))
}
