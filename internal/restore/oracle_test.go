package restore_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// oracle is a storage with all states that it had. It is changed, undone, packed, undeleted and backed up at random.
type oracle struct {
	t          *testing.T
	r          *rand.Rand
	home       string
	s          *engine.Storage
	repository objstore.Store
	tids       []zodb.TID
	states     map[zodb.TID]map[zodb.OID]oracleObject
	backed     map[string]map[revision]bool // all that the storage had at each backup
	carried    map[string]map[revision]bool // all that a restore of it may have
	log        []string
	restored   int
}

// revision is the name of a revision.
type revision struct {
	oid zodb.OID
	tid zodb.TID
}

// revisions are all that a storage has.
func (o *oracle) revisions(s *engine.Storage) map[revision]bool {
	o.t.Helper()
	all := make(map[revision]bool)
	for oid, err := range s.OIDs(o.t.Context()) {
		if err != nil {
			o.t.Fatal(err)
		}
		for tid, err := range s.Serials(o.t.Context(), oid) {
			if err != nil {
				o.t.Errorf("object %s: %v", oid, err)
				break
			}
			all[revision{oid, tid}] = true
		}
	}
	return all
}

// oracleObject is a revision.
type oracleObject struct {
	serial zodb.TID
	text   string // with serial, data and blob
	refs   []zodb.OID
}

func newOracle(t *testing.T, format string, seed uint64) *oracle {
	t.Helper()
	o := &oracle{t: t, r: rand.New(rand.NewPCG(seed, 23)), repository: objstore.NewDir(directory(t, t.TempDir())),
		states: make(map[zodb.TID]map[zodb.OID]oracleObject), backed: make(map[string]map[revision]bool), carried: make(map[string]map[revision]bool)}
	o.home = enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": []string{"0", "86400"}[seed%2],
	}})
	o.s = enginetest.Open(t, o.home, engine.Options{})
	return o
}

func (o *oracle) say(format string, args ...any) { o.log = append(o.log, fmt.Sprintf(format, args...)) }

// now is the state of the storage.
func (o *oracle) now(s *engine.Storage) map[zodb.OID]oracleObject {
	o.t.Helper()
	state := make(map[zodb.OID]oracleObject)
	for oid, err := range s.OIDs(o.t.Context()) {
		if err != nil {
			o.t.Fatal(err)
		}
		r, err := s.Load(o.t.Context(), oid)
		if errors.Is(err, zodb.ErrNotFound) {
			continue // it was deleted, or its creation undone
		}
		if err != nil {
			o.t.Errorf("object %s: %v", oid, err)
			continue
		}
		state[oid] = o.object(s, oid, r)
	}
	return state
}

// object describes a revision with its blob.
func (o *oracle) object(s *engine.Storage, oid zodb.OID, r zodb.Revision) oracleObject {
	o.t.Helper()
	x := oracleObject{serial: r.Serial, text: fmt.Sprintf("%s %x", r.Serial, r.Data)}
	if string(r.Data) == string(enginetest.BlobRecord()) {
		b, err := s.OpenBlob(o.t.Context(), oid, r.Serial)
		if err != nil {
			o.t.Errorf("blob of object %s, %s: %v", oid, r.Serial, err)
			return x
		}
		defer b.Close()
		text := make([]byte, b.Size())
		if _, err := b.ReadAt(text, 0); err != nil {
			o.t.Errorf("blob of object %s: %v", oid, err)
		}
		x.text += " " + string(text)
	}
	for rest := string(r.Data); ; {
		_, after, ok := strings.Cut(rest, "C\x08")
		if !ok || len(after) < 8 {
			return x
		}
		x.refs = append(x.refs, zodb.OIDFromBytes([]byte(after[:8])))
		rest = after[8:]
	}
}

// committed notes the state after a transaction.
func (o *oracle) committed(tid zodb.TID) {
	o.t.Helper()
	o.tids = append(o.tids, tid)
	o.states[tid] = o.now(o.s)
}

// reachable are the objects that packs keep.
func reachable(state map[zodb.OID]oracleObject) map[zodb.OID]bool {
	seen := make(map[zodb.OID]bool)
	for next := []zodb.OID{0}; len(next) > 0; next = next[1:] {
		x, there := state[next[0]]
		if there && !seen[next[0]] {
			seen[next[0]] = true
			next = append(next, x.refs...)
		}
	}
	return seen
}

