package restore_test

import (
	"errors"
	"fmt"
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

// forks are HOMEs of one storage, of which only one goes on at a time: it is packed, undeleted, salvaged, put back to
// other states by restores, by hand and with its disk, and backed up into two repositories all the while.
type forks struct {
	t            *testing.T
	r            *rand.Rand
	dir          string
	kind         string // a format, or minimal
	packs        bool   // and undeletes
	repositories []*forkRepository
	home         string          // the one that goes on
	only         *forkRepository // for now
	full         bool            // the backed-up history is, for now
	last         string          // backup
	opened       bool            // since its state was put back
	from         *forkRepository // from which it was restored; nil = it was not
	copies       []forkedCopy    // made by hand when the storage was closed
	ahead        bool            // the clock was: the other repository may have later backups of a state that was given up
	made         int             // directories so far
	log          []string
	lost         int // how often another state was put in the place of the last
	backups      int
}

// forkRepository has the objects of each of its backups, as content says them.
type forkRepository struct {
	objstore.Store
	name    string
	content map[string]map[zodb.OID]string
	damaged map[string]bool // made when a file was lost
}

// forkedCopy is a copy of HOME, and the content of its misc/backed-up.
type forkedCopy struct {
	home  string
	notes []string
}

const minimal = "minimal"

func (f *forks) path(kind string) string {
	f.made++
	return filepath.Join(f.dir, fmt.Sprint(kind, f.made))
}

// during opens the storage for some work.
func (f *forks) during(work func(s *engine.Storage)) {
	f.t.Helper()
	f.duringAt(nil, work)
}

func (f *forks) duringAt(clock func() time.Time, work func(s *engine.Storage)) {
	f.t.Helper()
	s, err := engine.Open(f.t.Context(), f.home, engine.Options{Clock: clock})
	if err != nil {
		f.t.Fatal(err)
	}
	f.opened = true
	work(s)
	if err := s.Close(); err != nil {
		f.t.Fatal(err)
	}
}

// objects returns those that are there, and a new one while there are few.
func (f *forks) objects(s *engine.Storage) (oids []zodb.OID) {
	f.t.Helper()
	for oid, err := range s.OIDs(f.t.Context()) {
		if err != nil {
			f.t.Fatal(err)
		}
		oids = append(oids, oid)
	}
	if len(oids) == 0 {
		return []zodb.OID{0}
	}
	if len(oids) < 8 {
		more, err := s.NewOIDs(1)
		if err != nil {
			f.t.Fatal(err)
		}
		oids = append(oids, more...)
	}
	return oids
}

// commit changes some objects, and makes new ones; the root refers to some of them.
func (f *forks) commit(s *engine.Storage) {
	for range 1 + f.r.IntN(2) {
		changes := []enginetest.Change{}
		oids := f.objects(s)
		for _, n := range f.r.Perm(len(oids))[:min(len(oids), 1+f.r.IntN(3))] {
			oid := oids[n]
			text := fmt.Sprintf("%d %d", oid, f.r.Uint64())
			c := enginetest.Change{OID: oid, Data: enginetest.Record(text)}
			switch {
			case oid == 0:
				var refs strings.Builder
				for _, to := range oids[1:] {
					if f.r.IntN(3) > 0 {
						refs.WriteString("C\x08" + string(to.Bytes()) + "Q")
					}
				}
				c.Data = []byte("\x80\x03cm\nC\n.\x80\x03(" + refs.String() + "t.")
			case oid%4 == 1 && f.kind != minimal:
				c.Data, c.Blob = enginetest.BlobRecord(), text
			}
			changes = append(changes, c)
		}
		if _, err := enginetest.TryCommit(s, zodb.TxnMeta{}, changes...); err != nil && !errors.Is(err, zodb.ErrDangling) {
			f.t.Fatal(err)
		}
	}
}

// content has each object's revision, data and blob.
func (f *forks) content(home string, without ...zodb.OID) map[zodb.OID]string {
	f.t.Helper()
	s, err := engine.Open(f.t.Context(), home, engine.Options{ReadOnly: true})
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	content := make(map[zodb.OID]string)
	for oid, err := range s.OIDs(f.t.Context()) {
		if err != nil {
			f.t.Fatal(err)
		}
		r, err := s.Load(f.t.Context(), oid)
		if err != nil && slices.Contains(without, oid) {
			continue
		}
		if err != nil {
			f.t.Errorf("%s: object %s: %v", home, oid, err)
			continue
		}
		content[oid] = fmt.Sprintf("%s %q", r.Serial, r.Data)
		if string(r.Data) == string(enginetest.BlobRecord()) {
			content[oid] += f.blob(s, oid, r.Serial)
		}
	}
	return content
}

func (f *forks) blob(s *engine.Storage, oid zodb.OID, serial zodb.TID) string {
	f.t.Helper()
	b, err := s.OpenBlob(f.t.Context(), oid, serial)
	if err != nil {
		f.t.Errorf("blob of object %s: %v", oid, err)
		return ""
	}
	defer b.Close()
	text := make([]byte, b.Size())
	if _, err := b.ReadAt(text, 0); err != nil {
		f.t.Errorf("blob of object %s: %v", oid, err)
	}
	return string(text)
}

// superset compares restored objects with those of a state, all of which have to be there. Of others, a pack had
// removed them.
func (f *forks) superset(what string, got, want map[zodb.OID]string) {
	f.t.Helper()
	for oid, text := range want {
		if got[oid] != text {
			f.t.Errorf("%s: object %s is %q, want %q", what, oid, got[oid], text)
		}
	}
}

// restored makes a HOME of a plan, and checks it.
func (f *forks) restored(repo *backup.Repository, p *backup.Plan) string {
	f.t.Helper()
	home := f.path("restored")
	if _, err := restore.Run(f.t.Context(), restoreOptions(f.t, repo, p, filepath.Dir(home), filepath.Base(home))); err != nil {
		f.t.Fatal(err)
	}
	return home
}

// compare restores a backup, and compares it with a state.
func (f *forks) compare(r *forkRepository, repo *backup.Repository, p *backup.Plan, want map[zodb.OID]string) {
	f.t.Helper()
	home := f.restored(repo, p)
	defer os.RemoveAll(home)
	m := p.Chain[len(p.Chain)-1]
	f.superset(r.name+" "+m.Name, f.content(home), want)
}

// backUp makes a backup, and compares the newest backup with the storage.
func (f *forks) backUp(without ...zodb.OID) {
	f.t.Helper()
	if !f.ahead && f.r.IntN(2) == 0 && len(without) == 0 {
		f.copy()
	}
	r := f.repository()
	repo := openRepository(f.t, r)
	var warnings []string
	o := backup.Options{Store: r, Now: time.Now, Snapshot: snapshotOf(f.home), Warn: func(text string) { warnings = append(warnings, text) }}
	o.Kind = []backup.Kind{"", "", backup.Incremental, backup.Full}[f.r.IntN(4)]
	if f.full {
		o.Kind = backup.Full
	}
	if n := len(repo.Backups); n > 0 && f.r.IntN(3) == 0 {
		o.Before = repo.Backups[f.r.IntN(n)].SnapshotAt
	}
	result, err := backup.Run(f.t.Context(), o)
	for _, text := range warnings {
		f.log = append(f.log, "  "+text)
	}
	if o.Kind == backup.Incremental && errors.Is(err, backup.ErrNoReference) {
		f.log = append(f.log, "  no reference")
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
	m := result.Backup
	switch {
	case m == nil:
		f.log = append(f.log, "  "+r.name+" as "+result.Unchanged.Name)
	case m.Reference != nil:
		f.log = append(f.log, "  "+r.name+" "+m.Name+" upon "+m.Reference.Name)
	default:
		f.log = append(f.log, "  "+r.name+" "+m.Name)
	}
	want := f.content(f.home, without...)
	if m == nil {
		m = result.Unchanged // a restore of it may have more than the storage had when it was made
		if !r.damaged[m.Name] {
			f.compare(r, repo, f.plan(repo, m), want)
		}
		return
	}
	f.backups++
	f.last = m.Name
	r.content[m.Name] = want
	if len(without) > 0 {
		r.damaged[m.Name] = true
		return
	}
	repo = openRepository(f.t, r)
	p, err := repo.Newest(m.Identity)
	if err != nil {
		f.t.Fatal(err)
	}
	told := slices.ContainsFunc(warnings, func(text string) bool { return strings.Contains(text, "for the newest") })
	inOther := f.ahead && f.from != nil && f.from != r // then a restore from one repository does not know of the other
	if got := p.Chain[len(p.Chain)-1]; got.TID != m.TID && (!told || f.opened && !inOther) {
		f.t.Errorf("the newest backup is %s, of %s, where %s was made, of %s", got.Name, got.TID, m.Name, m.TID)
	}
	f.compare(r, repo, f.plan(repo, m), want)
}

// plan is that of a restore of a backup.
func (f *forks) plan(repo *backup.Repository, m *backup.Manifest) *backup.Plan {
	f.t.Helper()
	p, err := repo.Exactly(m)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// repository returns any, or the only one for now.
func (f *forks) repository() *forkRepository {
	if f.only != nil {
		return f.only
	}
	return f.repositories[f.r.IntN(len(f.repositories))]
}

// any returns a backup of any repository, mostly the last one; nil if there is none.
func (f *forks) any() (*forkRepository, *backup.Repository, *backup.Manifest) {
	f.t.Helper()
	r := f.repository()
	repo := openRepository(f.t, r)
	if len(repo.Backups) == 0 {
		return r, repo, nil
	}
	m := repo.Backups[f.r.IntN(len(repo.Backups))]
	if last, err := repo.Get(f.last); err == nil && f.r.IntN(2) == 0 {
		m = last
	}
	f.log = append(f.log, "  "+r.name+" "+m.Name)
	return r, repo, m
}

// putBack goes on with the state of any backup, in a HOME that a restore makes.
func (f *forks) putBack() {
	f.t.Helper()
	r, repo, m := f.any()
	if m == nil || r.damaged[m.Name] {
		return
	}
	p := f.plan(repo, m)
	f.home, f.opened, f.from = f.restored(repo, p), false, r
	f.superset("put back to "+m.Name, f.content(f.home), r.content[m.Name])
	f.lost++
	f.goOn()
}

// copy makes a copy by hand.
func (f *forks) copy() {
	f.t.Helper()
	f.copies = append(f.copies, forkedCopy{copyOf(f.t, f.home), notesOf(f.t, f.home)})
	f.log = append(f.log, fmt.Sprint("  copy ", len(f.copies)-1))
}

// byHand puts a copy in the place of HOME: its A, all of it, or the disk that it was on, which knows
// nothing of that.
func (f *forks) byHand() {
	f.t.Helper()
	if len(f.copies) == 0 {
		return
	}
	f.disk(max(0, len(f.copies)-1-f.r.IntN(4))) // one of the last
}

func (f *forks) disk(n int) {
	f.t.Helper()
	from := f.copies[n]
	f.lost++
	f.opened = false
	switch f.r.IntN(4) {
	case 0:
		f.log = append(f.log, fmt.Sprint("  goes on in a copy of ", n))
		f.home = copyOf(f.t, from.home)
	case 1:
		f.log = append(f.log, fmt.Sprint("  has A of ", n))
		aByHand(f.t, f.home, from.home)
	default:
		f.log = append(f.log, fmt.Sprint("  has the disk of ", n))
		f.home = copyOf(f.t, from.home)
		f.during(func(*engine.Storage) {}) // which notices the copy
		asSuccessor(f.t, f.home, from.notes)
	}
	f.goOn()
}

// takeBack packs between two backups, which may end with the same transaction, and goes on with the state before.
func (f *forks) takeBack() {
	f.t.Helper()
	f.only = f.repositories[f.r.IntN(len(f.repositories))]
	defer func() { f.only = nil }()
	f.backUp()
	f.copy()
	before := len(f.copies) - 1
	f.during(func(s *engine.Storage) { f.packTo(s, zodb.PackOptions{Time: s.LastTransaction().Time()}) })
	f.full = true
	f.backUp()
	f.full = false
	if f.r.IntN(2) == 0 {
		f.during(f.commit)
		f.backUp()
	}
	f.disk(before)
}

// goOn backs a state up that was put back, as it is or after a pack or a commit.
func (f *forks) goOn() {
	f.t.Helper()
	opens := f.r.IntN(3) > 0
	if opens && f.packs && f.r.IntN(2) == 0 {
		f.log = append(f.log, "  packed")
		f.pack()
	}
	if opens && f.r.IntN(3) > 0 {
		f.log = append(f.log, "  committed")
		f.during(f.commit)
	}
	f.backUp()
}

// salvage loses the file of a revision and puts it back, with a backup in between, or not.
func (f *forks) salvage() {
	f.t.Helper()
	var oid zodb.OID
	var serial zodb.TID
	f.during(func(s *engine.Storage) {
		oids := f.objects(s)
		oid = oids[f.r.IntN(len(oids))]
		r, err := s.Load(f.t.Context(), oid)
		if err == nil {
			serial = r.Serial
		} else if !errors.Is(err, zodb.ErrNotFound) {
			f.t.Fatal(err)
		}
	})
	if serial == 0 {
		return
	}
	name := layout.Chunky.Path(layout.Revision(oid, serial))
	if f.kind == minimal {
		name = layout.Chunky.Path(layout.Object(oid))
	}
	dir := lost(f.t, f.home, name)
	f.log = append(f.log, fmt.Sprint("  object ", oid))
	if f.r.IntN(4) > 0 {
		f.backUp(oid)
	}
	salvaged(f.t, dir, f.home)
	f.backUp()
	if f.r.IntN(2) == 0 {
		f.putBack()
	}
}

func (f *forks) merge() {
	f.t.Helper()
	r, _, m := f.any()
	if m == nil || m.Reference == nil {
		return
	}
	merged, err := backup.Merge(f.t.Context(), r, backup.MergeOptions{Name: m.Name, Now: time.Now})
	if err != nil {
		f.t.Fatal(err)
	}
	r.content[merged.Name], r.damaged[merged.Name] = r.content[m.Name], r.damaged[m.Name]
}

// prune keeps one chain, or two.
func (f *forks) prune() {
	f.t.Helper()
	r := f.repositories[f.r.IntN(len(f.repositories))]
	before := openRepository(f.t, r)
	if len(before.Backups) == 0 {
		return
	}
	done, err := backup.Prune(f.t.Context(), r, backup.PruneOptions{Chains: f.r.IntN(3)})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range done.Removed {
		f.log = append(f.log, "  "+r.name+" without "+m.Name)
	}
	newest := before.Backups[len(before.Backups)-1]
	if m, err := openRepository(f.t, r).Newest(newest.Identity); err != nil || m.To != newest.TID {
		f.t.Errorf("%s: the newest backup was of %s, and is %+v, %v", r.name, newest.TID, m, err)
	}
}

// pack packs to one of the last seconds.
func (f *forks) pack() {
	f.during(func(s *engine.Storage) {
		f.packTo(s, zodb.PackOptions{Time: s.LastTransaction().Time().Add(-time.Duration(f.r.IntN(2)) * time.Second), NoGC: f.r.IntN(2) == 0})
	})
}

func (f *forks) packTo(s *engine.Storage, o zodb.PackOptions) {
	f.t.Helper()
	if _, err := s.Pack(f.t.Context(), o); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forks) undelete() {
	f.during(func(s *engine.Storage) {
		if _, err := s.Undelete(f.t.Context(), 0); err != nil {
			f.t.Fatal(err)
		}
	})
}

func (f *forks) reclaim() {
	f.during(func(s *engine.Storage) {
		if _, err := s.Reclaim(f.t.Context(), engine.ReclaimOptions{}); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			f.t.Fatal(err)
		}
	})
}

// clockAhead commits while the clock is ahead, and takes that back. It is the last scene.
func (f *forks) clockAhead() {
	f.t.Helper()
	f.ahead, f.only = true, f.repositories[f.r.IntN(len(f.repositories))]
	f.log = append(f.log, "clock ahead")
	f.backUp()
	f.duringAt(func() time.Time { return time.Now().Add(1000 * time.Hour) }, f.commit)
	f.backUp()
	for range 3 {
		f.putBack()
	}
}

// scenes are the possible events, with their frequency.
func (f *forks) scenes() (names []string, do map[string]func()) {
	do = map[string]func(){
		"commit": func() { f.during(f.commit) }, "pack": f.pack, "undelete": f.undelete, "reclaim": f.reclaim, "back up": func() { f.backUp() },
		"put back": f.putBack, "by hand": f.byHand, "salvage": f.salvage, "merge": f.merge, "prune": f.prune, "take back": f.takeBack,
	}
	names = []string{"commit", "commit", "back up", "back up", "back up", "put back", "put back", "by hand", "by hand", "by hand", "merge", "prune"}
	if f.packs {
		names = append(names, "pack", "pack", "pack", "pack", "undelete", "reclaim", "take back", "take back")
	}
	if f.kind != "bundled" {
		names = append(names, "salvage")
	}
	return names, do
}

func (f *forks) run(seed uint64) {
	defer func() {
		if f.t.Failed() {
			f.t.Logf("seed %d:\n%s", seed, strings.Join(f.log, "\n"))
		}
	}()
	f.during(f.commit)
	names, do := f.scenes()
	for range 30 {
		name := names[f.r.IntN(len(names))]
		f.log = append(f.log, name)
		if do[name](); f.t.Failed() {
			return
		}
	}
	if f.r.IntN(3) == 0 {
		f.clockAhead()
	}
	for _, r := range f.repositories { // the rest can be restored
		repo := openRepository(f.t, r)
		for _, m := range repo.Backups {
			if p, err := repo.Exactly(m); err == nil && !r.damaged[m.Name] && f.r.IntN(8) == 0 {
				f.compare(r, repo, p, r.content[m.Name])
			}
		}
	}
}

// TestBackupsOfForkedHistoriesLackNothing: a storage is put back to earlier states by restores, by hand and with its
// disk, packed, undeleted, salvaged and backed up into two repositories in any order. Each backup has all objects and
// blobs that the storage had then, and the newest one is the last. There are other seeds each day.
func TestBackupsOfForkedHistoriesLackNothing(t *testing.T) {
	hometest.InTurn(t, 4)
	for _, kind := range []string{"chunky", "bundled", minimal} {
		t.Run(kind, func(t *testing.T) {
			seeds := hometest.Rounds(t, 8/hometest.OneOf(1, 4, 8))
			lost, backups := 0, 0
			for i := range seeds {
				seed := uint64(hometest.Phase(t)*seeds + i)
				f := newForks(t, kind, seed)
				f.run(seed)
				if t.Failed() {
					return
				}
				lost, backups = lost+f.lost, backups+f.backups
			}
			if lost < seeds || backups < 3*seeds {
				t.Errorf("%d seeds put the storage back %d times, and made %d backups", seeds, lost, backups)
			}
		})
	}
}

func newForks(t *testing.T, kind string, seed uint64) *forks {
	t.Helper()
	f := &forks{t: t, r: rand.New(rand.NewPCG(seed, 7)), dir: t.TempDir(), kind: kind, packs: kind != minimal && seed%3 > 0}
	for _, name := range []string{"X", "Y"} {
		f.repositories = append(f.repositories, &forkRepository{
			objstore.NewDir(directory(t, t.TempDir())), name, make(map[string]map[zodb.OID]string), make(map[string]bool),
		})
	}
	o := engine.CreateOptions{Format: kind, Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": []string{"0", "86400"}[seed%2],
	}}
	if kind == minimal {
		o.Class, o.Format = zodb.ClassMinimal, "chunky"
	}
	f.home = enginetest.Home(t, o)
	return f
}
