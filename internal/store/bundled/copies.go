package bundled

import (
	"io"
	"strings"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Copies knows the files of the format. Blobs and marks are those of package classic.
type Copies struct{}

var _ store.Copies = Copies{}

// others knows blobs and marks.
func others() classic.Copies { return classic.Copies{Format: layout.Bundled} }

// parsePath reads the path of a bundle, for which number is 0, or of a gone list.
func parsePath(path string) (n bundle.Name, number uint64, side store.Side, ok bool) {
	for _, side = range store.Sides() {
		if below, found := strings.CutPrefix(path, dirOf(side)+"/"); found {
			n, number, ok = bundle.ParseName(below)
			return n, number, side, ok
		}
	}
	if n, number, ok = bundle.ParseName(path); ok {
		return n, number, "", true
	}
	return n, 0, "", false
}

// Describe implements [store.Copies].
func (Copies) Describe(path string) store.Description {
	_, number, side, ok := parsePath(path)
	switch {
	case !ok:
		d := others().Describe(path)
		if k := d.Name.Kind; d.Side != "" && k != layout.KindBlob && k != layout.KindXOID && k != layout.KindXSerial && k != layout.KindXPacked {
			return store.Description{Side: d.Side} // a path of another format
		}
		return d
	case number > 0:
		return store.Description{Side: side, Named: true}
	}
	return store.Description{Side: side, Named: true, Packed: true}
}

// Inspect implements [store.Copies]: every byte of a bundle is compared with its checksums, and
// nothing is decoded.
func (Copies) Inspect(path, place string, content io.ReaderAt, size int64) (blob bool, err error) {
	n, number, _, ok := parsePath(path)
	switch {
	case !ok:
		return others().Inspect(path, place, content, size)
	case number > 0:
		b, err := io.ReadAll(io.NewSectionReader(content, 0, size))
		if err == nil {
			err = bundle.CheckGone(b, place)
		}
		return false, err
	}
	r, err := bundle.Open(content, size, place)
	if err == nil {
		err = agrees(r, n, place)
	}
	if err == nil {
		err = r.Verify()
	}
	return false, err
}

// Over implements [store.Copies]: nothing is changed.
func (Copies) Over(_ string, content []byte, _ zodb.TID) []byte { return content }

// Current implements [store.Copies]. No file of the format is one that it reads.
func (Copies) Current(path, place string, content []byte) (zodb.TID, error) {
	return others().Current(path, place, content)
}

// Last implements [store.Copies].
func (Copies) Last(home vfs.FS, side store.Side) (zodb.TID, error) { return others().Last(home, side) }

// Layers implements [store.Copies].
func (Copies) Layers() store.Layers {
	return &layers{files: others().Layers(), lists: make(map[bundle.Name]uint64)}
}

// layers are copies that lie over each other. Files of a newer copy supersede those of an
// older one, and of the lists of one bundle the highest counts; it is in the newest copy that has
// any.
type layers struct {
	files   store.Layers
	bundles []bundle.Name // that were taken
	lists   map[bundle.Name]uint64
}

// Take implements [store.Layers].
func (l *layers) Take(path string) (bool, error) {
	n, number, _, ok := parsePath(path)
	if !ok {
		return l.files.Take(path)
	}
	for _, b := range l.bundles {
		if b.Supersedes(n) || b == n && number == 0 {
			return false, nil
		}
	}
	if number > 0 {
		if number <= l.lists[n] {
			return false, nil
		}
		l.lists[n] = number
		return true, nil
	}
	l.bundles = append(l.bundles, n)
	return true, nil
}
