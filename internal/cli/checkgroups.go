package cli

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/human"
)

// bundleFindings counts the findings about single members of bundles, which have one cause each: a
// line for each member would hide the line about the bundle.
type bundleFindings struct {
	order  []bundleFault // in the order of their first finding
	groups map[bundleFault]*faultyMembers
}

// bundleFault is a fault that members of a bundle have in common.
type bundleFault struct {
	path     string
	kind     check.Kind
	severity check.Severity
}

// faultyMembers counts the members with a fault.
type faultyMembers struct {
	first                   check.Finding
	revisions, transactions int64
}

// hold keeps a finding for later, if it is about a member of a bundle.
func (b *bundleFindings) hold(f check.Finding) bool {
	if _, _, ok := bundle.ParseName(path.Base(f.Path)); !ok || !f.HasOID && f.TID == 0 {
		return false
	}
	fault := bundleFault{f.Path, f.Kind, f.Severity}
	g := b.groups[fault]
	if g == nil {
		if b.groups == nil {
			b.groups = make(map[bundleFault]*faultyMembers)
		}
		g = &faultyMembers{first: f}
		b.order, b.groups[fault] = append(b.order, fault), g
	}
	if f.HasOID {
		g.revisions++
	} else {
		g.transactions++
	}
	return true
}

// print has print print faults of one member as they are, and prints a line for each other one.
func (b *bundleFindings) print(e *env, print func(check.Finding) error) error {
	for _, fault := range b.order {
		g := b.groups[fault]
		if g.revisions+g.transactions == 1 {
			if err := print(g.first); err != nil {
				return err
			}
			continue
		}
		var members []string
		if g.revisions > 0 {
			members = append(members, human.Number(g.revisions, "revision"))
		}
		if g.transactions > 0 {
			members = append(members, human.Number(g.transactions, "transaction"))
		}
		first := "tid " + g.first.TID.String()
		if g.first.HasOID {
			first = "oid " + g.first.OID.String() + " " + first
		}
		detail := strings.TrimPrefix(g.first.Detail, "corrupt data in "+fault.path+": ")
		if _, err := fmt.Fprintf(e.Stdout, "%s %s %s: %s, the first is %s: %s (--verbose lists all)\n",
			fault.severity, fault.kind, strconv.Quote(fault.path), strings.Join(members, " and "), first, detail); err != nil {
			return err
		}
	}
	return nil
}
