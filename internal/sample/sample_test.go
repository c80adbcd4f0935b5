package sample

import (
	"bytes"
	"io"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

func TestSampleIsTheGoldenFileStorage(t *testing.T) {
	t.Parallel()
	r, n := Open()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, n))
	if err != nil || !bytes.Equal(got, hometest.Golden(t, "filestorage/undo.fs")) {
		t.Errorf("%d bytes, %v, which are not those of testdata/filestorage/undo.fs", len(got), err)
	}
}
