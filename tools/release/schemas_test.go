package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// The programs for which these files are made, Grafana, Kubernetes and Docker, are not here. Their own
// types and loaders read the files, and take nothing that they do not know.

// strictly reads a document into the type of Kubernetes for its kind. It reports false for kinds of
// other projects.
func strictly(t *testing.T, doc map[string]any) (known bool, err error) {
	t.Helper()
	kinds := map[string]any{
		"apps/v1 StatefulSet": new(appsv1.StatefulSet), "batch/v1 CronJob": new(batchv1.CronJob), "v1 Service": new(corev1.Service),
		"v1 PersistentVolumeClaim": new(corev1.PersistentVolumeClaim), "v1 ConfigMap": new(corev1.ConfigMap),
	}
	kind := kinds[get(t, doc, "apiVersion").(string)+" "+get(t, doc, "kind").(string)]
	if kind == nil {
		return false, nil
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return true, d.Decode(kind)
}

// TestChartHasFieldsOfKubernetesAlone: a field with a wrong name, or in a wrong place, would be refused by
// the cluster, or left out without a word.
func TestChartHasFieldsOfKubernetesAlone(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]map[string]any{
		"usual": nil,
		"all": {
			"tls": map[string]any{"secretName": "x"}, "imagePullSecrets": []any{map[string]any{"name": "pull"}}, "envFrom": []any{map[string]any{"secretRef": map[string]any{"name": "x"}}},
			"metrics":      map[string]any{"serviceMonitor": map[string]any{"enabled": true}, "prometheusRule": map[string]any{"enabled": true}, "dashboard": map[string]any{"enabled": true}},
			"jobResources": map[string]any{"limits": map[string]any{"memory": "1Gi"}}, "podAnnotations": map[string]any{"a": "b"}, "priorityClassName": "high",
			"nodeSelector": map[string]any{"disk": "ssd"}, "tolerations": []any{map[string]any{"key": "a", "operator": "Exists"}},
			"persistence": map[string]any{"storageClass": "fast"},
		},
	} {
		var foreign []string
		for key, doc := range renderChart(t, values) {
			known, err := strictly(t, doc)
			if err != nil {
				t.Errorf("%s, %s: %v", name, key, err)
			}
			if !known {
				kind, _, _ := strings.Cut(key, " ")
				foreign = append(foreign, kind)
			}
		}
		slices.Sort(foreign)
		want := ""
		if name == "all" {
			want = "PrometheusRule ServiceMonitor"
		}
		if got := strings.Join(foreign, " "); got != want {
			t.Errorf("%s: no type is known for %q, want %q", name, got, want)
		}
	}
	doc := renderChart(t, nil)["Service site-dirstorage"]
	get(t, doc, "spec").(map[string]any)["selektor"] = "x"
	if _, err := strictly(t, doc); err == nil {
		t.Error("a field that does not exist is taken")
	}
}

// classicDashboard is the form that each Grafana from 10 on imports.
//
//lint:ignore SA1019 its successor is for Grafana 12 and newer
type classicDashboard = dashboard.Dashboard

// TestGrafanaReadsTheDashboard with its own types: each panel of its kind, each field known, and none
// missing.
func TestGrafanaReadsTheDashboard(t *testing.T) {
	t.Parallel()
	plugins.RegisterDefaultPlugins()
	text, err := chartFiles{}.Get("monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d classicDashboard
	faults := func(d *classicDashboard, text string) string {
		if err := d.UnmarshalJSONStrict([]byte(text)); err != nil {
			return err.Error() // empty if there is none
		}
		return ""
	}
	if got := faults(&d, text); got != "" {
		t.Error(got)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []struct{ from, to string }{{`"graphTooltip"`, `"graphTooltips"`}, {`"legendFormat"`, `"legendForm"`}, {`"wideLayout": true`, `"wideLayout": "yes"`}} {
		changed := strings.Replace(text, change.from, change.to, 1)
		if changed == text || faults(new(classicDashboard), changed) == "" {
			t.Errorf("%s in place of %s is taken", change.to, change.from)
		}
	}
}

// TestComposeReadsTheFile as docker compose does: by the scheme, and with each volume and each
// dependency.
func TestComposeReadsTheFile(t *testing.T) {
	t.Parallel()
	const name = "../../dist/image/compose.yaml"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	load := func(text string) (*types.Project, error) {
		return loader.LoadWithContext(t.Context(), types.ConfigDetails{
			WorkingDir: t.TempDir(), ConfigFiles: []types.ConfigFile{{Filename: name, Content: []byte(text)}}, Environment: types.Mapping{"DIRSTORAGE_IMAGE": "registry.example.org/dirstorage:1"},
		}, func(o *loader.Options) { o.SetProjectName("site", true) })
	}
	p, err := load(string(b))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range p.Services {
		if name != "backend" && s.Image != "registry.example.org/dirstorage:1" {
			t.Errorf("service %s has the image %s", name, s.Image)
		}
	}
	backup := p.Services["backup"]
	if got := strings.Join(backup.Command, " "); got != "every 1h backup run /data/zodb /backups/zodb" || backup.NetworkMode != "none" || !backup.ReadOnly || !backup.HealthCheck.Disable {
		t.Errorf("the job is %+v", backup)
	}
	for _, change := range []struct{ from, to string }{{"restart: unless", "restarts: unless"}, {"- data:/data", "- date:/data"}, {"      zeo:\n        condition", "      zoe:\n        condition"}} {
		changed := strings.Replace(string(b), change.from, change.to, 1)
		if _, err := load(changed); changed == string(b) || err == nil {
			t.Errorf("%q in place of %q is taken", change.to, change.from)
		}
	}
}
