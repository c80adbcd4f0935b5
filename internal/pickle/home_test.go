package pickle

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// objectFile describes as much of an object file as is needed to find its record.
const (
	objectMagic  = "\xbd\xb8\x2a\x71"
	objectHeader = 72
	serialAt     = 64
)

// newestRecords returns the newest record of each object in a golden home.
func newestRecords(t *testing.T, name string) map[zodb.OID][]byte {
	t.Helper()
	newest, serials := make(map[zodb.OID][]byte), make(map[zodb.OID]zodb.TID)
	for _, b := range hometest.Files(t, name) {
		if len(b) < objectHeader || string(b[:4]) != objectMagic {
			continue
		}
		oid, serial := zodb.OIDFromBytes(b[8:]), zodb.TIDFromBytes(b[serialAt:])
		if serial >= serials[oid] {
			newest[oid], serials[oid] = b[objectHeader:], serial
		}
	}
	return newest
}

// TestGoldenHomesReferToWhatTheOriginalFinds compares with the references that
// the original found in the same files.
func TestGoldenHomesReferToWhatTheOriginalFinds(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, name := range hometest.Names(t) {
		if name == "replica_pending" {
			continue // part of it is in an archive of its own
		}
		records := newestRecords(t, name)
		for oid, refs := range hometest.Expected(t, name).References {
			got, err := AppendStrongRefs([]zodb.OID{}, records[oid])
			if diff := cmp.Diff(refs, got); err != nil || diff != "" {
				t.Errorf("%s: object %s: %v (-want +got):\n%s", name, oid, err, diff)
			}
			compared++
		}
	}
	if compared == 0 {
		t.Error("no references were compared")
	}
}
