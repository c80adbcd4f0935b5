package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// indexFile is where the index of references is.
const indexFile = "misc/" + refindex.FileName

// indexMemory is how many bytes the index takes while it is written, about.
func indexMemory() int { return int(budget.Within(64<<20, 8)) }

// candidatesMemory is how many bytes the set of those may take that have to be
// looked at. If it is too little, all are looked at.
func candidatesMemory() int64 { return budget.Within(64<<20, 4) }

type refsCommand struct {
	home, oid  string
	weak       bool
	writeIndex bool
	workers    int
	json       bool
}

func newRefs(e *env) *cobra.Command {
	var o refsCommand
	c := &cobra.Command{
		Use:         "refs HOME OID | --write-index HOME",
		Annotations: interruptible("nothing was changed, and the index is as it was; run it again, it begins anew"),
		SuggestFor:  []string{"references"},
		Short:       "List the references of an object, and those to it",
		Long: `List the references of the current revision of an object, and the objects whose
current revisions refer to it; also if it does not exist, as after a POSKeyError.
The referring objects are read from the index in misc/refs, and from transactions
committed since that was written. Without an index, and for weak references, every
object is read. They are printed as they are found, by ascending oid. --write-index
reads every object and writes the index, beside a running storage too.`,
		Example: "  dirstorage refs /srv/zodb 0x1a\n  dirstorage refs --write-index /srv/zodb",
		Args: func(c *cobra.Command, args []string) error {
			if o.writeIndex {
				return cobra.ExactArgs(1)(c, args)
			}
			return cobra.ExactArgs(2)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			if len(args) == 2 {
				o.oid = args[1]
			}
			return o.run(c.Context(), e)
		},
	}
	c.Flags().BoolVar(&o.weak, "weak", false, "also list objects that refer to it by weak references only; reads every object")
	c.Flags().BoolVar(&o.writeIndex, "write-index", false, "write the index")
	c.Flags().IntVar(&o.workers, "workers", 0, "objects to read at the same time; 0 = the number of processors")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line, for each referring object, then a summary; print JSON with --write-index")
	return c
}

