package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackSaysWhatItKeepsForTheNewestTransactions: a storage that was imported in two transactions
// keeps everything.
func TestPackSaysWhatItKeepsForTheNewestTransactions(t *testing.T) {
	t.Parallel()
	for newest, want := range map[int64]string{0: "", 200_000: "200,000 of them only because one of the two newest transactions wrote them"} {
		var out bytes.Buffer
		r := zodb.PackResult{Threshold: 1 << 60, KeptObjects: 200_001, KeptRevisions: 200_001, KeptNewest: newest}
		if err := new(packCommand).print(&env{Stdout: &out}, r, "packed"); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, want) || strings.Contains(got, "newest") != (newest > 0) {
			t.Errorf("%d: %q", newest, got)
		}
	}
}
