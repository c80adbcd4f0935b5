package cli

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/config"
)

// oneWord has the flag for each idea that several commands have or may come to have, and the other names
// for the idea, which no command may have.
var oneWord = map[string][]string{
	"backup-age":    {"max-backup-age", "backup-older-than"},
	"dry-run":       {"plan", "simulate", "no-act", "preview"},
	"follow":        {"continuous", "tail"},
	"force":         {"overwrite", "replace", "clobber"},
	"format":        {"layout", "structure", "to-format"},
	"from":          {"begin", "first", "start"},
	"identity":      {"id", "storage-id"},
	"ignore-space":  {"no-space-check", "force-space"},
	"interval":      {"period", "refresh", "delay", "every"},
	"json":          {"as-json", "output", "output-format"},
	"no-blobs":      {"without-blobs", "skip-blobs"},
	"no-pager":      {"nopager"},
	"number":        {"max", "most", "lines"},
	"quiet":         {"silent", "no-progress"},
	"repository":    {"repo", "backups", "backup-dir"},
	"skip-broken":   {"ignore-errors", "skip-damaged", "keep-going"},
	"snapshot-conf": {"conf"},
	"timeout":       {"wait", "max-wait"},
	"tmp":           {"temp", "tempdir", "tmp-dir", "scratch"},
	"to":            {"until", "before", "last", "end"},
	"verbose":       {"debug", "trace"},
	"verify-age":    {"max-verify-age", "verified-age"},
	"watch":         {"repeat", "monitor"},
	"workers":       {"jobs", "parallel", "threads", "concurrency"},
	"yes":           {"assume-yes", "no-confirm"},
}

// TestOneFlagForOneIdea: a flag has the same type and the same letter in all commands, and no idea has two
// names. Settings of the server are named as in its configuration.
func TestOneFlagForOneIdea(t *testing.T) {
	t.Parallel()
	forbidden := make(map[string]string)
	for name, others := range oneWord {
		for _, other := range others {
			forbidden[other] = name
		}
	}
	type kind struct{ value, letter string }
	seen, where := make(map[string]kind), make(map[string]string)
	letters := make(map[string]string)
	e, _, _ := testEnv()
	for command, c := range leaves(e) {
		c.InheritedFlags() // merges those of all commands
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if config.IsSetting(f) || f.Name == "help" {
				return
			}
			if name := forbidden[f.Name]; name != "" {
				t.Errorf("%s --%s: the name for this is --%s", command, f.Name, name)
			}
			k := kind{f.Value.Type(), f.Shorthand}
			if f.Name == "sample" && command == "config" { // a file, not a part of the data
				return
			}
			if before, ok := seen[f.Name]; ok && before != k {
				t.Errorf("--%s is %v of %s, and %v of %s", f.Name, k, command, before, where[f.Name])
			}
			seen[f.Name], where[f.Name] = k, command
			if other := letters[f.Shorthand]; f.Shorthand != "" && other != "" && other != f.Name {
				t.Errorf("-%s is --%s of %s, and --%s", f.Shorthand, f.Name, command, other)
			}
			letters[f.Shorthand] = f.Name
		})
	}
	for name, others := range oneWord {
		if _, ok := seen[name]; !ok {
			t.Errorf("no command has --%s", name)
		}
		if slices.Contains(others, name) {
			t.Errorf("--%s is its own other name", name)
		}
	}
}
