package salvage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// TestAPlanIsWholeOrAnError lets each operation of a plan fail once: the plan is as it would be,
// or there is an error that names the cause. Bundles, a list, the end of two bundles, blobs, and an x
// file are lost.
func TestAPlanIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	w, b := newBundledWreck(t)
	for name := range w.files() {
		if filepath.Ext(name) == ".blob" {
			w.lose(name)
		}
	}
	w.lose(w.gone(b[0], 1, 0))
	w.lose(b[0])
	whole := w.read("home", b[1])
	w.write("home", b[1], whole[:len(whole)-200])
	cut := w.read("lost+found", w.lose(b[2]))
	w.write("lost+found", "#cut", cut[:len(cut)-200])
	w.lose("A/x.oid")
	disk, err := vfs.OS(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	plan := func(n int, cause error) (ops int, failed string, list []string, err error) {
		f := errfs.New(disk, func(op errfs.Op) error {
			if ops++; ops == n {
				failed = op.Kind + " " + op.Name
				return cause
			}
			return nil
		})
		actions, err := Plan(t.Context(), vfs.Sub(f, "lost+found"), vfs.Sub(f, "home"), at)
		for _, a := range actions {
			list = append(list, fmt.Sprint(a.Verb, " ", a.From, " ", a.To, " ", a.Detail))
		}
		return ops, failed, list, err
	}
	ops, _, want, err := plan(0, nil)
	if err != nil || len(want) < 5 {
		t.Fatalf("%v: %q", err, want)
	}
	for _, cause := range []error{syscall.EIO, syscall.ENOMEM} {
		for n := 1; n <= ops; n++ {
			switch _, failed, got, err := plan(n, cause); {
			case err == nil && cause == syscall.EIO && failed == "read lost+found/#cut" && strings.Contains(fmt.Sprint(got), "is lost"):
				// A bad place of the disk costs a frame, and the plan says so.
			case err != nil && !errors.Is(err, cause):
				t.Errorf("%v at %s: %v", cause, failed, err)
			case err == nil && !slices.Equal(got, want):
				t.Errorf("%v at %s: the plan is\n%q\nwant\n%q", cause, failed, got, want)
			}
		}
	}
}
