package transfer

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackLeavesWhatFileStorageLeaves imports a Data.fs, packs it to when
// FileStorage packed it, and compares each revision that is left, and the current
// ones, with the file that FileStorage left. That one got a transaction more later.
func TestPackLeavesWhatFileStorageLeaves(t *testing.T) {
	t.Parallel()
	var want struct {
		expected
		PackTime float64 `json:"pack_time"`
	}
	if err := json.Unmarshal(hometest.Golden(t, "filestorage/packed.fs.json"), &want); err != nil {
		t.Fatal(err)
	}
	home := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, home, engine.Options{})
	if _, err := Import(t.Context(), s, reader(t, hometest.FileStorage(t, "before_pack.fs")), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	last := s.LastTransaction()
	if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: time.Unix(0, int64(want.PackTime*1e9))}); err != nil {
		t.Fatal(err)
	}
	var wanted, got []string
	for _, txn := range want.Transactions {
		for _, r := range txn.Records {
			if txn.TID <= last {
				wanted = append(wanted, fmt.Sprint(r.OID, " ", txn.TID))
			}
		}
	}
	for txn, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range s.Records(t.Context(), txn) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(r.OID, " ", txn.TID))
		}
	}
	slices.Sort(wanted)
	slices.Sort(got)
	if len(wanted) < 20 || !slices.Equal(wanted, got) {
		t.Errorf("revisions that are left:\n%v\nFileStorage left:\n%v", got, wanted)
	}
	for text, c := range want.Current {
		if c.Serial > last {
			continue // of the later transaction
		}
		oid, err := zodb.ParseOID(text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Load(t.Context(), oid)
		if (c.SHA256 != "") != (err == nil) || err == nil && (r.Serial != c.Serial || sum(r.Data) != c.SHA256) {
			t.Errorf("object %s: %s, %v; want %+v", oid, r.Serial, err, c)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Clean(t, home)
}
