package bundle

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// flagsOf returns the flags that members were given.
func (m *made) flagsOf(n layout.Name, _ []byte) uint16 { return m.flags[n] }

// rebuild rebuilds a bundle of some bytes, and returns how many pieces were damaged.
func (m *made) rebuild(t *testing.T, file []byte, n Name) (r *Reader, footer bool, damaged int) {
	t.Helper()
	r, footer, err := Rebuild(bytes.NewReader(file), int64(len(file)), "x", RebuildOptions{Name: n, Flags: m.flagsOf, Damaged: func(error) { damaged++ }})
	if err != nil {
		t.Fatal(err)
	}
	return r, footer, damaged
}

// TestAnIndexIsRebuilt makes the indexes of all shapes from their members, and compares them
// byte for byte; a footer that is lost is no hindrance.
func TestAnIndexIsRebuilt(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Identity: [16]byte{1}, Generation: 3, Previous: 7, HighestOID: 99}
			if name == "nothing" {
				o.Max = firstTID + 5
			}
			m := bundleOf(t, o, shape)
			r, footer, damaged := m.rebuild(t, m.file, Name{})
			if !footer || damaged > 0 || r.Info != m.info || !r.Rebuilt() || !r.Complete() {
				t.Errorf("rebuilt %+v (%v, %d damaged), want %+v", r.Info, footer, damaged, m.info)
			}
			cut := m.file[:len(m.file)-FooterSize]
			r, footer, _ = m.rebuild(t, cut, Name{Min: m.info.Min, Max: m.info.Max, Generation: 3})
			if footer || !r.Complete() || r.Sum != m.info.Sum || r.Generation != 3 || r.Min != m.info.Min || r.Revisions != m.info.Revisions {
				t.Errorf("without its footer: %+v, want %+v", r.Info, m.info)
			}
			m.wantAll(t, r)
			o.Min, o.Max = m.info.Min, m.info.Max
			var out bytes.Buffer
			if i, err := r.Restore(&out, o); err != nil || i != m.info || !bytes.Equal(out.Bytes(), m.file) {
				t.Errorf("restored %+v, %v; the same bytes: %v", i, err, bytes.Equal(out.Bytes(), m.file))
			}
		})
	}
}

// wantAll reads each member by the index of a Reader.
func (m *made) wantAll(t *testing.T, r *Reader) {
	t.Helper()
	n := 0
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Read(e.Place, e.Name())
		if err != nil || !bytes.Equal(b, m.content[e.Name()]) || e.Flags != m.flags[e.Name()] {
			t.Fatalf("%s: %d bytes, %v", e.Name(), len(b), err)
		}
		n++
	}
	for e, err := range r.TransactionsFrom(0) {
		if err != nil {
			t.Fatal(err)
		}
		if b, err := r.Read(e.Place, e.Name()); err != nil || !bytes.Equal(b, m.content[e.Name()]) {
			t.Fatalf("%s: %d bytes, %v", e.Name(), len(b), err)
		}
		n++
	}
	if n != len(m.content) {
		t.Errorf("%d members, want %d", n, len(m.content))
	}
}

// TestADamagedFrameCostsThatFrame damages one frame, and its index.
func TestADamagedFrameCostsThatFrame(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{FrameSize: 4096}, many(40))
	r := m.open(t)
	f, err := r.Frame(5)
	if err != nil {
		t.Fatal(err)
	}
	lost := make(map[layout.Name]bool)
	for e := range r.RevisionsFrom(0) {
		lost[e.Name()] = e.Frame == 5
	}
	for e := range r.TransactionsFrom(0) {
		lost[e.Name()] = e.Frame == 5
	}
	file := bytes.Clone(m.file)
	file[f.Offset+f.Size/2] ^= 1
	binary.LittleEndian.PutUint32(file[r.sections[0]+3:], 77)
	b, footer, damaged := m.rebuild(t, file, Name{})
	if !footer || damaged == 0 || b.Complete() {
		t.Errorf("footer %v, %d damaged", footer, damaged)
	}
	for n, want := range m.content {
		var p Place
		number := int64(-1)
		if n.Kind == layout.KindRevision {
			e, k, err := b.Find(n.OID, n.TID)
			if err != nil {
				t.Fatal(err)
			}
			p, number = e.Place, k
		} else {
			e, k, err := b.LatestTransaction(n.TID)
			if err != nil {
				t.Fatal(err)
			}
			if p = e.Place; e.TID == n.TID {
				number = k
			}
		}
		if number < 0 != lost[n] {
			t.Errorf("%s: number %d; its frame is damaged: %v", n, number, lost[n])
		}
		if number < 0 {
			continue
		}
		if got, err := b.Read(p, n); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", n, len(got), err)
		}
	}
	if _, n, err := b.Find(1, zodb.MaxTID); n >= 0 || err != nil {
		t.Errorf("found %d, %v", n, err)
	}
}