func (o *oracle) commit() {
	o.t.Helper()
	var oids []zodb.OID
	if n := len(o.tids); n > 0 {
		oids = slices.Sorted(maps.Keys(reachable(o.states[o.tids[n-1]])))
	}
	if len(oids) == 0 {
		oids = []zodb.OID{0}
	}
	for range 2 {
		more, err := o.s.NewOIDs(1)
		if err != nil {
			o.t.Fatal(err)
		}
		oids = append(oids, more...)
	}
	var changes []enginetest.Change
	for _, n := range o.r.Perm(len(oids))[:min(len(oids), 1+o.r.IntN(3))] {
		changes = append(changes, o.change(oids[n], oids))
	}
	if tid, err := enginetest.TryCommit(o.s, zodb.TxnMeta{}, changes...); err == nil {
		o.committed(tid)
	} else if !errors.Is(err, zodb.ErrDangling) {
		o.t.Fatal(err)
	}
}

// change is a record that refers to some objects, or a blob.
func (o *oracle) change(oid zodb.OID, oids []zodb.OID) enginetest.Change {
	if oid != 0 && oid%3 == 1 {
		return enginetest.Change{OID: oid, Data: enginetest.BlobRecord(), Blob: strings.Repeat(fmt.Sprint(o.r.Uint64()), 1+o.r.IntN(9))}
	}
	var refs strings.Builder
	for _, to := range oids {
		if o.r.IntN(3) > 0 {
			refs.WriteString("C\x08" + string(to.Bytes()) + "Q")
		}
	}
	return enginetest.Change{OID: oid, Data: []byte("\x80\x03cm\nC\n.\x80\x03(" + refs.String() + fmt.Sprintf("I%d\nt.", o.r.Uint32()))}
}

// undo takes one of the last transactions back, where that is possible.
func (o *oracle) undo() {
	o.t.Helper()
	if len(o.tids) == 0 {
		return
	}
	of := o.tids[max(0, len(o.tids)-1-o.r.IntN(4))]
	txn, err := o.s.Begin(o.t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	_, err = txn.Undo(o.t.Context(), of)
	if err == nil {
		err = txn.Vote(o.t.Context())
	}
	if err != nil {
		if aborted := txn.Abort(); aborted != nil || !errors.Is(err, zodb.ErrUndo) && !errors.Is(err, zodb.ErrConflict) && !errors.Is(err, zodb.ErrDangling) && !errors.Is(err, zodb.ErrNotFound) {
			o.t.Fatal(err, aborted)
		}
		return
	}
	tid, err := txn.Finish(o.t.Context(), nil)
	if err != nil {
		o.t.Fatal(err)
	}
	o.say("undo of %s", of)
	o.committed(tid)
}

func (o *oracle) pack() {
	o.t.Helper()
	if len(o.tids) == 0 {
		return
	}
	to := o.tids[max(0, len(o.tids)-1-o.r.IntN(8))]
	gc := o.r.IntN(2) == 0
	if _, err := o.s.Pack(o.t.Context(), zodb.PackOptions{Time: to.Time(), NoGC: !gc}); err != nil {
		o.t.Fatal(err)
	}
	o.say("pack to %s, gc %t", to, gc)
}

// packLately commits, packs in the midst of that, and backs up, so that the revisions that the pack has removed are beside the transactions to
// which restores go back.
func (o *oracle) packLately() {
	o.t.Helper()
	for range 5 {
		o.commit()
	}
	o.pack()
	o.backUp()
}

func (o *oracle) undelete() {
	o.t.Helper()
	if _, err := o.s.Undelete(o.t.Context(), 0); err != nil {
		o.t.Fatal(err)
	}
	o.say("undelete")
}

func (o *oracle) reclaim() {
	o.t.Helper()
	if _, err := o.s.Reclaim(o.t.Context(), engine.ReclaimOptions{}); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		o.t.Fatal(err)
	}
	o.say("reclaim")
}

func (o *oracle) reopen() {
	o.t.Helper()
	closed(o.t, o.s)
	o.s = enginetest.Open(o.t, o.home, engine.Options{})
}

