package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTimeZoneThatIsNotKnownIsSeen(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		local, tz string
		file      bool
		want      string
	}{
		{"Local", "", true, ""}, {"UTC", "", false, ""}, {"UTC", "UTC", true, ""}, {"UTC", ":UTC", true, ""}, {"UTC", "UTC0", true, ""},
		{"Europe/Berlin", "Europe/Berlin", false, ""}, {"Local", "/etc/localtime", true, ""},
		{"UTC", "", true, "/etc/localtime cannot be read"},
		{"UTC", "Nowhere/Town", true, `TZ is "Nowhere/Town"`},
		{"UTC", "CET-1CEST,M3.5.0,M10.5.0/3", false, "TZ is"},
		{"UTC", ":Local", false, "TZ is"},
	} {
		got := zoneProblem(tc.local, tc.tz, func() bool { return tc.file })
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("zone %s, TZ=%q, file %t: %q, want %q", tc.local, tc.tz, tc.file, got, tc.want)
		}
	}
	if time.UTC.String() != "UTC" {
		t.Error("the name of UTC has changed")
	}
}

// TestTimesAreReadInOnePlace keeps the zone that is not known from being UTC again.
func TestTimesAreReadInOnePlace(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != "when.go" && name != "when_test.go" && strings.Contains(string(b), "human.ParseTime(") {
			t.Errorf("%s reads a time past env.parseTime", name)
		}
	}
}
