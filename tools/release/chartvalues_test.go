package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// TestValuesThatDoNotExistAreRefused: helm reads values.schema.json before it renders. A misspelt value would
// otherwise be left out without a word.
func TestValuesThatDoNotExistAreRefused(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(chartDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	values := func() map[string]any {
		b, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := yaml.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := schema.Validate(values()); err != nil {
		t.Errorf("the values of the chart itself: %v", err)
	}
	// Each group of values with fixed names refuses another name.
	free := []string{"env", "resources", "resources limits", "resources requests", "jobResources", "podAnnotations", "nodeSelector", "affinity", "metrics dashboard labels", "metrics prometheusRule labels", "metrics serviceMonitor labels"}
	tried := 0
	var each func(path []string, group map[string]any)
	each = func(path []string, group map[string]any) {
		for name, v := range group {
			if below, ok := v.(map[string]any); ok {
				each(append(slices.Clone(path), name), below)
			}
		}
		if slices.Contains(free, strings.Join(path, " ")) {
			return
		}
		changed := values()
		at := changed
		for _, name := range path {
			at = at[name].(map[string]any)
		}
		at["enable"] = false
		tried++
		if err := schema.Validate(changed); err == nil {
			t.Errorf("%q takes a value that the chart does not know", path)
		}
	}
	each(nil, values())
	if tried < 12 {
		t.Errorf("%d groups were tried", tried)
	}
	for name, change := range map[string]func(v map[string]any){
		"a port that is a word": func(v map[string]any) { v["service"].(map[string]any)["port"] = "zeo" },
		"a size without a unit that exists": func(v map[string]any) {
			v["persistence"].(map[string]any)["size"] = "20 GB"
		},
		"yes for true": func(v map[string]any) { v["pack"].(map[string]any)["enabled"] = "yes" },
	} {
		v := values()
		if change(v); schema.Validate(v) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
