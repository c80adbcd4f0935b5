package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// Object is one revision of an object, for people.
type Object struct {
	OID    zodb.OID
	Serial zodb.TID // 0: it has no revision
	// Next is the revision after this one, 0 for the newest; Previous the one before it.
	Next, Previous zodb.TID
	Exists         bool
	// Reason says why it does not exist.
	Reason string
	// UndoFrom is the revision whose data an undo brought back; 0 = the data is new.
	UndoFrom zodb.TID
	Size     int // of the record, in bytes
	Unpacked int // of its pickles, in bytes
	Class    string
	// Text is the state as text; nil if there is none, or if it cannot be decoded.
	Text *pickle.Text
	// Problem says why there is no text, or no data. The other fields have the facts that are known all
	// the same.
	Problem string
	// Hex are the bytes around the place of the problem.
	Hex []string
	// References are those that the state names, each object once, in their order; at most
	// maxReferences of them. ReferenceCount is the number of all.
	References     []Reference
	ReferenceCount int
	Blob           *Blob // nil: it has none
}

// Reference is an object that another one refers to.
type Reference struct {
	pickle.Ref
	// Exists: it can be loaded. In another database that is not known.
	Exists bool
}

// Blob describes a blob.
type Blob struct {
	Size int64
	// Sum is the checksum of its content that the storage keeps, with its kind; empty: unknown.
	Sum string
	// Problem says why it cannot be read.
	Problem string
}

// maxReferences bounds a list of references.
const maxReferences = 300

// Object returns the newest revision of an object that is not later than a transaction; at = 0 means
// the current one. An object that does not exist is no error. A damaged one is no error either, if a
// revision is known: see Object.Problem.
func (b *Browser) Object(ctx context.Context, oid zodb.OID, at zodb.TID) (*Object, error) {
	o := &Object{OID: oid}
	if err := b.find(ctx, o, at); err != nil || o.Serial == 0 {
		return o, err
	}
	rec, err := b.s.LoadRecord(ctx, oid, o.Serial)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, zodb.ErrClosed) {
			return nil, err
		}
		o.Problem = err.Error()
		return o, nil
	}
	o.Exists, o.UndoFrom, o.Size = rec.Exists, rec.DataTID, len(rec.Data)
	if !rec.Exists {
		o.Reason = "from this revision on it does not exist: it was deleted, or its creation was undone"
		return o, nil
	}
	if rec.HasBlob {
		o.Blob = b.blob(ctx, oid, o.Serial)
	}
	return o, b.decodeInto(ctx, o, rec.Data)
}

// find sets the revisions of an object.
func (b *Browser) find(ctx context.Context, o *Object, at zodb.TID) error {
	for tid, err := range b.s.Serials(ctx, o.OID) {
		switch k, missingObject := errors.AsType[*zodb.KeyError](err); {
		case err == nil || tid != 0: // with damage the revision is known all the same
		case missingObject:
			o.Reason = missing(k)
			return nil
		default:
			return err
		}
		switch {
		case o.Serial != 0:
			o.Previous = tid
			return nil
		case at == 0 || tid <= at:
			o.Serial = tid
		default:
			o.Next = tid
		}
	}
	if o.Serial == 0 {
		o.Reason = "it has no revision that early, or that was packed away"
	}
	return nil
}

// decodeInto fills in the contents of a record.
func (b *Browser) decodeInto(ctx context.Context, o *Object, data []byte) error {
	err := b.parse(ctx, data, func(t *pickle.Tree) {
		o.Unpacked = t.Size()
		if module, name, ok := t.Class(); ok {
			o.Class = module + "." + name
		}
		o.Text = t.Render(pickle.RenderOptions{Limit: b.o.Text, StringLimit: maxString, Lines: true})
		o.references(t)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		o.Class, o.Problem = b.class(data), err.Error()
		o.Hex = hexAround(data, err)
		return nil
	}
	for i := range o.References {
		r := &o.References[i]
		if r.Database != "" {
			continue
		}
		exists, err := b.s.Exists(ctx, r.OID)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Exists = exists || err != nil // damage is not absence
	}
	return nil
}

// maxString is the number of bytes of a string in a state that are shown.
const maxString = 16 << 10

// references notes the references of a record.
func (o *Object) references(t *pickle.Tree) {
	type key struct {
		oid      zodb.OID
		weak     bool
		database string
	}
	seen := make(map[key]bool)
	for r := range t.References() {
		k := key{r.OID, r.Weak, r.Database}
		if seen[k] {
			continue
		}
		seen[k] = true
		o.ReferenceCount++
		if len(o.References) < maxReferences {
			o.References = append(o.References, Reference{Ref: r})
		}
	}
}

// blob describes the blob of a revision.
func (b *Browser) blob(ctx context.Context, oid zodb.OID, serial zodb.TID) *Blob {
	f, err := b.s.OpenBlob(ctx, oid, serial)
	if err != nil {
		return &Blob{Problem: err.Error()}
	}
	found := &Blob{Size: f.Size()}
	if s, ok := f.(interface{ Sum() string }); ok {
		found.Sum = s.Sum()
	}
	if err := f.Close(); err != nil {
		found.Problem = err.Error()
	}
	return found
}

// Of hexAround: bytes in a line, and lines before and after the place.
const (
	hexWidth = 16
	hexLines = 4
)

// hexAround returns the bytes of a record around the place of an error in it, in lines of offset,
// digits and characters.
func hexAround(data []byte, err error) []string {
	at := 0
	// Of a wrapped record the place is one in the unpacked pickles, so its beginning is shown.
	if syntax, ok := errors.AsType[*pickle.SyntaxError](err); ok && !bytes.HasPrefix(data, []byte(".z")) {
		at = int(min(syntax.Offset, int64(len(data))))
	}
	from := max(at/hexWidth-hexLines, 0) * hexWidth
	to := min((at/hexWidth+hexLines+1)*hexWidth, len(data))
	var lines []string
	for ; from < to; from += hexWidth {
		part := data[from:min(from+hexWidth, len(data))]
		var digits, chars strings.Builder
		for _, c := range part {
			fmt.Fprintf(&digits, "%02x ", c)
			if c < ' ' || c > '~' {
				c = '.'
			}
			chars.WriteByte(c)
		}
		lines = append(lines, fmt.Sprintf("%08x  %-*s %s", from, 3*hexWidth, digits.String(), chars.String()))
	}
	return lines
}
