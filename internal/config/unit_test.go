package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSystemdUnderstandsTheUnits asks systemd-analyze, where there is one. Programs of the units
// that are not installed are replaced by one that is.
func TestSystemdUnderstandsTheUnits(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join("..", "..", "dist", "systemd", "dirstorage*"))
	if err != nil || len(names) != 7 {
		t.Fatalf("units %v, %v", names, err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// A template is looked at as the unit of one storage.
		unit := filepath.Join(dir, strings.Replace(filepath.Base(name), "@.", "@zodb.", 1))
		changed := strings.ReplaceAll(string(text), "/usr/bin/dirstorage ", self+" ")
		if err := os.WriteFile(unit, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, unit)
	}
	out, err := exec.Command(analyze, args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "dirstorage") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEachTimerHasItsService also sees to it that the options of the services have defaults.
func TestEachTimerHasItsService(t *testing.T) {
	t.Parallel()
	dist := filepath.Join("..", "..", "dist")
	defaults, err := os.ReadFile(filepath.Join(dist, "dirstorage.default"))
	if err != nil {
		t.Fatal(err)
	}
	timers, err := filepath.Glob(filepath.Join(dist, "systemd", "*.timer"))
	if err != nil || len(timers) != 3 {
		t.Fatalf("timers %v, %v", timers, err)
	}
	for _, timer := range timers {
		text, err := os.ReadFile(strings.TrimSuffix(timer, ".timer") + ".service")
		if err != nil {
			t.Fatal(err)
		}
		options := regexp.MustCompile(`\$([A-Z]+_OPTIONS)`).FindAllStringSubmatch(string(text), -1)
		if len(options) == 0 {
			t.Errorf("the service of %s takes no options", timer)
		}
		for _, m := range options {
			if !strings.Contains(string(defaults), "\n"+m[1]+"=") {
				t.Errorf("dist/dirstorage.default has no %s", m[1])
			}
		}
	}
}
