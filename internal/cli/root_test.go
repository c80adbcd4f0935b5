package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestStorageThatNeverHadARootIsNotDamaged: bench writes objects into a new storage. Status tells no damage,
// and the first application makes the root. Once there was one, its loss is damage for good.
func TestStorageThatNeverHadARootIsNotDamaged(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "bushy", "chunky", "flat", "lawn"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			home := filepath.Join(t.TempDir(), "home")
			want(t, exitOK, "", "create", "--format", format, home)
			commit := func(oid zodb.OID, data []byte) {
				t.Helper()
				s := enginetest.Open(t, home, engine.Options{NoControlSocket: true, CleanShutdown: true})
				enginetest.Commit(t, s, enginetest.Change{OID: oid, Data: data})
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			commit(1, emptyRoot)
			want(t, exitOK, "warning root-missing", "check", home)
			if codes, st, _ := toldBy(t, exitOK, home); len(codes) != 0 || st.Jobs[0].Damage != nil || st.Jobs[0].Last.Check.Warnings != 1 {
				t.Errorf("%q, %+v", codes, st.Jobs)
			}
			want(t, exitOK, "nothing to pack", "pack", "--keep", "0", home)
			want(t, exitOK, "warning root-missing", "check", home)
			commit(0, emptyRoot)
			if out := want(t, exitOK, "0 warnings", "check", home); strings.Contains(out, "root-missing") {
				t.Error(out)
			}
			commit(0, nil)
			want(t, exitDamage, "damage root-missing", "check", home)
			toldBy(t, exitDamage, home)
		})
	}
}
