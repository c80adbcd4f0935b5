package engine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// chained are tids in several directories of each format, and side by side in one.
var chained = []zodb.TID{
	0x03F6_0000_0000_0000, 0x03F6_0000_0000_0001, 0x03F6_0000_0000_0002, 0x03F6_0100_0000_0000,
	0x03F6_FF00_0000_0000, 0x0400_0000_0000_0000, 0x0400_0000_0000_0007, 0x0400_0001_0000_0000,
}

// chainHome makes a HOME with those transactions, each of which writes object 1, in files.
func chainHome(t *testing.T, format string) (home string, file func(zodb.TID) string) {
	t.Helper()
	home = engine.NewHome(t, engine.CreateOptions{Format: format})
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryCopied})
	for i, tid := range chained {
		restored(t, s, tid, 0, zodb.Record{OID: 1, Data: pickletest.Record(string(rune('a' + i)))})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := layout.ParseFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	return home, func(tid zodb.TID) string { return filepath.Join(home, "A", f.Path(layout.Transaction(tid))) }
}

// misled changes the header of a transaction's file, which no checksum covers.
func misled(t *testing.T, file string, tid, previous zodb.TID) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	txn, err := record.ParseTransactionAs(b, file, tid, true)
	if err != nil {
		t.Fatal(err)
	}
	txn.Previous = previous
	if b, err = txn.Append(nil, record.MD5); err != nil {
		t.Fatal(err)
	}
	overwrite(t, file, b)
}

func overwrite(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := errors.Join(os.Remove(file), os.WriteFile(file, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// walked is the result of a walk over transactions.
type walked struct{ sound, damaged, links []zodb.TID }

func walk(t *testing.T, s *engine.Storage, forward bool) (w walked) {
	t.Helper()
	list := s.TransactionsBackward(t.Context(), 0)
	if forward {
		list = s.Transactions(t.Context(), 0, 0)
	}
	for txn, err := range list {
		switch {
		case txn == nil:
			t.Fatal(err)
		case err == nil:
			w.sound = append(w.sound, txn.TID)
		case !errors.Is(err, zodb.ErrCorrupt) && !errors.Is(err, syscall.EIO):
			t.Errorf("transaction %s: %v", txn.TID, err)
		case errors.Is(err, zodb.ErrBrokenLink):
			w.links = append(w.links, txn.TID)
		default:
			w.damaged = append(w.damaged, txn.TID)
		}
	}
	if !forward {
		for _, l := range [][]zodb.TID{w.sound, w.damaged, w.links} {
			slices.Reverse(l)
		}
	}
	return w
}

// TestDamagedTransactionsEndNoChain damages transactions in each way, in each place, and in
// each format: all others are found, and each damage is told.
func TestDamagedTransactionsEndNoChain(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	ways := map[string]func(t *testing.T, file string, tid zodb.TID) (link bool){
		"content": func(t *testing.T, file string, _ zodb.TID) bool {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-1] ^= 1
			overwrite(t, file, b)
			return false
		},
		"empty": func(t *testing.T, file string, _ zodb.TID) bool {
			overwrite(t, file, nil)
			return false
		},
		"cut": func(t *testing.T, file string, _ zodb.TID) bool {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, file, b[:30])
			return false
		},
		"gone": func(t *testing.T, file string, _ zodb.TID) bool {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			return false
		},
		"leads forward": func(t *testing.T, file string, tid zodb.TID) bool {
			misled(t, file, tid, tid+1)
			return true
		},
		"leads to nothing before": func(t *testing.T, file string, tid zodb.TID) bool {
			misled(t, file, tid, 5)
			return true
		},
		"leads to nothing between": func(t *testing.T, file string, tid zodb.TID) bool {
			misled(t, file, tid, tid-1<<20)
			return true
		},
		"names none": func(t *testing.T, file string, tid zodb.TID) bool {
			misled(t, file, tid, 0)
			return true
		},
	}
	for _, format := range layout.Formats() {
		model, _ := chainHome(t, format.String())
		for name, way := range ways {
			t.Run(format.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				for _, hit := range [][]int{{0}, {1}, {3}, {4}, {5}, {6}, {2, 3}, {1, 4, 6}} {
					home := filepath.Join(t.TempDir(), "home")
					if err := os.CopyFS(home, os.DirFS(model)); err != nil {
						t.Fatal(err)
					}
					file := func(tid zodb.TID) string { return filepath.Join(home, "A", format.Path(layout.Transaction(tid))) }
					link := false
					sound := slices.Clone(chained)
					var damaged []zodb.TID
					for _, i := range slices.Backward(hit) {
						link = way(t, file(chained[i]), chained[i])
						damaged = append(damaged, chained[i])
						if !link {
							sound = slices.Delete(sound, i, i+1)
						}
					}
					slices.Reverse(damaged)
					s := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
					for _, forward := range []bool{false, true} {
						w := walk(t, s, forward)
						if !slices.Equal(w.sound, sound) {
							t.Errorf("%v hit, forward %v: sound %v, want %v", hit, forward, w.sound, sound)
						}
						if name == "gone" && len(hit) == 2 {
							damaged = damaged[len(damaged)-1:] // which alone named the other one
						}
						want := len(damaged)
						if name == "names none" && hit[0] == 0 {
							want-- // it is so
						}
						if told := len(w.damaged) + len(w.links); told != want || !link && !slices.Equal(w.damaged, damaged) {
							t.Errorf("%v hit, forward %v: told %+v, want %v", hit, forward, w, damaged)
						}
					}
				}
			})
		}
	}
}

