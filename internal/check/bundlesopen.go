package check

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// lists are the gone lists of one bundle.
type lists struct {
	side    string
	numbers []uint64
}

// triesToList is how often the directories are read because a file is gone that they had. That
// happens only where the caller may not lock the HOME and somebody merges bundles in it.
const triesToList = 10

// openBundles opens the bundles of a HOME.
func openBundles(t *trees, still bool) (*bundles, error) {
	v := &bundles{trees: t, still: still, packed: packedOf(t), seed: maphash.MakeSeed(), files: newOpenFiles(t.fs)}
	for try := 1; ; try++ {
		v.again = try < triesToList
		err := v.openAll()
		if err == nil {
			return v, nil
		}
		if v.files.close(); !errors.Is(err, errMoved) {
			return nil, err
		}
	}
}

// errMoved: a file is gone that the listing of its directory had.
var errMoved = errors.New("another process changes the bundles while they are checked")

// moved reports whether an error says that the directories have to be read again.
func (v *bundles) moved(err error) bool { return v.again && errors.Is(err, fs.ErrNotExist) }

// openAll opens all bundles and lists that are there.
func (v *bundles) openAll() error {
	v.parts, v.faults, v.overlap = nil, nil, false
	gone := make(map[bundle.Name]lists)
	there := make(map[bundle.Name]string) // by side; of two sides A, which is the last one
	for _, side := range v.roots {
		for e, err := range v.fs.List(bundlesDir(side)) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return fmt.Errorf("list bundles: %w", err)
			}
			n, number, ok := bundle.ParseName(e.Name)
			switch {
			case !ok || e.Type != 0: // a stranger, which the walk finds
			case number == 0:
				there[n] = side
			default:
				gone[n] = lists{side, append(gone[n].numbers, number)}
			}
		}
	}
	var all []*part
	for n, side := range there {
		p, err := v.openPart(n, side)
		if err != nil {
			return err
		}
		if p != nil {
			all = append(all, p)
		}
	}
	v.live(all, gone)
	for _, p := range v.parts {
		if err := v.openGone(p, gone[p.name]); err != nil {
			return err
		}
	}
	v.checkRanges()
	v.checkIdentity()
	return nil
}

// packedOf reads x.packed.
func packedOf(t *trees) zodb.TID {
	data, where, err := t.read(new(worker), layout.XPacked)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	packed, perr := record.ParseX(data, where)
	if err != nil || perr != nil {
		return zodb.MaxTID // its finding is made elsewhere
	}
	return zodb.TID(packed)
}

// live keeps the bundles that count, in order of their ranges. Each leftover has a note.
func (v *bundles) live(all []*part, gone map[bundle.Name]lists) {
	left := func(path, format string, args ...any) {
		v.faults = append(v.faults, Finding{Kind: Leftover, Severity: Note, Path: path, Detail: fmt.Sprintf(format, args...)})
	}
	// Each one behind those that may supersede it; of two with one name that whose file has it.
	slices.SortFunc(all, func(a, b *part) int {
		return cmp.Or(cmp.Compare(a.name.Min, b.name.Min), cmp.Compare(b.name.Max, a.name.Max), cmp.Compare(b.name.Generation, a.name.Generation),
			cmp.Compare(len(a.renamed), len(b.renamed)), cmp.Compare(a.path, b.path))
	})
	counts := make(map[bundle.Name]bool)
	for _, p := range all {
		if i := slices.IndexFunc(v.parts, func(q *part) bool { return q.name.Supersedes(p.name) || q.name == p.name }); i >= 0 {
			if p.renamed == "" {
				left(p.path, "superseded by %s; the next open for writing removes it", v.parts[i].name)
			}
			continue
		}
		if k := len(v.parts) - 1; k >= 0 && p.name.Min <= v.parts[k].name.Max {
			v.overlap = true
			v.faults = append(v.faults, bundleFault(BundleRange, p.path, "its range overlaps with that of %s, and neither covers the other: one of the two does not belong here", v.parts[k].name))
		}
		counts[p.name] = true
		v.parts = append(v.parts, p)
	}
	for n, l := range gone {
		for _, number := range l.numbers {
			if path := bundlesDir(l.side) + "/" + n.Gone(number); !counts[n] {
				left(path, "a list of removed members of a bundle that does not count; the next open for writing removes it")
			} else if highest := slices.Max(l.numbers); number < highest {
				left(path, "list %d of removed members counts; the next open for writing removes this one", highest)
			}
		}
	}
}

