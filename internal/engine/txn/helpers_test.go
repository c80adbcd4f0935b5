package txn_test

import (
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

const maxMerges = txn.MaxMerges

// loseLocks lets others between two votes.
func loseLocks(t zodb.Txn) { txn.LoseLocks(t) }

func newStorage(t testing.TB) *engine.Storage {
	t.Helper()
	return enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
}

// rec is [pickletest.Record].
func rec(text string, refs ...zodb.OID) []byte { return pickletest.Record(text, refs...) }

// change is an [enginetest.Change].
type change struct {
	oid  zodb.OID
	data []byte
	blob string
}

func commit(t testing.TB, s *engine.Storage, changes ...change) zodb.TID {
	t.Helper()
	var list []enginetest.Change
	for _, c := range changes {
		list = append(list, enginetest.Change{OID: c.oid, Data: c.data, Blob: c.blob})
	}
	return enginetest.Commit(t, s, list...)
}

func load(t testing.TB, s *engine.Storage, oid zodb.OID) string {
	t.Helper()
	rev, err := s.Load(t.Context(), oid)
	if err != nil {
		t.Fatal(err)
	}
	return string(rev.Data)
}

// inEveryPlace runs a test with the committed data in the log, in A, and in B.
func inEveryPlace(t *testing.T, test func(t *testing.T, settle func(s *engine.Storage))) {
	flush := func(t *testing.T, s *engine.Storage) {
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, settle := range map[string]func(t *testing.T, s *engine.Storage){
		"log": func(*testing.T, *engine.Storage) {},
		"A":   flush,
		"B": func(t *testing.T, s *engine.Storage) {
			if err := s.EnterSnapshot(t.Context(), "test"); err != nil && !errors.Is(err, zodb.ErrSnapshotMode) {
				t.Fatal(err)
			}
			flush(t, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(s *engine.Storage) { settle(t, s) })
		})
	}
}
