package salvage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// bundlesDir is where bundles are.
const bundlesDir = "A/bundles/"

// bundles is the part of a Plan that is about the format bundled.
type bundles struct {
	*planner
	identity [16]byte
	// live are the bundles that count, of the home and those that will be placed.
	live []liveBundle
	// numbers are the gone lists that are there or will be, by bundle.
	numbers map[bundle.Name][]uint64
	lists   []string // lost ones
	// nameless are lost bundles of which neither the name nor the footer says the range.
	nameless []nameless
	highest  zodb.OID // x.oid
	// whole are the names of lost bundles that are whole.
	whole map[bundle.Name]bool
	// hurt are lost bundles that are damaged.
	hurt []hurt
	// newer are bundles of a newer release, of the home and lost; newerThere: there are such, with or
	// without a name. newerLists are lists of removed members.
	newer      []newerBundle
	newerThere bool
	newerLists []newerList
	// carriedOver are lost lists of bundles that are made again, and where they are then.
	carriedOver map[string]string
	// beside are the bundles of flushes during a snapshot, which lie in B.
	beside []liveBundle
	// lossy are the actions of bundles that are not put back, or not whole.
	lossy []lossy
	table *current.Table // of current revisions; nil: it was not asked for yet, or there is none
}

// hurt is a lost bundle that is damaged. A whole copy of it may come behind it.
type hurt struct {
	file  string
	given bundle.Name
	cause error
}

// nameless is a bundle without a name.
type nameless struct {
	file  string
	min   zodb.TID // of its members
	cause error
}

// liveBundle is a bundle that counts.
type liveBundle struct {
	name   bundle.Name
	info   bundle.Info
	known  bool             // info is
	newer  bool             // a newer release wrote it
	source func() *lostFile // to read it
}

// planBundles names the kind of each lost file. Those that are neither bundles nor lists stay in
// p.unknown.
func (p *planner) planBundles(ctx context.Context, files []string) (err error) {
	b := &bundles{planner: p, numbers: make(map[bundle.Name][]uint64), whole: make(map[bundle.Name]bool), carriedOver: make(map[string]string)}
	defer func() {
		if b.table != nil {
			err = errors.Join(err, b.table.Close())
		}
	}()
	if err := b.readHome(); err != nil {
		return err
	}
	var known []string
	for _, name := range files {
		newer, err := b.newerLost(name)
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
		if !newer {
			known = append(known, name)
		}
	}
	for _, name := range known {
		if err := errors.Join(ctx.Err(), b.file(name)); err != nil {
			return err
		}
	}
	for _, h := range b.hurt {
		if err := errors.Join(ctx.Err(), b.opened(h.file, func(l *lostFile) error { return b.damaged(ctx, l, h.given, h.cause) })); err != nil {
			return err
		}
	}
	// The last one first: where a range ends the one behind it says.
	slices.SortFunc(b.nameless, func(x, y nameless) int { return cmp.Compare(y.min, x.min) })
	for _, n := range b.nameless {
		if err := b.opened(n.file, func(l *lostFile) error { return b.again(ctx, l, bundle.Name{}, n.cause) }); err != nil {
			return err
		}
	}
	b.nameLosses()
	for _, name := range b.lists {
		if err := errors.Join(ctx.Err(), b.list(name)); err != nil {
			return err
		}
	}
	return b.complete(ctx)
}

// opened does something with a lost file.
func (b *bundles) opened(name string, do func(l *lostFile) error) error {
	l := open(b.lost, name)
	if l.err != nil {
		return l.err
	}
	defer l.close()
	return do(l)
}

// readHome finds out which bundles there are.
func (b *bundles) readHome() error {
	const name = "config/identity"
	text, err := b.home.ReadFile(name)
	if err != nil {
		return fmt.Errorf("not a storage: %w", err)
	}
	id, err := settings.ParseIdentity(text)
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		return err
	}
	copy(b.identity[:], raw)
	highest, err := b.mark(b.place(layout.XOID))
	if err != nil {
		return err
	}
	b.highest = zodb.OID(highest)
	serial, err := b.mark("B/x.serial") // of flushes during a snapshot
	if err != nil {
		return err
	}
	b.serial = max(b.serial, zodb.TID(serial))
	var all []bundle.Name
	for e, err := range b.home.List("A/bundles") {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		n, number, ok := bundle.ParseName(e.Name)
		switch {
		case ok && number > 0:
			b.numbers[n] = append(b.numbers[n], number)
		case ok:
			all = append(all, n)
		}
	}
	live, _, err := bundle.Live(all)
	if err != nil {
		return fmt.Errorf("move one of them out of HOME first: %w", err)
	}
	if err := b.readBeside(); err != nil {
		return err
	}
	for _, n := range live {
		l := liveBundle{name: n, source: func() *lostFile { return open(b.home, bundlesDir+n.String()) }}
		err := l.read()
		if isNewer(err) {
			b.newer, b.newerThere = append(b.newer, newerBundle{n, bundlesDir + n.String()}), true
			b.add(Action{Verb: Newer, To: bundlesDir + n.String(), Detail: err.Error()})
			l.newer = true
		} else if err != nil {
			return err
		}
		b.live = append(b.live, l)
	}
	return b.newerInHome()
}

// mark returns the value of an x file of the home; 0: it is not there, or damaged.
func (b *bundles) mark(name string) (uint64, error) {
	x, err := b.home.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	v, err := record.ParseX(x, name)
	if err != nil {
		return 0, nil
	}
	return v, nil
}

