package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// flagValue keeps the text of a flag; [Load] checks it, like values from elsewhere.
type flagValue struct {
	values  []string
	kind    kind
	list    bool
	changed bool
}

func (v *flagValue) String() string { return strings.Join(v.values, ", ") }

func (v *flagValue) Type() string { return string(v.kind) }

func (v *flagValue) Set(s string) error {
	if !v.list || !v.changed {
		v.values = nil
	}
	v.values, v.changed = append(v.values, s), true
	return nil
}

// AddFlags adds a flag for each setting.
func AddFlags(f *pflag.FlagSet) {
	for _, s := range table() {
		if s.onlyEnvironment {
			continue
		}
		v := &flagValue{kind: s.kind, list: s.list}
		if v.kind == "" {
			v.kind = text
		}
		if s.fallback != "" {
			v.values = []string{s.fallback}
		}
		added := f.VarPF(v, s.name, "", s.help)
		if s.kind == boolean {
			added.NoOptDefVal = "true"
		}
	}
}

// flagLayer takes the settings of the command line.
func flagLayer(f *pflag.FlagSet, settings []setting) layer {
	found := make(layer)
	for _, s := range settings {
		if fl := f.Lookup(s.name); fl != nil && fl.Changed {
			if v, ok := fl.Value.(*flagValue); ok {
				found[s.name] = value{v.values, "flag --" + s.name}
			}
		}
	}
	return found
}

// IsSetting reports whether a flag was added by [AddFlags].
func IsSetting(f *pflag.Flag) bool {
	_, is := f.Value.(*flagValue)
	return is
}
