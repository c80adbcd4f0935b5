package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestUnpackedObjectWhoseNewestRevisionIsGoneStaysAway: a pack that took an old revision of an object is
// taken back, and a later one that took the object is not. Then an older revision is there, and
// the newest one is gone: the object does not exist, in bundles and when unpacked.
func TestUnpackedObjectWhoseNewestRevisionIsGoneStaysAway(t *testing.T) {
	t.Parallel()
	for _, carried := range []bool{false, true} {
		t.Run(fmt.Sprint("carried ", carried), func(t *testing.T) {
			t.Parallel()
			unpackedStaysAway(t, carried)
		})
	}
}

// unpackedStaysAway has the bundle written again before it is unpacked, so that it carries its list, or not.
func unpackedStaysAway(t *testing.T, carried bool) {
	script := unbundleScript(t)
	home := filepath.Join(t.TempDir(), "home")
	err := engine.Create(home, engine.CreateOptions{Format: "bundled", Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "3600",
	}})
	if err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64
	s, err := engine.Open(t.Context(), home, engine.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	const record = "cpersistent.mapping\nPersistentMapping\n.}."
	commit := func(oid zodb.OID, previous zodb.TID, remove bool) zodb.TID {
		t.Helper()
		txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer txn.Abort()
		if remove {
			err = txn.Delete(oid, previous)
		} else {
			err = txn.Store(oid, previous, []byte(record))
		}
		if err == nil {
			err = txn.Vote(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		tid, err := txn.Finish(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return tid
	}
	pack := func(o zodb.PackOptions) int64 {
		t.Helper()
		res, err := s.Pack(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return res.Stamp
	}
	root := commit(zodb.RootOID, 0, false)
	const oid, other = zodb.OID(1), zodb.OID(2)
	when := commit(other, commit(other, 0, false), false)
	oldest := commit(oid, 0, false)
	tid := commit(oid, oldest, false)
	root = commit(zodb.RootOID, root, false)
	if carried { // of this pack something will be gone for good
		pack(zodb.PackOptions{NoGC: true, Time: when.Time()})
		later.Store(int64(2 * time.Hour))
	}
	first := pack(zodb.PackOptions{NoGC: true})
	commit(oid, tid, true)
	root = commit(zodb.RootOID, root, false)
	commit(zodb.RootOID, root, false)
	second := pack(zodb.PackOptions{})
	if first == second {
		t.Fatal("both packs have one stamp")
	}
	if _, err := s.Undelete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if carried {
		if r, err := s.Reclaim(t.Context(), engine.ReclaimOptions{SinceOpen: true}); err != nil || r.Rewritten == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := s.EnterSnapshot(t.Context(), "unbundle"); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.CommandContext(t.Context(), "sh", "-euc", `mkdir "$2"; cp -a "$1/config" "$1/A" "$2/"`, "sh", home, from).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := s.LeaveSnapshot(t.Context(), "unbundle"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadRecord(t.Context(), oid, oldest); err != nil {
		t.Fatalf("the oldest revision was not brought back: %v", err)
	}
	if n := carryLists(t, filepath.Join(from, "A", "bundles")); (n > 0) != carried {
		t.Errorf("%d bundles carry lists", n)
	}
	isUnbundled(t, script, from, from+"-flat", s)
	flat, err := engine.Open(t.Context(), from+"-flat", engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer flat.Close()
	for _, one := range []*engine.Storage{s, flat} {
		if r, err := one.Load(t.Context(), oid); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("%s: the object is there: %v, %v", one.Home(), r, err)
		}
	}
}

// carryLists returns how many bundles of a directory have no list beside them, and carry one.
func carryLists(t *testing.T, dir string) (n int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		beside, err := filepath.Glob(strings.TrimSuffix(name, ".tar.zst") + ".*.gone")
		if err != nil {
			t.Fatal(err)
		}
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), name)
		if err != nil {
			t.Fatal(err)
		}
		if r.Carried() != nil && len(beside) == 0 {
			n++
		}
	}
	return n
}
