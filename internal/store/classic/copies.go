package classic

import (
	"encoding/binary"
	"io"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Copies knows the files of one format.
type Copies struct{ Format layout.Format }

var _ store.Copies = Copies{}

// parse returns the database name of a file; the zero Name if it has none.
func (c Copies) parse(path string) (n layout.Name, side store.Side) {
	for _, side := range store.Sides() {
		if below, ok := strings.CutPrefix(path, string(side)+"/"); ok {
			n, _ := c.Format.Parse(below)
			return n, side
		}
	}
	n, _ = layout.ParseName(path)
	return n, ""
}

// Describe implements [store.Copies].
func (c Copies) Describe(path string) store.Description {
	n, side := c.parse(path)
	d := store.Description{Name: n, Side: side}
	switch n.Kind {
	case layout.KindPointer:
		d.Name.Kind = layout.KindObject
		d.Points, d.Replaced = true, true
	case layout.KindObject:
		d.Replaced, d.Whole = true, true
	case layout.KindRevision:
		d.Whole = true
	case layout.KindTransaction:
		d.Whole, d.Linked = true, true
	case layout.KindXOID, layout.KindXSerial, layout.KindXPacked:
		d.Replaced = true
	}
	return d
}

// Counter implements [store.Copies]: the paths tell.
func (c Copies) Counter() store.Counter { return &counter{c: c} }

type counter struct {
	c      Copies
	counts store.Counts
}

// File implements [store.Counter].
func (c *counter) File(path string, _ int64) io.Writer {
	switch n, _ := c.c.parse(path); n.Kind {
	case layout.KindPointer:
		c.counts.Objects++
	case layout.KindObject:
		c.counts.Objects++
		c.counts.Revisions++
	case layout.KindRevision:
		c.counts.Revisions++
	case layout.KindTransaction:
		c.counts.Transactions++
	case layout.KindBlob:
		c.counts.Blobs++
	}
	return nil
}

// Counts implements [store.Counter].
func (c *counter) Counts() store.Counts { return c.counts }

// Inspect implements [store.Copies].
func (c Copies) Inspect(path, place string, content io.ReaderAt, size int64) (blob bool, err error) {
	n, _ := c.parse(path)
	switch n.Kind {
	case layout.KindRevision, layout.KindObject, layout.KindTransaction, layout.KindPointer:
	default:
		return false, nil
	}
	b, err := io.ReadAll(io.NewSectionReader(content, 0, size))
	if err != nil {
		return false, err
	}
	switch n.Kind {
	case layout.KindTransaction:
		_, err = record.ParseTransactionAs(b, place, n.TID, true)
	case layout.KindPointer:
		_, err = record.ParsePointer(b, place, n.OID)
	default:
		var o *record.Object
		if o, err = record.ParseObjectAs(b, place, n.OID, n.TID, true); err == nil {
			blob = o.HasBlob()
		}
	}
	return blob, err
}

// Over implements [store.Copies]. The oldest transaction after a copy is made to name the last one
// of that: pack may have let it name an earlier one, because it had removed those between, which
// the copy still has.
func (c Copies) Over(path string, b []byte, last zodb.TID) []byte {
	const tidAt, previousAt = 8, 24
	if n, _ := c.parse(path); n.Kind == layout.KindTransaction && last != 0 && len(b) >= record.TransactionHeaderSize {
		tid, previous := zodb.TIDFromBytes(b[tidAt:]), zodb.TIDFromBytes(b[previousAt:])
		if tid > last && previous < last {
			binary.BigEndian.PutUint64(b[previousAt:], uint64(last))
		}
	}
	return b
}

// Current implements [store.Copies].
func (c Copies) Current(path, place string, content []byte) (zodb.TID, error) {
	n, _ := c.parse(path)
	return record.ParsePointer(content, place, n.OID)
}

// Last implements [store.Copies].
func (c Copies) Last(home vfs.FS, side store.Side) (zodb.TID, error) {
	name := string(side) + "/" + c.Format.Path(layout.XSerial)
	b, err := home.ReadFile(name)
	if err != nil {
		return 0, err
	}
	v, err := record.ParseX(b, home.Path(name))
	return zodb.TID(v), err
}