// openPart opens a bundle under the name of its file. nil: it can't be read. Its members
// have the name that its footer says. The error is errMoved, or a *layout.NewerError.
func (v *bundles) openPart(n bundle.Name, side string) (*part, error) {
	p := &part{name: n, side: side, path: bundlesDir(side) + "/" + n.String(), footed: true}
	var err error
	if p.file, err = v.files.find(p.path); err != nil {
		if v.moved(err) {
			return nil, errMoved
		}
		v.faults = append(v.faults, bundleFault(Unreadable, p.path, "%v", err))
		return nil, nil
	}
	p.size = p.file.end.size
	p.Reader, err = bundle.Open(p.file, p.size, p.path)
	if _, newer := errors.AsType[*layout.NewerError](err); newer {
		return nil, err
	}
	if err != nil {
		v.faults = append(v.faults, bundleFault(bundleKind(err), p.path, "%s%s", reason(err), salvageIt))
		if !v.rebuild(p, func(f Finding) { v.faults = append(v.faults, f) }) {
			return nil, nil
		}
		if newer := p.ListNewer(); newer != nil { // the list is whole, and that release knows the rest
			return nil, newer
		}
	}
	if said := (bundle.Name{Min: p.Min, Max: p.Max, Generation: p.Generation}); p.footed && said != n {
		v.faults = append(v.faults, bundleFault(BundleName, p.path, "its footer says that it is %s; “salvage” gives it back its name", said))
		p.name, p.renamed = said, said.String()
	}
	p.heads = newBits(p.Revisions)
	return p, nil
}

// salvageIt is the advice of a finding.
const salvageIt = "; “salvage” makes it again of the readable parts"

func bundleKind(err error) Kind {
	if !errors.Is(err, zodb.ErrCorrupt) {
		return Unreadable
	}
	return BundleIndex
}

// reason is an error about a bundle without its path.
func reason(err error) string {
	bad, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok {
		return err.Error()
	}
	text := bad.Reason
	if bad.Err != nil {
		text += ": " + bad.Err.Error()
	}
	if bad.Offset > 0 {
		text = fmt.Sprintf("at offset %d: %s", bad.Offset, text)
	}
	return text
}

// rebuild reads a bundle frame by frame, because its index is damaged.
func (v *bundles) rebuild(p *part, report func(Finding)) bool {
	r, footer, err := bundle.Rebuild(p.file, p.size, p.path, bundle.RebuildOptions{Name: p.name, Flags: flagsOf, Damaged: func(err error) {
		report(bundleFault(BundleFrame, p.path, "%s", reason(err)))
	}})
	if err != nil {
		report(bundleFault(Unreadable, p.path, "%v", err))
		return false
	}
	p.Reader, p.footed = r, footer
	if !r.Complete() {
		p.gone = nil // its numbers are others
	}
	if r.ListLost() {
		report(bundleFault(GoneDamaged, p.path, "its list of removed members is damaged, too: those that packs have put aside are there again; the next pack removes them"))
	}
	p.heads = newBits(p.Revisions)
	return true
}

