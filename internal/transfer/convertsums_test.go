package transfer

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
)

// TestConvertGivesTheChecksumsOfTheFormat: records with each kind of checksum become records with the
// one of the new format. The kinds make no difference to a comparison, or to a later call.
func TestConvertGivesTheChecksumsOfTheFormat(t *testing.T) {
	t.Parallel()
	for i, to := range allFormats {
		for j, from := range allFormats {
			if from != "bundled" && to != "bundled" && (testing.Short() || i != j) {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				source := enginetest.Home(t, engine.CreateOptions{Format: from})
				s := enginetest.Open(t, source, engine.Options{})
				commit := func() {
					enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")}, enginetest.Change{OID: 1, Data: enginetest.BlobRecord(), Blob: "one"})
				}
				for range 3 {
					commit()
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				home := enginetest.Home(t, engine.CreateOptions{Format: to})
				want := record.MD5
				if to == "bundled" {
					want = record.XXH64
				}
				turn := func(kinds ...record.SumKind) {
					t.Helper()
					enginetest.Rewrite(t, source, formatOf(t, from), enginetest.Resum(t, kinds...))
				}
				turn(record.MD5, record.XXH64, record.NoSum)
				r := enginetest.Open(t, source, engine.Options{ReadOnly: true})
				if done, compared := convert(t, r, home); done.Transactions != 3 || compared.Records != 6 {
					t.Errorf("copied %+v, compared %+v", done, compared)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				turn(record.NoSum, record.MD5, record.XXH64)
				s = enginetest.Open(t, source, engine.Options{})
				commit()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				r = enginetest.Open(t, source, engine.Options{ReadOnly: true})
				if done, compared := convert(t, r, home); done.Transactions != 1 || compared.Records != 8 {
					t.Errorf("later copied %+v, compared %+v", done, compared)
				}
				if kinds := enginetest.SumKinds(t, home, formatOf(t, to)); len(kinds) != 1 || kinds[want] != 12 {
					t.Errorf("kinds of checksums, and how many there are: %v; want 12 of %q", kinds, want)
				}
				enginetest.Clean(t, home)
			})
		}
	}
}

func formatOf(t *testing.T, name string) layout.Format {
	t.Helper()
	f, err := layout.ParseFormat(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
