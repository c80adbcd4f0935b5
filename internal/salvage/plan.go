package salvage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// ErrNeedsRecovery is returned for a home whose journal or B is not empty.
var ErrNeedsRecovery = errors.New("the storage was not closed cleanly: recover it first")

// Verb is the action, or the reason against it.
type Verb string

const (
	Place     Verb = "place"     // From is copied to To, perhaps with another kind of checksum
	Make      Verb = "make"      // To is made of Data: a pointer or an x file; or of From, a damaged bundle
	Duplicate Verb = "duplicate" // To is there already, with the same content
	Conflict  Verb = "conflict"  // To is there already, with other content, or two lost files claim it
	Damaged   Verb = "damaged"   // it begins like a file of a database, but is not whole
	Doubtful  Verb = "doubtful"  // whole, but the database does not want it; see Detail
	Newer     Verb = "newer"     // a newer release wrote it, or a file that would decide: see Detail
	Unknown   Verb = "unknown"   // no file of this database, or one that can't be told
)

// Action is one step of a plan. Only Place and Make change anything.
type Action struct {
	Verb   Verb                                           `json:"verb"`
	From   string                                         `json:"from,omitempty"` // relative to the directory of lost files
	To     string                                         `json:"to,omitempty"`   // relative to HOME
	Name   layout.Name                                    `json:"-"`
	Data   []byte                                         `json:"-"` // of Make
	Write  func(ctx context.Context, out io.Writer) error `json:"-"` // instead of Data, or of a copy
	Detail string                                         `json:"detail,omitempty"`
	// Returned: members of a bundle that packs removed may be there again.
	Returned bool `json:"returned,omitempty"`
	// Missing: the home lacks transactions or revisions that the file had, or may have had.
	Missing bool `json:"missing,omitempty"`
	// Older: an older revision of an object becomes current, for the newest one is missing.
	Older bool `json:"older,omitempty"`
}

// smallest is the length below which a file can't be an object or transaction.
const smallest = 60

// planner is one Plan.
type planner struct {
	lost, home vfs.FS
	now        time.Time
	format     layout.Format
	full       bool
	serial     zodb.TID // x.serial; where that is missing, the highest tid that it can have
	noSerial   bool     // x.serial is missing
	actions    []Action
	placed     map[layout.Name]int              // index into actions
	unknown    []string                         // lost files that may be blobs
	listed     map[zodb.TID]*record.Transaction // transactions that are among the lost
}

// Plan looks at each file below lost and at the home, and returns the possible actions. It changes
// nothing. Actions are ordered as they have to be applied.
//
// now is the time of removals of which nobody knows when they were.
func Plan(ctx context.Context, lost, home vfs.FS, now time.Time) ([]Action, error) {
	p := &planner{lost: lost, home: home, now: now,
		placed: make(map[layout.Name]int), listed: make(map[zodb.TID]*record.Transaction)}
	if err := p.open(); err != nil {
		return nil, err
	}
	files, err := p.lostFiles(ctx)
	if err != nil {
		return nil, err
	}
	if p.format == layout.Bundled {
		err := p.planBundles(ctx, files)
		return p.actions, err
	}
	// Transactions first: they say which revisions there should be.
	for _, pass := range []func(name string) error{p.transaction, p.object} {
		for _, name := range files {
			if err := errors.Join(ctx.Err(), pass(name)); err != nil {
				return nil, err
			}
		}
	}
	if err := p.complete(ctx); err != nil {
		return nil, err
	}
	slices.SortStableFunc(p.actions, func(a, b Action) int { return cmp.Compare(rank(a), rank(b)) })
	return p.actions, nil
}

// rank orders the actions so that an interrupted Apply never leaves a pointer
// to a revision that is not there, nor an x.serial to a transaction.
func rank(a Action) int {
	switch {
	case a.Verb == Place && a.Name.Kind == layout.KindBlob:
		return 0
	case a.Verb == Place && a.Name.Kind != layout.KindTransaction:
		return 1
	case a.Verb == Place:
		return 2
	case a.Verb == Make && a.Name.Kind == layout.KindPointer:
		return 3
	case a.Verb == Make:
		return 4
	default:
		return 5
	}
}

func (p *planner) open() error {
	const name = "config/settings"
	text, err := p.home.ReadFile(name)
	if err != nil {
		return fmt.Errorf("not a storage: %w", err)
	}
	set, _, err := settings.Parse(text, name)
	if err != nil {
		return err
	}
	p.format, p.full = set.Structure.Format, set.Storage.ClassName == "Full"
	for _, dir := range []string{"B", "journal"} {
		if dir == "B" && p.format == layout.Bundled {
			continue // a home that is damaged cannot be recovered first, and bundles are told apart
		}
		for e, err := range p.home.List(dir) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			if dir == "B" || len(e.Name) > 8 && e.Name[:8] == "working_" {
				return fmt.Errorf("%s/%s is there: %w", dir, e.Name, ErrNeedsRecovery)
			}
		}
	}
	p.serial = zodb.MaxTID
	b, err := p.home.ReadFile(p.place(layout.XSerial))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if p.noSerial = true; p.format != layout.Bundled {
			p.serial, err = p.beforeLog()
			return err
		}
		return nil
	}
	v, err := record.ParseX(b, p.place(layout.XSerial))
	p.serial = zodb.TID(v)
	return err
}

func (p *planner) place(n layout.Name) string { return "A/" + p.format.Path(n) }

