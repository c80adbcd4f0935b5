package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

const chartDir = "../../dist/helm/dirstorage"

// rendered is a chart rendered for some values: documents by kind and name.
type rendered map[string]map[string]any

// renderChart renders the chart like helm template, as far as this chart uses it: the
// functions of sprig, include and toYaml. helm itself is asked by TestHelmLikesTheChart, where it
// is installed; as a library it is larger than this project.
func renderChart(t *testing.T, values map[string]any) rendered {
	t.Helper()
	all := make(map[string]any)
	for _, name := range []string{"values.yaml", "Chart.yaml"} {
		b, err := os.ReadFile(filepath.Join(chartDir, name))
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := yaml.Unmarshal(b, &doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = doc
	}
	merged := merge(all["values.yaml"].(map[string]any), values)
	chart := make(map[string]any)
	for k, v := range all["Chart.yaml"].(map[string]any) {
		chart[strings.ToUpper(k[:1])+k[1:]] = v
	}
	root := template.New("chart").Option("missingkey=error")
	funcs := sprig.TxtFuncMap()
	funcs["toYaml"] = func(v any) (string, error) {
		b, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(b), "\n"), err
	}
	funcs["include"] = func(name string, data any) (string, error) {
		var b bytes.Buffer
		err := root.ExecuteTemplate(&b, name, data)
		return b.String(), err
	}
	root.Funcs(funcs)
	names, err := filepath.Glob(filepath.Join(chartDir, "templates", "*"))
	if err != nil || len(names) < 6 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := root.New(filepath.Base(name)).Parse(string(b)); err != nil {
			t.Fatal(err)
		}
	}
	data := map[string]any{"Files": chartFiles{}, "Values": merged, "Chart": chart, "Release": map[string]any{"Name": "site", "Namespace": "plone", "Service": "Helm"}}
	found := make(rendered)
	for _, name := range names {
		var b bytes.Buffer
		if err := root.ExecuteTemplate(&b, filepath.Base(name), data); err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for _, text := range regexp.MustCompile(`(?m)^---$`).Split(b.String(), -1) {
			var doc map[string]any
			if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			if doc == nil {
				continue
			}
			key := fmt.Sprintf("%s %s", doc["kind"], get(t, doc, "metadata", "name"))
			if _, twice := found[key]; twice {
				t.Errorf("there are two of %s", key)
			}
			found[key] = doc
		}
	}
	return found
}

// chartFiles are the files of the chart that are no templates, as helm hands them to templates.
type chartFiles struct{}

// Get returns the text of a file; helm's returns nothing if there is none.
func (chartFiles) Get(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(chartDir, name))
	return string(b), err
}

// merge lays values over others, as helm does.
func merge(base, over map[string]any) map[string]any {
	result := make(map[string]any)
	for k, v := range base {
		result[k] = v
	}
	for k, v := range over {
		if m, ok := v.(map[string]any); ok {
			if b, ok := result[k].(map[string]any); ok {
				v = merge(b, m)
			}
		}
		result[k] = v
	}
	return result
}

// get follows names and numbers into a document.
func get(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch at := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok || m[at] == nil {
				t.Fatalf("there is no %v of %v in %v", at, path, v)
			}
			v = m[at]
		case int:
			list, ok := v.([]any)
			if !ok || at >= len(list) {
				t.Fatalf("there is no %d of %v in %v", at, path, v)
			}
			v = list[at]
		}
	}
	return v
}

// environment is that of a container.
func environment(t *testing.T, container any) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, e := range get(t, container, "env").([]any) {
		found[get(t, e, "name").(string)] = fmt.Sprint(get(t, e, "value"))
	}
	return found
}

