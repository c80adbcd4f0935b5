package backup

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestEachChangedBitOfAManifestIsFound, also where the rest is a manifest of a newer release, or of one without
// the sum.
func TestEachChangedBitOfAManifestIsFound(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 10, 0, 0, 5, time.UTC)
	m := &Manifest{
		Schema: schema, Name: "x", Kind: Incremental, Identity: strings.Repeat("ab", 16), Class: "Full", Format: "bundled", HomeVersion: "0.11",
		TID: 9, Time: now, TransactionSHA256: new(archive.Sum), Packed: 5, Undeleted: "y", Reference: &Reference{Name: "z", TID: 3},
		Began: now, SnapshotAt: now, SnapshotEnd: now, Ended: now, Bundles: []string{"b"}, Archive: File{Name: "x.tar.zst"}, Index: File{Name: "x.index.zst"},
	}
	b, err := m.render()
	if err == nil {
		_, err = parseManifest(b, "x")
	}
	if err != nil {
		t.Fatal(err)
	}
	distance := hometest.OneOf(1, 8, 16)
	for bit := hometest.Phase(t) % distance; bit < 8*len(b); bit += distance {
		changed := bytes.Clone(b)
		changed[bit/8] ^= 1 << (bit % 8)
		if got, err := parseManifest(changed, "x"); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("byte %d is %q in place of %q: %+v, %v", bit/8, changed[bit/8], b[bit/8], got, err)
		}
	}
	for _, end := range []string{"", "\n", "}"} {
		if _, err := parseManifest(append(bytes.Clone(b[:len(b)-1]), end...), "x"); (err == nil) != (end == "\n") {
			t.Errorf("with %q at its end: %v", end, err)
		}
	}
	old, _, _ := bytes.Cut(b, []byte(",\n  \"manifest_sha256\""))
	if got, err := parseManifest(append(old, "\n}\n"...), "x"); err != nil || got.TID != m.TID {
		t.Errorf("of an earlier build: %+v, %v", got, err)
	}
}
