package cli

import (
	"bytes"
	"fmt"
)

// refsPrinter prints the output of refs piece by piece, so that it needs no memory for all objects that
// refer to one, and ends when nobody reads it any more.
type refsPrinter struct {
	e    *env
	a    *refsAnswer
	json bool
}

// begin prints the facts that are known before the search.
func (p *refsPrinter) begin() error {
	if p.json {
		return nil
	}
	f, a := fields{e: p.e}, p.a
	f.line("object", "%s", a.OID)
	if a.Class != "" {
		f.line("class", "%s", printable([]byte(a.Class)))
	}
	if a.Serial != 0 {
		f.line("serial", "%s (%s)", a.Serial, formatTID(a.Serial))
	}
	switch {
	case !a.Exists:
		f.line("exists", "no: %s", a.Reason)
	case a.Reason != "":
		f.line("note", "%s", a.Reason)
	}
	for _, t := range a.RefersTo {
		kind := strength(t.Weak)
		if t.Database != "" {
			kind += fmt.Sprintf(", in database %q", t.Database)
		}
		if t.Exists != nil && !*t.Exists {
			kind += ", does not exist"
		}
		f.line("refers to", "%s %s (%s)", t.OID, printable([]byte(t.Class)), kind)
	}
	if len(a.RefersTo) == 0 && a.Exists && a.Reason == "" {
		f.line("refers to", "nothing")
	}
	return f.err
}

// referrers prints objects that refer to the object, in one write.
func (p *refsPrinter) referrers(list []referrer) error {
	var b bytes.Buffer
	to := *p.e
	to.Stdout = &b
	f := fields{e: &to}
	for _, r := range list {
		p.a.ReferredToBy++
		if p.a.Class == "" && !p.a.Exists {
			p.a.Class = r.names
		}
		if p.json {
			if err := to.printLine(r); err != nil {
				return err
			}
			continue
		}
		f.line("referred to by", "%s %s at %s (%s)", r.OID, printable([]byte(r.Class)), r.Serial, strength(r.Weak))
	}
	if f.err != nil {
		return f.err
	}
	_, err := p.e.Stdout.Write(b.Bytes())
	return err
}

// end prints the facts that the search has found.
func (p *refsPrinter) end() error {
	if p.json {
		return p.e.printLine(refsSummary{*p.a})
	}
	f := fields{e: p.e}
	if p.a.ReferredToBy == 0 {
		f.line("referred to by", "nothing%s", p.a.howFar())
	}
	if p.a.Class != "" && !p.a.Exists {
		f.line("class", "%s, as those that refer to it say", printable([]byte(p.a.Class)))
	}
	return f.err
}
