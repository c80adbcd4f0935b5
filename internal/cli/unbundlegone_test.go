package cli

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestUnpackedObjectWhoseNewestRevisionIsGoneStaysAway: a pack that took an old revision of an object is
// taken back, and a later one that took the object is not. Then an older revision is there, and
// the newest one is gone: the object does not exist, in bundles and when unpacked.
func TestUnpackedObjectWhoseNewestRevisionIsGoneStaysAway(t *testing.T) {
	t.Parallel()
	script := unbundleScript(t)
	home := filepath.Join(t.TempDir(), "home")
	err := engine.Create(home, engine.CreateOptions{Format: "bundled", Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "3600",
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), home, engine.Options{})
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
	const oid = zodb.OID(1)
	oldest := commit(oid, 0, false)
	tid := commit(oid, oldest, false)
	root = commit(zodb.RootOID, root, false)
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