// lostFiles returns the names of all regular files, sorted.
func (p *planner) lostFiles(ctx context.Context) ([]string, error) {
	var files []string
	err := eachFile(ctx, p.lost, ".", func(name string) error {
		files = append(files, name)
		return nil
	})
	slices.Sort(files)
	return files, err
}

func (p *planner) has(name, magic string) (bool, error) {
	head, size, err := head(p.lost, name, len(magic))
	return size >= smallest && string(head) == magic, err
}

// transaction looks whether a lost file is a transaction.
func (p *planner) transaction(name string) error {
	if ok, err := p.has(name, record.TransactionMagic); !ok {
		return err
	}
	b, err := p.lost.ReadFile(name)
	if err != nil {
		return err
	}
	t, err := record.ParseTransaction(b, name, true)
	switch {
	case err != nil:
		p.actions = append(p.actions, Action{Verb: Damaged, From: name, Detail: err.Error()})
	case !p.full:
		p.actions = append(p.actions, Action{Verb: Doubtful, From: name, Detail: "a transaction, but the storage is of class Minimal"})
	default:
		p.listed[t.TID] = t
		return p.propose(name, b, layout.Transaction(t.TID), t.TID, "")
	}
	return nil
}

// object looks whether a lost file is a revision of an object; a file that is neither that nor a
// transaction may be a blob.
func (p *planner) object(name string) error {
	if ok, err := p.has(name, record.TransactionMagic); ok || err != nil {
		return err
	}
	ok, err := p.has(name, record.ObjectMagic)
	if err != nil {
		return err
	}
	if !ok {
		p.unknown = append(p.unknown, name)
		return nil
	}
	b, err := p.lost.ReadFile(name)
	if err != nil {
		return err
	}
	o, err := record.ParseObject(b, name, true)
	if err != nil {
		p.actions = append(p.actions, Action{Verb: Damaged, From: name, Detail: err.Error()})
		return nil
	}
	if !p.full {
		return p.propose(name, b, layout.Object(o.OID), o.Serial, "")
	}
	detail, wanted, err := p.wanted(o)
	if err != nil {
		return err
	}
	if !wanted {
		p.actions = append(p.actions, Action{Verb: Doubtful, From: name, To: p.place(layout.Revision(o.OID, o.Serial)), Detail: detail})
		return nil
	}
	return p.propose(name, b, layout.Revision(o.OID, o.Serial), o.Serial, detail)
}

// wanted asks the transaction of a revision whether it wrote that object. The
// oid in the header is not covered by the checksum.
func (p *planner) wanted(o *record.Object) (detail string, wanted bool, err error) {
	t := p.listed[o.Serial]
	if t == nil {
		where := p.place(layout.Transaction(o.Serial))
		b, err := p.home.ReadFile(where)
		if errors.Is(err, fs.ErrNotExist) {
			return "its transaction is not there to confirm it", true, nil
		}
		if err != nil {
			return "", false, err
		}
		if t, err = record.ParseTransactionAs(b, where, o.Serial, true); err != nil {
			return "its transaction is damaged and can't confirm it", true, nil
		}
		p.listed[o.Serial] = t
	}
	if !slices.Contains(t.OIDs, o.OID) {
		return fmt.Sprintf("transaction %s did not write object %s", o.Serial, o.OID), false, nil
	}
	return "", true, nil
}

// propose adds the action for a lost file whose place is known.
func (p *planner) propose(name string, content []byte, n layout.Name, tid zodb.TID, detail string) error {
	a := Action{Verb: Place, From: name, To: p.place(n), Name: n, Detail: detail}
	there, err := p.home.ReadFile(a.To)
	switch {
	case err == nil && record.Same(there, content):
		a.Verb = Duplicate
	case err == nil:
		a.Verb, a.Detail = Conflict, "there is a file with other content"
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case tid > p.serial:
		a.Verb, a.Detail = Doubtful, "later than x.serial: the transaction may never have been committed"
	default:
		if err := p.claim(&a, content); err != nil {
			return err
		}
		p.withMD5(&a, content)
	}
	p.actions = append(p.actions, a)
	return nil
}

// withMD5 has a record written with the kind of checksum that the Python original reads, if it has the
// kind of bundles: somebody has unpacked one with tar.
func (p *planner) withMD5(a *Action, content []byte) {
	if a.Verb != Place || record.SumKindOf(content) != record.XXH64 {
		return
	}
	a.Detail = strings.TrimPrefix(a.Detail+"; it gets an MD5 in place of its XXH64", "; ")
	name := a.From
	a.Write = func(_ context.Context, out io.Writer) error {
		b, err := p.lost.ReadFile(name)
		if err == nil {
			if reason := record.SumFault(b); reason != "" {
				err = &zodb.CorruptError{Path: name, Reason: "it was changed meanwhile: " + reason}
			}
		}
		if err == nil {
			_, err = out.Write(record.WithSum(b, record.MD5))
		}
		return err
	}
}

// claim settles which of several lost files gets a place: the first one.
func (p *planner) claim(a *Action, content []byte) error {
	i, taken := p.placed[a.Name]
	if !taken {
		p.placed[a.Name] = len(p.actions)
		return nil
	}
	first, err := p.lost.ReadFile(p.actions[i].From)
	if err != nil {
		return err
	}
	a.Verb, a.Detail = Conflict, p.actions[i].From+" claims the same place, with other content"
	if record.Same(first, content) {
		a.Verb, a.Detail = Duplicate, "the same as "+p.actions[i].From
	}
	return nil
}
