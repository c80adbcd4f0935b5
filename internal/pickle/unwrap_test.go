package pickle

import (
	"bytes"
	"compress/zlib"
	"errors"
	"testing"
)

func wrap(t testing.TB, data []byte) []byte {
	t.Helper()
	out := bytes.NewBufferString(".z")
	w := zlib.NewWriter(out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnwrapHoldsItsLimit(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("abc"), 100000)
	record := wrap(t, data)
	got, err := unwrap(record, int64(len(data)))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
	if got, err := unwrap(record, int64(len(data))-1); !errors.Is(err, ErrTooLarge) || got != nil {
		t.Errorf("above the limit: %d bytes, %v", len(got), err)
	}
	if got, err := unwrap(data, 1); err != nil || !bytes.Equal(got, data) {
		t.Errorf("not wrapped: %d bytes, %v", len(got), err)
	}
}

func TestUnwrapRefusesDamage(t *testing.T) {
	t.Parallel()
	good := wrap(t, []byte("N.N."))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, record := range map[string][]byte{
		"nothing":  []byte(".z"),
		"cut":      good[:len(good)-1],
		"checksum": flipped,
		"rest":     append(bytes.Clone(good), 'x'),
	} {
		_, err := unwrap(record, 1000)
		if _, ok := errors.AsType[*SyntaxError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
