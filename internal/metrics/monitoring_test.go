package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const monitoringDir = "../../dist/helm/dirstorage/monitoring"

func readMonitoring(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoringDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dashboardPanel is the part of a panel of Grafana that is read here.
type dashboardPanel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, LegendFormat, RefID string }
}

func readDashboard(t *testing.T) (panels []dashboardPanel) {
	t.Helper()
	var d struct{ Panels []dashboardPanel }
	if err := json.Unmarshal([]byte(readMonitoring(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 20 {
		t.Fatalf("%d panels", len(d.Panels))
	}
	return d.Panels
}

// ruleExpressions returns the expressions of alerts.yaml by the name of the alert, and what is
// filled into each one's summary.
func ruleExpressions(t *testing.T) (exprs, summaries map[string]string) {
	t.Helper()
	exprs, summaries = make(map[string]string), make(map[string]string)
	rule := regexp.MustCompile(`(?s)^(Dirstorage\w+)\n.*?        expr: (\|\n)?(.*?)\n        (?:for|labels): .*summary: (.*)$`)
	for i, text := range strings.Split(readMonitoring(t, "alerts.yaml"), "      - alert: ") {
		if i == 0 {
			continue
		}
		m := rule.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("an alert without expression or summary:\n%s", text)
		}
		if exprs[m[1]] != "" {
			t.Errorf("there are two of %s", m[1])
		}
		exprs[m[1]], summaries[m[1]] = m[3], m[4]
	}
	if len(exprs) < 15 {
		t.Fatalf("%d alerts", len(exprs))
	}
	return exprs, summaries
}

// seriesLabels returns the labels of each series name of the exposition, those included that
// Prometheus adds.
func seriesLabels(t *testing.T) map[string]map[string]bool {
	t.Helper()
	added := map[string]bool{"job": true, "instance": true}
	labels := map[string]map[string]bool{"up": added}
	for _, name := range []string{"process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"} {
		labels[name] = added
	}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? `).FindAllStringSubmatch(scrape(t, filled(t)), -1) {
		if labels[m[1]] == nil {
			labels[m[1]] = map[string]bool{"job": true, "instance": true}
		}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			labels[m[1]][l[1]] = true
		}
	}
	return labels
}

// selectors finds the names of series in an expression, with the matchers behind each.
var selectors = regexp.MustCompile(`\b((?:dirstorage|process|go)_\w+|up)\b(\{[^}]*\})?`)

// checkExpression reports names of series and labels that do not exist.
func checkExpression(t *testing.T, where, expr string, series map[string]map[string]bool) {
	t.Helper()
	all := make(map[string]bool)
	found := selectors.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s asks for nothing: %s", where, expr)
	}
	for _, m := range found {
		labels, ok := series[m[1]]
		if !ok {
			t.Errorf("%s: there is no series %s", where, m[1])
		}
		for l := range labels {
			all[l] = true
		}
		for _, l := range regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"`).FindAllStringSubmatch(m[2], -1) {
			if !labels[l[1]] {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	for _, by := range regexp.MustCompile(`\b(?:by|on|without) \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(by[1], ",") {
			if !all[strings.TrimSpace(l)] {
				t.Errorf("%s: nothing in it has the label %s: %s", where, l, expr)
			}
		}
	}
}

// TestAlertsAndDashboardAskForSeriesThatExist finds renamed metrics and labels.
func TestAlertsAndDashboardAskForSeriesThatExist(t *testing.T) {
	t.Parallel()
	series := seriesLabels(t)
	exprs, summaries := ruleExpressions(t)
	for name, expr := range exprs {
		checkExpression(t, name, expr, series)
		for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(summaries[name], -1) {
			has := false
			for _, s := range selectors.FindAllStringSubmatch(expr, -1) {
				has = has || series[s[1]][m[1]]
			}
			if !has {
				t.Errorf("the summary of %s speaks of a label %s", name, m[1])
			}
		}
	}
	for _, p := range readDashboard(t) {
		for _, target := range p.Targets {
			checkExpression(t, "panel "+p.Title, target.Expr, series)
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				has := false
				for _, s := range selectors.FindAllStringSubmatch(target.Expr, -1) {
					has = has || series[s[1]][m[1]]
				}
				if !has {
					t.Errorf("the legend of panel %s speaks of a label %s", p.Title, m[1])
				}
			}
		}
	}
}

// TestDocumentNamesEveryAlert compares the table in docs/monitoring.md with alerts.yaml.
func TestDocumentNamesEveryAlert(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	exprs, _ := ruleExpressions(t)
	for name := range exprs {
		if !regexp.MustCompile("(?m)^\\| `" + name + "` \\| \\w+ \\| .+ \\| .+ \\|$").Match(doc) {
			t.Errorf("the table has no row for %s", name)
		}
	}
	for _, name := range regexp.MustCompile(`Dirstorage\w+`).FindAllString(string(doc), -1) {
		if exprs[name] == "" {
			t.Errorf("the document speaks of %s, which is no alert", name)
		}
	}
}

// TestDashboardIsLaidOutInOrder finds panels that overlap, share a number or explain nothing.
func TestDashboardIsLaidOutInOrder(t *testing.T) {
	t.Parallel()
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, p := range readDashboard(t) {
		if ids[p.ID] {
			t.Errorf("panel %s has a number that another one has", p.Title)
		}
		ids[p.ID] = true
		if p.Title == "" || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d, %q, has no title, description or series", p.ID, p.Title)
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
			t.Errorf("panel %s does not fit: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken {
					t.Fatalf("panel %s lies over panel %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool here")
	}
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// TestEachAlertFiresAndRests has promtool evaluate each alert where it has to fire, and where not.
func TestEachAlertFiresAndRests(t *testing.T) {
	t.Parallel()
	cases, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	exprs, _ := ruleExpressions(t)
	for name := range exprs {
		parts := regexp.MustCompile(`alertname: `+name+`\b(?:\n +exp_alerts:(.*)\n)?`).FindAllStringSubmatch(string(cases), -1)
		rests := 0
		for _, p := range parts {
			if strings.TrimSpace(p[1]) == "[]" {
				rests++
			}
		}
		if rests == 0 || rests == len(parts) {
			t.Errorf("%s: %d cases, in %d of them it rests", name, len(parts), rests)
		}
	}
	if testing.Short() {
		t.Skip("the evaluation of the cases takes seconds")
	}
	promtool(t, "test", "rules", "testdata/alerts_test.yaml")
}

// TestPromtoolReadsRulesAndDashboard has promtool read each expression.
func TestPromtoolReadsRulesAndDashboard(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for _, p := range readDashboard(t) {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$storage", ".*").Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("panel %s has an unknown variable: %s", p.Title, expr)
			}
			fmt.Fprintf(&b, "      - record: panel:p%d:%s\n        expr: %q\n", p.ID, strings.ToLower(target.RefID), expr)
		}
	}
	name := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", filepath.Join(monitoringDir, "alerts.yaml"), name)
}
