package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// dumpLimit is how many bytes of an object's state show prints, unless --all is given.
const dumpLimit = 16 << 10

type showCommand struct {
	args []string
	raw  bool
	all  bool
	json bool
	diff bool
}

func newShow(e *env) *cobra.Command {
	var o showCommand
	c := &cobra.Command{
		Use:         "show FILE | HOME OID [TID]",
		Annotations: interruptible("nothing was changed; run it again"),
		SuggestFor:  []string{"cat", "inspect"},
		Short:       "Show the contents of a file of a storage, or an object",
		Long: `Show a file of a storage, wherever it lies (a revision, transaction, pointer, x
file, blob, bundle, list of removed members, or segment of the journal), or an
object: as it is, or as it was after the transaction TID or at that time. Of an object
the class, the state as readable text and the references are shown; nothing of it is
executed. The exit status is 3 if the file is damaged; the readable parts are shown all
the same.`,
		Example: `  dirstorage show /srv/zodb 0x1a
  dirstorage show /srv/zodb 000000000000001A "2026-03-01 10:00"
  dirstorage show --diff /srv/zodb 0x1a
  dirstorage show /srv/zodb/A/x/serial`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(c *cobra.Command, args []string) error {
			o.args = args
			return o.run(c.Context(), e)
		},
	}
	c.Flags().BoolVar(&o.raw, "raw", false, "write the bytes of the data (the two pickles) and nothing else")
	c.Flags().BoolVar(&o.all, "all", false, fmt.Sprintf("do not cut the state after %s", human.Bytes(dumpLimit)))
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.Flags().BoolVar(&o.diff, "diff", false, "show the changes of an object since the revision before, by lines of its state")
	return c
}

