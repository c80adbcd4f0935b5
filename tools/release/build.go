package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// binary is the program for one system.
type binary struct {
	target target
	path   string
	info   *buildinfo.BuildInfo
}

// output runs a command in dir and returns its output, without the blanks around it.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (r *release) git(ctx context.Context, args ...string) (string, error) {
	return output(ctx, r.repo, nil, "git", args...)
}

// clone takes a commit out of a repository. Tags come with it: Go takes the version from them.
func (r *release) clone(ctx context.Context, repo, commit string) (err error) {
	if r.commit, err = output(ctx, repo, nil, "git", "rev-parse", "--verify", commit+"^{commit}"); err != nil {
		return err
	}
	if repo, err = filepath.Abs(repo); err != nil {
		return err
	}
	r.repo = filepath.Join(r.work, "source")
	if _, err := output(ctx, r.work, nil, "git", "clone", "--quiet", "--shared", "--no-checkout", repo, r.repo); err != nil {
		return err
	}
	if _, err := r.git(ctx, "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", r.commit); err != nil {
		return err
	}
	text, err := r.git(ctx, "show", "--no-patch", "--format=%cI", r.commit)
	if err != nil {
		return err
	}
	r.time, err = time.Parse(time.RFC3339, text)
	r.time = r.time.UTC()
	return err
}

// goEnv is the environment of the Go command, without the settings that change the result.
func goEnv(t target) []string {
	env := []string{"CGO_ENABLED=0", "GOFLAGS=", "GOENV=off", "GOWORK=off", "GOOS=" + t.os, "GOARCH=" + t.arch}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "GO") && !strings.HasSuffix(name, "CACHE") && name != "GOPROXY" && name != "GOTOOLCHAIN" && name != "GOPATH" && name != "GOSUMDB" {
			continue
		}
		if name != "CGO_ENABLED" {
			env = append(env, pair)
		}
	}
	return env
}

// compile builds the program for a system.
func (r *release) compile(ctx context.Context, t target) (*binary, error) {
	b := &binary{target: t, path: filepath.Join(r.work, program+"-"+t.os+"-"+t.arch)}
	_, err := output(ctx, r.repo, goEnv(t), "go", "build", "-trimpath", "-buildvcs=true", "-mod=readonly", "-ldflags=-s -w", "-o", b.path, "./cmd/dirstorage")
	if err != nil {
		return nil, err
	}
	if b.info, err = buildinfo.ReadFile(b.path); err != nil {
		return nil, err
	}
	return b, errors.Join(r.checkStamp(b), checkStatic(b))
}

// checkStamp sees to it that the binary says which commit it is of.
func (r *release) checkStamp(b *binary) error {
	settings := make(map[string]string)
	for _, s := range b.info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["vcs.revision"] != r.commit || settings["vcs.modified"] != "false" || settings["vcs.time"] == "" {
		return fmt.Errorf("%s: the binary says that it is of commit %q (modified: %s), not of %s", b.target, settings["vcs.revision"], settings["vcs.modified"], r.commit)
	}
	return nil
}

// checkStatic sees to it that a binary for Linux wants neither an interpreter nor a library.
func checkStatic(b *binary) error {
	if b.target.os != "linux" {
		return nil
	}
	f, err := elf.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("%s: the binary is not static", b.target)
		}
	}
	return nil
}

// commonFiles are the files of an archive besides the binary, the same for all systems.
func (r *release) commonFiles(licences licences) ([]file, error) {
	files := []file{{name: "LICENSES-third-party.txt", text: licences.text(), mode: 0o644}}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		files = append(files, file{name: name, path: filepath.Join(r.repo, name), mode: 0o644})
	}
	for _, dir := range []string{"docs", "dist"} {
		more, err := tree(r.repo, dir)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}
