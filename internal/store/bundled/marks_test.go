package bundled_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// marked is a closed store of which one bundle is damaged.
type marked struct {
	t    *testing.T
	disk *crashfs.FS
	on   vfs.FS // disk, or with errors
	txns []*storetest.Txn
	path string // of the bundle
	good []byte
	told []string
	// clock is that of the store; nil: time.Now.
	clock func() time.Time
}

func newMarked(t *testing.T) *marked {
	t.Helper()
	s, disk, _, txns := fewOpen(t, 9, 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m := &marked{t: t, disk: disk, on: disk, txns: txns, path: "A/bundles/" + txns[4].Tid.String() + "-" + txns[4].Tid.String() + ".0.tar.zst"}
	var err error
	if m.good, err = disk.ReadFile(m.path); err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(m.good)
	bad[40] ^= 0x55
	m.put(bad)
	return m
}

// put puts another file in the place of the bundle.
func (m *marked) put(content []byte) {
	m.t.Helper()
	err := m.disk.Remove(m.path)
	if err == nil {
		_, err = vfs.Put(m.disk, m.path, content, true)
	}
	if err == nil {
		err = m.disk.SyncDir("A/bundles")
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *marked) open(beside bool) *bundled.Store {
	m.t.Helper()
	m.told = nil
	clock := m.clock
	if clock == nil {
		clock = time.Now
	}
	s, err := bundled.New(bundled.Options{FS: m.on, Sync: true, DirSync: true, Clock: clock, MergeFactor: 4, Beside: beside, Warn: func(text string, err error) {
		m.told = append(m.told, text+": "+err.Error())
	}})
	if err == nil && !beside {
		var empty bool
		if _, empty, err = s.Thaw(1); err == nil && !empty {
			err = errors.New("B is not empty")
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// want compares the bundles that are named, and closes the store.
func (m *marked) want(s *bundled.Store, say string, paths ...string) {
	m.t.Helper()
	if got := s.Damaged(); !slices.Equal(got, paths) {
		m.t.Errorf("%s: damaged are %v, want %v", say, got, paths)
	}
	if err := s.Close(); err != nil {
		m.t.Error(err)
	}
}

func (m *marked) bundles() int {
	m.t.Helper()
	n := 0
	for _, err := range m.disk.List("A/bundles") {
		if err != nil {
			m.t.Fatal(err)
		}
		n++
	}
	return n
}

// tend does all that there is to do.
func (m *marked) tend(s *bundled.Store) {
	m.t.Helper()
	if err := tendAll(s); err != nil {
		m.t.Fatal(err)
	}
}

// TestADamagedBundleIsNamedAfterARestart: as soon as it is open, without reading it, by who writes and by
// who reads beside; and the log of each start says so once.
func TestADamagedBundleIsNamedAfterARestart(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	s := m.open(false)
	m.tend(s)
	m.want(s, "found by a merge", m.path)
	if n := m.bundles(); n != 3 {
		t.Errorf("%d bundles, want the damaged one, and one made of four on each side", n)
	}
	for _, beside := range []bool{false, true, false} {
		s := m.open(beside)
		if len(m.told) != 1 || !strings.Contains(m.told[0], "is damaged") || !strings.Contains(m.told[0], m.path) {
			t.Errorf("told %q", m.told)
		}
		m.want(s, "after a restart", m.path)
	}
	s = m.open(false)
	m.tend(s)
	m.want(s, "after a second look", m.path)
	if n := m.bundles(); n != 3 || len(m.told) != 1 {
		t.Errorf("%d bundles, told %q", n, m.told)
	}
	m.want(m.open(false), "after another restart", m.path)
}

// TestAMarkSurvivesAPowerCut.
func TestAMarkSurvivesAPowerCut(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	s := m.open(false)
	m.tend(s)
	m.disk = m.disk.Crashed(crashfs.KeepNone)
	m.on = m.disk
	m.want(s, "before", m.path)
	m.want(m.open(false), "after the power cut", m.path)
}

// TestAMarkGoesWithTheDamage: a good copy that somebody put back is found by a second look, and is merged
// then. A bundle that was replaced by others, or by another one with its name, is not marked at all.
func TestAMarkGoesWithTheDamage(t *testing.T) {
	t.Parallel()
	m := newMarked(t)
	s := m.open(false)
	m.tend(s)
	m.want(s, "found by a merge", m.path)
	m.put(m.good)
	s = m.open(false)
	if got := s.Damaged(); !slices.Equal(got, []string{m.path}) {
		t.Errorf("before anybody looked: %v", got)
	}
	m.tend(s)
	if err := readAll(s, m.txns); err != nil {
		t.Error(err)
	}
	m.want(s, "after a look")
	if _, err := m.disk.Stat("misc/damaged-bundles"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the list is there still: %v", err)
	}
	s = m.open(false)
	if len(m.told) != 0 {
		t.Errorf("told %q", m.told)
	}
	m.want(s, "after a restart")

	m = newMarked(t)
	s = m.open(false)
	m.tend(s)
	m.want(s, "found by a merge", m.path)
	list, err := m.disk.ReadFile("misc/damaged-bundles")
	if err != nil {
		t.Fatal(err)
	}
	other := "misc/damaged-bundles"
	if err := m.disk.Remove(other); err != nil {
		t.Fatal(err)
	}
	text := strings.Fields(string(list))
	text[1] = strings.Repeat("0", len(text[1]))
	if _, err := vfs.Put(m.disk, other, []byte(strings.Join(text, " ")+"\n"), true); err != nil {
		t.Fatal(err)
	}
	m.want(m.open(false), "of another bundle with that name")
	if _, err := m.disk.Stat(other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the list is there still: %v", err)
	}
}

// TestAListOfMarksThatIsNotOne: it marks nothing, and stops nothing.
func TestAListOfMarksThatIsNotOne(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "x", "A/bundles 1\n", strings.Repeat("\x00", 100), "0000000000100000-0000000000100000.0.tar.zst"} {
		m := newMarked(t)
		if _, err := vfs.Put(m.disk, "misc/damaged-bundles", []byte(text), true); err != nil {
			t.Fatal(err)
		}
		m.want(m.open(false), "before a merge")
		s := m.open(false)
		m.tend(s)
		m.want(s, "after merges", m.path)
		m.want(m.open(false), "after a restart", m.path)
	}
}

// TestErrorsOfTheListOfMarks: it cannot be written, or read. Merges go on around the damage, which the
// running process names, and the next one finds again.
func TestErrorsOfTheListOfMarks(t *testing.T) {
	t.Parallel()
	for _, kinds := range [][]string{{"create"}, {"write"}, {"sync"}, {"rename"}, {"syncdir"}, {"read"}, {"remove"}} {
		t.Run(kinds[0], func(t *testing.T) {
			t.Parallel()
			m := newMarked(t)
			failed := 0
			m.on = errfs.New(m.disk, func(o errfs.Op) error {
				if slices.Contains(kinds, o.Kind) && (strings.Contains(o.Name, "damaged") || o.Kind == "syncdir" && o.Name == "misc") {
					failed++
					return syscall.EIO
				}
				return nil
			})
			s := m.open(false)
			m.tend(s)
			if n := m.bundles(); n != 3 {
				t.Errorf("%d bundles", n)
			}
			m.want(s, "found by a merge", m.path)
			m.put(m.good)
			s = m.open(false)
			m.tend(s)
			if err := readAll(s, m.txns); err != nil {
				t.Error(err)
			}
			m.want(s, "after a good copy was put back")
			if failed == 0 {
				t.Error("nothing failed")
			}
		})
	}
}

// TestAMarkedBundleThatCannotBeReadIsLookedAtLater: the reason that keeps a look from reading it may pass. It is
// whole by then, and is merged, without a restart. Waits grow, and a merge of others goes on.
func TestAMarkedBundleThatCannotBeReadIsLookedAtLater(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			m := newMarked(t)
			s := m.open(false)
			m.tend(s)
			m.want(s, "found by a merge", m.path)
			m.put(m.good)
			failing, failed := false, 0
			m.on = errfs.New(m.disk, func(o errfs.Op) error {
				if failing && o.Name == m.path && o.Kind == "read" {
					failed++
					return cause
				}
				return nil
			})
			clock := new(testClock)
			m.clock = clock.now
			s = m.open(false)
			failing = true
			for i, wait := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
				before := failed
				if err := tendAll(s); err != nil {
					t.Fatal(err)
				}
				if looks := failed - before; looks != 1 {
					t.Errorf("look %d: it was read %d times", i, looks)
				}
				if got := again(t, s); got != wait {
					t.Errorf("look %d: the next one is due in %s, want %s", i, got, wait)
				}
				clock.pass(wait - 1)
				if before = failed; tendAll(s) != nil || failed != before {
					t.Errorf("look %d: it was read before the wait was over", i)
				}
				clock.pass(1)
			}
			failing = false
			m.tend(s)
			if err := readAll(s, m.txns); err != nil {
				t.Error(err)
			}
			m.want(s, "after the trouble")
		})
	}
}

// again returns when there may be something to do, now that there is not.
func again(t *testing.T, s store.Tender) time.Duration {
	t.Helper()
	c, err := s.Tend(store.Tending{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.Prepare(t.Context())
	if err = errors.Join(err, c.Close()); err != nil || found {
		t.Fatalf("there is something to do: %t, %v", found, err)
	}
	return c.Again()
}
