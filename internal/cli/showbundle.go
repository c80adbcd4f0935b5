package cli

import (
	"errors"
	"io"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// shownBundle is a bundle as show prints it.
type shownBundle struct {
	Kind         string       `json:"kind"`
	Min          zodb.TID     `json:"min"`
	Max          zodb.TID     `json:"max"`
	Generation   uint64       `json:"generation"`
	Previous     zodb.TID     `json:"previous,omitzero"`
	Revisions    int64        `json:"revisions"`
	Transactions int64        `json:"transactions"`
	Blobs        int64        `json:"blobs"`
	Bytes        int64        `json:"bytes"`
	Members      []shownEntry `json:"members"`
}

// shownEntry is one thing in it.
type shownEntry struct {
	Name  string `json:"name"`
	Bytes uint32 `json:"bytes"`
	Blob  bool   `json:"blob,omitempty"`
	// Gone: a pack has given it up.
	Gone bool `json:"gone,omitempty"`
}

// showBundle lists the members of a bundle, without reading more than its index.
func (o *showCommand) showBundle(e *env, dir vfs.FS, name string, n bundle.Name) (err error) {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := bundle.Open(f, info.Size, dir.Path(name))
	if err != nil {
		return err
	}
	gone, err := goneOf(dir, n, r)
	if err != nil {
		return err
	}
	b := shownBundle{Kind: "bundle", Min: r.Min, Max: r.Max, Generation: r.Generation, Previous: r.Previous,
		Revisions: r.Revisions, Transactions: r.Transactions, Blobs: r.Blobs, Bytes: info.Size, Members: []shownEntry{}}
	number := int64(0)
	for m, err := range r.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		b.Members = append(b.Members, shownEntry{m.Name().String(), m.Length, m.Flags&bundle.FlagBlob != 0, gone.Has(number)})
		number++
	}
	for m, err := range r.TransactionsFrom(0) {
		if err != nil {
			return err
		}
		b.Members = append(b.Members, shownEntry{m.Name().String(), m.Length, false, gone.Has(number)})
		number++
	}
	if o.json {
		return e.printJSON(b)
	}
	out := fields{e: e}
	out.line("bundle", "%s (%s) to %s (%s), generation %d", b.Min, formatTID(b.Min), b.Max, formatTID(b.Max), b.Generation)
	out.line("bundle before ends", "%s", formatLast(b.Previous))
	out.line("contents", "%s, %d with a blob; %s; %s", human.Number(int64(b.Revisions), "revision"), b.Blobs, human.Number(int64(b.Transactions), "transaction"), human.Bytes(b.Bytes))
	for _, m := range b.Members {
		note := ""
		if m.Blob {
			note += ", with a blob"
		}
		if m.Gone {
			note += ", given up by a pack"
		}
		out.line("member", "%s, %d bytes%s", m.Name, m.Bytes, note)
	}
	return out.err
}

// goneOf returns the last gone list beside a bundle, or the one that it carries; nil: there is not one.
func goneOf(dir vfs.FS, n bundle.Name, r *bundle.Reader) (*bundle.Gone, error) {
	last := uint64(0)
	for e, err := range dir.List(".") {
		if err != nil {
			return nil, err
		}
		if of, number, ok := bundle.ParseName(e.Name); ok && of == n {
			last = max(last, number)
		}
	}
	if last == 0 {
		return r.Carried(), nil
	}
	b, err := dir.ReadFile(n.Gone(last))
	if err != nil {
		return nil, err
	}
	return bundle.ParseGone(b, dir.Path(n.Gone(last)), &r.Info)
}

// shownGone is a gone list as show prints it.
type shownGone struct {
	Kind   string         `json:"kind"`
	Bundle string         `json:"bundle"`
	Packs  []shownGoneSet `json:"packs"`
}

// shownGoneSet are the members that one pack removed.
type shownGoneSet struct {
	Stamp   int64  `json:"stamp"` // seconds since 1970; 0: for good
	Members uint64 `json:"members"`
}

// showGone tells how much packs have given up of a bundle, which lies beside the list.
func (o *showCommand) showGone(e *env, dir vfs.FS, name string, n bundle.Name) (err error) {
	b, err := dir.ReadFile(name)
	if err != nil {
		return err
	}
	f, err := dir.Open(n.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := bundle.Open(io.ReaderAt(f), size.Size, dir.Path(n.String()))
	if err != nil {
		return err
	}
	gone, err := bundle.ParseGone(b, dir.Path(name), &r.Info)
	if err != nil {
		return err
	}
	shown := shownGone{Kind: "gone", Bundle: n.String(), Packs: []shownGoneSet{}}
	for _, s := range gone.Sets {
		shown.Packs = append(shown.Packs, shownGoneSet{s.Stamp, s.Members.GetCardinality()})
	}
	if o.json {
		return e.printJSON(shown)
	}
	out := fields{e: e}
	out.line("given up of", "%s, with %s", n, human.Number(int64(r.Revisions+r.Transactions), "member"))
	for _, s := range shown.Packs {
		if s.Stamp == 0 {
			out.line("for good", "%s", human.Number(int64(s.Members), "member"))
		} else {
			out.line("by a pack", "%s; at %d seconds since 1970, and they can be brought back", human.Number(int64(s.Members), "member"), s.Stamp)
		}
	}
	return out.err
}
