package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers itself
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // registers itself
)

// packagers are the kinds of packages.
var packagers = []string{"deb", "rpm"}

// packaged are the systems that have packages.
func packaged(t target) bool {
	return t.os == "linux" && (t.arch == "amd64" || t.arch == "arm64")
}

// packageFile is a file of a package.
type packageFile struct {
	file
	kind     string // of nfpm: empty, or files.TypeConfigNoReplace
	packager string // empty: all
}

// packageFiles are the files of a package, by their places in the system. No directory of data is
// among them: a package owns none.
func (r *release) packageFiles(b *binary, m *manual, licences licences) (list []packageFile, err error) {
	add := func(name string, f file, kind, packager string) {
		f.name = name
		list = append(list, packageFile{f, kind, packager})
	}
	source := func(name string) file { return file{path: filepath.Join(r.repo, name), mode: 0o644} }
	add("/usr/bin/dirstorage", file{path: b.path, mode: 0o755}, "", "")
	add("/etc/dirstorage.toml", source("dist/dirstorage.toml"), files.TypeConfigNoReplace, "")
	add("/etc/default/dirstorage", source("dist/dirstorage.default"), files.TypeConfigNoReplace, "")
	units, err := tree(filepath.Join(r.repo, "dist", "systemd"), ".")
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		if filepath.Ext(u.name) == ".conf" {
			u.name = "dirstorage.service.d/10-" + u.name
		}
		add("/usr/lib/systemd/system/"+u.name, u, "", "")
	}
	for _, p := range m.pages {
		if p.text, err = zipped(p.text); err != nil {
			return nil, err
		}
		add("/usr/share/man/"+p.name+".gz", p, "", "")
	}
	add("/usr/share/bash-completion/completions/dirstorage", m.completions["bash"], "", "")
	add("/usr/share/zsh/vendor-completions/_dirstorage", m.completions["zsh"], "", "deb")
	add("/usr/share/zsh/site-functions/_dirstorage", m.completions["zsh"], "", "rpm")
	add("/usr/share/fish/vendor_completions.d/dirstorage.fish", m.completions["fish"], "", "")
	docs, err := tree(r.repo, "docs")
	if err != nil {
		return nil, err
	}
	for _, d := range append(docs, file{name: "README.md", path: filepath.Join(r.repo, "README.md"), mode: 0o644}, file{name: "CHANGELOG.md", path: filepath.Join(r.repo, "CHANGELOG.md"), mode: 0o644}) {
		add("/usr/share/doc/dirstorage/"+d.name, d, "", "")
	}
	for _, name := range []string{"alerts.yaml", "dashboard.json"} {
		add("/usr/share/doc/dirstorage/monitoring/"+name, source("dist/helm/dirstorage/monitoring/"+name), "", "")
	}
	own, err := os.ReadFile(filepath.Join(r.repo, "LICENSE"))
	if err != nil {
		return nil, err
	}
	add("/usr/share/doc/dirstorage/copyright", file{text: append(own, append([]byte("\n"), licences.text()...)...), mode: 0o644}, "", "")
	return list, nil
}

// writePackages writes the packages of a binary, if its system has any.
func (r *release) writePackages(b *binary, m *manual, licences licences) error {
	if !packaged(b.target) {
		return nil
	}
	list, err := r.packageFiles(b, m, licences)
	if err != nil {
		return err
	}
	for _, packager := range packagers {
		if _, err := r.writePackage(r.out, packager, r.version, b.target, list); err != nil {
			return err
		}
	}
	return nil
}

// zipped compresses a text, always to the same bytes.
func zipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}

// writePackage writes a package into a directory, and returns its path.
func (r *release) writePackage(dir, packager, version string, t target, list []packageFile) (path string, err error) {
	stage, err := os.MkdirTemp(r.work, "package-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(stage)
	script := func(name string) string { return filepath.Join(r.repo, "dist", "package", name+".sh") }
	info := &nfpm.Info{
		Name: program, Arch: t.arch, Platform: t.os, Version: strings.TrimPrefix(version, "v"), Release: "1", MTime: r.time,
		Section: "database", Priority: "optional", Maintainer: "dirstorage <dirstorage@users.noreply.github.com>",
		Description: "ZODB storage server of ordinary files\n" +
			"Serves ZODB databases to ZEO clients such as Zope, Plone and Pyramid. Data are\nordinary files that never change, for tar, rsync and find. With incremental\nbackups, pack, check and import from FileStorage.",
		Homepage: "https://github.com/dirstorage/dirstorage", License: "Apache-2.0", DisableGlobbing: true,
	}
	info.RPM.BuildHost, info.RPM.Summary = "reproducible", "ZODB storage server of ordinary files"
	info.Scripts = nfpm.Scripts{PreInstall: script("preinstall"), PostInstall: script("postinstall"), PreRemove: script("preremove"), PostRemove: script("postremove")}
	if packager == "deb" {
		info.Depends = []string{"passwd"}
	} else {
		info.Depends = []string{"shadow-utils"}
	}
	info.Recommends = []string{"systemd"}
	for i, f := range list {
		if f.packager != "" && f.packager != packager {
			continue
		}
		path := f.path
		if path == "" {
			path = filepath.Join(stage, fmt.Sprint(i))
			if err := os.WriteFile(path, f.text, 0o644); err != nil {
				return "", err
			}
		}
		info.Contents = append(info.Contents, &files.Content{Source: path, Destination: f.name, Type: f.kind,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: f.mode, MTime: r.time}})
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.PrepareForPackager(info, packager); err != nil {
		return "", err
	}
	writer, err := nfpm.Get(packager)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := writer.Package(info, &b); err != nil {
		return "", err
	}
	path = filepath.Join(dir, writer.ConventionalFileName(info))
	return path, os.WriteFile(path, b.Bytes(), 0o644)
}
