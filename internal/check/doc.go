// Package check reads a HOME file by file and tells its faults. It
// is deliberately not built on the tree or the engine, so that their bugs can't
// hide from it; it shares with them only the meaning of bytes and names.
//
// It looks at the database as it would be after recovery: the
// transactions that wait in journal/, over B, over A (the newer wins). With
// [Options.SnapshotOnly] it is A alone, as a backup would copy it.
//
// # How it stays small and in parallel
//
// One pass reads each file once. Nothing is remembered for each object but three
// bits (it exists; somebody refers to it; somebody did, and undo can bring that
// back). Everything that relates files to
// each other is compared as sets, by fingerprints: the sum of a keyed hash of
// the members, in 16,384 buckets, so that two walks in any order and on any
// number of workers can be compared without keeping their members.
//
//	set of transaction files          = set of previous fields of transactions + the head
//	set of revision files             = set of revisions reached by walking histories
//	set of revision files             = set of (oid, tid) listed by transactions
//
// The first equality, together with “previous is lower than its own tid”, means
// that the transactions form one chain: each is named exactly once, and there
// can't be a loop. The third is asked only for items that are not older than x.packed.
// Where two sums differ, and only then, the members of the buckets concerned
// are looked at again and the finding gets its name. So a sound home costs one
// pass, and a damaged one costs another over the names, with reads only of files that may
// be concerned.
//
// Where references lead to nothing, the current revisions are read once more, now
// from the root object on, to find the referrers and whether that matters.
//
// A hash collision can hide a difference with a probability of about 2⁻⁶⁴ for each
// bucket; the key is drawn anew in each run.
//
// # Remains of a pack
//
// A pack that is interrupted, or a backup that is made during one, leaves garbage
// that was removed by half. That does no harm, and the next pack removes the rest; so
// remains that may come from that are not damage, but a note or a warning that says so:
//
//	references to an object that is gone, all by objects that a pack to x.packed removes
//	revisions without a pointer, of an object that nothing refers to
//	revisions that no later one leads to
//	blobs without a revision
//	revisions without a blob, where a pack does not keep that revision
//	transactions that are not in the chain, or that only such ones name
//
// All of it only as far as it is older than x.packed, and no rule of keepclass keeps
// it. And where the victims of a pack are unknown, because something that is reachable
// can't be read, or has lost its pointer, references to nothing and revisions without a
// pointer are damage. A pointer whose revision is gone always is.
//
// # One cause, one finding
//
// A finding names the file where the damage is. Its consequences (histories that can't be
// walked past an unreadable revision, a chain that can't be followed past a missing
// transaction) are not reported again.
package check
