package check

import (
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// frame is a decoded frame of a bundle, and the buffers of a worker for it.
type frame struct {
	part          *part // nil: none is decoded
	offset        int64
	packed, plain []byte

	members []frameMember // of a walk alone
	at      int           // the one that was found last
}

// frameMember is a member of a frame.
type frameMember struct {
	bundle.Found
	head  bool // the current revision of its object
	there bool // it is not gone
}

// decode reads a frame, and compares its checksums.
func (f *frame) decode(p *part, at bundle.Frame) error {
	if f.part == p && f.offset == at.Offset {
		return nil
	}
	f.part, f.members, f.at = nil, f.members[:0], 0
	if cap(f.packed)+cap(f.plain) > keptBuffer {
		f.packed, f.plain = nil, nil
	}
	packed, err := p.ReadPacked(at, f.packed)
	if err != nil {
		return err
	}
	f.packed = packed
	plain, err := p.Decode(at, packed, f.plain)
	if err != nil {
		return err
	}
	f.plain, f.part, f.offset = plain, p, at.Offset
	return nil
}

// load returns a member, in the buffer of the frame.
func (f *frame) load(at placeOf, n layout.Name) ([]byte, error) {
	where, err := at.part.Frame(at.Frame)
	if err == nil {
		err = f.decode(at.part, where)
	}
	if err != nil {
		return nil, err
	}
	return at.Member(f.plain, at.Place, n)
}

// walk notes the members of the frame.
func (f *frame) walk(at bundle.Frame) error {
	f.members, f.at = f.members[:0], 0
	for m, err := range f.part.Members(at, f.plain) {
		if err != nil {
			return err
		}
		f.members = append(f.members, frameMember{Found: m})
	}
	return nil
}

// member returns a member of a walk that is not gone; nil: the frame does not have it. They are
// asked for in order mostly.
func (f *frame) member(n layout.Name) []byte {
	for k := range f.members {
		i := f.at + k
		if i >= len(f.members) {
			i -= len(f.members)
		}
		if m := &f.members[i]; m.Name == n {
			if !m.there {
				return nil
			}
			f.at = i
			return m.Content
		}
	}
	return nil
}

func (f *frame) path() string {
	if f.part == nil {
		return ""
	}
	return f.part.path
}

// head returns the current revision of an object, if the frame has it.
func (f *frame) head(oid zodb.OID) (zodb.TID, bool) {
	for i := range f.members {
		if m := &f.members[i]; m.head && m.Name.OID == oid {
			return m.Name.TID, true
		}
	}
	return 0, false
}
