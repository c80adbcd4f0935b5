package salvage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// rebuild reads a bundle frame by frame.
func rebuild(l *lostFile, given bundle.Name, damaged func(error)) (*bundle.Reader, bool, error) {
	return bundle.Rebuild(l.file, l.size, l.name, bundle.RebuildOptions{Name: given, Flags: flagsOf, Previous: previousOf, Damaged: damaged})
}

// damaged plans a bundle that has lost its index, or some of its frames; one without a name is
// left for later.
func (b *bundles) damaged(ctx context.Context, l *lostFile, given bundle.Name, cause error) error {
	_, err := b.footer(l)
	if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
		return err
	}
	if err != nil && given == (bundle.Name{}) {
		r, _, err := rebuild(l, given, nil)
		if err == nil {
			b.nameless = append(b.nameless, nameless{l.name, r.Min, cause})
		}
		return err
	}
	return b.again(ctx, l, given, cause)
}

// again plans a bundle that is made of the members that can be read of a damaged one.
func (b *bundles) again(ctx context.Context, l *lostFile, given bundle.Name, cause error) error {
	r, footer, err := rebuild(l, given, nil)
	if err != nil {
		return err
	}
	before := bundle.Name{Min: r.Min, Max: r.Max, Generation: r.Generation}
	if r.Revisions+r.Transactions == 0 && !r.Complete() {
		if !footer || r.Identity == b.identity {
			b.lossy = append(b.lossy, lossy{len(b.actions), before})
		}
		b.add(Action{Verb: Damaged, From: l.name, Detail: cause.Error()})
		return nil
	}
	o := bundle.Options{Identity: r.Identity, Min: r.Min, Max: r.Max, Generation: r.Generation, Previous: r.Previous, HighestOID: r.HighestOID}
	if b.whole[before] {
		b.add(Action{Verb: Duplicate, From: l.name, To: bundlesDir + before.String(), Detail: "it is damaged, and a copy that is whole is among the lost files"})
		return nil
	}
	k, err := b.listOf(l, r, given, before)
	if err != nil {
		return err
	}
	if k.newer != "" {
		b.add(Action{Verb: Newer, From: l.name, To: bundlesDir + before.String(), Detail: fmt.Sprintf(
			"it is damaged, and only a newer release knows by %s which of its members are removed: it is left there, and its transactions are missing; salvage it with that release", k.newer)})
		b.newerThere = true
		return nil
	}
	detail := fmt.Sprintf("made again of %s and %s", human.Number(r.Revisions, "revision"), human.Number(r.Transactions, "transaction"))
	if !footer {
		o.Identity, o.HighestOID = b.identity, max(o.HighestOID, b.highest)
		b.fit(&o, given == bundle.Name{})
	}
	if !k.exact {
		o.Generation++ // gone lists do not fit it: its sum is another one
	}
	lost := !r.Complete()
	if lost && footer {
		i, err := b.footer(l)
		if err != nil {
			return err
		}
		lost = i.Revisions != r.Revisions || i.Transactions != r.Transactions
		if lost {
			detail += fmt.Sprintf("; the content of its damaged pieces is lost: %s and %s", human.Number(i.Revisions-r.Revisions, "revision"), human.Number(i.Transactions-r.Transactions, "transaction"))
		}
	} else if lost {
		detail += "; the content of its damaged pieces is lost"
	}
	n := bundle.Name{Min: o.Min, Max: o.Max, Generation: o.Generation}
	a := Action{Verb: Make, From: l.name, To: bundlesDir + n.String(), Detail: detail, Write: func(ctx context.Context, out io.Writer) error {
		return b.writeAgain(ctx, l.name, given, o, out)
	}}
	if err := b.judge(&a, n, o.Identity, l); err != nil {
		return err
	}
	if a.Verb == Conflict {
		there, err := b.madeBefore(ctx, n, a.Write)
		if err != nil {
			return err
		}
		if there {
			a.Verb, a.Detail, a.Missing = Duplicate, "it is there, "+detail, lost
			b.add(a)
			b.carry(l, k, n)
			return nil
		}
	}
	if lost {
		b.judgeLossy(&a, n)
	}
	if b.add(a); a.Verb != Make {
		return nil
	}
	i := r.Info
	i.Min, i.Max, i.Generation, i.Previous, i.HighestOID = o.Min, o.Max, o.Generation, o.Previous, o.HighestOID
	b.count(n, i, l)
	b.carry(l, k, n)
	return nil
}

