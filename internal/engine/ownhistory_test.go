package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// beginnings returns the transactions with which histories began.
func beginnings(t testing.TB, s *engine.Storage) (list []*zodb.Transaction) {
	t.Helper()
	for txn, err := range s.TransactionsBackward(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if histfile.IsBeginning(txn) {
			list = append(list, txn)
		}
	}
	return list
}

// bringBack is a way in which an older state of a HOME returns. saved is a copy of home from before
// its last transactions, made by cp -a while it was closed.
type bringBack struct {
	name string
	do   func(t *testing.T, home, saved string)
	want int // beginnings; of those that are 0 nothing was brought back
	// leftovers: files of the lost time stay in A, and check tells of them.
	leftovers bool
}

var bringBacks = []bringBack{
	{"nothing", func(*testing.T, string, string) {}, 0, false},
	{"moved and back", func(t *testing.T, home, _ string) {
		shell(t, "mv", home, home+"2")
		shell(t, "mv", home+"2", home)
	}, 0, false},
	{"read by tar", func(t *testing.T, home, _ string) { shell(t, "tar", "-cf", home+".tar", "-C", home, ".") }, 0, false},
	{"config and A copied", func(t *testing.T, home, saved string) {
		shell(t, "rm", "-r", home)
		shell(t, "mkdir", home)
		shell(t, "cp", "-a", saved+"/config", saved+"/A", home)
	}, 1, false},
	{"copied", func(t *testing.T, home, saved string) {
		shell(t, "rm", "-r", home)
		shell(t, "cp", "-a", saved, home)
	}, 1, false},
	{"copied by tar", func(t *testing.T, home, saved string) {
		shell(t, "tar", "-cf", home+".tar", "-C", saved, ".")
		shell(t, "rm", "-r", home)
		shell(t, "mkdir", home)
		shell(t, "tar", "-xf", home+".tar", "-C", home)
	}, 1, false},
	{"copied by rsync", func(t *testing.T, home, saved string) {
		shell(t, "rm", "-r", home)
		shell(t, "rsync", "-a", saved+"/", home)
	}, 1, false},
	{"the copy in its place", func(t *testing.T, home, saved string) {
		shell(t, "rm", "-r", home)
		shell(t, "mv", saved, home)
	}, 1, false},
	{"put back over it by cp", func(t *testing.T, home, saved string) { shell(t, "cp", "-a", saved+"/.", home) }, 1, true},
	{"put back over it by tar", func(t *testing.T, home, saved string) {
		shell(t, "tar", "-cf", home+".tar", "-C", saved, ".")
		shell(t, "tar", "-xf", home+".tar", "-C", home)
	}, 1, true},
	{"put back over it by rsync", func(t *testing.T, home, saved string) { shell(t, "rsync", "-a", saved+"/", home) }, 1, true},
	{"put back over it by rsync --delete", func(t *testing.T, home, saved string) { shell(t, "rsync", "-a", "--delete", saved+"/", home) }, 1, false},
	{"only A put back over it", func(t *testing.T, home, saved string) { shell(t, "cp", "-a", saved+"/A/.", home+"/A") }, 1, true},
	{"only A put back in its place", func(t *testing.T, home, saved string) {
		shell(t, "rm", "-r", home+"/A")
		shell(t, "cp", "-a", saved+"/A", home)
	}, 1, false},
	{"misc removed", func(t *testing.T, home, _ string) { shell(t, "rm", "-r", home+"/misc") }, 1, false},
}

