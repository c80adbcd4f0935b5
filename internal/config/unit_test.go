package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemdUnderstandsTheUnit asks systemd-analyze, where there is one. Programs of the unit
// that are not installed are replaced by one that is.
func TestSystemdUnderstandsTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "dist", "systemd", "dirstorage.service"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "dirstorage.service")
	changed := strings.ReplaceAll(string(text), "/usr/bin/dirstorage ", self+" ")
	if err := os.WriteFile(unit, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), "dirstorage.service") {
		t.Errorf("%v\n%s", err, out)
	}
}
