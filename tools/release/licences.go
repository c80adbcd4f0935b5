package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// licence is of one module, or of Go itself.
type licence struct {
	module, version string
	id              string // of SPDX; empty if the text is not one of those that are known here
	text            []byte
}

// licences are sorted by module.
type licences []licence

// licences collects the licences of all modules that are in the binaries. Each has to be passed on
// with them. A module without one is an error.
func (r *release) licences(ctx context.Context, binaries []*binary) (licences, error) {
	goroot, err := output(ctx, r.repo, goEnv(binaries[0].target), "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	own, err := readLicence(goroot)
	if err != nil {
		return nil, err
	}
	list := licences{{module: "std", version: strings.TrimPrefix(binaries[0].info.GoVersion, "go"), text: own}}
	seen := make(map[string]bool)
	for _, b := range binaries {
		for _, m := range b.info.Deps {
			if seen[m.Path] {
				continue
			}
			seen[m.Path] = true
			dir, err := output(ctx, r.repo, goEnv(b.target), "go", "list", "-m", "-f", "{{.Dir}}", m.Path)
			if err != nil {
				return nil, err
			}
			text, err := readLicence(dir)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.Path, err)
			}
			list = append(list, licence{module: m.Path, version: m.Version, text: text})
		}
	}
	embedded, err := r.embedded()
	if err != nil {
		return nil, err
	}
	list = append(list, embedded...)
	slices.SortFunc(list, func(a, b licence) int { return strings.Compare(a.module, b.module) })
	for i := range list {
		list[i].id = licenceID(list[i].text)
	}
	return list, nil
}

// npmMark is before the names of packages of npm in licences.
const npmMark = "npm:"

// embedded returns the licences of files of others that package web has in the binary. The version
// is in the first line of the file.
func (r *release) embedded() (licences, error) {
	static := filepath.Join(r.repo, "internal", "web", "static")
	script, err := os.ReadFile(filepath.Join(static, "uPlot.iife.min.js"))
	if err != nil {
		return nil, err
	}
	version := regexp.MustCompile(`^/\*! \S+ \(v([0-9.]+)\) \*/`).FindSubmatch(script)
	if version == nil {
		return nil, errors.New("uPlot.iife.min.js does not begin with its version")
	}
	text, err := os.ReadFile(filepath.Join(static, "uPlot.LICENSE.txt"))
	if err != nil {
		return nil, err
	}
	return licences{{module: npmMark + "uplot", version: string(version[1]), text: bytes.TrimSpace(text)}}, nil
}

// licenceFile matches the names of files with licences and notices.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)(\.(md|txt))?$`)

// readLicence returns the texts of the licence in a directory.
func readLicence(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, e := range entries {
		if !licenceFile.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, bytes.TrimSpace(text))
	}
	if len(all) == 0 {
		return nil, errors.New("there is no licence in " + dir)
	}
	return bytes.Join(all, []byte("\n\n")), nil
}

// licenceID is the name of a licence in SPDX's list, empty if it is not one of the usual ones.
func licenceID(text []byte) string {
	words := strings.Join(strings.Fields(string(text)), " ")
	switch {
	case strings.Contains(words, "Apache License Version 2.0"):
		return "Apache-2.0"
	case strings.Contains(words, "Permission is hereby granted, free of charge"):
		return "MIT"
	case strings.Contains(words, "Redistributions in binary form") && strings.Contains(words, "Neither the name"):
		return "BSD-3-Clause"
	case strings.Contains(words, "Redistributions in binary form"):
		return "BSD-2-Clause"
	case strings.Contains(words, "Mozilla Public License, version 2.0"):
		return "MPL-2.0"
	}
	return ""
}

// of returns the licence of a module.
func (l licences) of(m *debug.Module) licence {
	for _, one := range l {
		if one.module == m.Path {
			return one
		}
	}
	return licence{}
}

// text is one document with all of them.
func (l licences) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "The binary of %s contains the Go runtime and these modules, under these licences.\n", program)
	for _, one := range l {
		name := one.module + " " + one.version
		if one.module == "std" {
			name = "Go " + one.version
		}
		name = strings.TrimPrefix(name, npmMark)
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s\n", name, strings.Repeat("=", len(name)), one.text)
	}
	return b.Bytes()
}