// TestAHistoryBeginsWhereAStorageWasBroughtBack brings a HOME back in every way that
// people have, and says nothing about it to anybody.
func TestAHistoryBeginsWhereAStorageWasBroughtBack(t *testing.T) {
	t.Parallel()
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		for _, b := range bringBacks {
			t.Run(string(class)+" "+b.name, func(t *testing.T) {
				t.Parallel()
				home := engine.NewHome(t, engine.CreateOptions{Class: class})
				saved := home + ".saved"
				s := engine.OpenHome(t, home, engine.Options{})
				first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				shell(t, "cp", "-a", home, saved)
				s = engine.OpenHome(t, home, engine.Options{})
				if s.LastTransaction() != first {
					t.Fatalf("last transaction %s, want %s: a HOME that was only closed began a history", s.LastTransaction(), first)
				}
				lost := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				b.do(t, home, saved)

				was := first
				if b.want == 0 || b.name == "misc removed" {
					was = lost
				}
				// Who only looks after it begins nothing.
				s = engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept})
				if s.LastTransaction() != was {
					t.Fatalf("last transaction %s, want %s", s.LastTransaction(), was)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				for range 3 { // once, and never again
					s = engine.OpenHome(t, home, engine.Options{})
					began := s.LastTransaction() != was
					if began != (b.want > 0) || began && s.LastTransaction() <= lost {
						t.Errorf("last transaction %s; before it %s was brought back, and %s lost", s.LastTransaction(), was, lost)
					}
					if class == zodb.ClassFull && len(beginnings(t, s)) != b.want {
						t.Errorf("%d beginnings, want %d", len(beginnings(t, s)), b.want)
					}
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if b.leftovers {
					return
				}
				f, err := vfs.OS(home)
				if err != nil {
					t.Fatal(err)
				}
				sum, err := check.Run(t.Context(), check.Options{FS: f, Now: time.Now}, func(x check.Finding) {
					if x.Severity == check.Damage {
						t.Errorf("%+v", x)
					}
				})
				if err != nil || sum.Damage > 0 {
					t.Errorf("check: %+v, %v", sum, err)
				}
			})
		}
	}
}

// TestTheBeginningIsLaterThanWhatIsKnownToBeLost: also if the clock is behind it.
func TestTheBeginningIsLaterThanWhatIsKnownToBeLost(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	ahead := engine.Options{Clock: func() time.Time { return time.Now().Add(time.Hour) }}
	s := engine.OpenHome(t, home, ahead)
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	shell(t, "cp", "-a", home, home+".saved")
	s = engine.OpenHome(t, home, ahead)
	lost := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("new")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	shell(t, "rm", "-r", home+"/A")
	shell(t, "cp", "-a", home+".saved/A", home) // misc knows of the lost transactions
	s = engine.OpenHome(t, home, engine.Options{})
	if s.LastTransaction() <= lost {
		t.Errorf("the history begins with %s, and %s was given out", s.LastTransaction(), lost)
	}
}

// TestACopyOverANewerHomeOfBundles: without pointers, newer revisions would be taken for current.
func TestACopyOverANewerHomeOfBundles(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Format: "bundled"})
	commitOne := func(data string) {
		s := engine.OpenHome(t, home, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record(data)})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	commitOne("old")
	shell(t, "cp", "-a", home+"/A", home+".saved")
	commitOne("new")
	shell(t, "cp", "-a", home+".saved/.", home+"/A")
	if s, err := engine.Open(t.Context(), home, engine.Options{}); !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), "an older copy was probably put over a newer HOME") {
		t.Errorf("opened: %v, %v", s, err)
	}
	shell(t, "rm", "-r", home+"/A")
	shell(t, "cp", "-a", home+".saved", home+"/A")
	s := engine.OpenHome(t, home, engine.Options{})
	if got, err := s.Load(t.Context(), 0); err != nil || string(got.Data) != string(pickletest.Record("old")) {
		t.Errorf("loaded %+v, %v", got, err)
	}
}

