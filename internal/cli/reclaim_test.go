package cli

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestReclaimSaysWhatCameBackAndWhatDoesNotYet: of a stopped storage and of a running one.
func TestReclaimSaysWhatCameBackAndWhatDoesNotYet(t *testing.T) {
	t.Parallel()
	both(t, []string{"format=bundled"}, func(t *testing.T, h *packHome) {
		h.flushed()
		h.must(exitOK, "pack", "--keep", "0", "HOME")
		stdout, _ := h.must(exitOK, "pack", "--reclaim", "HOME")
		if !strings.HasPrefix(stdout, "gave back 0 B\n") || !strings.Contains(stdout, "\nput aside until ") {
			t.Errorf("before delay_delete has passed it says:\n%s", stdout)
		}
		var r engine.ReclaimResult
		h.json(exitOK, &r, "pack", "--reclaim", "HOME")
		if r.Bytes != 0 || !r.InBundles || len(r.Aside) != 1 || r.Aside[0].Bytes == 0 || time.Until(r.Aside[0].Until) < 9*24*time.Hour {
			t.Errorf("before delay_delete has passed it says %+v", r)
		}
		_, stderr := h.must(exitUsage, "pack", "--reclaim", "--keep", "3", "HOME")
		if !strings.Contains(stderr, "--reclaim cannot be combined with any option except --json; leave --keep out") {
			t.Errorf("with --keep it says:\n%s", stderr)
		}
		h.must(exitUsage, "pack", "--reclaim", "--undelete", "all", "HOME")
		h.clean()
	})
	both(t, []string{"format=bundled", "storage.delay_delete=0"}, func(t *testing.T, h *packHome) {
		h.flushed()
		h.must(exitOK, "pack", "--keep", "0", "HOME")
		stdout, _ := h.must(exitOK, "pack", "--reclaim", "HOME")
		if !strings.HasPrefix(stdout, "gave back ") || strings.Contains(stdout, "aside") {
			t.Errorf("with delay_delete 0 it says:\n%s", stdout)
		}
		var r engine.ReclaimResult
		if h.json(exitOK, &r, "pack", "--reclaim", "HOME"); r.Bytes != 0 || r.GoneBytes != 0 || r.Rewritten != 0 {
			t.Errorf("once more: %+v", r)
		}
		h.clean()
	})
}

// TestReclaimOfAFileForEachRevision says that there is nothing to write again.
func TestReclaimOfAFileForEachRevision(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: string(layout.Chunky)})
	e, stdout, stderr := testEnv()
	if code := run(t.Context(), e, []string{"pack", "--reclaim", home}); code != exitOK || !strings.Contains(stdout.String(), "there is nothing to write again: in this format each revision is a file of its own\n") {
		t.Errorf("status %d, it says:\n%s%s", code, stdout, stderr)
	}
}

// TestInterruptedReclaimSaysSo: while it waits for the end of snapshot mode.
func TestInterruptedReclaimSaysSo(t *testing.T) {
	t.Parallel()
	h := newPackHome(t, "format=bundled", "storage.delay_delete=0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.start(&lockedBuffer{seen: func(text string) {
		if strings.Contains(text, "a pack waits") {
			cancel()
		}
	}})
	h.flushed()
	h.must(exitOK, "pack", "--keep", "0", "HOME")
	c := h.holdSnapshot()
	code, _, stderr := h.runIn(ctx, &env{}, "pack", "--reclaim", "HOME")
	if code != exitInterrupted || !strings.Contains(stderr, "hint: nothing is lost, and the space given back stays free; repeat the command, it goes on") {
		t.Errorf("exit status %d, it says:\n%s", code, stderr)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := h.must(exitOK, "pack", "--reclaim", "HOME"); !strings.HasPrefix(stdout, "gave back ") {
		t.Errorf("after that it says:\n%s", stdout)
	}
	h.clean()
}