func TestChartServesAndBacksUp(t *testing.T) {
	t.Parallel()
	docs := renderChart(t, nil)
	for _, want := range []string{
		"StatefulSet site-dirstorage", "Service site-dirstorage", "PersistentVolumeClaim site-dirstorage-data", "PersistentVolumeClaim site-dirstorage-backups",
		"CronJob site-dirstorage-backup", "CronJob site-dirstorage-verify", "CronJob site-dirstorage-prune", "CronJob site-dirstorage-pack",
	} {
		if docs[want] == nil {
			t.Errorf("there is no %s", want)
		}
	}
	if len(docs) != 8 {
		t.Errorf("%d documents", len(docs))
	}
	set := docs["StatefulSet site-dirstorage"]
	pod := get(t, set, "spec", "template", "spec")
	container := get(t, pod, "containers", 0)
	if get(t, set, "spec", "replicas") != 1 {
		t.Error("more than one process would open the storage")
	}
	for probe, path := range map[string]string{"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"} {
		if get(t, container, probe, "httpGet", "path") != path || get(t, container, probe, "httpGet", "port") != "metrics" {
			t.Errorf("%s asks %v", probe, get(t, container, probe))
		}
	}
	if get(t, pod, "securityContext", "runAsUser") != 500 || get(t, pod, "securityContext", "fsGroup") != 500 || get(t, container, "securityContext", "readOnlyRootFilesystem") != true {
		t.Errorf("%v", get(t, pod, "securityContext"))
	}
	env := environment(t, container)
	if env["DIRSTORAGE_HTTP_LISTEN"] != ":9818" || env["DIRSTORAGE_LISTEN"] != ":8100" || env["DIRSTORAGE_BACKUP_REPOSITORY"] != "/backups/zodb" || env["DIRSTORAGE_TLS_KEY"] != "" {
		t.Errorf("environment %v", env)
	}
	// A claim that is used has to exist.
	for _, v := range get(t, pod, "volumes").([]any) {
		if claim, ok := v.(map[string]any)["persistentVolumeClaim"]; ok && docs["PersistentVolumeClaim "+get(t, claim, "claimName").(string)] == nil {
			t.Errorf("there is no claim %v", claim)
		}
	}
	for name, doc := range docs {
		if strings.HasPrefix(name, "PersistentVolumeClaim") && get(t, doc, "metadata", "annotations", "helm.sh/resource-policy") != "keep" {
			t.Errorf("helm uninstall would remove %s", name)
		}
		if !strings.HasPrefix(name, "CronJob") {
			continue
		}
		job := get(t, doc, "spec", "jobTemplate", "spec", "template", "spec")
		need := get(t, job, "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", 0, "labelSelector", "matchLabels").(map[string]any)
		labels := get(t, set, "spec", "template", "metadata", "labels").(map[string]any)
		for k, v := range need {
			if labels[k] != v {
				t.Errorf("%s looks for a pod with %s=%v; that of the server has %v", name, k, v, labels[k])
			}
		}
		if get(t, doc, "spec", "concurrencyPolicy") != "Forbid" {
			t.Errorf("two runs of %s may overlap", name)
		}
	}
	args := get(t, docs["CronJob site-dirstorage-verify"], "spec", "jobTemplate", "spec", "template", "spec", "containers", 0, "args")
	if fmt.Sprint(args) != "[backup verify --sample 5% /backups/zodb]" {
		t.Errorf("verify is called with %v", args)
	}
	selector := get(t, docs["Service site-dirstorage"], "spec", "selector").(map[string]any)
	for k, v := range selector {
		if get(t, set, "spec", "template", "metadata", "labels", k) != v {
			t.Errorf("the service does not find the pod: %s=%v", k, v)
		}
	}
}

