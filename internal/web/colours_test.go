package web

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// luminance is that of WCAG 2, of a colour as #rrggbb.
func luminance(t testing.TB, colour string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	if err != nil || len(colour) != len("#rrggbb") {
		t.Fatalf("%q is no colour", colour)
	}
	part := func(shift int) float64 {
		v := float64(n>>shift&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}

func contrast(t testing.TB, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// schemes reads the variables of the two schemes out of the style sheet.
func schemes(t testing.TB) (light, dark map[string]string, rest string) {
	t.Helper()
	b, err := os.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	css := string(b)
	variable := regexp.MustCompile(`(--[a-z0-9-]+): (#[0-9a-f]{6});`)
	blocks := regexp.MustCompile(`(?s):root \{.*?\n\s*\}`).FindAllString(css, -1)
	read := func(block string) map[string]string {
		found := make(map[string]string)
		for _, m := range variable.FindAllStringSubmatch(block, -1) {
			found[m[1]] = m[2]
		}
		return found
	}
	return read(blocks[0]), read(blocks[1]), strings.ReplaceAll(strings.ReplaceAll(css, blocks[0], ""), blocks[1], "")
}

// TestColoursHaveContrast: 4.5 for texts, 3 for edges of fields, the focus and lines of charts (AA).
func TestColoursHaveContrast(t *testing.T) {
	t.Parallel()
	light, dark, rest := schemes(t)
	const text, shape = 4.5, 3
	pairs := []struct {
		on    string
		over  []string
		least float64
	}{
		{"--text", []string{"--back", "--panel", "--row"}, text},
		{"--muted", []string{"--back", "--panel", "--row"}, text},
		{"--link", []string{"--back", "--panel", "--row"}, text},
		{"--on-accent", []string{"--accent"}, text},
		{"--bad", []string{"--bad-back", "--panel", "--row"}, text},
		{"--warn", []string{"--warn-back", "--panel", "--row"}, text},
		{"--good", []string{"--good-back", "--panel", "--row"}, text},
		{"--info", []string{"--info-back", "--panel"}, text},
		{"--edge", []string{"--panel", "--back"}, shape},
		{"--focus", []string{"--panel", "--back", "--row", "--info-back", "--bad-back"}, shape},
		{"--chart-1", []string{"--panel"}, shape},
		{"--chart-2", []string{"--panel"}, shape},
		{"--accent", []string{"--panel"}, shape},
	}
	known := map[string]bool{"--line": true} // lines between rows are an ornament
	for _, p := range pairs {
		known[p.on] = true
		for _, over := range p.over {
			known[over] = true
			for name, scheme := range map[string]map[string]string{"light": light, "dark": dark} {
				if got := contrast(t, scheme[p.on], scheme[over]); got < p.least {
					t.Errorf("%s: %s on %s has %.2f, want %.1f", name, p.on, over, got, p.least)
				}
			}
		}
	}
	for name := range light {
		if !known[name] || dark[name] == "" {
			t.Errorf("%s: it has no row here, or no dark form", name)
		}
	}
	if m := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(`).FindString(rest); m != "" {
		t.Errorf("a colour outside of the variables: %s", m)
	}
	for _, m := range regexp.MustCompile(`var\((--[a-z0-9-]+)\)`).FindAllStringSubmatch(rest, -1) {
		if light[m[1]] == "" {
			t.Errorf("there is no colour %s", m[1])
		}
	}
	if got := fmt.Sprintf("%.1f", contrast(t, "#000000", "#ffffff")); got != "21.0" {
		t.Errorf("black on white: %s", got)
	}
}
