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

// NextOID returns the smallest oid from one on of which there is a name below A or B,
// which may be all that is left of the object, and whether there is one. It lists one
// directory of each level, and more only where they are empty: of formats lawn and flat, one
// with all objects. The function list yields the names in a directory below that side.
func (f Format) NextOID(from zodb.OID, list func(dir string) iter.Seq2[string, error]) (zodb.OID, bool, error) {
	pieces := strings.Split(f.Path(Name{Kind: KindObject, OID: from}), "/")
	return f.firstObject(list, "", pieces, true)
}

// firstObject returns the first object below a directory. The pieces are those of the path
// of the oid to begin with, from there on; in a directory on its path all that are before can
// be passed over. Paths are in the order of oids.
func (f Format) firstObject(list func(dir string) iter.Seq2[string, error], dir string, pieces []string, onPath bool) (first zodb.OID, found bool, err error) {
	piece := pieces[0]
	var below []string
	for name, err := range list(dir) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return 0, false, nil
		case err != nil:
			return 0, false, err
		case dir == "" && name[0] != 'o' || len(name) < len(piece) || onPath && name[:len(piece)] < piece:
		case len(pieces) > 1:
			if len(name) == len(piece) {
				below = append(below, name)
			}
		default:
			n, ok := f.Parse(path.Join(dir, name[:len(piece)]))
			if ok && n.Kind == KindObject && (!found || n.OID < first) {
				first, found = n.OID, true
			}
		}
	}
	slices.Sort(below)
	for _, name := range below {
		first, found, err = f.firstObject(list, path.Join(dir, name), pieces[1:], onPath && name == piece)
		if found || err != nil {
			break
		}
	}
	return first, found, err
}