// TestEveryReportTellsWhatComesBackAndWhen: pack, status, gc --report, of a stopped storage and of a running
// one, in both kinds of format.
func TestEveryReportTellsWhatComesBackAndWhen(t *testing.T) {
	t.Parallel()
	says := func(t *testing.T, text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("it does not say %q:\n%s", w, text)
			}
		}
	}
	for _, format := range []string{"bundled", "chunky"} {
		both(t, []string{"format=" + format}, func(t *testing.T, h *packHome) {
			h.flushed()
			stdout, _ := h.must(exitOK, "pack", "--keep", "0", "HOME")
			says(t, stdout, "\nfreed 0 B; ", " later: it is put aside until ")
			stdout, _ = h.must(exitOK, "gc", "--report", "--keep", "0", "HOME")
			says(t, stdout, "\nput aside until ")
			if strings.Contains(stdout, "--reclaim gives back") || strings.Contains(stdout, "freed") {
				t.Errorf("it says that something can be given back now:\n%s", stdout)
			}
			stdout, _ = h.must(exitOK, "status", "--count", "HOME")
			if format == "chunky" {
				says(t, stdout, "\nput aside: ", " frees it, or pack --reclaim\n")
				return
			}
			says(t, stdout, "\nput aside: ", "then it is gone for good\n")
			stdout, _ = h.must(exitOK, "status", "HOME")
			says(t, stdout, "\nput aside: ", "then it is gone for good\n")
		})
		both(t, []string{"format=" + format, "storage.delay_delete=0"}, func(t *testing.T, h *packHome) {
			h.flushed()
			stdout, _ := h.must(exitOK, "pack", "--keep", "0", "HOME")
			says(t, stdout, "\nfreed ")
			if strings.Contains(stdout, "aside") || strings.Contains(stdout, "freed 0 B") {
				t.Errorf("with delay_delete 0 it says:\n%s", stdout)
			}
		})
	}
}

// TestStatusAndReportTellWhatIsGoneForGood: that a reclaim gives it back, and how much was given back.
func TestStatusAndReportTellWhatIsGoneForGood(t *testing.T) {
	t.Parallel()
	h := newPackHome(t, "format=bundled", "storage.delay_delete=0")
	h.start(nil)
	var changes []enginetest.Change
	big := pickletest.Record(strings.Repeat("0123456789abcdef", 2000))
	for oid := range zodb.OID(10) { // of which little is gone, so that nothing is written again by itself
		changes = append(changes, enginetest.Change{OID: oid + 10, Data: big})
	}
	_, err := enginetest.Voted(t, h.s, enginetest.Options{}, changes...).Finish(t.Context(), nil)
	if err == nil {
		_, err = enginetest.Voted(t, h.s, enginetest.Options{}, enginetest.Change{OID: 10, Data: packData("Kept", "small")}).Finish(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.flushed()
	stdout, _ := h.must(exitOK, "pack", "--keep", "0", "--gc=off", "HOME")
	if !strings.Contains(stdout, " later, when bundles are written again: in the background, or by pack --reclaim\n") {
		t.Errorf("pack says:\n%s", stdout)
	}
	if stdout, _ = h.must(exitOK, "status", "HOME"); !strings.Contains(stdout, "\ngone for good: ") {
		t.Errorf("status says:\n%s", stdout)
	}
	if stdout, _ = h.must(exitOK, "gc", "--report", "HOME"); !strings.Contains(stdout, "\nremoved by earlier packs: pack --reclaim gives back up to ") {
		t.Errorf("gc says:\n%s", stdout)
	}
	h.must(exitOK, "pack", "--reclaim", "HOME")
	if stdout, _ = h.must(exitOK, "status", "HOME"); strings.Contains(stdout, "gone for good") || !strings.Contains(stdout, "\ngiven back: ") {
		t.Errorf("after a reclaim status says:\n%s", stdout)
	}
}

// TestPackWhoseServerEndsSaysSo: the command waits for its answer, and the process with the storage is gone.
func TestPackWhoseServerEndsSaysSo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"pack", "--keep", "0", "HOME"}, {"pack", "--reclaim", "HOME"}} {
		h := newPackHome(t, "format=bundled", "storage.delay_delete=0")
		closed := make(chan error, 1)
		var once sync.Once
		h.start(&lockedBuffer{seen: func(text string) {
			if strings.Contains(text, "a pack waits") {
				once.Do(func() { go func() { closed <- h.s.Close() }() })
			}
		}})
		h.flushed()
		if args[1] == "--reclaim" {
			h.must(exitOK, "pack", "--keep", "0", "HOME")
		}
		c := h.holdSnapshot()
		_, stderr := h.must(exitFailed, args...)
		if !strings.Contains(stderr, "hint: the process that had the storage open has ended; start it again") {
			t.Errorf("%q says:\n%s", args, stderr)
		}
		if err := errors.Join(<-closed, c.Close()); err != nil {
			t.Fatal(err)
		}
		h.s = nil
	}
}