// flagsOf returns the flags that an index has for a content. A damaged one has a finding of its own.
func flagsOf(n layout.Name, b []byte) (flags uint16) {
	switch {
	case n.Kind == layout.KindTransaction && len(b) >= record.TransactionHeaderSize:
		if b[16] != 0 {
			flags |= bundle.FlagPacked
		}
	case n.Kind == layout.KindRevision && len(b) >= record.ObjectHeaderSize:
		if len(b) == record.ObjectHeaderSize {
			flags |= bundle.FlagGone
		}
		if !isZero(b[16:24]) {
			flags |= bundle.FlagUndo
		}
		if !isZero(b[24:40]) {
			flags |= bundle.FlagBlob
		}
	}
	return flags
}

// openGone reads the gone list with the highest number. Where that is damaged the one
// before counts, or else the one that the bundle carries: nothing that a pack has removed is missed
// then. The error is errMoved, or a *layout.NewerError.
func (v *bundles) openGone(p *part, l lists) error {
	p.gone = p.Carried()
	numbers := slices.Sorted(slices.Values(l.numbers))
	for _, number := range slices.Backward(numbers) {
		path := bundlesDir(l.side) + "/" + p.name.Gone(number)
		b, err := v.fs.ReadFile(path)
		if v.moved(err) {
			return errMoved
		}
		if err != nil {
			v.faults = append(v.faults, bundleFault(Unreadable, path, "%v", err))
			continue
		}
		gone, err := bundle.ParseGone(b, path, &p.Info)
		if err == nil {
			p.gone, p.number = gone, number
			return nil
		}
		if _, newer := errors.AsType[*layout.NewerError](err); newer {
			return err
		}
		v.faults = append(v.faults, bundleFault(GoneDamaged, path, "%s; without it, the bundle's removed members are there again: put it back from a backup, or move it out of HOME and run “salvage” with that directory", reason(err)))
	}
	return nil
}

// checkRanges looks whether each bundle follows the one before it.
func (v *bundles) checkRanges() {
	last := zodb.TID(0)
	for _, p := range v.parts {
		switch {
		case !p.footed || p.Previous == last:
		case p.Previous > last && p.Previous < p.name.Min:
			v.faults = append(v.faults, Finding{Kind: BundleMissing, Severity: Damage, TID: p.Previous, Path: bundlesDir(p.side),
				Detail: fmt.Sprintf("%s follows transaction %s, with which no bundle ends; the one before it ends with %s. "+
					"Objects that were written in between are not there, or as they were before: the storage gives errors for them", p.name, p.Previous, last)})
		case !v.overlap:
			v.faults = append(v.faults, bundleFault(BundleRange, p.path, "it follows transaction %s, and the bundle before it ends with %s", p.Previous, last))
		}
		last = max(last, p.name.Max)
	}
	data, where, err := v.trees.read(new(worker), layout.XSerial)
	serial, perr := record.ParseX(data, where)
	if err == nil && perr == nil && zodb.TID(serial) > last {
		v.faults = append(v.faults, Finding{Kind: BundleMissing, Severity: Damage, TID: zodb.TID(serial), Path: bundlesDir(sideA),
			Detail: fmt.Sprintf("x.serial names it, and the last bundle ends with %s", last)})
	}
}

// checkIdentity compares that in the footers with that of the HOME.
func (v *bundles) checkIdentity() {
	const name = "config/identity"
	b, err := v.fs.ReadFile(name)
	if vfs.Passes(err) { // the next reader may not find it
		v.faults = append(v.faults, bundleFault(Unreadable, name, "%v", err))
	}
	if err != nil {
		return // its finding is made elsewhere
	}
	text, err := settings.ParseIdentity(b)
	if err != nil {
		return
	}
	want, err := hex.DecodeString(text)
	if err != nil {
		return
	}
	copy(v.identity[:], want)
	for _, p := range v.parts {
		if p.footed && string(p.Identity[:]) != string(want) {
			v.faults = append(v.faults, bundleFault(BundleForeign, p.path, "it is of the database %x, and this one is %x", p.Identity, want))
		}
	}
}
