package main

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
)

// manual is the part of the files that the program itself prints.
type manual struct {
	pages       []file // man1/dirstorage.1
	completions map[string]file
}

// printManual has a program print its manual and its completions.
func printManual(ctx context.Context, program string) (*manual, error) {
	list, err := output(ctx, "", nil, program, "man", "--list")
	if err != nil {
		return nil, err
	}
	m := &manual{completions: make(map[string]file)}
	for _, name := range strings.Fields(list) {
		text, err := output(ctx, "", nil, program, "man", name)
		if err != nil {
			return nil, err
		}
		section := strings.TrimPrefix(filepath.Ext(name), ".")
		m.pages = append(m.pages, file{name: "man" + section + "/" + name, text: []byte(text + "\n"), mode: 0o644})
	}
	for shell, name := range map[string]string{"bash": "dirstorage", "zsh": "_dirstorage", "fish": "dirstorage.fish"} {
		text, err := output(ctx, "", nil, program, "completion", shell)
		if err != nil {
			return nil, err
		}
		m.completions[shell] = file{name: name, text: []byte(text + "\n"), mode: 0o644}
	}
	return m, nil
}

// files are those of an archive.
func (m *manual) files() (all []file) {
	for _, p := range m.pages {
		p.name = "man/" + p.name
		all = append(all, p)
	}
	for shell, c := range m.completions {
		c.name = "completions/" + shell + "/" + c.name
		all = append(all, c)
	}
	return all
}

// native is the program for this machine, which prints the manual. It is one of the binaries, if
// they are for this machine too.
func (r *release) native(ctx context.Context, binaries []*binary) (*binary, error) {
	here := target{runtime.GOOS, runtime.GOARCH}
	for _, b := range binaries {
		if b.target == here {
			return b, nil
		}
	}
	return r.compile(ctx, here)
}
