package layout

import (
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/zodb"
)

// OlderTransaction returns the newest transaction before one of which there is a file below
// A or B; 0 if there is none. It is for a chain of transactions that is broken there, and
// lists directories: of formats lawn and flat, one with all objects. list yields the names in a
// directory below that side.
func (f Format) OlderTransaction(before zodb.TID, list func(dir string) iter.Seq2[string, error]) (zodb.TID, error) {
	pieces := strings.Split(f.Path(Transaction(before)), "/")
	return f.newestTransaction(list, "", pieces, true, before)
}

// newestTransaction returns the newest transaction before one below a directory. The pieces
// are those of its path from there on, and all that are later can be passed over in
// a directory on its path. Paths are in the order of tids.
func (f Format) newestTransaction(list func(dir string) iter.Seq2[string, error], dir string, pieces []string, onPath bool, before zodb.TID) (newest zodb.TID, err error) {
	var below []string
	for name, err := range list(dir) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return 0, nil
		case err != nil:
			return 0, err
		case dir == "" && name[0] != 't' || len(name) != len(pieces[0]) || onPath && name > pieces[0]:
		case len(pieces) > 1:
			below = append(below, name)
		default:
			if n, ok := f.Parse(path.Join(dir, name)); ok && n.Kind == KindTransaction && n.TID < before {
				newest = max(newest, n.TID)
			}
		}
	}
	slices.Sort(below)
	for _, name := range slices.Backward(below) {
		newest, err := f.newestTransaction(list, path.Join(dir, name), pieces[1:], onPath && name == pieces[0], before)
		if newest != 0 || err != nil {
			return newest, err
		}
	}
	return newest, nil
}
