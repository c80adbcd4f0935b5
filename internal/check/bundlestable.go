package check

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// tableCheck compares the table of current revisions with the indexes. It is opened as the storage
// does, and nothing is written.
type tableCheck struct {
	t       *current.Table
	covered []bool // by part: all of its entries are in the table
	old     atomic.Int64
	damaged atomic.Int64
	first   atomic.Uint64 // an object whose slot is old, and one
	failed  atomic.Pointer[error]
}

// openTable opens the table of a storage that nobody has open. nil: there is none, it cannot be opened
// for writing, or nobody knows whose it should be.
func (v *bundles) openTable(report func(Finding)) *tableCheck {
	if v.still || len(v.parts) == 0 || v.identity == [16]byte{} {
		return nil
	}
	t, err := current.Open(v.fs, v.identity)
	if err != nil {
		if errors.Is(err, current.ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
			report(Finding{Kind: TableDamaged, Severity: Warning, Path: current.Name, Detail: err.Error() + "; the next open for writing makes it again"})
		}
		return nil
	}
	_, note := t.UpTo()
	sums := make(map[bundle.Name]string)
	for line := range strings.Lines(string(note)) {
		said := strings.Fields(line) // name, sum, sum of the list; one that is not in it says so
		if len(said) == 4 {          // the number of its list; numbers never go down
			v.findList(said, report)
			said = said[:3]
		}
		if len(said) != 3 || said[2] == "behind" {
			continue
		}
		if n, _, ok := bundle.ParseName(said[0]); ok {
			sums[n] = said[1]
		}
	}
	c := &tableCheck{t: t, covered: make([]bool, len(v.parts))}
	for i, p := range v.parts {
		c.covered[i] = sums[p.name] != "" && !p.Rebuilt() && strings.HasPrefix(hex.EncodeToString(p.Sum[:]), sums[p.name])
	}
	return c
}

// findList reports a gone list that the table names, and that is not there.
func (v *bundles) findList(said []string, report func(Finding)) {
	n, _, ok := bundle.ParseName(said[0])
	number, err := strconv.ParseUint(said[3], 10, 64)
	for _, p := range v.parts {
		if !ok || err != nil || p.name != n || p.number >= number || p.Rebuilt() || !strings.HasPrefix(hex.EncodeToString(p.Sum[:]), said[1]) {
			continue
		}
		f := bundleFault(GoneDamaged, bundlesDir(p.side)+"/"+n.Gone(number), "the table of current revisions names this list of removed members, and it is missing: "+
			"members that packs removed since may be there again, and members that undelete brought back may be removed; "+
			"put it back, from a backup or a copy of this HOME")
		f.Severity = Warning
		report(f)
	}
}

// cursor reads slots of objects in order.
func (c *tableCheck) cursor() *current.Cursor {
	if c == nil {
		return nil
	}
	return c.t.Cursor()
}

// compare looks whether the table knows the newest entry of an object.
func (c *tableCheck) compare(at *current.Cursor, e entry) {
	if c == nil || !c.covered[e.part] {
		return
	}
	switch slot, err := at.Get(e.oid); {
	case errors.Is(err, current.ErrDamaged):
		c.damaged.Add(1)
	case err != nil:
		c.failed.CompareAndSwap(nil, &err)
	case slot.TID < e.tid:
		c.first.CompareAndSwap(0, uint64(e.oid)+1)
		c.old.Add(1)
	}
}

func (c *tableCheck) close(report func(Finding)) {
	if c == nil {
		return
	}
	if err := c.failed.Load(); err != nil {
		report(Finding{Kind: TableDamaged, Severity: Warning, Path: current.Name, Detail: (*err).Error() + ": it cannot be read; the storage looks into the indexes then"})
	}
	if n := c.damaged.Load(); n > 0 {
		report(Finding{Kind: TableDamaged, Severity: Warning, Path: current.Name, Detail: human.Plural(n, "slot is", "slots are") + " damaged; the storage looks into the indexes for that"})
	}
	if n := c.old.Load(); n > 0 {
		report(Finding{Kind: TableDamaged, Severity: Damage, Path: current.Name, OID: zodb.OID(c.first.Load() - 1), HasOID: true,
			Detail: human.Plural(n, "object has", "objects have") + " a later revision than it says; remove the file, the next open for writing makes it again"})
	}
	_ = c.t.Close() //nolint:errcheck // nothing was written
}
