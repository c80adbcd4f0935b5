package layout

import "strings"

// Bundled is the layout of the files beside bundles: marks, and blobs in directories as
// [Chunky] makes them. It has no files for anything else, so it is none of [Formats].
const Bundled Format = "bundled"

const (
	bundledBlobs   = "blobs/"
	bundledRecords = "bundles/"
)

// appendBundled appends a path. That of a revision or a transaction leads to no file.
func appendBundled(b []byte, n Name) []byte {
	switch n.Kind {
	case KindXOID, KindXSerial, KindXPacked:
		return n.append(b)
	case KindBlob:
		return appendChunky(append(b, bundledBlobs...), n)
	}
	return n.append(append(b, bundledRecords...))
}

// parseBundled accepts marks and blobs.
func parseBundled(path string) (Name, bool) {
	if below, ok := strings.CutPrefix(path, bundledBlobs); ok {
		n, ok := Chunky.Parse(below)
		return n, ok && n.Kind == KindBlob
	}
	n, ok := ParseName(path)
	switch n.Kind {
	case KindXOID, KindXSerial, KindXPacked:
		return n, ok
	}
	return Name{}, false
}
