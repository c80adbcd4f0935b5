//go:build unix

package check

import (
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// countedFiles counts bundles that are open files.
type countedFiles struct {
	vfs.FS
	mu        sync.Mutex
	now, most int
	begin     func(name string) // called before one is opened; nil: nothing is
}

func (c *countedFiles) Open(name string) (vfs.File, error) {
	if !strings.HasSuffix(name, ".tar.zst") {
		return c.FS.Open(name)
	}
	if c.begin != nil {
		c.begin(name)
	}
	f, err := c.FS.Open(name)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now++
		c.most = max(c.most, c.now)
		f = countedFile{f, c}
	}
	return f, err
}

type countedFile struct {
	vfs.File
	of *countedFiles
}

func (f countedFile) Close() error {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.now--
	return f.File.Close()
}

// manyBundles is a home with a bundle for each transaction.
func manyBundles(tb testing.TB, n int) (flat, h *testHome) {
	flat = newTestHome(tb, layout.Flat, settings.ClassFull)
	flat.fill(10*n, 11)
	var how ranges
	for tid := firstTID; tid <= flat.last; tid += 1 << 32 {
		how.begins = append(how.begins, tid)
	}
	h = flat.bundled(how)
	if got := len(h.bundles()); got < n {
		tb.Fatalf("%d bundles", got)
	}
	return flat, h
}

// fewDescriptors limits the descriptors of the process. The test must not be parallel.
func fewDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}

// TestCheckOfMoreBundlesThanDescriptors is not parallel: the limit is that of all.
func TestCheckOfMoreBundlesThanDescriptors(t *testing.T) {
	const descriptors, workers = 64, 3
	_, h := manyBundles(t, 100)
	fewDescriptors(t, descriptors)
	for _, o := range []Options{{Root: true}, {Since: firstTID + 5<<32}} {
		files := &countedFiles{FS: h.fs}
		o.FS, o.Workers = files, workers
		all, s := findings(t, o)
		if len(all) > 0 {
			t.Errorf("found %v", kindsOf(all))
		}
		if s.Transactions < 90 {
			t.Errorf("%d transactions", s.Transactions)
		}
		if files.most > descriptors/shareOfFiles+workers {
			t.Errorf("%d bundles were open, where %d may be, and one for each of %d workers", files.most, descriptors/shareOfFiles, workers)
		}
		if files.now != 0 {
			t.Errorf("%d bundles are open at the end", files.now)
		}
	}
}

// TestADamagedIndexIsFoundWithFewDescriptors is not parallel, either.
func TestADamagedIndexIsFoundWithFewDescriptors(t *testing.T) {
	_, h := manyBundles(t, 30)
	path := h.bundles()[7]
	h.patchIndex(path, func(x []byte, _ int) { x[23] ^= 4 })
	fewDescriptors(t, 40)
	all, _ := findings(t, Options{FS: h.fs})
	if len(all) != 1 || all[0].Kind != BundleMember || all[0].Path != path {
		t.Errorf("found %v", kindsOf(all))
	}
}

// TestMergesBesideTheOpenOfACheckAreNoFindings: where the caller may not lock a HOME, another process may
// merge bundles between the listing of their names and the open of the files.
func TestMergesBesideTheOpenOfACheckAreNoFindings(t *testing.T) {
	t.Parallel()
	flat, h := manyBundles(t, 12)
	one := flat.bundled(ranges{})
	opened := 0
	files := &countedFiles{FS: h.fs, begin: func(string) {
		if opened++; opened != 5 {
			return
		}
		old := h.bundles()
		h.write(one.bundles()[0], one.read(one.bundles()[0]))
		h.remove(old...)
	}}
	all, s := findings(t, Options{FS: files, Root: true, Workers: 1})
	_, want := findings(t, Options{FS: one.fs, Root: true, Workers: 1})
	if len(all) > 0 || s != want {
		t.Errorf("found %v\n%+v, want\n%+v", kindsOf(all), s, want)
	}
	if files.now != 0 {
		t.Errorf("%d bundles are open at the end", files.now)
	}
}

// TestABundleThatGoesDuringACheckIsNamedAsThat: nothing is said about its members.
func TestABundleThatGoesDuringACheckIsNamedAsThat(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		done func(h *testHome, bundles []string)
		want string
	}{
		{"removed", func(h *testHome, b []string) { h.remove(b[3]) }, "was removed while it was checked"},
		{"replaced", func(h *testHome, b []string) { x := h.read(b[4]); h.remove(b[3]); h.write(b[3], x) }, "was replaced while it was checked"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, h := manyBundles(t, 12)
			b := h.bundles()
			files := newOpenFiles(h.fs)
			files.limit = 2
			var all []*bundleFile
			for _, path := range b {
				f, err := files.find(path)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, f)
			}
			defer files.close()
			tc.done(h, b)
			buf := make([]byte, 10)
			for i, f := range all {
				_, err := f.ReadAt(buf, 0)
				if i == 3 && (err == nil || !strings.Contains(err.Error(), tc.want)) || i != 3 && err != nil {
					t.Errorf("bundle %d: %v", i, err)
				}
			}
		})
	}
}

// TestBundlesAreReadByManyWithFewOpen: all workers read, and files are closed in favour of others.
func TestBundlesAreReadByManyWithFewOpen(t *testing.T) {
	t.Parallel()
	_, h := manyBundles(t, 12)
	counted := &countedFiles{FS: h.fs}
	files := newOpenFiles(counted)
	files.limit = 2
	var all []*bundleFile
	var contents []string
	for _, path := range h.bundles() {
		f, err := files.find(path)
		if err != nil {
			t.Fatal(err)
		}
		all, contents = append(all, f), append(contents, string(h.read(path)))
	}
	var wg sync.WaitGroup
	const readers = 4
	for r := range readers {
		wg.Go(func() {
			for i := range 40 {
				k := (i*7 + r) % len(all)
				b := make([]byte, len(contents[k]))
				if n, err := all[k].ReadAt(b, 0); n < len(b) || string(b) != contents[k] {
					t.Errorf("bundle %d: %d bytes, %v", k, n, err)
				}
			}
		})
	}
	wg.Wait()
	if counted.most > 2+readers {
		t.Errorf("%d were open", counted.most)
	}
	if files.close(); counted.now != 0 {
		t.Errorf("%d are open at the end", counted.now)
	}
}
