package formatbench

import (
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// The measured database. The defaults have the size at which the formats begin to differ.
var (
	benchDir     = flag.String("dir", "", "directory on the file system to be measured; empty = skip")
	benchObjects = flag.Int("objects", 200_000, "objects to create")
	benchKeep    = flag.Bool("keep", false, "leave the files behind, on a file system that is made anew for each run")
	benchLoads   = flag.Int("loads", 20_000, "random objects to load")
)

const (
	revisionSize  = 800  // bytes of a revision file, about the mean of a real database
	filesPerFlush = 2000 // as flush_file_threshold in the config/settings of the original
	objectsPerTxn = 10
)

// firstTID is the id of the first transaction of the benchmark, some day in 2026.
var firstTID = zodb.TIDFromTime(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))

// names returns the database names of an object's pointer and revision.
func names(i int) (pointer, revision layout.Name) {
	return layout.Pointer(zodb.OID(i)), layout.Revision(zodb.OID(i), tidOf(i))
}

func tidOf(i int) zodb.TID { return firstTID + zodb.TID(i/objectsPerTxn)<<24 }

func BenchmarkFormats(b *testing.B) {
	if *benchDir == "" {
		b.Skip("-dir does not say which file system to measure")
	}
	for _, format := range layout.Formats() {
		b.Run(format.String(), func(b *testing.B) {
			var sum measures
			for b.Loop() {
				sum.add(measure(b, format))
			}
			sum.report(b)
		})
	}
}

// measures are the figures of one run of a format.
type measures struct {
	create, loadCold, loadHot, walkCold time.Duration
	inodes                              int
	du                                  int64 // bytes of the files' blocks, as du counts
	taken                               int64 // bytes that the file system has less than before
}

func (m *measures) add(o measures) {
	m.create += o.create
	m.loadCold += o.loadCold
	m.loadHot += o.loadHot
	m.walkCold += o.walkCold
	m.inodes += o.inodes
	m.du += o.du
	m.taken += o.taken
}

// report turns sums over all runs into rates.
func (m *measures) report(b *testing.B) {
	rate := func(n int, d time.Duration) float64 { return float64(n*b.N) / d.Seconds() }
	b.ReportMetric(0, "ns/op") // the sum of unlike things
	b.ReportMetric(rate(*benchObjects, m.create), "creates/s")
	b.ReportMetric(rate(*benchLoads, m.loadHot), "hot-loads/s")
	if m.loadCold > 0 {
		b.ReportMetric(rate(*benchLoads, m.loadCold), "cold-loads/s")
		b.ReportMetric(m.walkCold.Seconds()/float64(b.N), "cold-walk-s")
	}
	b.ReportMetric(float64(m.inodes)/float64(b.N), "inodes")
	b.ReportMetric(float64(m.du)/float64(b.N)/1e6, "MB-du")
	// True where nothing else writes to the file system; then it counts blocks that du doesn't see.
	b.ReportMetric(float64(m.taken)/float64(b.N)/1e6, "MB-taken")
}

// measure fills a fresh tree, reads it in all ways and removes it.
func measure(b *testing.B, format layout.Format) measures {
	home, err := os.MkdirTemp(*benchDir, "formatbench-"+format.String()+"-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if *benchKeep {
			return
		}
		if err := os.RemoveAll(home); err != nil {
			b.Error(err)
		}
	}()
	door, err := vfs.OS(home)
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range []string{"A", "B", "journal", "misc"} {
		if err := door.Mkdir(dir); err != nil {
			b.Fatal(err)
		}
	}
	t, err := classic.New(classic.Options{FS: door, Format: format, Sync: true, DirSync: true, Clock: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	var m measures
	before := free(b, door)
	m.create = timed(func() { fill(b, t) })
	cold := dropCaches(b)
	m.taken = before - free(b, door)
	first := timed(func() { load(b, t) })
	if cold {
		m.loadCold = first
	}
	m.loadHot = timed(func() { load(b, t) })
	if dropCaches(b) {
		m.walkCold = timed(func() { walk(b, home, &m) })
	} else {
		walk(b, home, &m)
	}
	return m
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// fill creates all objects, as a flusher that is never short of work.
func fill(b *testing.B, t *classic.Store) {
	data := make([]byte, revisionSize)
	source := rand.NewChaCha8([32]byte{1})
	for i := 0; i < *benchObjects; {
		batch := t.NewRedo(store.A, filesPerFlush)
		for range min(filesPerFlush/2, *benchObjects-i) {
			if _, err := source.Read(data); err != nil {
				b.Fatal(err)
			}
			pointer, revision := names(i)
			if err := batch.Create(revision, data); err != nil {
				b.Fatal(err)
			}
			if err := batch.Replace(pointer, tidOf(i).Bytes()); err != nil {
				b.Fatal(err)
			}
			i++
		}
		if err := batch.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// load reads random objects, the same ones at each call, as the engine does:
// the pointer, then the revision.
func load(b *testing.B, t *classic.Store) {
	random := rand.New(rand.NewPCG(1, 2))
	for range *benchLoads {
		pointer, revision := names(random.IntN(*benchObjects))
		if _, where, err := t.Get(pointer); err != nil {
			b.Fatal(where, err)
		}
		data, where, err := t.Get(revision)
		if err != nil {
			b.Fatal(err)
		}
		if len(data) != revisionSize {
			b.Fatalf("%s has %d bytes", where, len(data))
		}
	}
}

// walk looks at the metadata of every file and directory, as find -newer, rsync and tar do, and
// adds up their room.
func walk(b *testing.B, home string, m *measures) {
	err := filepath.WalkDir(filepath.Join(home, "A"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		m.inodes++
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			m.du += s.Blocks * 512
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// free returns the free bytes of the file system after all writes have landed.
func free(b *testing.B, door vfs.FS) int64 {
	syscall.Sync()
	space, err := door.Space()
	if err != nil {
		b.Fatal(err)
	}
	return int64(space.FreeBytes)
}

// dropCaches makes the next read come from the disk. It reports false where
// that is not allowed or not possible.
func dropCaches(b *testing.B) bool {
	syscall.Sync()
	err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
	if err != nil {
		b.Log("reads are not cold: ", err)
	}
	return err == nil
}
