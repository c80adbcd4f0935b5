package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var commitTime = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// entries are the contents of an archive by name; those of directories are their modes.
func entries(t *testing.T, name string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.IsZero() || h.Mode&0o022 != 0 {
			t.Errorf("%s: owner %d:%d, time %s, mode %o", h.Name, h.Uid, h.Gid, h.ModTime, h.Mode)
		}
		if _, twice := found[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		found[h.Name] = string(content)
	}
}

// TestArchiveDependsOnContentsAlone writes the same files from two directories that differ in all
// that does not belong to the content.
func TestArchiveDependsOnContentsAlone(t *testing.T) {
	t.Parallel()
	var archives [][]byte
	for i, text := range []string{"same", "same", "other"} {
		dir := t.TempDir()
		mode := []os.FileMode{0o600, 0o640, 0o600}[i]
		one, two := write(t, filepath.Join(dir, "docs", "a.md"), text, mode), write(t, filepath.Join(dir, "docs", "x", "b.md"), "b", 0o600)
		write(t, filepath.Join(dir, "docs", "c.go"), "package c", 0o600)
		if err := os.Chtimes(one, commitTime.AddDate(0, i, 0), commitTime.AddDate(0, i, 0)); err != nil {
			t.Fatal(err)
		}
		files, err := tree(dir, "docs")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{name: "dirstorage", path: two, mode: 0o755})
		if i == 1 {
			slices.Reverse(files)
		}
		name := filepath.Join(dir, "a.tar.gz")
		if err := writeArchive(name, "top", files, commitTime); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"top/": "", "top/docs/": "", "top/docs/x/": "", "top/dirstorage": "b", "top/docs/a.md": text, "top/docs/x/b.md": "b"}
		got := entries(t, name)
		for name, content := range want {
			if have, ok := got[name]; !ok || have != content {
				t.Errorf("%s: %q, want %q", name, have, content)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d entries, want %d: %v", len(got), len(want), got)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, b)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files give two archives")
	}
	if bytes.Equal(archives[0], archives[2]) {
		t.Error("other files give the same archive")
	}
}

