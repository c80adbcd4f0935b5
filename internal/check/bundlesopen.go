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
	"github.com/dirstorage/dirstorage/zodb"
)

// inDirectory is what the directories have of one bundle.
type inDirectory struct {
	bundle, gone string   // the side of it, and that of the lists; "" = there is none
	numbers      []uint64 // of lists
}

// openBundles opens the bundles of a HOME.
func openBundles(t *trees) (*bundles, error) {
	v := &bundles{trees: t, packed: packedOf(t), seed: maphash.MakeSeed()}
	all := make(map[bundle.Name]inDirectory)
	for _, side := range t.roots {
		for e, err := range t.fs.List(bundlesDir(side)) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("list bundles: %w", err)
			}
			n, number, ok := bundle.ParseName(e.Name)
			if !ok || e.Type != 0 {
				continue // a stranger, which the walk finds
			}
			d := all[n]
			if number == 0 {
				d.bundle = side // of two sides A, which is the last one
			} else {
				d.gone, d.numbers = side, append(d.numbers, number)
			}
			all[n] = d
		}
	}
	for _, n := range v.live(all) {
		if p := v.openPart(n, all[n]); p != nil {
			v.parts = append(v.parts, p)
		}
	}
	sortParts(v.parts)
	v.checkRanges()
	v.checkIdentity()
	return v, nil
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

// live returns the bundles that count. What is left over has a note.
func (v *bundles) live(all map[bundle.Name]inDirectory) (live []bundle.Name) {
	left := func(path, detail string) {
		v.faults = append(v.faults, Finding{Kind: Leftover, Severity: Note, Path: path, Detail: detail})
	}
	var names []bundle.Name
	for n, d := range all {
		if d.bundle != "" {
			names = append(names, n)
		}
	}
	// Each one behind those that may supersede it.
	slices.SortFunc(names, func(a, b bundle.Name) int {
		return cmp.Or(cmp.Compare(a.Min, b.Min), cmp.Compare(b.Max, a.Max), cmp.Compare(b.Generation, a.Generation))
	})
	for _, n := range names {
		path := bundlesDir(all[n].bundle) + "/" + n.String()
		if i := slices.IndexFunc(live, func(other bundle.Name) bool { return other.Supersedes(n) }); i >= 0 {
			left(path, "superseded by "+live[i].String()+"; the next open for writing removes it")
			continue
		}
		if k := len(live) - 1; k >= 0 && n.Min <= live[k].Max {
			v.overlap = true
			v.faults = append(v.faults, bundleFault(BundleRange, path, "its range overlaps with that of %s, and neither covers the other: one of the two does not belong here", live[k]))
		}
		live = append(live, n)
	}
	for n, d := range all {
		for _, number := range d.numbers {
			if path := bundlesDir(d.gone) + "/" + n.Gone(number); !slices.Contains(live, n) {
				left(path, "a list of what is gone of a bundle that does not count; the next open for writing removes it")
			} else if number < slices.Max(d.numbers) {
				left(path, fmt.Sprintf("list %d of what is gone counts; the next open for writing removes this one", slices.Max(d.numbers)))
			}
		}
	}
	return live
}

// openPart opens a bundle, and the list of what is gone of it. nil: the file can't be read.
func (v *bundles) openPart(n bundle.Name, d inDirectory) *part {
	p := &part{name: n, side: d.bundle, path: bundlesDir(d.bundle) + "/" + n.String()}
	var err error
	if p.file, err = v.fs.Open(p.path); err == nil {
		info, serr := p.file.Stat()
		p.size, err = info.Size, serr
	}
	if err != nil {
		v.faults = append(v.faults, bundleFault(Unreadable, p.path, "%v", err))
		if p.file != nil {
			_ = p.file.Close() //nolint:errcheck // it was only read
		}
		return nil
	}
	p.Reader, err = bundle.Open(p.file, p.size, p.path)
	p.nameful = true
	if err != nil {
		v.faults = append(v.faults, bundleFault(bundleKind(err), p.path, "%s%s", reason(err), salvageIt))
		if !v.rebuild(p, func(f Finding) { v.faults = append(v.faults, f) }) {
			_ = p.file.Close() //nolint:errcheck // it was only read
			return nil
		}
	}
	if p.nameful && (p.Min != n.Min || p.Max != n.Max || p.Generation != n.Generation) {
		right := bundle.Name{Min: p.Min, Max: p.Max, Generation: p.Generation}
		v.faults = append(v.faults, bundleFault(BundleName, p.path, "its footer says that it is %s; “salvage” gives it back its name", right))
	}
	p.heads = newBits(p.Revisions)
	v.openGone(p, d)
	return p
}

// salvageIt says what can be done.
const salvageIt = "; “salvage” makes it again of what can be read"

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
	p.Reader, p.nameful = r, footer
	p.heads = newBits(p.Revisions)
	return true
}

// flagsOf returns what the index says of a content. One that is damaged has a finding of its own.
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

// openGone reads the list of what is gone with the highest number. Where that is damaged the one
// before counts: nothing that a pack has removed is missed then.
func (v *bundles) openGone(p *part, d inDirectory) {
	numbers := slices.Sorted(slices.Values(d.numbers))
	for _, number := range slices.Backward(numbers) {
		path := bundlesDir(d.gone) + "/" + p.name.Gone(number)
		b, err := v.fs.ReadFile(path)
		if err != nil {
			v.faults = append(v.faults, bundleFault(Unreadable, path, "%v", err))
			continue
		}
		gone, err := bundle.ParseGone(b, path, &p.Info)
		if err == nil {
			p.gone, p.number = gone, number
			return
		}
		v.faults = append(v.faults, bundleFault(GoneDamaged, path, "%s; without it, what packs removed of the bundle is there again: “salvage” puts it aside", reason(err)))
	}
}

// checkRanges looks whether each bundle follows the one before it.
func (v *bundles) checkRanges() {
	last := zodb.TID(0)
	known := true // what the range before ends with
	for _, p := range v.parts {
		switch {
		case !p.nameful || !known || p.Previous == last:
		case p.Previous > last && p.Previous < p.name.Min:
			v.faults = append(v.faults, Finding{Kind: BundleMissing, Severity: Damage, TID: p.Previous, Path: bundlesDir(p.side),
				Detail: fmt.Sprintf("%s follows transaction %s, with which no bundle ends; the one before it ends with %s. "+
					"Objects that were written in between are not there, or as they were before: the storage gives errors for them", p.name, p.Previous, last)})
		default:
			v.faults = append(v.faults, bundleFault(BundleRange, p.path, "it follows transaction %s, and the bundle before it ends with %s", p.Previous, last))
		}
		last, known = max(last, p.name.Max), true
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
	b, err := v.fs.ReadFile("config/identity")
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
	for _, p := range v.parts {
		if p.nameful && string(p.Identity[:]) != string(want) {
			v.faults = append(v.faults, bundleFault(BundleForeign, p.path, "it is of the database %x, and this one is %x", p.Identity, want))
		}
	}
}