// madeBefore reports whether a bundle in the home is the one that would be made again: a salvage was killed after that.
func (b *bundles) madeBefore(ctx context.Context, n bundle.Name, write func(ctx context.Context, out io.Writer) error) (bool, error) {
	there := open(b.home, bundlesDir+n.String())
	if errors.Is(there.err, fs.ErrNotExist) {
		return false, nil
	}
	if there.err != nil {
		return false, there.err
	}
	defer there.close()
	c := &comparing{with: io.NewSectionReader(there.file, 0, there.size)}
	err := write(ctx, c)
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return c.n == there.size, err
}

// comparing fails with errDiffers if other bytes are written to it than can be read.
type comparing struct {
	with   io.Reader
	buffer []byte
	n      int64
}

var errDiffers = errors.New("there is another content")

// Write implements [io.Writer].
func (c *comparing) Write(b []byte) (int, error) {
	if len(c.buffer) < len(b) {
		c.buffer = make([]byte, len(b))
	}
	is := c.buffer[:len(b)]
	_, err := io.ReadFull(c.with, is)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && !bytes.Equal(is, b) {
		err = errDiffers
	}
	if err != nil {
		return 0, err
	}
	c.n += int64(len(b))
	return len(b), nil
}

func (b *bundles) footer(l *lostFile) (bundle.Info, error) {
	tail := make([]byte, min(bundle.FooterSize, l.size))
	if _, err := l.file.ReadAt(tail, l.size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return bundle.Info{}, err
	}
	return bundle.ReadFooter(tail, l.size, l.name)
}

// fit takes the range, which a lost footer does not say, from the neighbours.
func (b *bundles) fit(o *bundle.Options, nameLost bool) {
	below, above := liveBundle{}, liveBundle{}
	for _, l := range b.live {
		if l.name.Max < o.Min && l.name.Max > below.name.Max {
			below = l
		}
		if l.name.Min > o.Max && (above.name.Min == 0 || l.name.Min < above.name.Min) {
			above = l
		}
	}
	if below.name.Max != 0 && (nameLost || o.Previous == 0) {
		o.Previous = below.name.Max
	}
	switch {
	case !nameLost:
	case above.known && above.info.Previous >= o.Max:
		o.Max = above.info.Previous
	case above.name.Min == 0 && b.serial != zodb.MaxTID && b.serial > o.Max:
		o.Max = b.serial
	}
}

// writeAgain writes a bundle that was damaged: its frames as they are if all are there, else
// those that are.
func (b *bundles) writeAgain(ctx context.Context, name string, given bundle.Name, o bundle.Options, out io.Writer) error {
	l := open(b.lost, name)
	if l.err != nil {
		return l.err
	}
	defer l.close()
	r, _, err := rebuild(l, given, nil)
	if err != nil {
		return err
	}
	if r.Complete() {
		_, err = r.Restore(out, o)
		return err
	}
	_, err = bundle.Merge(ctx, out, o, []bundle.Source{{Reader: r}})
	return err
}

// flagsOf returns the flags of a content in an index.
func flagsOf(n layout.Name, b []byte) (flags uint16) {
	if n.Kind == layout.KindTransaction {
		if t, err := record.ParseTransactionAs(b, n.String(), n.TID, false); err == nil && t.Packed {
			flags = bundle.FlagPacked
		}
		return flags
	}
	o, err := record.ParseObjectAs(b, n.String(), n.OID, n.TID, false)
	if err != nil {
		return 0
	}
	if o.Gone() {
		flags |= bundle.FlagGone
	}
	if o.HasBlob() {
		flags |= bundle.FlagBlob
	}
	if o.UndoFrom != 0 {
		flags |= bundle.FlagUndo
	}
	return flags
}

// previousOf returns which transaction the file of one names.
func previousOf(b []byte) zodb.TID {
	t, err := record.ParseTransaction(b, "", false)
	if err != nil {
		return 0
	}
	return t.Previous
}
