package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// The bill of materials is in the form of CycloneDX 1.6. It says what Go wrote into the binary
// itself, so it can be compared with the output of go version -m.

type bill struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string         `json:"type"`
	Ref        string         `json:"bom-ref"`
	Name       string         `json:"name"`
	Version    string         `json:"version"`
	PURL       string         `json:"purl"`
	Hashes     []hash         `json:"hashes,omitempty"`
	Licenses   []billLicence  `json:"licenses,omitempty"`
	Properties []billProperty `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type billLicence struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type billProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// newComponent describes a module of Go.
func newComponent(kind, path, version, licenceID string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := component{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl}
	if licenceID != "" {
		var l billLicence
		l.License.ID = licenceID
		c.Licenses = []billLicence{l}
	}
	return c
}

// newBill describes a binary, whose SHA-256 is digest.
func newBill(b *binary, digest string, l licences, at time.Time) (bill, error) {
	raw, err := hex.DecodeString(digest)
	if err != nil {
		return bill{}, err
	}
	id := raw[:16] // no random number: the same binary has the same bill
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	main := newComponent("application", b.info.Main.Path, b.info.Main.Version, "Apache-2.0")
	main.Hashes = []hash{{"SHA-256", digest}}
	for _, s := range b.info.Settings {
		main.Properties = append(main.Properties, billProperty{"go:build:" + s.Key, s.Value})
	}
	doc := bill{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Serial:   fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]),
		Metadata: metadata{at.Format(time.RFC3339), main},
	}
	needs := dependency{Ref: main.Ref}
	add := func(c component) {
		doc.Components = append(doc.Components, c)
		needs.DependsOn = append(needs.DependsOn, c.Ref)
	}
	add(newComponent("library", "std", strings.TrimPrefix(b.info.GoVersion, "go"), "BSD-3-Clause"))
	for _, m := range b.info.Deps {
		one := l.of(m)
		c := newComponent("library", m.Path, m.Version, one.id)
		if m.Sum != "" { // a checksum of Go's own kind, over all files of the module
			c.Properties = []billProperty{{"go:sum", m.Sum}}
		}
		add(c)
	}
	for _, one := range l {
		if name, ok := strings.CutPrefix(one.module, npmMark); ok {
			c := newComponent("library", name, one.version, one.id)
			c.PURL = "pkg:npm/" + name + "@" + one.version
			c.Ref = c.PURL
			add(c)
		}
	}
	doc.Dependencies = []dependency{needs}
	return doc, nil
}

func writeBill(name string, b *binary, l licences, at time.Time) error {
	digest, err := sum(b.path)
	if err != nil {
		return err
	}
	doc, err := newBill(b, digest, l, at)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}
