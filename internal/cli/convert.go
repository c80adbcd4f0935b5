package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

type convertCommand struct {
	home, made  string
	format      string
	ignoreSpace bool
	roomTold    bool // somebody else has looked for room
	json        bool
	undeleted   pack.Undeleted // of HOME
	broughtBack bool           // there was an undelete or a salvage since the two were compared
}

// converted is the JSON of convert.
type converted struct {
	Transactions int64             `json:"transactions"` // new ones
	Records      int64             `json:"records"`
	Bytes        int64             `json:"bytes"` // of records and blobs
	Blobs        int64             `json:"blobs"`
	LastTID      zodb.TID          `json:"last_tid"`
	Format       string            `json:"format"`
	Compared     transfer.Compared `json:"compared"`
}

func newConvert(e *env) *cobra.Command {
	var o convertCommand
	c := &cobra.Command{
		Use:         "convert HOME NEW",
		Annotations: interruptible("run it again: it goes on after the last transaction that it copied"),
		SuggestFor:  []string{"migrate", "transform"},
		Short:       "Copy a storage into a new one of another format; again, its new transactions",
		Long: `Copy the transactions of HOME into NEW, with their tids, users, undo records and
blobs, then read both and compare every record and every blob. NEW is made with the
settings of HOME and another format. HOME may be in use: the transactions
committed before the start are copied. Another run adds and compares later ones,
so a storage in use can be replaced by its copy within seconds: convert it while it
serves, stop it, convert once more, and serve NEW.

Files put aside by packs are not copied. Revisions whose transaction was packed away
come in transactions with the description “packed away”. NEW is a storage of its own, with
another identity: the first backup of it is a full one.`,
		Example: "  dirstorage convert --format bundled /srv/zodb /srv/zodb-new",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.home, o.made = args[0], args[1]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.format, "format", "", "of NEW, when it is made: "+formatHelp)
	c.Flags().BoolVar(&o.ignoreSpace, "ignore-space", false, "begin although the disk seems to have too little space")
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o *convertCommand) run(ctx context.Context, e *env) (err error) {
	if err := (engine.CreateOptions{Format: o.format}).Validate(); err != nil {
		return err
	}
	m := newMeter(e)
	done, err := o.do(ctx, e, m)
	if err != nil {
		return err
	}
	if o.json {
		return e.printJSON(done)
	}
	spent := m.spent()
	_, err = fmt.Fprintf(e.Stdout, "copied %s with %s and %s (%s) into %s (%s) and compared %s, in %s, %s; the last one is %s\n",
		human.Number(done.Transactions, "transaction"), human.Number(done.Records, "record"), human.Number(done.Blobs, "blob"), human.Bytes(done.Bytes), o.made, done.Format,
		human.Bytes(done.Compared.Bytes), human.Duration(spent), human.Rate(done.Records, spent), formatLast(done.LastTID))
	if err == nil && done.Compared.Kept > 0 {
		_, err = fmt.Fprintf(e.Stdout, "%s has %s that a pack took from %s since: pack it as well\n", o.made, human.Number(done.Compared.Kept, "revision"), o.home)
	}
	return err
}

// do copies and compares.
func (o *convertCommand) do(ctx context.Context, e *env, m *meter) (done converted, err error) {
	home, err := openHome(o.home)
	if err != nil {
		return done, err
	}
	o.undeleted, err = pack.ReadUndeleted(home) // before anything else is read
	if err != nil {
		return done, err
	}
	from, err := openReader(ctx, e, o.home)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	mark, err := o.prepare(e, from)
	if err != nil {
		return done, err
	}
	copied, err := o.copy(ctx, e, m, from, mark)
	if err != nil {
		return done, o.advise(err, copied.LastTID)
	}
	done = converted{Transactions: copied.Transactions, Records: copied.Records, Bytes: copied.Bytes, Blobs: copied.Blobs, LastTID: copied.LastTID}
	if done.Compared, err = o.compare(ctx, e, from, mark, &done.Format); err != nil {
		return done, o.advise(err, done.LastTID)
	}
	return done, nil
}

// prepare makes NEW if nothing is there, and returns how far it was compared before.
func (o *convertCommand) prepare(e *env, from *engine.Storage) (convertMark, error) {
	none := convertMark{Source: from.Identity(), Undeleted: o.undeleted.ID()}
	vacant, err := engine.Vacant(o.made)
	if err != nil {
		return none, err
	}
	if !vacant {
		home, err := openHome(o.made)
		if err != nil {
			return none, notEmpty(o.made, err)
		}
		mark, err := readConvertMark(home)
		if err == nil && mark.Source != from.Identity() {
			remedy := "give a directory that is empty or does not exist"
			if mark.Source == "" {
				remedy += "; if a convert was killed just after it had made this one, dirstorage status shows no transaction in it: remove it"
			}
			err = hint(fmt.Errorf("%s was not made by convert from %s", o.made, o.home), "%s", remedy)
		}
		if err == nil {
			err = o.sameFormat(home)
		}
		o.broughtBack = o.undeleted.Running || mark.Undeleted != o.undeleted.ID()
		return mark, err
	}
	if o.format == "" {
		o.format = engine.DefaultFormat(from.Status().Class)
	}
	if err := o.room(e, from); err != nil {
		return none, err
	}
	source, err := vfs.OS(from.Home())
	if err != nil {
		return none, err
	}
	text, err := source.ReadFile("config/settings")
	if err == nil {
		err = createVacant(o.made, engine.CreateOptions{Format: o.format, Class: from.Status().Class, Text: text})
	}
	if err != nil {
		return none, err
	}
	home, err := openHome(o.made)
	if err != nil {
		return none, err
	}
	return none, none.write(home)
}

