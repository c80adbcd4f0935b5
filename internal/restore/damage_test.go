package restore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check"
)

func TestDamageHasALineForEachCause(t *testing.T) {
	t.Parallel()
	d := new(damage)
	const reason = "at offset 2564: a frame has the checksum 1, and the index says 2"
	d.add(check.Finding{Kind: check.BundleFrame, Path: "A/bundles/x", Detail: reason})
	for range 9 {
		d.add(check.Finding{Kind: check.Unreadable, Path: "A/bundles/x", Detail: "corrupt data in A/bundles/x " + reason})
	}
	d.add(check.Finding{Kind: check.Unreadable, Path: "A/bundles/y", Detail: "another"})
	want := "the restored storage is damaged:\n  bundle-frame A/bundles/x: " + reason + ", and 9 more\n  unreadable A/bundles/y: another"
	if got := d.Error(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for i := range 30 {
		d.add(check.Finding{Kind: check.ObjectChecksum, Path: fmt.Sprint("A/", i), Detail: "wrong"})
	}
	lines := strings.Split(d.Error(), "\n")
	if len(lines) != 12 || lines[11] != "  and 22 more findings" {
		t.Errorf("%d lines: %s", len(lines), lines[len(lines)-1])
	}
	if len(d.findings) != mostFindings || !errors.Is(fmt.Errorf("restore: %w", d), ErrDamage) {
		t.Errorf("%d findings", len(d.findings))
	}
}
