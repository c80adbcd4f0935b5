package zeo

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestLostRevisionsOverTheNetwork: an object whose current revision is missing is a
// POSKeyError, as of the original, and in the log as damage. A missing older one is damage.
func TestLostRevisionsOverTheNetwork(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		home := memoryHome(t)
		s := packStorageOf(t, inFiles, home)
		c := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}}).client(e)
		c.store(map[zodb.OID]string{0: refers("root", 1, 2), 1: refers("one"), 2: refers("two")})
		lost := c.store(map[zodb.OID]string{1: refers("one 2"), 2: refers("two 2")})
		last := c.store(map[zodb.OID]string{2: refers("two 3")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for oid := range zodb.OID(2) {
			name := s.Settings().Structure.Format.Path(layout.Revision(oid+1, lost))
			if err := os.Remove(filepath.Join(home, "A", filepath.FromSlash(name))); err != nil {
				t.Fatal(err)
			}
		}
		log := &logBuffer{}
		s, err := engine.Open(t.Context(), home, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		c = serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}, Logger: log.logger()}).client(e)
		c.fails(classPOSKey, "loadBefore", zodb.OID(1), zodb.MaxTID)
		if n := log.count("msg=damage"); n != 1 || !log.has(lost.String()) {
			t.Errorf("the log speaks of damage %d times, of %s: %t", n, lost, log.has(lost.String()))
		}
		c.fails(classSystem, "loadBefore", zodb.OID(2), last)
		if n := log.count("msg=damage"); n != 2 {
			t.Errorf("the log speaks of damage %d times", n)
		}
		if _, ok := c.call("loadBefore", zodb.OID(2), zodb.MaxTID).(wire.Tuple); !ok {
			t.Error("the current revision cannot be loaded")
		}
	})
}
