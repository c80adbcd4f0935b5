package restore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// forks are HOMEs of one storage, of which only one goes on at a time: it is packed, undeleted, put back to other
// states by restores and by hand, and backed up into one repository all the while.
type forks struct {
	t          *testing.T
	r          *rand.Rand
	dir        string
	repository objstore.Store
	home       string   // the one that goes on
	copies     []string // of A, made by hand when the storage was closed
	made       int      // directories so far
	log        []string
	backups    map[string]map[zodb.OID]string // the objects of each backup, as content says them
	lost       int                            // how often another state was put in the place of the last
}

func (f *forks) path(kind string) string {
	f.made++
	return filepath.Join(f.dir, fmt.Sprint(kind, f.made))
}

// during opens the storage for some work.
func (f *forks) during(work func(s *engine.Storage)) {
	f.t.Helper()
	s, err := engine.Open(f.t.Context(), f.home, engine.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
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
	if len(oids) < 12 {
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
	for range 1 + f.r.IntN(4) {
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
			case oid%4 == 1:
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
func (f *forks) content(home string) map[zodb.OID]string {
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

func (f *forks) sound(what, home string) {
	f.t.Helper()
	if _, err := checktest.Undamaged(f.t.Context(), directory(f.t, home)); err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}

// restored makes a HOME of a plan.
func (f *forks) restored(repo *backup.Repository, p *backup.Plan) string {
	f.t.Helper()
	home := f.path("restored")
	if _, err := restore.Run(f.t.Context(), restoreOptions(f.t, repo, p, filepath.Dir(home), filepath.Base(home))); err != nil {
		f.t.Fatal(err)
	}
	return home
}

// backUp makes a backup, and compares what a restore makes of it.
func (f *forks) backUp() {
	f.t.Helper()
	f.sound("the storage", f.home)
	kind := []backup.Kind{"", "", backup.Incremental, backup.Full}[f.r.IntN(4)]
	result, err := tryBackUp(f.t.Context(), f.home, f.repository, kind)
	if kind == backup.Incremental && errors.Is(err, backup.ErrNoReference) {
		f.log = append(f.log, "  no reference")
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
	m := result.Backup
	if m == nil {
		f.log = append(f.log, "  as "+result.Unchanged.Name)
		m = result.Unchanged
	} else if m.Reference != nil {
		f.log = append(f.log, "  "+m.Name+" upon "+m.Reference.Name)
	} else {
		f.log = append(f.log, "  "+m.Name)
	}
	want := f.content(f.home)
	repo := openRepository(f.t, f.repository)
	p, err := repo.Exactly(m)
	if err != nil {
		f.t.Fatal(err)
	}
	home := f.restored(repo, p)
	defer os.RemoveAll(home)
	f.superset(m.Name, f.content(home), want)
	f.sound(m.Name, home)
	if result.Backup != nil {
		f.backups[m.Name] = want
	}
}

// putBack goes on with the state of any backup: in a HOME that a restore makes, which may be a copy of the whole one
// meanwhile.
func (f *forks) putBack() {
	f.t.Helper()
	repo := openRepository(f.t, f.repository)
	if len(repo.Backups) == 0 {
		return
	}
	m := repo.Backups[f.r.IntN(len(repo.Backups))]
	f.log = append(f.log, "  "+m.Name)
	p, err := repo.Exactly(m)
	if err != nil {
		f.t.Fatal(err)
	}
	f.home = f.restored(repo, p)
	f.superset("put back to "+m.Name, f.content(f.home), f.backups[m.Name])
	f.lost++
}

// byHand puts a copy of A in the place of the one that is there, or goes on in a copy of the whole HOME.
func (f *forks) byHand() {
	f.t.Helper()
	if len(f.copies) == 0 || f.r.IntN(2) == 0 {
		to := copyOf(f.t, f.home)
		f.copies = append(f.copies, to)
		f.log = append(f.log, "  copied to "+filepath.Base(filepath.Dir(to)))
		return
	}
	from := f.copies[f.r.IntN(len(f.copies))]
	f.lost++
	if f.r.IntN(2) == 0 {
		f.log = append(f.log, "  goes on in a copy of "+filepath.Base(filepath.Dir(from)))
		f.home = copyOf(f.t, from)
		return
	}
	f.log = append(f.log, "  has A of "+filepath.Base(filepath.Dir(from)))
	aByHand(f.t, f.home, from)
}

func (f *forks) step() {
	f.t.Helper()
	work := []string{"commit", "commit", "pack", "pack", "undelete", "reclaim", "back up", "back up", "back up", "put back", "put back", "by hand"}[f.r.IntN(12)]
	f.log = append(f.log, work)
	switch work {
	case "pack":
		f.during(func(s *engine.Storage) {
			last := s.LastTransaction()
			o := zodb.PackOptions{Time: last.Time().Add(-time.Duration(f.r.IntN(3)) * time.Second), NoGC: f.r.IntN(3) == 0}
			if _, err := s.Pack(f.t.Context(), o); err != nil {
				f.t.Fatal(err)
			}
		})
	case "undelete":
		f.during(func(s *engine.Storage) {
			if _, err := s.Undelete(f.t.Context(), 0); err != nil {
				f.t.Fatal(err)
			}
		})
	case "reclaim":
		f.during(func(s *engine.Storage) {
			if _, err := s.Reclaim(f.t.Context(), engine.ReclaimOptions{}); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				f.t.Fatal(err)
			}
		})
	case "back up":
		f.backUp()
	case "put back":
		f.putBack()
	case "by hand":
		f.byHand()
	case "commit":
		f.during(f.commit)
	}
}

func (f *forks) run(seed uint64) {
	defer func() {
		if f.t.Failed() {
			f.t.Logf("seed %d:\n%s", seed, strings.Join(f.log, "\n"))
		}
	}()
	f.during(f.commit)
	for range 60 {
		if f.step(); f.t.Failed() {
			return
		}
	}
}

// TestBackupsOfForkedHistoriesLackNothing: a storage is put back to earlier states by restores and by hand, packed,
// undeleted and backed up into one repository in any order. Each backup has all objects and blobs that the storage had
// then. There are other seeds each day.
func TestBackupsOfForkedHistoriesLackNothing(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		seeds := hometest.Rounds(t, 8/hometest.OneOf(1, 4, 8))
		lost, backups := 0, 0
		for i := range seeds {
			seed := uint64(hometest.Phase(t)*seeds + i)
			f := &forks{
				t: t, r: rand.New(rand.NewPCG(seed, 7)), dir: t.TempDir(),
				repository: objstore.NewDir(directory(t, t.TempDir())), backups: make(map[string]map[zodb.OID]string),
			}
			f.home = enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{
				"storage.min_pack_time": "0", "storage.delay_delete": []string{"0", "86400"}[seed%2],
			}})
			f.run(seed)
			if t.Failed() {
				return
			}
			lost, backups = lost+f.lost, backups+len(f.backups)
		}
		if lost < seeds || backups < 3*seeds {
			t.Errorf("%d seeds put the storage back %d times, and made %d backups", seeds, lost, backups)
		}
	})
}
