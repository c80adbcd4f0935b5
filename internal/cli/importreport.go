package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// report prints the result, or the advice on err.
func (o *importCommand) report(e *env, m *meter, done transfer.Imported, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return hint(err, "run it again, it goes on after transaction %s", done.LastTID)
	case errors.Is(err, transfer.ErrOther):
		return hint(err, "import into a new HOME")
	case errors.Is(err, transfer.ErrOrder):
		return hint(err, "--renumber gives such transactions the next tids after the one before; run it again, it goes on where it stopped")
	case errors.Is(err, transfer.ErrIncomplete):
		return &status{code: exitDamage, err: hint(err, "%s", incompleteAdvice)}
	case o.damagedSource(err):
		if !o.salvage {
			err = hint(err, "the transactions before it were imported; --salvage goes on with the sound ones behind it")
		}
		return &status{code: exitDamage, err: err}
	case err != nil:
		return err
	}
	o.warn(e, done)
	if o.json {
		return errors.Join(e.printJSON(done), o.damage(done))
	}
	spent := m.spent()
	_, err = fmt.Fprintf(e.Stdout, "imported %s with %s and %s (%s) in %s, %s; the last one is %s\n",
		human.Number(done.Transactions, "transaction"), human.Number(done.Records, "record"), human.Number(done.Blobs, "blob"), human.Bytes(done.Bytes),
		human.Duration(spent), human.Rate(done.Records, spent), formatLast(done.LastTID))
	return errors.Join(err, o.damage(done))
}

// incompleteAdvice is that on a server that does not list all that it has.
const incompleteAdvice = "Python's server lists the records of a transaction up to a damaged header, and its log alone says so (“data record exceeds transaction record”): " +
	"import its Data.fs itself into a new HOME, which names the damage; a backup of the file, or fsrecover, is the way to a sound one; --salvage takes this copy as it is"

// farFuture is how much later than now a transaction may be before that is worth a word.
const farFuture = 24 * time.Hour

// maxDanglingLines is how many dangling references are shown.
const maxDanglingLines = 20

func inBrackets(class string) string {
	if class == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", class)
}

// warn reports oddities of the imported data.
func (o *importCommand) warn(e *env, done transfer.Imported) {
	if done.MissingBlobs > 0 {
		e.note("warning: %s missing; the records are there without content\n", human.Plural(done.MissingBlobs, "blob was", "blobs were"))
	}
	if done.Renumbered > 0 {
		e.note("warning: %s got other tids, because those in the file do not grow\n", human.Number(done.Renumbered, "transaction"))
	}
	if ahead := done.LastTID.Time().Sub(e.Now()); done.LastTID != 0 && ahead > farFuture {
		e.note("warning: the last transaction %s is %s ahead of the clock, and so will be all that follow: times of packs, backups and logs are not those of the clock\n",
			formatLast(done.LastTID), human.Duration(ahead))
	}
	warnDangling(e, done)
	for _, d := range done.DifferingList {
		fmt.Fprintf(e.Stderr, "damage: %s\n", d)
	}
	if more := done.Differing - int64(len(done.DifferingList)); more > 0 {
		fmt.Fprintf(e.Stderr, "damage: and %s more\n", human.Number(more, "object"))
	}
	for _, p := range done.Skipped {
		verb, what := "left out", fmt.Sprintf("object %s of transaction %s", p.OID, p.TID)
		switch {
		case p.Taken:
			verb, what = "took all the same", fmt.Sprintf("transaction %s", p.TID)
		case p.Whole:
			what = "one transaction or more"
		case zeoclient.IsURL(o.source): // the reason names the object, if the server does
			what = fmt.Sprintf("a record of transaction %s", p.TID)
		}
		if p.Length > 0 {
			what += fmt.Sprintf(", %d bytes at byte %d", p.Length, p.Offset)
		}
		fmt.Fprintf(e.Stderr, "damage: %s %s: %s\n", verb, what, p.Reason)
	}
}

// warnDangling lists references that lead to nothing.
func warnDangling(e *env, done transfer.Imported) {
	if done.Dangling > 0 {
		e.note("warning: %s to objects that do not exist, as in the source; following one raises a POSKeyError. Their holders can be changed, but no such reference can be added\n", human.Plural(done.Dangling, "reference leads", "references lead"))
		for _, d := range done.DanglingList[:min(len(done.DanglingList), maxDanglingLines)] {
			e.note("  object %s%s refers to %s%s\n", d.OID, inBrackets(d.Class), d.Target, inBrackets(d.TargetClass))
		}
		if more := done.Dangling - maxDanglingLines; more > 0 {
			e.note("  and %s more; dirstorage check lists them\n", human.Count(more))
		}
	}
}

// damage is the error of an import that passed something over.
func (o *importCommand) damage(done transfer.Imported) error {
	switch {
	case done.Damaged == 0 && done.Differing == 0:
		return nil
	case done.Damaged == 0:
		return &status{code: exitDamage, err: hint(fmt.Errorf("%s: %w: of %s; see the list", o.source, transfer.ErrIncomplete, human.Number(done.Differing, "object")), "%s", incompleteAdvice)}
	}
	return &status{code: exitDamage, err: fmt.Errorf("damaged parts of %s: %s; see the list of omissions", o.source, human.Count(done.Damaged))}
}