func (o *showCommand) run(ctx context.Context, e *env) (err error) {
	switch {
	case o.diff && (o.raw || o.all || o.json):
		return usage("--diff cannot be combined with --raw, --all or --json; leave one out")
	case o.diff && len(o.args) == 1:
		return usage("--diff is for an object; usage: dirstorage show --diff HOME OID [TID]")
	}
	if len(o.args) == 1 {
		return o.showFile(ctx, e, o.args[0])
	}
	oid, err := e.parseOID(o.args[1])
	if err != nil {
		return err
	}
	s, err := openReader(ctx, e, o.args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.diff {
		return o.showDiff(ctx, e, s, oid)
	}
	serial := zodb.TID(0)
	if len(o.args) == 3 {
		at, err := e.parseTID("TID", o.args[2])
		if err != nil {
			return err
		}
		// The newest revision that is not later.
		for tid, err := range s.Serials(ctx, oid) {
			if err != nil {
				return err
			}
			if tid <= at {
				serial = tid
				break
			}
		}
		if serial == 0 {
			return &zodb.KeyError{OID: oid, TID: at, Reason: "it has no revision that early, or that was packed away"}
		}
	} else {
		for tid, err := range s.Serials(ctx, oid) {
			if err != nil {
				return err
			}
			serial = tid
			break
		}
	}
	rec, err := s.LoadRecord(ctx, oid, serial)
	if err != nil {
		return err
	}
	r := shownRevision{Kind: "revision", OID: oid, TID: rec.TID, Exists: rec.Exists, UndoFrom: rec.DataTID, Blob: rec.HasBlob, data: rec.Data}
	for tid, err := range s.Serials(ctx, oid) {
		if err == nil && tid < serial {
			r.Previous = tid
			break
		}
	}
	if err := o.showRevision(e, &r); err != nil {
		return err
	}
	if passedOver(s) {
		return damageFound(o.args[0])
	}
	return nil
}

// shownRevision is one revision of an object as show prints it.
type shownRevision struct {
	Kind       string     `json:"kind"`
	OID        zodb.OID   `json:"oid"`
	TID        zodb.TID   `json:"tid"`
	Previous   zodb.TID   `json:"previous,omitzero"`
	UndoFrom   zodb.TID   `json:"undo_from,omitzero"`
	Exists     bool       `json:"exists"`
	Blob       bool       `json:"blob"`
	BlobSum    string     `json:"blob_sum,omitempty"`
	Checksum   string     `json:"checksum,omitempty"` // of a file
	SumKind    string     `json:"checksum_kind,omitempty"`
	Size       int        `json:"size"`
	Class      string     `json:"class"`
	State      string     `json:"state"`
	References []shownRef `json:"references"`
	data       []byte
}

type shownRef struct {
	OID      zodb.OID `json:"oid"`
	Class    string   `json:"class,omitempty"`
	Weak     bool     `json:"weak,omitempty"`
	Database string   `json:"database,omitempty"`
}

// decode fills in the contents of the pickles.
func (r *shownRevision) decode(limit int) error {
	r.Size = len(r.data)
	r.References = []shownRef{}
	if len(r.data) == 0 {
		return nil
	}
	module, name, err := pickle.Class(r.data)
	if err != nil {
		return fmt.Errorf("class: %w", err)
	}
	r.Class = module + "." + name
	if r.State, err = pickle.Dump(r.data, limit); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	refs, err := pickle.References(r.data)
	if err != nil {
		return fmt.Errorf("references: %w", err)
	}
	for _, ref := range refs {
		r.References = append(r.References, shownRef{OID: ref.OID, Class: ref.Class, Weak: ref.Weak, Database: ref.Database})
	}
	return nil
}

func (o *showCommand) showRevision(e *env, r *shownRevision) error {
	if o.raw {
		_, err := e.Stdout.Write(r.data)
		return err
	}
	limit := dumpLimit
	if o.all {
		limit = 1 << 30
	}
	damage := r.decode(limit)
	if o.json {
		return errors.Join(e.printJSON(r), damage)
	}
	f := fields{e: e}
	f.line("object", "%s", r.OID)
	f.line("serial", "%s (%s)", r.TID, formatTID(r.TID))
	if r.Previous != 0 {
		f.line("revision before", "%s (%s)", r.Previous, formatTID(r.Previous))
	}
	if r.UndoFrom != 0 {
		f.line("as of", "%s (%s), by an undo", r.UndoFrom, formatTID(r.UndoFrom))
	}
	if r.Checksum != "" {
		f.line("checksum", "%s", checksum(r.Checksum, r.SumKind))
	}
	if r.Blob {
		f.line("blob", "yes %s", r.BlobSum)
	}
	if !r.Exists {
		f.line("data", "none: the object does not exist from here on")
		return errors.Join(f.err, damage)
	}
	f.line("data", "%s", human.Bytes(int64(r.Size)))
	if r.Class != "" {
		f.line("class", "%s", printable([]byte(r.Class)))
	}
	if r.State != "" {
		f.line("state", "%s", strings.ReplaceAll("\n"+r.State, "\n", "\n    "))
	}
	for _, ref := range r.References {
		kind := "strong"
		if ref.Weak {
			kind = "weak"
		}
		if ref.Database != "" {
			kind += fmt.Sprintf(", in database %q", ref.Database)
		}
		f.line("reference", "%s %s (%s)", ref.OID, printable([]byte(ref.Class)), kind)
	}
	return errors.Join(f.err, damage)
}

// fields prints lines of a name and a value, and keeps the first error.
type fields struct {
	e   *env
	err error
}

func (f *fields) line(name, format string, args ...any) {
	err := printLines(f.e.Stdout, layoutRows(f.e, []row{{name: name, text: fmt.Sprintf(format, args...)}}, f.e.outColumns(), false))
	if err != nil && f.err == nil {
		f.err = err
	}
}

// shownSum describes the checksum of a file, and names its kind.
func shownSum(b []byte) (text, kind string) {
	kind = record.SumKindOf(b).String()
	switch {
	case kind == "":
		return "none", ""
	case record.SumFault(b) == "":
		return "right", kind
	}
	return "wrong", kind
}

// checksum is the description in one line.
func checksum(text, kind string) string {
	if kind == "" {
		return text
	}
	return text + " (" + kind + ")"
}
