package salvage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// TestASalvageThatIsRunAgainIsDurable kills a salvage at each operation, runs it again to its end, and cuts the power:
// each file is in its place, also those that the first one put there.
func TestASalvageThatIsRunAgainIsDurable(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bushy", "bundled"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w *wreck
			if name == "bundled" {
				w, _ = newBundledWreck(t)
			} else {
				w = newWreck(t, name)
			}
			start := crashfs.New(1)
			copyFiles(t, w.home, start, "home")
			var want []string // with their directories, which are lost, too
			for name := range w.files() {
				if !strings.HasPrefix(name, "A/x") {
					want = append(want, name)
				}
			}
			for i, name := range want {
				copyFile := fmt.Sprint("lost/#", i)
				b, err := start.ReadFile("home/" + name)
				if err == nil {
					err = errors.Join(create(start, copyFile, b), start.Remove("home/"+name))
				}
				for dir := path.Dir(name); err == nil && dir != "."; dir = path.Dir(dir) {
					if start.Remove("home/"+dir) != nil {
						break // other files are in it
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := start.SyncAll(); err != nil {
				t.Fatal(err)
			}
			once := func(f *crashfs.FS) error {
				lost, home := vfs.Sub(f, "lost"), vfs.Sub(f, "home")
				plan, err := Plan(t.Context(), lost, home, at)
				if err == nil {
					err = Apply(t.Context(), lost, home, plan, at, func(bool) error { return nil })
				}
				return err
			}
			whole := start.Killed()
			begun := whole.Ops()
			if err := once(whole); err != nil {
				t.Fatal(err)
			}
			ops := whole.Ops() - begun
			for n := range faulttest.Sample(ops, hometest.OneOf(1, 11, 97), 0, hometest.Phase(t)) {
				f := start.Killed()
				f.CrashAt(f.Ops() + n)
				if err := once(f); !errors.Is(err, crashfs.ErrCrashed) {
					t.Fatalf("operation %d: %v", n, err)
				}
				f = f.Killed()
				if err := once(f); err != nil {
					t.Fatalf("again, after operation %d: %v", n, err)
				}
				f = f.Crashed(crashfs.KeepNone)
				for _, name := range want {
					if _, err := f.Stat("home/" + name); err != nil {
						t.Fatalf("killed at operation %d of %d, run again, and a power cut: %v", n, ops, err)
					}
				}
			}
		})
	}
}

func copyFiles(t *testing.T, from, to vfs.FS, below string) {
	t.Helper()
	for name, err := range vfs.Walk(from, ".") {
		var b []byte
		if err == nil {
			b, err = from.ReadFile(name)
		}
		if err == nil {
			err = create(to, path.Join(below, name), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func create(f vfs.FS, name string, b []byte) error {
	_, err := vfs.MkdirAll(f, path.Dir(name))
	if err == nil {
		_, err = vfs.Put(f, name, b, false)
	}
	return err
}

// TestASalvageThatIsRunAgainCarriesTheList: the first one was killed between a bundle that it made again, without the
// damaged frame, and the list of removed members of that.
func TestASalvageThatIsRunAgainCarriesTheList(t *testing.T) {
	t.Parallel()
	for _, among := range []bool{true, false} { // the lost files
		w, bundles := newBundledWreck(t)
		file := bundles[2]
		member := w.nameOfMember(file, 1)
		list := w.gone(file, 3, 1)
		if among {
			w.lostByName(list, w.read("home", list))
		}
		b := w.read("home", file)
		b[40] ^= 1
		w.lostByName(file, b)
		actions, err := Plan(t.Context(), w.lost, w.home, at)
		n := slices.IndexFunc(actions, changes)
		if err != nil || !strings.Contains(actions[n].Detail, "made again") {
			t.Fatalf("%+v, %v", actions, err)
		}
		if err := Apply(t.Context(), w.lost, w.home, actions[:n+1], at, func(bool) error { return nil }); err != nil {
			t.Fatal(err)
		}
		made, _, _ := bundle.ParseName(path.Base(actions[n].To))
		for run, want := range [][]Verb{{Duplicate, Make}, {Duplicate, Duplicate}} {
			actions = w.salvage()
			if gone, _ := w.goneOf(bundlesDir + made.String()); len(gone) != 1 || gone[0] != member {
				t.Errorf("gone are %v, want %s: %+v", gone, member, actions)
			}
			for i, to := range []string{made.String(), made.Gone(1)} {
				k := slices.IndexFunc(actions, func(a Action) bool { return a.To == bundlesDir+to })
				if k < 0 || actions[k].Verb != want[i] || i == 0 && !actions[k].Missing {
					t.Errorf("run %d: %s, want %s: %+v", run, to, want[i], actions)
				}
			}
		}
		w.opens()
	}
}
