package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxShown is the size up to which show reads a file that no format describes.
const maxShown = 1 << 20

// segmentMagic begins the segments of the journal; see package journal.
const segmentMagic = "DSlog\r\n\x1a"

// showFile shows any file: by its name where that is one of a database, else by its first bytes.
func (o *showCommand) showFile(ctx context.Context, e *env, name string) error {
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	dir, base, err := vfs.Split(abs)
	if err != nil {
		return err
	}
	info, err := dir.Stat(base)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return usage("%s is a directory; usage: dirstorage show FILE, or dirstorage show HOME OID [TID]", name)
	}
	switch n, number, ok := bundle.ParseName(base); {
	case ok && number == 0:
		return o.showBundle(e, dir, base, n)
	case ok:
		return o.showGone(e, dir, base, n)
	}
	place := placeOf(abs)
	d := place.copies.Describe(place.path)
	n, home := d.Name, place.home
	if n.Kind == layout.KindBlob {
		return o.showBlob(e, dir, base, n)
	}
	head, err := readHead(dir, base, len(segmentMagic))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte(segmentMagic)) {
		return o.showJournal(e, home, base)
	}
	known := n.Kind != 0 || bytes.HasPrefix(head, []byte(record.ObjectMagic)) || bytes.HasPrefix(head, []byte(record.TransactionMagic))
	if !known && info.Size > maxShown {
		return fmt.Errorf("%s: not a file of a database that show knows; give a file below HOME, or HOME and an OID", name)
	}
	b, err := dir.ReadFile(base)
	if err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(b, []byte(record.ObjectMagic)) || n.Kind == layout.KindRevision || n.Kind == layout.KindObject && !d.Points:
		return o.showObjectFile(e, name, b)
	case bytes.HasPrefix(b, []byte(record.TransactionMagic)) || n.Kind == layout.KindTransaction:
		return o.showTransactionFile(e, name, b)
	case d.Points:
		serial, err := place.copies.Current(place.path, name, b)
		if err != nil {
			return err
		}
		return o.showValue(e, "pointer", shownValue{OID: &n.OID, Serial: &serial},
			"the current revision of object %s is that of %s (%s)", n.OID, serial, formatTID(serial))
	case n.Kind == layout.KindXOID:
		v, err := record.ParseX(b, name)
		if err != nil {
			return err
		}
		return o.showValue(e, "x.oid", shownValue{OID: (*zodb.OID)(&v)}, "the highest oid handed out is %s", zodb.OID(v))
	case n.Kind == layout.KindXSerial || n.Kind == layout.KindXPacked:
		v, err := record.ParseX(b, name)
		if err != nil {
			return err
		}
		what := "the last transaction"
		if n.Kind == layout.KindXPacked {
			what = "packed up to"
		}
		return o.showValue(e, n.String(), shownValue{TID: (*zodb.TID)(&v)}, "%s: %s", what, formatLast(zodb.TID(v)))
	case utf8.Valid(b) && o.json:
		return e.printJSON(shownValue{Kind: "text", Lines: printableLines(b)})
	case utf8.Valid(b):
		_, err := io.WriteString(e.Stdout, strings.Join(printableLines(b), "\n")+"\n")
		return err
	}
	return fmt.Errorf("%s: not a file of a database that show knows; give a file below HOME, or HOME and an OID", name)
}

func readHead(dir vfs.FS, name string, n int) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	m, err := io.ReadFull(f, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:m], errors.Join(err, f.Close())
}

// place is where a file lies.
type place struct {
	home   string // "": in no HOME
	path   string // relative to HOME; of a file that is in none, or not in A or B, its name alone
	copies store.Copies
}

// placeOf looks for the HOME that a file is in.
func placeOf(abs string) place {
	p := place{path: path.Base(filepath.ToSlash(abs)), copies: formats.Copies(layout.Flat)}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		text, err := vfs.ReadFile(filepath.Join(dir, "config", "settings"))
		if err == nil {
			p.home = dir
			set, _, err := settings.Parse(text, "config/settings")
			if err != nil {
				return p
			}
			rel, _ := filepath.Rel(dir, abs)
			in := place{home: dir, path: filepath.ToSlash(rel), copies: formats.Copies(set.Structure.Format)}
			if in.copies.Describe(in.path).Name.Kind != 0 {
				return in
			}
			return p
		}
		if dir == filepath.Dir(dir) {
			return p
		}
	}
}

func printableLines(b []byte) []string {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i := range lines {
		lines[i] = printable([]byte(lines[i]))
	}
	return lines
}

// showValue shows a file that holds one value.
func (o *showCommand) showValue(e *env, kind string, value shownValue, format string, args ...any) error {
	if o.json {
		value.Kind = kind
		return e.printJSON(value)
	}
	_, err := fmt.Fprintf(e.Stdout, format+"\n", args...)
	return err
}

