package cli

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/config"
)

// TestHelpsAreShort: that of no command has more than 80 lines, and a flag of which it has no more than
// the name is explained by the help of the configuration, and by the page of the manual.
func TestHelpsAreShort(t *testing.T) {
	t.Parallel()
	const most = 80
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	shown := func(args ...string) string {
		e, stdout, stderr := testEnv()
		if status := run(t.Context(), e, args); status != exitOK {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
		return stdout.String()
	}
	settings := words(shown("help", "configuration"))
	e, _, _ := testEnv()
	grouped := 0
	for name, c := range leaves(e) {
		text := shown(append(strings.Fields(name), "--help")...)
		if n := strings.Count(text, "\n"); n > most {
			t.Errorf("%s --help has %d lines", name, n)
		}
		manual := commandPage(c)
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			_, usage := pflag.UnquoteUsage(f)
			explained := strings.Contains(words(text), words(usage))
			if !explained {
				grouped++
				if !config.IsSetting(f) || !strings.Contains(settings, " "+f.Name+" ") || !strings.Contains(settings, words(usage)) {
					t.Errorf("neither %s --help nor help configuration explains --%s: %s", name, f.Name, usage)
				}
			}
			if !strings.Contains(manual, roff(usage)) {
				t.Errorf("the manual of %s does not explain --%s: %s", name, f.Name, usage)
			}
		})
	}
	if grouped < 40 {
		t.Errorf("only %d flags are shown by name", grouped)
	}
}

// TestEachSettingHasAGroup, and one only.
func TestEachSettingHasAGroup(t *testing.T) {
	t.Parallel()
	count := make(map[string]int)
	for _, g := range settingGroups() {
		for _, name := range strings.Fields(g.names) {
			count[name]++
		}
	}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.AddFlags(f)
	f.VisitAll(func(f *pflag.Flag) {
		if count[f.Name] != 1 {
			t.Errorf("--%s is in %d groups", f.Name, count[f.Name])
		}
		delete(count, f.Name)
	})
	if len(count) > 0 {
		t.Errorf("groups have names of no setting: %v", count)
	}
}
