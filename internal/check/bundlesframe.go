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
	f.empty()
	packed, err := p.ReadPacked(at, f.packed)
	if err != nil {
		return err
	}
	f.packed = packed
	return f.unpack(p, at, packed)
}

// decodeRead does the same with a frame that was read.
func (f *frame) decodeRead(p *part, at bundle.Frame, packed []byte) error {
	f.empty()
	if err := p.CheckPacked(at, packed); err != nil {
		return err
	}
	return f.unpack(p, at, packed)
}

// empty forgets the frame that is decoded.
func (f *frame) empty() {
	f.part, f.members, f.at = nil, f.members[:0], 0
	if cap(f.packed)+cap(f.plain) > keptBuffer {
		f.packed, f.plain = nil, nil
	}
}

func (f *frame) unpack(p *part, at bundle.Frame, packed []byte) error {
	plain, err := p.Decode(at, packed, f.plain)
	if err != nil {
		return err
	}
	f.plain, f.part, f.offset = plain, p, at.Offset
	return nil
}

// aheadBytes is how many bytes of frames are read at a time: many frames, and not more than a
// processor's own cache has room for.
const aheadBytes = 256 << 10

// ahead is frames that follow each other in a file, as they are there.
type ahead struct {
	buffer []byte
	rest   []byte
	frames int // in rest
}

// read reads the first of some frames, and those that follow it at once. If that fails, there is
// none: then each has to be read by itself, and has its own error.
func (r *ahead) read(p *part, frames []bundle.Frame) {
	end, n := frames[0].Offset+frames[0].Size, 1
	for n < len(frames) && frames[n].Offset == end &&
		end+frames[n].Size-frames[0].Offset <= aheadBytes {
		end += frames[n].Size
		n++
	}
	r.frames, r.rest = 0, nil
	if n == 1 {
		return
	}
	b, err := p.ReadRun(frames[0].Offset, end-frames[0].Offset, r.buffer)
	if r.buffer = b; err == nil {
		r.rest, r.frames = b, n
	}
}

// next returns the next frame that was read; nil: there is none.
func (r *ahead) next(at bundle.Frame) []byte {
	if r.frames == 0 {
		return nil
	}
	packed := r.rest[:at.Size]
	r.rest, r.frames = r.rest[at.Size:], r.frames-1
	return packed
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