func TestLicencesAreRecognized(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                                    "Apache-2.0",
		"The MIT License\n\nPermission is hereby granted, free of\ncharge, to any person": "MIT",
		"Redistributions in binary form must … Neither the name of Google":                "BSD-3-Clause",
		"Redistributions in binary form must reproduce the above copyright":               "BSD-2-Clause",
		"All rights reserved": "",
	} {
		if got := licenceID([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if _, err := readLicence(t.TempDir()); err == nil {
		t.Error("a module without a licence is accepted")
	}
}

// TestBillNamesEveryModule makes the bill of this test's own binary.
func TestBillNamesEveryModule(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	b := &binary{path: self, info: info}
	name := filepath.Join(t.TempDir(), "a.cdx.json")
	if err := writeBill(name, b, nil, commitTime); err != nil {
		t.Fatal(err)
	}
	checkBill(t, name, b)
}

// TestEmbeddedFilesAreInBillAndLicences: the library of charts is no module of Go.
func TestEmbeddedFilesAreInBillAndLicences(t *testing.T) {
	t.Parallel()
	l, err := (&release{repo: "../.."}).embedded()
	if err != nil {
		t.Fatal(err)
	}
	for i := range l {
		l[i].id = licenceID(l[i].text)
	}
	doc, err := newBill(&binary{info: &buildinfo.BuildInfo{}}, strings.Repeat("0", 64), l, commitTime)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(doc.Components, func(c component) bool {
		return c.PURL == "pkg:npm/uplot@1.6.32" && c.Name == "uplot" && len(c.Licenses) == 1 && c.Licenses[0].License.ID == "MIT"
	}) {
		t.Errorf("the bill has %+v", doc.Components)
	}
	if text := string(l.text()); !strings.Contains(text, "uplot 1.6.32") || !strings.Contains(text, "Leon Sorokin") {
		t.Errorf("the licences are %s", text)
	}
}

// checkBill compares a bill with the binary that it is about.
func checkBill(t *testing.T, name string, b *binary) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var doc bill
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	digest, err := sum(b.path)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || doc.SpecVersion != "1.6" || doc.Metadata.Component.Hashes[0].Content != digest {
		t.Errorf("%s begins with %+v", name, doc.Metadata.Component)
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(doc.Serial) {
		t.Errorf("serial number %s", doc.Serial)
	}
	modules := slices.DeleteFunc(slices.Clone(doc.Components), func(c component) bool { return strings.HasPrefix(c.PURL, "pkg:npm/") })
	if len(modules) != len(b.info.Deps)+1 {
		t.Errorf("%d components, want %d modules and std", len(modules), len(b.info.Deps))
	}
	refs := doc.Dependencies[0].DependsOn
	for _, m := range b.info.Deps {
		ref := "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
		if !slices.Contains(refs, ref) || !slices.ContainsFunc(doc.Components, func(c component) bool { return c.Ref == ref }) {
			t.Errorf("%s does not name %s", name, ref)
		}
	}
}

// repository is a copy of this project's, in a directory of another name; HEAD is the same.
func repository(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	if out, err := exec.Command("git", "-C", "../..", "rev-parse", "HEAD").CombinedOutput(); err != nil {
		t.Skipf("this is no repository of git: %s", out)
	}
	dir := filepath.Join(t.TempDir(), "a copy")
	if out, err := exec.Command("git", "clone", "--quiet", "--no-local", "../..", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// TestReleaseIsReproducible makes a release twice, from two directories, and compares every byte.
// With DIRSTORAGE_ROUNDS it is for all systems, and nothing that was compiled for the first is used
// for the second.
func TestReleaseIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	targets, all := "linux/"+runtime.GOARCH, os.Getenv("DIRSTORAGE_ROUNDS") != ""
	if all {
		targets = allTargets
	}
	var outs []string
	for i, repo := range []string{"../..", repository(t)} {
		if all && i == 1 {
			t.Setenv("GOCACHE", t.TempDir())
		}
		out := filepath.Join(t.TempDir(), "out")
		var stdout, stderr bytes.Buffer
		if err := run(t.Context(), []string{"-repo", repo, "-out", out, "-targets", targets}, &stdout, &stderr); err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		outs = append(outs, out)
	}
	sums, err := os.ReadFile(filepath.Join(outs[0], "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(filepath.Join(outs[1], "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sums, again) {
		t.Errorf("the sums are\n%s\nand, of another directory,\n%s", sums, again)
	}
	check := exec.Command("sha256sum", "--strict", "--check", "SHA256SUMS")
	check.Dir = outs[1]
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	names, err := filepath.Glob(filepath.Join(outs[0], "*"))
	if err != nil || len(names) != len(strings.Split(strings.TrimSpace(string(sums)), "\n"))+1 {
		t.Errorf("%v, and sums of\n%s", names, sums)
	}
	looksWhole(t, outs[0])
}

// looksWhole checks the archive of this system.
func looksWhole(t *testing.T, out string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(out, "dirstorage-*-linux-"+runtime.GOARCH+".tar.gz"))
	if err != nil || len(names) != 1 {
		t.Fatalf("archives %v, %v", names, err)
	}
	top := strings.TrimSuffix(filepath.Base(names[0]), ".tar.gz")
	files := entries(t, names[0])
	for _, name := range []string{
		"dirstorage", "LICENSE", "LICENSES-third-party.txt", "README.md", "CHANGELOG.md", "docs/backup.md", "dist/dirstorage.toml", "dist/systemd/dirstorage.service",
		"man/man1/dirstorage.1", "man/man1/dirstorage-backup-run.1", "man/man5/dirstorage-configuration.5", "completions/bash/dirstorage",
		"completions/zsh/_dirstorage", "completions/fish/dirstorage.fish",
	} {
		if files[top+"/"+name] == "" {
			t.Errorf("%s is missing or empty", name)
		}
	}
	path := write(t, filepath.Join(t.TempDir(), "dirstorage"), files[top+"/dirstorage"], 0o755)
	said, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	head, err := exec.Command("git", "-C", "../..", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^dirstorage v\S+ \(commit ` + strings.TrimSpace(string(head)) + ` of \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\) go1\.\S+ linux/` + runtime.GOARCH + `\n$`)
	if !want.Match(said) {
		t.Errorf("--version says %s", said)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkBill(t, filepath.Join(out, top+".cdx.json"), &binary{path: path, info: info})
	for _, m := range info.Deps {
		if !strings.Contains(files[top+"/LICENSES-third-party.txt"], m.Path+" "+m.Version) {
			t.Errorf("there is no licence of %s", m.Path)
		}
	}
}

func TestDryRunBuildsNothing(t *testing.T) {
	repo := repository(t)
	if out, err := exec.Command("git", "-C", repo, "tag", "v1.2.3").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write(t, filepath.Join(repo, "README.md"), "changed, and not committed", 0o644) // no part of a release
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-repo", repo, "-dry-run"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"version  v1.2.3\n", "linux-arm64.tar.gz", "SHA256SUMS", "nothing was built"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, stdout.String())
		}
	}
}

func TestWrongCallsAreRefused(t *testing.T) {
	t.Parallel()
	exists := t.TempDir()
	for _, args := range [][]string{
		{}, {"more"}, {"-dry-run", "-targets", "linux"}, {"-dry-run", "-commit", "nosuch"}, {"-out", exists},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

// TestTaggedReleaseHasItsFixtures: without a part of the changelog and files for later tests, a tag is
// not built; a commit without a tag is.
func TestTaggedReleaseHasItsFixtures(t *testing.T) {
	t.Parallel()
	repo := repository(t)
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-C", repo, "-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	out := func() string { return filepath.Join(t.TempDir(), "out") }
	refused := func(text string) {
		t.Helper()
		err := run(t.Context(), []string{"-repo", repo, "-out", out(), "-targets", "linux/" + runtime.GOARCH}, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
		var stdout bytes.Buffer
		if err := run(t.Context(), []string{"-repo", repo, "-dry-run"}, &stdout, io.Discard); err != nil || !strings.Contains(stdout.String(), "missing  ") {
			t.Errorf("%v: %s", err, stdout.String())
		}
	}
	git("tag", "v77.0.0")
	refused("tag v77.0.0: CHANGELOG.md has no part “## 77.0.0”")
	git("tag", "-d", "v77.0.0")
	text, err := os.ReadFile(filepath.Join(repo, "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(repo, "CHANGELOG.md"), strings.Replace(string(text), "\n## ", "\n## 77.0.0\n\n## ", 1), 0o644)
	git("commit", "-q", "-a", "-m", "Release 77.0.0")
	git("tag", "v77.0.0")
	refused("go -C tools run ./fixtures -version 77.0.0")
	write(t, filepath.Join(repo, "testdata", "releases", "77.0.0", "expected.json"), "{}", 0o644)
	git("add", "testdata/releases/77.0.0")
	git("commit", "-q", "-m", "Fixtures of 77.0.0")
	git("tag", "-f", "v77.0.0")
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"-repo", repo, "-dry-run"}, &stdout, io.Discard); err != nil || strings.Contains(stdout.String(), "missing  ") {
		t.Errorf("%v: %s", err, stdout.String())
	}
}