func (o *refsCommand) run(ctx context.Context, e *env) (err error) {
	switch {
	case o.writeIndex && o.weak:
		return usage("--write-index cannot be combined with --weak; leave one out")
	case o.workers < 0:
		return usage("--workers %d: want 0 or more", o.workers)
	}
	home, err := openHome(o.home)
	if err != nil {
		return err
	}
	if o.writeIndex {
		return o.write(ctx, e, home)
	}
	oid, err := e.parseOID(o.oid)
	if err != nil {
		return err
	}
	var index *refindex.Reader
	if !o.weak {
		// Before the storage: an index that is written meanwhile could be newer than the storage's
		// view.
		if index, err = o.openIndex(e, home); err != nil {
			return err
		}
	}
	if index != nil {
		defer func() { err = errors.Join(err, index.Close()) }()
	}
	s, err := openReader(ctx, e, o.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r := &currentReader{e: e, s: s, workers: o.workers}
	a, err := o.answer(ctx, r, index, oid)
	if err != nil {
		return err
	}
	r.report()
	switch {
	case a.damaged || r.damaged > 0 || passedOver(s):
		return damageMet()
	case !a.Exists && a.ReferredToBy == 0:
		return fmt.Errorf("object %s does not exist, and nothing refers to it%s", oid, a.howFar())
	}
	return nil
}

// damageMet is the error of a command that did its work, except for damaged parts.
func damageMet() error {
	return &status{code: exitDamage, err: errors.New("there is damage; dirstorage check finds all of it")}
}

// passedOver reports whether a storage has bundles that are damaged or missing: an answer without an
// error may be an older one then, or not complete.
func passedOver(s *engine.Storage) bool { return len(s.Status().Damaged) > 0 }

// openIndex opens the index; nil if there is none that can be used, which is said.
func (o *refsCommand) openIndex(e *env, home vfs.FS) (*refindex.Reader, error) {
	index, err := refindex.Open(home, indexFile)
	switch {
	case err == nil:
		return index, nil
	case errors.Is(err, fs.ErrNotExist):
		o.withoutIndex(e, "there is no "+indexFile)
	case errors.Is(err, zodb.ErrCorrupt), errors.Is(err, fs.ErrPermission):
		o.withoutIndex(e, err.Error())
	default:
		return nil, err
	}
	return nil, nil
}

// withoutIndex says why it is going to take long, and the remedy.
func (o *refsCommand) withoutIndex(e *env, why string) {
	e.note("dirstorage: %s: every object is read\nhint: dirstorage refs --write-index %s writes it, as pack --refs and check --refs do as a by-product\n", why, o.home)
}

// refsSummary is the last line of refs.
type refsSummary struct {
	Summary refsAnswer `json:"summary"`
}

// refsAnswer is the facts about an object, after the search for those that refer to it.
type refsAnswer struct {
	OID    zodb.OID `json:"oid"`
	Exists bool     `json:"exists"`
	// Reason is why it does not exist, or cannot be read.
	Reason string   `json:"reason,omitempty"`
	Serial zodb.TID `json:"serial,omitzero"`
	// Class of an object that does not exist is the class named in references to it.
	Class        string   `json:"class"`
	RefersTo     []target `json:"refers_to"`
	ReferredToBy int64    `json:"referred_to_by"` // objects
	// IndexTID is up to where the index was used; nil: every object was read.
	IndexTID *zodb.TID `json:"index_tid"`
	// Unseen is the number of objects whose references could not be seen.
	Unseen int64 `json:"unseen"`

	weak    bool // weak references were looked for
	damaged bool // the object is damaged, or others were when the index was written
}

// target is an object that is referred to.
type target struct {
	OID      zodb.OID `json:"oid"`
	Class    string   `json:"class,omitempty"` // as the reference names it
	Weak     bool     `json:"weak,omitempty"`
	Database string   `json:"database,omitempty"`
	Exists   *bool    `json:"exists,omitempty"` // nil: in another database
}

// referrer is an object that refers to another.
type referrer struct {
	OID    zodb.OID `json:"oid"`
	Class  string   `json:"class"`
	Serial zodb.TID `json:"serial"`
	Weak   bool     `json:"weak,omitempty"` // only
	names  string   // the class of the other, as the reference names it
}

// answer prints the facts about an object, and the objects that refer to it as they are found.
func (o *refsCommand) answer(ctx context.Context, r *currentReader, index *refindex.Reader, oid zodb.OID) (*refsAnswer, error) {
	a := &refsAnswer{OID: oid, weak: o.weak, RefersTo: []target{}}
	if err := a.describe(ctx, r); err != nil {
		return nil, err
	}
	var oids seq
	if index != nil {
		set := oidset.New(candidatesMemory())
		why, err := inspect.Candidates(ctx, r.s, index, oid, set, 0)
		if err != nil {
			return nil, err
		}
		if why == "" {
			tid, stats := index.TID(), index.Stats()
			a.IndexTID, a.Unseen, a.damaged = &tid, stats.Skipped, a.damaged || stats.Damaged > 0
			r.total, oids = 0, withoutErrors(set.Each())
			if stats.Skipped > 0 {
				fmt.Fprintf(r.e.Stderr, "dirstorage: objects that are not in %s because their references could not be seen: %s, damaged: %s; if they were repaired since, write it again\n",
					indexFile, human.Count(stats.Skipped), human.Count(stats.Damaged))
			}
		} else {
			o.withoutIndex(r.e, why)
		}
	}
	p := &refsPrinter{e: r.e, a: a, json: o.json}
	if err := p.begin(); err != nil {
		return nil, err
	}
	if a.IndexTID == nil {
		r.total = r.s.Counts().Objects
		var err error
		if oids, err = ascending(r.e, r.s.OIDs(ctx)); err != nil {
			return nil, err
		}
	}
	r.emit = p.referrers
	if err := a.look(ctx, r, oids); err != nil {
		return nil, err
	}
	a.Unseen += r.unseen()
	return a, p.end()
}

// ascending sorts oids, and leaves out repetitions, if there is room for all of them.
func ascending(e *env, oids seq) (seq, error) {
	set := oidset.New(candidatesMemory())
	for oid, err := range oids {
		if err != nil {
			return nil, err
		}
		if room, _ := set.Add(oid); !room {
			e.note("dirstorage: there is no memory to sort the objects: they come in the order in which they are read, and an object that is stored meanwhile may come twice\n")
			return oids, nil
		}
	}
	return withoutErrors(set.Each()), nil
}

// describe fills in the facts in the object itself.
func (a *refsAnswer) describe(ctx context.Context, r *currentReader) error {
	rev, state, err := r.load(ctx, a.OID)
	if state == revisionFailed {
		return err
	}
	a.damaged = state == revisionDamaged
	if k, ok := errors.AsType[*zodb.KeyError](err); ok {
		a.Serial, a.Reason = k.TID, cmp.Or(k.Reason, "there is no such object")
		return nil
	}
	if c, ok := errors.AsType[*zodb.CorruptError](err); ok && c.NoObject {
		a.Serial, a.Reason = c.TID, err.Error()
		return nil
	}
	a.Exists, a.Serial = true, rev.Serial
	if a.damaged {
		a.Reason = err.Error()
		return nil
	}
	a.Class = className(rev.Data)
	if len(rev.Data) == 0 {
		return nil
	}
	refs, err := pickle.References(rev.Data)
	if err != nil {
		a.Reason = "its references cannot be seen:  " + err.Error()
		return nil
	}
	seen := make(map[pickle.Ref]bool)
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		t := target{OID: ref.OID, Class: ref.Class, Weak: ref.Weak, Database: ref.Database}
		if ref.Database == "" {
			exists, err := r.s.Exists(ctx, ref.OID)
			if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
				return err
			}
			exists = exists || err != nil
			t.Exists = &exists
		}
		a.RefersTo = append(a.RefersTo, t)
	}
	return nil
}

// look looks which of some objects refer to this one.
func (a *refsAnswer) look(ctx context.Context, r *currentReader, oids seq) error {
	return r.each(ctx, oids, func(v *currentRevision) error {
		ref, ok, err := v.refersTo(a.OID, a.weak)
		if err != nil || !ok {
			return err
		}
		*v.results = append(*v.results, referrer{OID: v.oid, Class: className(v.Data), Serial: v.Serial, Weak: ref.Weak, names: ref.Class})
		return nil
	})
}

// howFar qualifies that nothing refers to the object.
func (a *refsAnswer) howFar() string {
	if a.weak {
		return ""
	}
	return " by a strong reference"
}

func strength(weak bool) string {
	if weak {
		return "weak"
	}
	return "strong"
}

// className is “module.name” of the class of a record; empty if it has none.
func className(record []byte) string {
	module, name, err := pickle.Class(record)
	if err != nil {
		return ""
	}
	return module + "." + name
}