func (o *showCommand) showObjectFile(e *env, name string, b []byte) error {
	obj, damage := record.ParseObject(b, name, true)
	if damage != nil {
		// The header is better than nothing.
		unchecked, err := record.ParseObject(b, name, false)
		if err != nil {
			return damage
		}
		obj = unchecked
	}
	r := shownRevision{Kind: "revision", OID: obj.OID, TID: obj.Serial, Previous: obj.Previous, UndoFrom: obj.UndoFrom,
		Exists: !obj.Gone(), Blob: obj.HasBlob(), BlobSum: obj.BlobSum.String(), data: obj.Data}
	r.Checksum, r.SumKind = shownSum(b)
	return errors.Join(o.showRevision(e, &r), damage)
}

// shownTransaction is the file of a transaction as show prints it.
type shownTransaction struct {
	Kind         string     `json:"kind"`
	TID          zodb.TID   `json:"tid"`
	Previous     zodb.TID   `json:"previous,omitzero"`
	User         string     `json:"user"`
	Description  string     `json:"description"`
	ExtensionHex string     `json:"extension_hex,omitempty"`
	Checksum     string     `json:"checksum"`
	SumKind      string     `json:"checksum_kind,omitempty"`
	OIDs         []zodb.OID `json:"oids"`
}

func (o *showCommand) showTransactionFile(e *env, name string, b []byte) error {
	t, damage := record.ParseTransaction(b, name, true)
	if damage != nil {
		unchecked, err := record.ParseTransaction(b, name, false)
		if err != nil {
			return damage
		}
		t = unchecked
	}
	shown := shownTransaction{Kind: "transaction", TID: t.TID, Previous: t.Previous, User: string(t.User), Description: string(t.Description),
		ExtensionHex: hex.EncodeToString(t.Extension), OIDs: t.OIDs}
	shown.Checksum, shown.SumKind = shownSum(b)
	if o.json {
		return errors.Join(e.printJSON(shown), damage)
	}
	f := fields{e: e}
	f.line("transaction", "%s (%s)", t.TID, formatTID(t.TID))
	f.line("transaction before", "%s", formatLast(t.Previous))
	f.line("checksum", "%s", checksum(shown.Checksum, shown.SumKind))
	f.line("user", "%s", printable(t.User))
	f.line("description", "%s", printable(t.Description))
	if len(t.Extension) > 0 {
		f.line("extension", "%s", printable(t.Extension))
	}
	for _, oid := range t.OIDs {
		f.line("wrote object", "%s", oid)
	}
	return errors.Join(f.err, damage)
}

func (o *showCommand) showBlob(e *env, dir vfs.FS, name string, n layout.Name) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	sums, size, err := record.BlobSums(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return o.showValue(e, "blob", shownValue{OID: &n.OID, TID: &n.TID, Size: &size, Sums: []string{sums[0].String(), sums[1].String()}},
		"blob of object %s at %s (%s): %s, %s, %s", n.OID, n.TID, formatTID(n.TID), human.Bytes(size), sums[0], sums[1])
}

// showJournal lists the committed transactions in a segment.
func (o *showCommand) showJournal(e *env, home, segment string) (err error) {
	if home == "" {
		return fmt.Errorf("%s: a segment of a journal is shown in its HOME only; give that path", segment)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		return err
	}
	text, err := dir.ReadFile("config/identity")
	if err != nil {
		return err
	}
	id, err := settings.ParseIdentity(text)
	if err != nil {
		return err
	}
	options := journal.Options{FS: dir, Dir: "journal"}
	digits, err := hex.DecodeString(id)
	if err != nil {
		return err
	}
	copy(options.Identity[:], digits)
	log, found, err := journal.OpenReadOnly(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	lines := []shownTxn{}
	for _, c := range found.Transactions {
		l := shownTxn{TID: c.TID, User: string(c.Meta.User), Description: string(c.Meta.Description)}
		here := len(c.Records) == 0
		for i := range c.Records {
			l.OIDs = append(l.OIDs, c.Records[i].OID)
			here = here || segment == fmt.Sprintf("log-%016X", c.Records[i].Pos.Segment)
		}
		if here {
			lines = append(lines, l)
		}
	}
	if o.json {
		return e.printJSON(shownSegment{"journal", segment, lines})
	}
	f := fields{e: e}
	f.line("journal segment", "%s, %s in it", segment, human.Plural(int64(len(lines)), "committed transaction", "committed transactions"))
	for _, l := range lines {
		f.line("transaction", "%s (%s)  %s  %s  %s", l.TID, formatTID(l.TID), human.Number(int64(len(l.OIDs)), "object"), printable([]byte(l.User)), printable([]byte(l.Description)))
	}
	return f.err
}
