package engine

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// reading is a file system that tells of reads, before each.
type reading struct {
	vfs.FS
	reads func(name string)
}

// Inner returns the file system that it is about.
func (r *reading) Inner() vfs.FS { return r.FS }

func (r *reading) ReadFile(name string) ([]byte, error) {
	if r.reads != nil {
		r.reads(name)
	}
	return r.FS.ReadFile(name)
}

// TestIterationGoesOnWhereItsNextBlockIsPacked: a pack removes the newest transaction of a block before an iteration reads it,
// also when it has just seen that it is there.
func TestIterationGoesOnWhereItsNextBlockIsPacked(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ {
		t.Run(fmt.Sprintf("before read %d", n), func(t *testing.T) {
			t.Parallel()
			iterationWithAPack(t, n)
		})
	}
}

// iterationWithAPack has a pack before the n-th transaction that an iteration reads behind its first block.
func iterationWithAPack(t *testing.T, n int) {
	home := newHome(t, CreateOptions{Format: "chunky", Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	p := &reading{FS: f}
	s := open(t, home, Options{fs: p})
	oid := newOIDs(t, s, 1)[0]
	meta := zodb.TxnMeta{Description: []byte(strings.Repeat("long ", 10<<10))} // a block has a few
	put := func(c change) zodb.TID {
		t.Helper()
		tid, err := tryCommit(s, meta, c)
		if err != nil {
			t.Fatal(err)
		}
		return tid
	}
	stays := put(change{oid: oid, data: rec("stays")})
	for range 20 {
		put(change{oid: 0, data: rec("goes")})
	}
	last := put(change{oid: 0, data: rec("root", oid)})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(s.Transactions(t.Context(), 0, 0))
	defer stop()
	if txn, err, ok := next(); err != nil || !ok || txn.TID != stays {
		t.Fatal(txn, err, ok)
	}
	read := 0
	p.reads = func(name string) {
		if x, ok := s.home.Settings.Structure.Format.Parse(strings.TrimPrefix(name, "A/")); !ok || x.Kind != layout.KindTransaction {
			return
		}
		if read++; read == n {
			p.reads = nil
			doPack(t, s, zodb.PackOptions{})
		}
	}
	var at zodb.TID
	for {
		txn, err, ok := next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		at = txn.TID
	}
	if at != last || read != n {
		t.Errorf("it ends with %s, want %s, after %d reads", at, last, read)
	}
}
