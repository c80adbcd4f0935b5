package bundle

import (
	"bytes"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// censusOf writes a file in pieces of n bytes.
func censusOf(t *testing.T, file []byte, n int) (Info, map[zodb.OID]int, error) {
	t.Helper()
	told := make(map[zodb.OID]int)
	c := NewCensus(int64(len(file)), "x", func(oid zodb.OID) { told[oid]++ })
	for rest := file; len(rest) > 0; rest = rest[min(n, len(rest)):] {
		if _, err := c.Write(rest[:min(n, len(rest))]); err != nil {
			t.Fatal(err)
		}
	}
	info, err := c.End()
	return info, told, err
}

func TestCensusCountsWhatPassesBy(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := bundleOf(t, Options{FrameSize: 4096, Max: firstTID + 1<<20}, shape)
			want := make(map[zodb.OID]int)
			for n := range m.content {
				if n.Kind == layout.KindRevision {
					want[n.OID] = 1
				}
			}
			for _, n := range []int{1, 3, 29, 4096, len(m.file)} {
				info, told, err := censusOf(t, m.file, n)
				if err != nil || info != m.info {
					t.Errorf("in pieces of %d: %+v, %v", n, info, err)
				}
				if len(told) != len(want) {
					t.Errorf("in pieces of %d: %d objects, want %d", n, len(told), len(want))
				}
				for oid, times := range told {
					if times != 1 || want[oid] != 1 {
						t.Errorf("in pieces of %d: object %s %d times", n, oid, times)
					}
				}
			}
		})
	}
}

// TestCensusOfDamageEnds: nothing that is written to it makes it fail or tell an object twice.
func TestCensusOfDamageEnds(t *testing.T) {
	t.Parallel()
	m := bundleOf(t, Options{FrameSize: 4096}, many(30))
	refused := 0
	step := 1 + len(m.file)/300
	for at := hometest.Phase(t) % step; at < len(m.file); at += step {
		file := bytes.Clone(m.file)
		file[at] ^= 0x55
		_, told, err := censusOf(t, file, 1000)
		if err != nil {
			refused++
		}
		for oid, times := range told {
			if times != 1 {
				t.Fatalf("byte %d: object %s %d times", at, oid, times)
			}
		}
	}
	if refused == 0 {
		t.Error("no damaged footer was told")
	}
	for _, short := range [][]byte{nil, m.file[:10], m.file[:len(m.file)-1]} {
		if _, _, err := censusOf(t, short, 100); err == nil {
			t.Errorf("%d bytes are a bundle", len(short))
		}
	}
}
