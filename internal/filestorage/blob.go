package filestorage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// BlobLayout is how the files of blobs lie in a blob directory.
type BlobLayout string

const (
	// BlobBushy has eight directories, one in the other, for the bytes of the oid.
	BlobBushy BlobLayout = "bushy"
	// BlobLawn has one directory for each oid.
	BlobLawn BlobLayout = "lawn"
)

// layoutFile holds the name of the layout at the top of a blob directory.
const layoutFile = ".layout"

// Path returns the name, below the blob directory, of the file with the
// content of the blob oid as of tid.
func (l BlobLayout) Path(oid zodb.OID, tid zodb.TID) string {
	name := shortHex(tid.Bytes()) + ".blob"
	if l == BlobLawn {
		return shortHex(oid.Bytes()) + "/" + name
	}
	var b strings.Builder
	for _, c := range oid.Bytes() {
		fmt.Fprintf(&b, "0x%02x/", c)
	}
	return b.String() + name
}

// shortHex is how ZODB writes ids in names: without leading zero bytes, but at
// least one byte.
func shortHex(id []byte) string {
	trimmed := bytes.TrimLeft(id, "\x00")
	if len(trimmed) == 0 {
		trimmed = id[len(id)-1:]
	}
	return "0x" + hex.EncodeToString(trimmed)
}

// DetectLayout returns the layout of the blob directory dir: that named in its file .layout;
// without one, lawn if there is something in it, else bushy (ZODB's default). Other files of ZODB
// there, names with a dot and tmp, are not looked at.
func DetectLayout(fsys vfs.FS, dir string) (BlobLayout, error) {
	name := path.Join(dir, layoutFile)
	content, err := fsys.ReadFile(name)
	if err == nil {
		switch l := BlobLayout(bytes.TrimSpace(content)); l {
		case BlobBushy, BlobLawn:
			return l, nil
		}
		return "", &zodb.CorruptError{Path: fsys.Path(name), Reason: fmt.Sprintf("unknown blob layout %.40q", content)}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for entry, err := range fsys.List(dir) {
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(entry.Name, ".") && entry.Name != "tmp" {
			return BlobLawn, nil
		}
	}
	return BlobBushy, nil
}

// IsBlobRecord reports whether a data record is that of a blob, so that a file
// with its content belongs to it.
func IsBlobRecord(data []byte) bool {
	const module, name = "ZODB.blob", "Blob"
	// Most records don't have the name anywhere, except behind a compression.
	if !bytes.Contains(data, []byte(module)) && !bytes.HasPrefix(data, []byte(".z")) {
		return false
	}
	m, n, err := pickle.Class(data)
	return err == nil && m == module && n == name
}
