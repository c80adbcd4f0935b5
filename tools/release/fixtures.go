package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// checkTag sees to it that the commit of a tag has a part in the changelog, and the fixtures with which
// later releases are tested. A commit without a tag is not a release, and needs neither.
func (r *release) checkTag(ctx context.Context) error {
	tags, err := r.git(ctx, "tag", "--points-at", r.commit)
	if err != nil {
		return err
	}
	for _, tag := range strings.Fields(tags) {
		version := strings.TrimPrefix(tag, "v")
		text, err := os.ReadFile(filepath.Join(r.repo, "CHANGELOG.md"))
		if err != nil {
			return err
		}
		if !strings.Contains(string(text), "\n## "+version+"\n") && !strings.Contains(string(text), "\n## "+version+" ") {
			return fmt.Errorf("tag %s: CHANGELOG.md has no part “## %s”; rename “Unreleased”", tag, version)
		}
		dir := filepath.Join("testdata", "releases", version)
		if _, err := os.Stat(filepath.Join(r.repo, dir, "expected.json")); err != nil {
			return fmt.Errorf("tag %s: %w; make the fixtures first: go -C tools run ./fixtures -version %s", tag, err, version)
		}
	}
	return nil
}
