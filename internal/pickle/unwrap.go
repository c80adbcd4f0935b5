package pickle

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxUnwrapped is the size in bytes up to which the functions of this package
// unpack a record themselves.
const maxUnwrapped = 256 << 20

// ErrTooLarge is matched by the error for a record that unpacks to more than the limit.
var ErrTooLarge = errors.New("record unpacks to more than the limit")

// wrapped is the prefix of a record of zc.zlibstorage. No pickle does: it would
// stop with nothing on its stack.
var wrapped = []byte(".z")

// unwrap returns the two pickles in a record: the record itself, not a copy, or the unpacked data
// if it begins with ".z". Limit bounds the unpacked data, in bytes; if they are more, the error
// matches [ErrTooLarge]. Damaged zlib data, or something behind it, is a *[SyntaxError] with an
// offset in the packed record.
func unwrap(record []byte, limit int64) ([]byte, error) {
	packed, ok := bytes.CutPrefix(record, wrapped)
	if !ok {
		return record, nil
	}
	source := bytes.NewReader(packed)
	r, err := zlib.NewReader(source)
	if err != nil {
		return nil, &SyntaxError{Offset: int64(len(wrapped)), Reason: "zlib wrapping: " + err.Error()}
	}
	var out bytes.Buffer
	limit = min(limit, math.MaxInt64-1)
	n, err := out.ReadFrom(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, &SyntaxError{Offset: int64(len(record) - source.Len()), Reason: "zlib wrapping: " + err.Error()}
	case n > limit:
		return nil, fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	case source.Len() > 0:
		return nil, &SyntaxError{Offset: int64(len(record) - source.Len()), Reason: "something follows the zlib data"}
	}
	return out.Bytes(), nil
}

// unwrapBeginning is as unwrap, but that it returns up to limit bytes and looks no further.
func unwrapBeginning(record []byte, limit int64) ([]byte, error) {
	packed, ok := bytes.CutPrefix(record, wrapped)
	if !ok {
		return record[:min(int64(len(record)), limit)], nil
	}
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, &SyntaxError{Offset: int64(len(wrapped)), Reason: "zlib wrapping: " + err.Error()}
	}
	out, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, &SyntaxError{Offset: int64(len(wrapped)), Reason: "zlib wrapping: " + err.Error()}
	}
	return out, nil
}