// TestDamagedBundlesEndNoChain: of transactions in bundles of their own some are damaged. The others are
// found by who only reads, and each damage is told.
func TestDamagedBundlesEndNoChain(t *testing.T) {
	t.Parallel()
	model := engine.NewHome(t, engine.CreateOptions{Format: "bundled"})
	s := engine.OpenHome(t, model, engine.Options{History: engine.HistoryCopied})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, tid := range chained[:3] { // so few are not merged
		restored(t, s, tid, 0, zodb.Record{OID: 1, Data: pickletest.Record(string(rune('a' + i)))})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for hit := range 3 {
		home := filepath.Join(t.TempDir(), "home")
		if err := os.CopyFS(home, os.DirFS(model)); err != nil {
			t.Fatal(err)
		}
		list := globs(t, filepath.Join(home, "A/bundles/*.tar.zst"))
		if len(list) != 3 {
			t.Fatalf("there are %v", list)
		}
		b, err := os.ReadFile(list[hit])
		if err != nil {
			t.Fatal(err)
		}
		b[60] ^= 1 // in the frame that has both members
		overwrite(t, list[hit], b)
		s := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
		sound := slices.Delete(slices.Clone(chained[:3]), hit, hit+1)
		for _, forward := range []bool{false, true} {
			if w := walk(t, s, forward); !slices.Equal(w.sound, sound) || !slices.Equal(w.damaged, chained[hit:hit+1]) || w.links != nil {
				t.Errorf("%d hit, forward %v: %+v", hit, forward, w)
			}
		}
	}
}

// TestUndoLogListsWhatIsBehindADamagedTransaction, which it names.
func TestUndoLogListsWhatIsBehindADamagedTransaction(t *testing.T) {
	t.Parallel()
	home, file := chainHome(t, "bushy")
	overwrite(t, file(chained[3]), nil)
	misled(t, file(chained[6]), chained[6], 5)
	s := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
	var all []zodb.TID
	for e, err := range s.UndoLog(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, e.TID); e.Undoable == (e.TID == chained[3]) || (e.Damage != nil) != (e.TID == chained[3]) {
			t.Errorf("%s: undoable %v, %q, %v", e.TID, e.Undoable, e.Reason, e.Damage)
		}
	}
	slices.Reverse(all)
	if !slices.Equal(all, chained) {
		t.Errorf("undo log of %v", all)
	}
}

// TestHeaderLeadsPastWhatAPackLeft: among transactions up to a pack time there may be some
// that the pack took out of the chain, and a crash or a copy left.
func TestHeaderLeadsPastWhatAPackLeft(t *testing.T) {
	t.Parallel()
	home, file := chainHome(t, "bushy")
	misled(t, file(chained[4]), chained[4], chained[1]) // 2 and 3 were packed
	b, err := os.ReadFile(file(chained[4]))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	overwrite(t, file(chained[4]), b)
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryKept})
	s.SetPacked(chained[5])
	w := walk(t, s, false)
	if want := slices.Concat(chained[:2], chained[5:]); !slices.Equal(w.sound, want) || !slices.Equal(w.damaged, chained[4:5]) {
		t.Errorf("got %+v, want %v", w, want)
	}
	// Where the chain ends, the rest does not matter.
	misled(t, file(chained[5]), chained[5], 5)
	if w := walk(t, s, false); !slices.Equal(w.sound, chained[5:]) || w.damaged != nil || w.links != nil {
		t.Errorf("got %+v", w)
	}
	// But it is where there is something that no pack took.
	misled(t, file(chained[7]), chained[7], 5)
	if w := walk(t, s, false); !slices.Equal(w.sound, chained[5:]) || !slices.Equal(w.links, chained[7:]) {
		t.Errorf("got %+v", w)
	}
}