func (o *oracle) backUp() {
	o.t.Helper()
	options := backup.Options{Store: o.repository, Now: time.Now, FrameSize: 16 << 10, Snapshot: snapshotOf(o.home), Kind: []backup.Kind{"", "", "", backup.Full}[o.r.IntN(4)]}
	if repo := openRepository(o.t, o.repository); len(repo.Backups) > 0 && o.r.IntN(4) == 0 {
		options.Before = repo.Backups[o.r.IntN(len(repo.Backups))].SnapshotAt
	}
	result, err := backup.Run(o.t.Context(), options)
	if err != nil {
		o.t.Fatal(err)
	}
	if m := result.Backup; m != nil {
		o.backedUp(m)
		o.say("backup %s, of %s, packed to %s, upon %+v", m.Name, m.TID, m.Packed, m.Reference)
		if m.ProblemCount > 0 {
			o.t.Errorf("%v", m.Problems)
		}
	}
}

// backedUp notes the content of a backup. Only bundles have lists of removals by packs since the reference; in other
// formats a restore has that again.
func (o *oracle) backedUp(m *backup.Manifest) {
	o.t.Helper()
	has := o.revisions(o.s)
	o.backed[m.Name], o.carried[m.Name] = has, has
	if m.Reference != nil && o.s.Settings().Structure.Format != layout.Bundled {
		o.carried[m.Name] = maps.Clone(has)
		maps.Copy(o.carried[m.Name], o.carried[m.Reference.Name])
	}
}

func (o *oracle) merge() {
	o.t.Helper()
	repo := openRepository(o.t, o.repository)
	for _, m := range slices.Backward(repo.Backups) {
		if m.Reference != nil && o.r.IntN(2) == 0 {
			merged, err := backup.Merge(o.t.Context(), o.repository, backup.MergeOptions{Name: m.Name, Now: time.Now})
			if err != nil {
				o.t.Fatal(err)
			}
			o.say("merge %s into %s", m.Name, merged.Name)
			o.backed[merged.Name], o.carried[merged.Name] = o.backed[m.Name], o.carried[m.Name]
			return
		}
	}
}

func (o *oracle) prune() {
	o.t.Helper()
	done, err := backup.Prune(o.t.Context(), o.repository, backup.PruneOptions{Chains: 1 + o.r.IntN(2)})
	if err != nil {
		o.t.Fatal(err)
	}
	for _, m := range done.Removed {
		o.say("prune %s", m.Name)
	}
}

// restores goes back to some of the transactions that the repository says can be restored, or to moments between.
func (o *oracle) restores(share int) {
	o.t.Helper()
	repo := openRepository(o.t, o.repository)
	if len(repo.Backups) == 0 {
		return
	}
	ranges := repo.Restorable(repo.Identities()[0])
	for i, tid := range o.tids {
		if o.r.IntN(share) > 0 && i < len(o.tids)-1 {
			continue
		}
		to := tid
		if i+1 < len(o.tids) && o.r.IntN(3) == 0 {
			to += (o.tids[i+1] - tid) / 2
		}
		promised := slices.ContainsFunc(ranges, func(r backup.Restorable) bool { return r.From <= to && to <= r.To })
		o.restore(repo, tid, to, promised)
	}
}

func (o *oracle) restore(repo *backup.Repository, tid, to zodb.TID, promised bool) {
	o.t.Helper()
	p, err := repo.At(repo.Identities()[0], to)
	dir := o.t.TempDir()
	var done *restore.Result
	if err == nil {
		done, err = restore.Run(o.t.Context(), restoreOptions(o.t, repo, p, dir, "home"))
	}
	if err != nil {
		if promised || !errors.Is(err, backup.ErrNoBackup) && !errors.Is(err, restore.ErrPacked) && !errors.Is(err, restore.ErrBefore) {
			o.t.Errorf("to %s, promised %t: %v", to, promised, err)
		}
		return
	}
	if done.TID != tid {
		o.t.Errorf("to %s: it is at %s, want %s", to, done.TID, tid)
	}
	o.restored++
	home := filepath.Join(dir, "home")
	defer os.RemoveAll(home)
	s, err := engine.Open(o.t.Context(), home, engine.Options{ReadOnly: true})
	if err != nil {
		o.t.Fatal(err)
	}
	defer s.Close()
	what := fmt.Sprintf("%s, restored of %s", to, p.Chain[len(p.Chain)-1].Name)
	got, want := o.now(s), o.states[tid]
	kept := reachable(want)
	last := p.Chain[len(p.Chain)-1].Name
	for oid, x := range want {
		if s.Settings().Structure.Format != layout.Bundled && !kept[oid] && !o.backed[last][revision{oid, x.serial}] {
			x = o.states[got[oid].serial][oid] // a pack has removed it since; an older revision of the reference does no harm
		}
		if y, there := got[oid]; y.text != x.text && (there || kept[oid]) {
			o.t.Errorf("%s: object %s is %.80q, want %.80q", what, oid, y.text, x.text)
		}
	}
	for oid, y := range got { // one that a pack had removed by then was brought back later, as it was
		if _, there := want[oid]; !there && (y.serial > tid || o.states[y.serial][oid].text != y.text) {
			o.t.Errorf("%s: object %s is there: %.80q", what, oid, y.text)
		}
	}
	o.history(s, what, tid, p.Chain)
	o.exact(s, what, tid, p.Chain)
}