// sameFormat returns an error if NEW has another format than the one that was said.
func (o *convertCommand) sameFormat(made vfs.FS) error {
	text, err := made.ReadFile("config/settings")
	if err != nil {
		return err
	}
	have, _, err := settings.Parse(text, made.Path("config/settings"))
	if err == nil && o.format != "" && have.Structure.Format.String() != o.format {
		err = usage("--format %s: %s is of format %s; leave --format out, or convert into a new HOME", o.format, o.made, have.Structure.Format)
	}
	return err
}

// room looks whether the disk has room for the copy.
func (o *convertCommand) room(e *env, from *engine.Storage) error {
	if o.roomTold {
		return nil
	}
	as := importCommand{home: o.made, ignoreSpace: o.ignoreSpace, verb: "convert"}
	return as.roomOrWarning(e, transfer.RoomOfCounts(from.Counts(), o.format == layout.Bundled.String()))
}

func (o *convertCommand) copy(ctx context.Context, e *env, m *meter, from *engine.Storage, mark convertMark) (transfer.Imported, error) {
	as := importCommand{home: o.made, ignoreSpace: o.ignoreSpace}
	options := transfer.ConvertOptions{Progress: m.show}
	var s *engine.Storage
	var err error
	if as.loader, err = engine.OpenLoader(ctx, o.made, 0, as.engineOptions(e)); errors.Is(err, errors.ErrUnsupported) {
		if s, err = as.openStorage(ctx, e); err == nil {
			options.Copy = s.LastTransaction() == mark.Compared
		}
	}
	if err != nil {
		return transfer.Imported{}, err
	}
	options.Load = as.load(ctx, e, &s)
	var target transfer.Target
	if s != nil {
		target = s
	}
	done, err := transfer.Convert(ctx, target, from, options)
	m.end()
	return done, errors.Join(err, closeShown(e, s))
}

// compare compares the transactions that were not compared before, and remembers that.
func (o *convertCommand) compare(ctx context.Context, e *env, from *engine.Storage, mark convertMark, format *string) (done transfer.Compared, err error) {
	s, err := openReader(ctx, e, o.made)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	*format = s.Settings().Structure.Format.String()
	m := newMeter(e)
	options := transfer.CompareOptions{Progress: m.show}
	if mark.Compared != 0 && !o.broughtBack {
		options.From = mark.Compared + 1
	}
	done, err = transfer.Compare(ctx, from, s, options)
	m.end()
	if err != nil {
		return done, err
	}
	home, err := openHome(o.made)
	if err != nil {
		return done, err
	}
	mark.Compared = s.LastTransaction()
	if !o.undeleted.Running {
		mark.Undeleted = o.undeleted.ID()
	}
	return done, mark.write(home)
}

func (o *convertCommand) advise(err error, last zodb.TID) error {
	switch {
	case errors.Is(err, context.Canceled) && last == 0:
		return hint(err, "run it again: it goes on where it stopped")
	case errors.Is(err, context.Canceled):
		return hint(err, "run it again, it goes on after transaction %s", last)
	case errors.Is(err, transfer.ErrOther):
		return hint(err, "convert into a new HOME")
	case errors.Is(err, transfer.ErrDiffers) && o.broughtBack:
		return &status{code: exitDamage, err: hint(err, "files came back to %s since (salvage, or pack --undelete): convert into a new HOME", o.home)}
	case errors.Is(err, transfer.ErrDiffers):
		return &status{code: exitDamage, err: hint(err, "do not use %s; dirstorage check tells which of the two is damaged; then convert into a new HOME", o.made)}
	case errors.Is(err, zodb.ErrCorrupt):
		return &status{code: exitDamage, err: hint(err, "dirstorage check %s lists all damage", o.home)}
	case errors.Is(err, zodb.ErrNotFound):
		return hint(err, "a pack may have taken it meanwhile: run it again when the pack is done")
	}
	return err
}

// convertMarkFile says from which storage a HOME was made, and how far the two were compared.
const convertMarkFile = "misc/converted"

// convertMark is its content.
type convertMark struct {
	Source   string   // identity of the storage that it was made from; "": of none
	Compared zodb.TID // up to which transaction the two were compared; 0: not at all
	// Undeleted names the last undelete or salvage in the source by then; "": there was none.
	Undeleted string
}

func readConvertMark(home vfs.FS) (m convertMark, err error) {
	b, err := home.ReadFile(convertMarkFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	words := strings.Fields(string(b))
	if len(words) < 2 || len(words) > 3 {
		return m, fmt.Errorf("%s: %w: want an identity and a tid", home.Path(convertMarkFile), zodb.ErrCorrupt)
	}
	if m.Source = words[0]; len(words) == 3 {
		m.Undeleted = words[2]
	}
	m.Compared, err = zodb.ParseTID(words[1])
	return m, err
}

func (m convertMark) write(home vfs.FS) error {
	text := strings.TrimRight(fmt.Sprintf("%s %s %s", m.Source, m.Compared, m.Undeleted), " ") + "\n"
	return vfs.WriteFileAtomic(home, convertMarkFile+".new", convertMarkFile, []byte(text), vfs.SyncOptions{File: true, Dir: true})
}
