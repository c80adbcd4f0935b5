// Package sample bundles a small database, a Data.fs that ZODB's FileStorage
// wrote, for newcomers to try things on.
package sample

import (
	"bytes"
	_ "embed" // the database
	"io"
)

//go:embed sample.fs
var dataFS []byte

// Open returns the Data.fs and its length in bytes.
func Open() (io.ReaderAt, int64) {
	return bytes.NewReader(dataFS), int64(len(dataFS))
}
