package salvage

import (
	"errors"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// noted is the line of a bundle in the note of the table of current revisions.
type noted struct {
	there  bool
	sum    string // the beginning of that of its index, in hexadecimal
	behind bool   // the table does not know all that the list of the bundle says
	number uint64 // of that list; 0: that which it carried, or none
}

// noted returns the line of a bundle; there is none if the table is not there, or does not know the bundle.
func (b *bundles) noted(n bundle.Name) (noted, error) {
	if b.table == nil {
		var err error
		b.table, err = current.Open(b.home, b.identity)
		if vfs.Passes(err) {
			return noted{}, err
		}
		if err != nil {
			return noted{}, nil // derived, and not there
		}
	}
	_, note := b.table.UpTo()
	for line := range strings.Lines(string(note)) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != n.String() {
			continue
		}
		// The sum of a list that was not summed, or of one whose entries are not all in the table, is a word.
		d := noted{there: true, sum: words[1], behind: words[2] == "behind" || words[2] == "?"}
		if len(words) > 3 {
			var err error
			if d.number, err = strconv.ParseUint(words[3], 10, 64); err != nil {
				d.behind = true
			}
		}
		return d, nil
	}
	return noted{}, nil
}

// goneInTable returns the members of a bundle that the table of current revisions has as the newest
// ones of objects that packs removed; nil: the table is damaged. A number of it is that of the bundle.
func (b *bundles) goneInTable(r *bundle.Reader) (*roaring.Bitmap, error) {
	gone, number := roaring.New(), uint32(0)
	cursor := b.table.Cursor()
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			return nil, err
		}
		slot, err := cursor.Get(e.OID)
		if errors.Is(err, current.ErrDamaged) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if slot.TID == e.TID && slot.Flags&current.Removed != 0 {
			gone.Add(number)
		}
		number++
	}
	return gone, nil
}