func TestChartTakesOtherValues(t *testing.T) {
	t.Parallel()
	docs := renderChart(t, map[string]any{
		"backup": map[string]any{"enabled": false}, "pack": map[string]any{"enabled": false},
		"persistence": map[string]any{"existingClaim": "mine"}, "tls": map[string]any{"secretName": "zodb-tls"},
		"metrics": map[string]any{"port": 9999, "serviceMonitor": map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
			"prometheusRule": map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}}, "dashboard": map[string]any{"enabled": true}},
		"env": map[string]any{"DIRSTORAGE_MAX_BLOB": "2GiB"}, "image": map[string]any{"tag": "1.2.3"},
	})
	var kinds []string
	for name := range docs {
		kinds = append(kinds, name)
	}
	slices.Sort(kinds)
	if got := strings.Join(kinds, ", "); got != "ConfigMap site-dirstorage-dashboard, PrometheusRule site-dirstorage, Service site-dirstorage, ServiceMonitor site-dirstorage, StatefulSet site-dirstorage" {
		t.Errorf("documents: %s", got)
	}
	pod := get(t, docs["StatefulSet site-dirstorage"], "spec", "template", "spec")
	container := get(t, pod, "containers", 0)
	env := environment(t, container)
	if env["DIRSTORAGE_HTTP_LISTEN"] != ":9999" || env["DIRSTORAGE_MAX_BLOB"] != "2GiB" || env["DIRSTORAGE_TLS_AUTHENTICATE"] != "/tls/ca.crt" || env["DIRSTORAGE_BACKUP_REPOSITORY"] != "" {
		t.Errorf("environment %v", env)
	}
	if get(t, container, "image") != "dirstorage:1.2.3" || get(t, pod, "volumes", 0, "persistentVolumeClaim", "claimName") != "mine" {
		t.Errorf("%v", pod)
	}
	if get(t, docs["ServiceMonitor site-dirstorage"], "metadata", "labels", "release") != "prometheus" {
		t.Errorf("%v", docs["ServiceMonitor site-dirstorage"])
	}
}

// TestChartHasAlertsAndDashboard compares the files that the chart installs with those beside it.
func TestChartHasAlertsAndDashboard(t *testing.T) {
	t.Parallel()
	docs := renderChart(t, map[string]any{"metrics": map[string]any{"prometheusRule": map[string]any{"enabled": true}, "dashboard": map[string]any{"enabled": true}}})
	alerts, err := chartFiles{}.Get("monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal([]byte(alerts), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, get(t, docs["PrometheusRule site-dirstorage"], "spec")); diff != "" {
		t.Errorf("-file +chart:\n%s", diff)
	}
	dashboard, err := chartFiles{}.Get("monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	shown := docs["ConfigMap site-dirstorage-dashboard"]
	if diff := cmp.Diff(strings.TrimSuffix(dashboard, "\n"), strings.TrimSuffix(get(t, shown, "data", "dirstorage.json").(string), "\n")); diff != "" {
		t.Errorf("-file +chart:\n%s", diff)
	}
	if get(t, shown, "metadata", "labels", "grafana_dashboard") != "1" {
		t.Errorf("Grafana's sidecar does not find %v", get(t, shown, "metadata"))
	}
}

// TestHelmLikesTheChart asks helm, where it is installed.
func TestHelmLikesTheChart(t *testing.T) {
	t.Parallel()
	helm, err := exec.LookPath("helm")
	if err != nil {
		t.Skip("there is no helm here")
	}
	// A helm that go install has built knows no version of Kubernetes.
	for _, args := range [][]string{
		{"lint", "--strict", "--kube-version", "1.31.0", chartDir},
		{"template", "site", chartDir, "--kube-version", "1.31.0", "--set", "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true,tls.secretName=x"},
	} {
		if out, err := exec.Command(helm, args...).CombinedOutput(); err != nil {
			t.Errorf("helm %v: %v\n%s", args, err, out)
		}
	}
}

// TestEachComposeServiceIsWhole reads compose.yaml as a person would, and the commands in it.
func TestEachComposeServiceIsWhole(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../dist/image/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	services := get(t, doc, "services").(map[string]any)
	want := map[string]string{
		"backup": "every 1h backup run /data/zodb /backups/zodb", "verify": "every --at 04:00 24h backup verify --sample 5% /backups/zodb",
		"prune": "every --at 05:00 24h backup prune --keep-chains 5 /backups/zodb", "pack": "every --at 02:00 168h pack --keep 7 /data/zodb",
	}
	for name, command := range want {
		s := services[name]
		if get(t, s, "command") != command || get(t, s, "network_mode") != "none" || get(t, s, "image") != get(t, services["zeo"], "image") {
			t.Errorf("service %s is %v", name, s)
		}
		if fmt.Sprint(get(t, s, "volumes")) != "[data:/data backups:/backups]" {
			t.Errorf("service %s has the volumes %v", name, get(t, s, "volumes"))
		}
	}
	if len(services) != len(want)+2 || get(t, services["backend"], "environment", "ZEO_ADDRESS") != "zeo:8100" {
		t.Errorf("services %v", services)
	}
}
