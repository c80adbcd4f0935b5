package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// TestErrorsOfAServerThatAreDamage have status 3, with --salvage, too. A server that ends, or has no memory
// left, tells of no damage.
func TestErrorsOfAServerThatAreDamage(t *testing.T) {
	t.Parallel()
	for class, code := range map[string]int{
		"ZODB.POSException.StorageSystemError": exitDamage,
		"ZODB.POSException.POSKeyError":        exitDamage,
		"ZODB.POSException.StorageError":       exitFailed,
		"builtins.MemoryError":                 exitFailed,
	} {
		for _, salvage := range []bool{false, true} {
			e, _, _ := testEnv()
			o := importCommand{source: "zeo://db:8100", salvage: salvage}
			err := o.report(e, newMeter(e), transfer.Imported{}, fmt.Errorf("record: %w", &zeoclient.ServerError{Class: class, Details: wire.Tuple{"x"}}))
			if got := exitStatus(err); got != code {
				t.Errorf("%s, salvage %v: status %d, want %d", class, salvage, got, code)
			}
		}
	}
}

// TestOmissionsOfAServerNameNoObject: which one it was only the reason can tell.
func TestOmissionsOfAServerNameNoObject(t *testing.T) {
	t.Parallel()
	e, _, stderr := testEnv()
	o := importCommand{source: "zeo://db:8100", salvage: true}
	o.warn(e, transfer.Imported{Damaged: 1, Skipped: []filestorage.Skipped{{TID: 5, Reason: "object 0000000000000007: corrupt"}}})
	if got := stderr.String(); !strings.Contains(got, "left out a record of transaction 0000000000000005: object 0000000000000007: corrupt") {
		t.Error(got)
	}
}