// TestWhatIsCopiedInBeginsAHistoryWhenItIsServed: not before, so that the copy can go on.
func TestWhatIsCopiedInBeginsAHistoryWhenItIsServed(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	if err := engine.OpenHome(t, home, engine.Options{}).Close(); err != nil { // somebody has served the empty one
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, tid := range []zodb.TID{1000, 2000} {
		s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryCopied})
		txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
		if err == nil {
			err = txn.Restore(ctx, zodb.Record{OID: 0, TID: tid, Data: pickletest.Record("x"), Exists: true}, nil)
		}
		if err == nil {
			err = txn.Vote(ctx)
		}
		if err == nil {
			_, err = txn.Finish(ctx, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s := engine.OpenHome(t, home, engine.Options{})
		if list := beginnings(t, s); len(list) != 1 || list[0].Previous != 2000 {
			t.Errorf("beginnings: %+v", list)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUndoOfABeginningIsHarmless: it changed nothing.
func TestUndoOfABeginningIsHarmless(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(home, "misc")); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	list := beginnings(t, s)
	if len(list) != 1 {
		t.Fatalf("%d beginnings", len(list))
	}
	ctx := t.Context()
	txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	oids, err := txn.Undo(ctx, list[0].TID)
	if err == nil {
		err = txn.Vote(ctx)
	}
	if err == nil {
		_, err = txn.Finish(ctx, nil)
	}
	if err != nil && !errors.Is(err, zodb.ErrUndo) || len(oids) > 0 {
		t.Errorf("undo: %v, %v", oids, err)
	}
	if err := txn.Abort(); err != nil {
		t.Error(err)
	}
	if engine.Load(t, s, 0) != string(pickletest.Record("root")) {
		t.Error("the root was changed")
	}
}

// handedOn is a transaction that clients may know, later than the last one of a HOME that was restored.
func handedOn(last zodb.TID) zodb.TID { return last + 1000*60<<32 }

// broughtBack returns a HOME in which nothing but config and A is, and the mark of a restore.
func broughtBack(t *testing.T, restored bool) *crashfs.FS {
	t.Helper()
	f := crashfs.New(1)
	o := engine.OnFS(engine.Options{NoControlSocket: true, SegmentSize: 64 << 10}, f)
	if err := errors.Join(engine.Create("home", engine.CreateOnFS(engine.CreateOptions{Format: "flat"}, f))); err != nil {
		t.Fatal(err)
	}
	o = engine.OnFS(o, vfs.Sub(f, "home"))
	s, err := engine.Open(t.Context(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := histfile.Read(vfs.Sub(f, "home"))
	if err == nil {
		err = vfs.RemoveAll(f, "home/misc")
	}
	if err == nil && restored {
		err = f.Mkdir("home/misc")
	}
	if err == nil && restored {
		err = histfile.Write(vfs.Sub(f, "home"), histfile.Mark{Identity: m.Identity, TID: handedOn(m.TID), Restored: m.TID}, vfs.SyncOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SyncAll(); err != nil {
		t.Fatal(err)
	}
	return f.Crashed(crashfs.KeepAll)
}

// TestABeginningIsNeitherLostNorRepeated stops the first start at each operation, by a
// kill and by a power cut, and the next one too.
func TestABeginningIsNeitherLostNorRepeated(t *testing.T) {
	hometest.InTurn(t, 6)
	t.Run("copied", func(t *testing.T) { testABeginningIsNeitherLostNorRepeated(t, false) })
	t.Run("restored", func(t *testing.T) { testABeginningIsNeitherLostNorRepeated(t, true) })
}

func testABeginningIsNeitherLostNorRepeated(t *testing.T, restored bool) {
	t.Parallel()
	open := func(f *crashfs.FS) (*engine.Storage, error) {
		return engine.Open(context.Background(), "", engine.OnFS(engine.Options{NoControlSocket: true, SegmentSize: 64 << 10}, vfs.Sub(f, "home")))
	}
	start := func(f *crashfs.FS) error {
		s, err := open(f)
		if err == nil {
			err = s.Close()
		}
		return err
	}
	every := hometest.OneOf(1, 4, 16)
	if restored {
		every *= 3 // the same operations
	}
	ops := faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		f := broughtBack(t, restored)
		begun, cut := f.Ops(), faulttest.CutBefore(f, at)
		if err := start(f); !cut.Load() && err != nil {
			t.Fatal(err)
		}
		log = f.Log()[begun:]
		for _, state := range []*crashfs.FS{f.Killed(), f.Crashed(crashfs.KeepNone), f.Crashed(crashfs.KeepAll), f.Crashed(crashfs.Random(uint32(n)))} {
			state.CrashAt(1 + n%60)
			_ = start(state) // stopped somewhere, or not
			for _, after := range []*crashfs.FS{state.Killed(), state.Crashed(crashfs.KeepNone), state.Crashed(crashfs.Random(uint32(n)))} {
				for range 2 {
					s, err := open(after)
					if err != nil {
						t.Fatalf("before %v: %v", at, err)
					}
					if list := beginnings(t, s); len(list) != 1 || restored && list[0].TID <= handedOn(list[0].Previous) {
						t.Errorf("before %v: beginnings: %+v", at, list)
					}
					if engine.Load(t, s, 0) != string(pickletest.Record("root")) {
						t.Error("the root was changed")
					}
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		return log, cut.Load()
	})
	if ops < 20 {
		t.Errorf("the first start took %d operations only", ops)
	}
}

// TestAFailedMarkDoesNotKeepAnybodyOut: without it the storage opens, and the next start
// takes it for a copy.
func TestAFailedMarkDoesNotKeepAnybodyOut(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A directory in the way of the mark: it cannot be replaced by a file.
	for _, name := range []string{histfile.Name, histfile.AnchorNames()[0], histfile.AnchorNames()[1]} {
		if err := os.Remove(filepath.Join(home, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(home, histfile.Name, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s = engine.OpenHome(t, home, engine.Options{})
		if s.LastTransaction() != first {
			t.Errorf("last transaction %s, want %s: an empty one would come with each start", s.LastTransaction(), first)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(home, histfile.Name)); err != nil {
		t.Fatal(err)
	}
	if s = engine.OpenHome(t, home, engine.Options{}); len(beginnings(t, s)) != 1 {
		t.Errorf("%d beginnings when it can be written again", len(beginnings(t, s)))
	}
}

// TestNoHistoryBeginsWhileBackupsCannotBeAsked: the notes of backups tell which tids were given
// out. While they cannot be read no history begins, which could give them out again.
func TestNoHistoryBeginsWhileBackupsCannotBeAsked(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	given := first + 1<<42
	notes := filepath.Join(home, "misc/backed-up")
	if err := errors.Join(os.Remove(filepath.Join(home, histfile.Name)), os.Mkdir(notes, 0o700)); err != nil { // it cannot be read
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	if last := s.LastTransaction(); last != first {
		t.Errorf("the last transaction is %s, where it was %s", last, first)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(notes), os.WriteFile(notes, fmt.Appendf(nil, "%s void\n", given), 0o600)); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	if last := s.LastTransaction(); last <= given || len(beginnings(t, s)) != 1 {
		t.Errorf("%d beginnings, the last transaction is %s, where %s was given out", len(beginnings(t, s)), last, given)
	}
}

// TestWhatDiffersFromItsSourceIsNotServedWhileBackupsCannotBeAsked: no history can begin then, and
// nothing else keeps clients from believing their caches of the source.
func TestWhatDiffersFromItsSourceIsNotServedWhileBackupsCannotBeAsked(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryCopied})
	if err := s.DiffersFromSource(); err != nil {
		t.Fatal(err)
	}
	imported := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(home, "misc/backed-up")
	if err := os.Mkdir(notes, 0o700); err != nil { // it cannot be read
		t.Fatal(err)
	}
	for _, h := range []engine.History{engine.HistoryOwn, engine.HistoryRead} {
		s, err := engine.Open(t.Context(), home, engine.Options{History: h})
		if err == nil {
			err = s.Close()
			t.Errorf("history %d: it is served with the caches of its source, closed: %v", h, err)
		} else if text := err.Error(); !strings.Contains(text, "differs from the source of its import") || !strings.Contains(text, "backed-up") {
			t.Errorf("history %d: %v", h, err)
		}
	}
	if err := engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept}).Close(); err != nil { // which serves nobody
		t.Error(err)
	}
	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	if list := beginnings(t, s); len(list) != 1 || list[0].Previous != imported || !histfile.IsAnew(list[0]) {
		t.Errorf("beginnings when they can be read: %+v", list)
	}
}

// TestWhatDiffersFromItsSourceIsRemembered over further imports and looks, copies of the
// HOME, and starts that are interrupted, until its history begins, and once.
func TestWhatDiffersFromItsSourceIsRemembered(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	ctx := t.Context()
	add := func(tid zodb.TID, differs bool) {
		t.Helper()
		s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryCopied})
		if differs {
			if err := s.DiffersFromSource(); err != nil {
				t.Fatal(err)
			}
		}
		txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
		if err == nil {
			err = txn.Restore(ctx, zodb.Record{OID: 0, TID: tid, Data: pickletest.Record("x"), Exists: true}, nil)
		}
		if err == nil {
			err = txn.Vote(ctx)
		}
		if err == nil {
			_, err = txn.Finish(ctx, nil)
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	add(1000, true)
	add(2000, false)
	for _, h := range []engine.History{engine.HistoryKept, engine.HistoryCopied} {
		if err := engine.OpenHome(t, home, engine.Options{History: h}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A start that could not commit the empty transaction leaves a mark that says so.
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept})
	if !s.NoteMark(histfile.Mark{TID: 2000, Due: true, Differs: true}) {
		t.Fatal("the mark was not written")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	add(3000, false)
	shell(t, "cp", "-a", home, home+".copy")
	// Where it cannot be told, nobody is served.
	for _, name := range []string{histfile.Name, histfile.AnchorNames()[0], histfile.AnchorNames()[1]} {
		if err := os.RemoveAll(filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
	shell(t, "cp", home+".copy/"+histfile.Name, home+"/"+histfile.Name)
	for _, name := range histfile.AnchorNames() {
		if err := os.MkdirAll(filepath.Join(home, name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range []engine.History{engine.HistoryOwn, engine.HistoryRead} {
		if s, err := engine.Open(ctx, home, engine.Options{History: h}); err == nil {
			t.Errorf("history %d: it is served with the caches of its source, last transaction %s", h, s.LastTransaction())
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, h := range []engine.History{engine.HistoryRead, engine.HistoryOwn} {
		s := engine.OpenHome(t, home+".copy", engine.Options{History: h})
		if list := beginnings(t, s); len(list) != 1 || list[0].Previous != 3000 || !histfile.IsAnew(list[0]) {
			t.Errorf("beginnings: %+v", list)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheBeginningIsNoLostTransactionThoughTheClockIsBehind: tids that only count on would
// be given out again in the same order, and a client could not tell the two histories apart.
func TestTheBeginningIsNoLostTransactionThoughTheClockIsBehind(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	behind := engine.Options{Clock: func() time.Time { return time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) }}
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	saved := home + ".saved"
	shell(t, "cp", "-a", home, saved)
	s = engine.OpenHome(t, home, behind)
	var lost zodb.TID
	for range 5 {
		lost = enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("lost")})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"misc", "journal"} {
		if err := os.RemoveAll(filepath.Join(saved, dir)); err != nil {
			t.Fatal(err)
		}
	}
	s = engine.OpenHome(t, saved, behind)
	if list := beginnings(t, s); len(list) != 1 || list[0].TID <= lost {
		t.Errorf("the beginnings are %+v, the last transaction that was lost is %s", list, lost)
	}
}

// shell runs a command that people copy directories with.
func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("skipped: %v", err)
	}
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestDoubtKeepsTheTimeOfTheLastBackup: the time stamp of the notes of backups is the time of the
// last one. A history that begins makes them void, and no backup newer by that.
func TestDoubtKeepsTheTimeOfTheLastBackup(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryCopied})
	last := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(home, "misc/backed-up")
	made := time.Now().Add(-72 * time.Hour).Truncate(time.Second)
	if err := errors.Join(os.WriteFile(notes, []byte(last.String()+" some backup\n"), 0o600), os.Chtimes(notes, made, made)); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{History: engine.HistoryOwn})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(notes)
	if err != nil || string(b) != last.String()+" void\n" {
		t.Fatalf("notes: %q, %v", b, err)
	}
	if info, err := os.Stat(notes); err != nil || !info.ModTime().Equal(made) {
		t.Errorf("the last backup was made at %v, and is told to be of %v (%v)", made, info.ModTime(), err)
	}
}