// read reads the footer. A bundle without a good one is not known, which is not an error; one
// that cannot be read now is: without it less would be saved, and nobody told.
func (l *liveBundle) read() error {
	f := l.source()
	if f.err != nil {
		return f.err
	}
	defer f.close()
	r, err := openBundle(f, l.name)
	if errors.Is(err, zodb.ErrCorrupt) {
		return nil
	}
	if err == nil {
		l.info, l.known = r.Info, true
	}
	return err
}

// lostFile is an open file.
type lostFile struct {
	name string
	file vfs.File
	size int64
	err  error
}

func open(f vfs.FS, name string) *lostFile {
	l := &lostFile{name: name}
	if l.file, l.err = f.Open(name); l.err != nil {
		return l
	}
	info, err := l.file.Stat()
	if l.size = info.Size; err != nil {
		l.err = errors.Join(err, l.file.Close())
	}
	return l
}

func (l *lostFile) close() {
	if l.err == nil {
		_ = l.file.Close() //nolint:errcheck // it was only read
	}
}

// magics begin bundles and lists.
const (
	frameMagic     = "\x28\xB5\x2F\xFD"
	skippableMagic = "\x5B\x2A\x4D\x18" // of a bundle without members
	listMagic      = "DSgone\r\n"
)

// file looks at one lost file.
func (b *bundles) file(name string) error {
	l := open(b.lost, name)
	if l.err != nil {
		return l.err
	}
	defer l.close()
	kind, given, _, err := b.kind(l)
	if err != nil {
		return err
	}
	switch kind {
	case kindList:
		b.lists = append(b.lists, name)
		return nil
	case kindRecord:
		b.add(Action{Verb: Doubtful, From: name, Detail: "a revision or a transaction by itself: in the format bundled they are in bundles"})
		return nil
	case kindOther:
		b.unknown = append(b.unknown, name)
		return nil
	}
	r, err := bundle.Open(l.file, l.size, name)
	if err == nil {
		err = r.Verify()
	}
	if err == nil {
		return b.sound(l, r)
	}
	if !errors.Is(err, zodb.ErrCorrupt) {
		return err
	}
	b.hurt = append(b.hurt, hurt{name, given, err})
	return nil
}

// head returns the first bytes of the file.
func (l *lostFile) head() ([]byte, error) {
	head := make([]byte, min(8, l.size))
	if _, err := l.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head, nil
}

// isRecord reports whether a file begins as a revision or a transaction.
func isRecord(head []byte) bool {
	return bytes.HasPrefix(head, []byte(record.ObjectMagic)) || bytes.HasPrefix(head, []byte(record.TransactionMagic))
}

func (b *bundles) add(a Action) { b.actions = append(b.actions, a) }

func nameOf(i *bundle.Info) bundle.Name {
	return bundle.Name{Min: i.Min, Max: i.Max, Generation: i.Generation}
}

// sound plans a bundle that is whole.
func (b *bundles) sound(l *lostFile, r *bundle.Reader) error {
	n := nameOf(&r.Info)
	a := Action{Verb: Place, From: l.name, To: bundlesDir + n.String()}
	if err := b.judge(&a, n, r.Identity, l); err != nil {
		return err
	}
	b.whole[n] = a.Verb == Place || a.Verb == Duplicate
	if b.add(a); a.Verb == Place {
		b.count(n, r.Info, l)
	}
	return nil
}

func (b *bundles) count(n bundle.Name, i bundle.Info, l *lostFile) {
	name := l.name
	b.live = append(b.live, liveBundle{name: n, info: i, known: true, source: func() *lostFile { return open(b.lost, name) }})
}

// judge changes the verb of an action that would put a bundle into the home.
func (b *bundles) judge(a *Action, n bundle.Name, identity [16]byte, l *lostFile) error {
	if identity != b.identity {
		a.Verb, a.Detail = Doubtful, fmt.Sprintf("it is of the database %x", identity)
		return nil
	}
	if reason := b.besideNewer(n); reason != "" {
		a.Verb, a.Detail = Doubtful, reason
		return nil
	}
	for _, other := range b.live {
		switch {
		case other.name == n:
			a.Verb, a.Detail = Conflict, "there is a file with other content"
			there := other.source()
			defer there.close()
			if same, err := sameContent(l, there); err != nil || !same {
				return err
			}
			a.Verb, a.Detail = Duplicate, ""
			return nil
		case other.name.Supersedes(n):
			a.Verb, a.Detail = Doubtful, other.name.String()+" supersedes it"
			return nil
		case n.Min <= other.name.Max && other.name.Min <= n.Max && !n.Supersedes(other.name):
			a.Verb, a.Detail = Conflict, "its range overlaps with that of "+other.name.String()
			b.lossy = append(b.lossy, lossy{len(b.actions), n})
			return nil
		}
	}
	if n.Max > b.serial {
		a.Verb, a.Detail = Doubtful, "later than x.serial: the log has its transactions, if they were committed"
	}
	return nil
}

func sameContent(a, b *lostFile) (bool, error) {
	if err := errors.Join(a.err, b.err); err != nil || a.size != b.size {
		return false, err
	}
	x, y := make([]byte, 256<<10), make([]byte, 256<<10)
	for at := int64(0); at < a.size; at += int64(len(x)) {
		n := min(int64(len(x)), a.size-at)
		_, err1 := a.file.ReadAt(x[:n], at)
		_, err2 := b.file.ReadAt(y[:n], at)
		for _, err := range []error{err1, err2} {
			if err != nil && !errors.Is(err, io.EOF) {
				return false, err
			}
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return false, nil
		}
	}
	return true, nil
}