// TestPassingErrorEndsAWalk: it is no damage, and the data behind it are not the end.
func TestPassingErrorEndsAWalk(t *testing.T) {
	t.Parallel()
	s, f, _ := engine.NewErrStorage(t, engine.Options{})
	var list []zodb.TID
	for _, text := range []string{"one", "two", "three"} {
		list = append(list, enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record(text)}))
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	bad := s.Dir().Settings.Structure.Format.Path(layout.Transaction(list[1]))
	for _, cause := range []syscall.Errno{syscall.EMFILE, syscall.EIO} {
		f.Decide(func(op errfs.Op) error {
			if strings.HasSuffix(op.Name, bad) {
				return cause
			}
			return nil
		})
		n := 0
		var last error
		for txn, err := range s.TransactionsBackward(t.Context(), 0) {
			if n++; txn == nil {
				last = err
			}
		}
		if want := map[syscall.Errno]int{syscall.EMFILE: 2, syscall.EIO: 3}[cause]; n != want || (last != nil) != (cause == syscall.EMFILE) {
			t.Errorf("%v: %d transactions, then %v", cause, n, last)
		}
		f.Decide(nil)
	}
}

// TestPackGoesPastADamagedTransaction: it stays as it is, with the one before it, and the others go or
// stay as always.
func TestPackGoesPastADamagedTransaction(t *testing.T) {
	t.Parallel()
	for hit := range 7 {
		home, file := chainHome(t, "bushy")
		s := engine.OpenHome(t, home, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("radix", 1)})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		overwrite(t, file(chained[hit]), nil)
		engine.DoPack(t, s, zodb.PackOptions{Time: s.LastTransaction().Time().Add(time.Second)})
		for i, tid := range chained {
			_, err := os.Stat(file(tid))
			if stays := i == hit || i+1 == hit || i == len(chained)-1; (err == nil) != stays {
				t.Errorf("transaction %d damaged: %d: %v, stays: %v", hit, i, err, stays)
			}
		}
		oldest := chained[7]
		if hit > 0 {
			oldest = chained[hit-1]
		}
		w := walk(t, s, true)
		if !slices.Equal(w.damaged, chained[hit:hit+1]) || len(w.sound) < 3 || w.sound[0] != oldest || w.links != nil {
			t.Errorf("transaction %d damaged: %+v", hit, w)
		}
		if got := engine.Load(t, s, 1); got != string(pickletest.Record("h")) {
			t.Errorf("transaction %d damaged: object 1 is %q", hit, got)
		}
	}
}

// TestTransactionThatAPackCouldNotReadLeadsOn: it can be read again later, because the disk
// or its owner was the reason. It names the one before it, so that one stays.
func TestTransactionThatAPackCouldNotReadLeadsOn(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{History: engine.HistoryCopied})
	for i, tid := range chained {
		records := []zodb.Record{{OID: 1, Data: pickletest.Record(string(rune('a' + i)))}}
		if i%4 == 0 { // this stays
			records = append(records, zodb.Record{OID: zodb.OID(10 + i), Data: pickletest.Record("stays")})
		}
		restored(t, s, tid, 0, records...)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for hit := 1; hit < len(chained)-1; hit++ {
		copied := filepath.Join(t.TempDir(), "home")
		if err := os.CopyFS(copied, os.DirFS(home)); err != nil {
			t.Fatal(err)
		}
		s := engine.OpenHome(t, copied, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1, 10, 14)})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("radix", 1, 10, 14)})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(copied, "A", layout.Bushy.Path(layout.Transaction(chained[hit])))
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, file, nil)
		engine.DoPack(t, s, zodb.PackOptions{Time: s.LastTransaction().Time().Add(time.Second)})
		overwrite(t, file, whole)
		for _, forward := range []bool{false, true} {
			w := walk(t, s, forward)
			for _, i := range []int{0, 4, hit} {
				if !slices.Contains(w.sound, chained[i]) {
					t.Errorf("transaction %d could not be read: %d is not in %+v", hit, i, w)
				}
			}
		}
		engine.DoPack(t, s, zodb.PackOptions{Time: s.LastTransaction().Time().Add(time.Second)})
		w := walk(t, s, false)
		if want := []zodb.TID{chained[0], chained[4], chained[7]}; !slices.Equal(w.sound[:min(3, len(w.sound))], want) {
			t.Errorf("transaction %d could not be read, and the next pack left %+v", hit, w)
		}
		if err := errors.Join(s.Close(), engine.Sound(t.Context(), s.Dir().FS, false)); err != nil {
			t.Error(err)
		}
	}
}

// TestFirstStepOfAWalkReadsEachTransactionOnce: a client that copies waits for it.
func TestFirstStepOfAWalkReadsEachTransactionOnce(t *testing.T) {
	t.Parallel()
	s, f, _ := engine.NewErrStorage(t, engine.Options{})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	const transactions = 40
	for i := range transactions {
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record(fmt.Sprint(i))})
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int64
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "read" && strings.HasPrefix(op.Name, "A/t") {
			reads.Add(1)
		}
		return nil
	})
	for range s.Transactions(t.Context(), 0, 0) {
		break
	}
	if n := reads.Load(); n < transactions || n > transactions+2 {
		t.Errorf("%d transactions were read %d times", transactions, n)
	}
}