// exact looks whether all revisions are there that the storage had at the last backup of a chain, and no others. If nothing was
// committed since the one before it, that has them, too, and those that a pack has removed since.
func (o *oracle) exact(s *engine.Storage, what string, tid zodb.TID, chain []*backup.Manifest) {
	o.t.Helper()
	got, last := o.revisions(s), chain[len(chain)-1]
	may := maps.Clone(o.carried[last.Name])
	if n := len(chain); n > 1 && chain[n-2].TID == tid {
		maps.Copy(may, o.carried[chain[n-2].Name])
	}
	for r := range o.backed[last.Name] {
		if r.tid <= tid && !got[r] {
			o.t.Errorf("%s: revision %s of object %s is missing", what, r.tid, r.oid)
		}
	}
	for r := range got {
		if r.tid > tid || !may[r] {
			o.t.Errorf("%s: revision %s of object %s was not in the backup", what, r.tid, r.oid)
		}
	}
}

// history looks whether the older states are there, too, as far as no pack has removed them.
func (o *oracle) history(s *engine.Storage, what string, tid zodb.TID, chain []*backup.Manifest) {
	o.t.Helper()
	packed := zodb.TID(0)
	for _, m := range chain {
		packed = max(packed, m.Packed)
	}
	for _, at := range o.tids {
		if at < packed || at > tid || o.r.IntN(3) > 0 {
			continue
		}
		want := o.states[at]
		for oid := range reachable(want) {
			r, err := s.LoadBefore(o.t.Context(), oid, at+1)
			if err != nil {
				o.t.Errorf("%s: object %s as of %s: %v", what, oid, at, err)
				continue
			}
			if y := o.object(s, oid, *r); y.text != want[oid].text {
				o.t.Errorf("%s: object %s as of %s is %.80q, want %.80q", what, oid, at, y.text, want[oid].text)
			}
		}
	}
}

func (o *oracle) run(seed uint64, steps int) {
	defer func() {
		if o.t.Failed() {
			o.t.Logf("seed %d:\n%s", seed, strings.Join(o.log, "\n"))
		}
	}()
	do := []func(){o.commit, o.commit, o.commit, o.commit, o.commit, o.commit, o.undo, o.undo, o.pack, o.backUp, o.backUp, o.backUp, o.packLately, o.merge,
		o.reopen, o.reclaim, o.undelete, o.prune}
	o.commit()
	for range steps {
		do[o.r.IntN(len(do))]()
		if o.t.Failed() {
			return
		}
		if o.r.IntN(12) == 0 {
			o.restores(8)
		}
	}
	o.packLately()
	o.restores(hometest.OneOf(1, 4, 4))
	closed(o.t, o.s)
}

// TestEachStateOfARandomHistoryIsRestored compares restores to any transaction with the state that the storage had
// after it, blobs and older revisions included.
func TestEachStateOfARandomHistoryIsRestored(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		seeds := hometest.Rounds(t, 4/hometest.OneOf(1, 4, 4))
		steps, restored := hometest.OneOf(60, 60, 40), 0
		for i := range seeds {
			seed := uint64(hometest.Phase(t)*seeds + i)
			o := newOracle(t, format, seed)
			o.run(seed, steps)
			if t.Failed() {
				return
			}
			restored += o.restored
		}
		if restored < seeds {
			t.Errorf("%d seeds were restored %d times", seeds, restored)
		}
	})
}
