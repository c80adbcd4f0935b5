package current

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestCursorIsGetOfEach compares the two over dense, sparse and damaged tables, in order and not.
func TestCursorIsGetOfEach(t *testing.T) {
	t.Parallel()
	damaged := 0
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		fsys := home(t, int64(seed))
		table, err := Create(fsys, identity)
		if err != nil {
			t.Fatal(err)
		}
		var entries []Entry
		oid := zodb.OID(0)
		for range 3000 {
			oid += zodb.OID(1 + rnd.IntN([]int{1, 4, 3000}[seed%3]))
			slot := Slot{TID: 1 + zodb.TID(rnd.Uint64N(100)), Bundle: 1}
			entries = append(entries, Entry{oid, slot})
		}
		if err = table.Put(entries); err == nil {
			err = table.Commit(100, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if seed%2 == 1 {
			f, err := fsys.OpenWrite(Name)
			if err != nil {
				t.Fatal(err)
			}
			for range 40 {
				at := headerSpace + rnd.Int64N(200*pageSize)
				if _, err := f.WriteAt([]byte{byte(rnd.Uint32())}, at); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		same := func(c *Cursor, oid zodb.OID) {
			got, err := c.Get(oid)
			want, wantErr := table.Get(oid)
			if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("seed %d: %s: %+v, %v; want %+v, %v", seed, oid, got, err, want, wantErr)
			}
			if err != nil {
				damaged++
			}
		}
		c := table.Cursor()
		for i, e := range entries {
			same(c, e.OID)
			if i%7 == 0 {
				same(c, e.OID+1)
			}
		}
		for range 2000 {
			same(c, zodb.OID(rnd.Uint64N(uint64(oid)+1000)))
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if damaged == 0 {
		t.Error("no damage was met")
	}
}
