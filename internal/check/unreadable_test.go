package check

import (
	"io/fs"
	"iter"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// badDisk is a file system on which some files and directories can't be read.
type badDisk struct {
	vfs.FS
	bad []string
}

func (d badDisk) broken(op, name string) error {
	if slices.Contains(d.bad, name) {
		return &fs.PathError{Op: op, Path: name, Err: syscall.EIO}
	}
	return nil
}

func (d badDisk) Open(name string) (vfs.File, error) {
	if err := d.broken("open", name); err != nil {
		return nil, err
	}
	return d.FS.Open(name)
}

func (d badDisk) List(dir string) iter.Seq2[vfs.Entry, error] {
	if err := d.broken("readdir", dir); err != nil {
		return func(yield func(vfs.Entry, error) bool) { yield(vfs.Entry{}, err) }
	}
	return d.FS.List(dir)
}

func TestWhatCannotBeReadIsReportedAndTheRestChecked(t *testing.T) {
	t.Parallel()
	h, tids := sample(t, layout.Lawn)
	bad := []string{
		h.path(layout.Revision(1, tids[4])),
		h.path(layout.Pointer(4)),
		h.path(layout.Transaction(tids[3])),
		h.path(layout.Blob(2, tids[3])),
		"A/o0000000000000003",
	}
	var got []string
	all, s := findings(t, Options{FS: badDisk{h.fs, bad}})
	for _, f := range all {
		if f.Kind == Unreadable && f.Severity == Damage {
			got = append(got, f.Path)
		}
	}
	slices.Sort(bad)
	slices.Sort(got)
	if d := cmp.Diff(bad, got); d != "" {
		t.Errorf("unreadable (-want +got):\n%s", d)
	}
	// Nothing follows: the files in the directory that can't be listed can be opened.
	if len(all) != len(bad) || s.Damage != int64(len(all)) {
		t.Errorf("findings: %v", all)
	}
	if s.Transactions != 7 {
		t.Errorf("%d transactions were looked at", s.Transactions)
	}
}

func TestHomeThatIsNoStorageIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"A", "config/settings"} {
		h, _ := sample(t, layout.Bushy)
		h.remove(name)
		if _, err := Run(t.Context(), Options{FS: h.fs}, func(f Finding) { t.Errorf("found %v", f) }); err == nil {
			t.Errorf("no error without %s", name)
		}
	}
}
