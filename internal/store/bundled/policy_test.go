package bundled_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// BenchmarkMergeFactor measures the policy of merges over days of use: 24 flushes a day, over a year 8, of about
// 200 records of 1,000 bytes, to objects of which a few are hot, a pack each day, and a delay_delete of ten
// days. Records do not compress. Write amplification is all bytes written to A for each byte of a flush.
func BenchmarkMergeFactor(b *testing.B) {
	const objects, hot, records, fresh, delay = 20_000, 200, 200, 40, 10
	for days, flushes := range map[int]int{30: 24, 365: 8} {
		for _, factor := range []int{2, 3, 4, 6, 8, 16} {
			b.Run(fmt.Sprintf("days=%d/factor=%d", days, factor), func(b *testing.B) {
				for range b.N {
					y := newYear(b, factor, objects, hot)
					for d := range int64(days) {
						for range flushes {
							y.flush(b, records, fresh)
						}
						y.pack(b, d+1, delay)
					}
					y.report(b)
				}
			})
		}
	}
}

// year is a site whose days are counted.
type year struct {
	site
	dir     vfs.FS
	hot     int
	objects int
	flushed int64
	written int64 // by merges and rewritings
	files   []int // at the end of each day, after merges
	most    int   // before these
}

func newYear(b *testing.B, factor, objects, hot int) *year {
	disk, err := vfs.OS(b.TempDir())
	if err == nil {
		err = makeEmpty(disk)
	}
	if err != nil {
		b.Fatal(err)
	}
	s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now, MergeFactor: factor})
	if err == nil {
		_, _, err = s.Thaw(1)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	y := &year{site: site{s: s, r: rand.New(rand.NewPCG(1, 2)), now: make(map[zodb.OID]zodb.TID), live: make(map[zodb.TID]int), aside: make(map[int64]int)}, dir: disk, hot: hot}
	for y.objects < objects {
		y.put(b, y.fresh(2000))
	}
	return y
}

func (y *year) fresh(n int) (oids []zodb.OID) {
	for range n {
		oids = append(oids, zodb.OID(y.objects))
		y.objects++
	}
	return oids
}

// put commits and flushes one transaction, and counts its bytes.
func (y *year) put(b *testing.B, oids []zodb.OID) {
	slices.Sort(oids)
	before, _, err := bundleBytes(y.dir)
	if err == nil {
		err = y.write(slices.Compact(oids))
	}
	after, _, err2 := bundleBytes(y.dir)
	if err = errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	y.flushed += after - before
}

// flush writes some new objects, some hot ones, and others. Merges go on behind it.
func (y *year) flush(b *testing.B, records, fresh int) {
	oids := y.fresh(fresh)
	for range (records - fresh) / 2 {
		oids = append(oids, zodb.OID(y.r.IntN(y.hot)), zodb.OID(y.r.IntN(y.objects)))
	}
	y.put(b, oids)
	_, files, err := bundleBytes(y.dir)
	if err == nil {
		var n int64
		n, err = y.tendOnly(0.5, 0)
		y.written += n
	}
	if err != nil {
		b.Fatal(err)
	}
	y.most = max(y.most, files)
}

// pack ends a day.
func (y *year) pack(b *testing.B, d, delay int64) {
	err := y.site.pack(d * day)
	n, terr := y.tend((d-delay)*day + 1)
	y.written += n
	_, files, berr := bundleBytes(y.dir)
	if err = errors.Join(err, terr, berr); err != nil {
		b.Fatal(err)
	}
	y.files = append(y.files, files)
}

func (y *year) report(b *testing.B) {
	size, _, err := bundleBytes(y.dir)
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(y.files)
	b.ReportMetric(float64(y.flushed+y.written)/float64(y.flushed), "written/flushed")
	b.ReportMetric(float64(y.flushed)/1e6, "flushed-MB")
	b.ReportMetric(float64(size)/1e6, "MB")
	b.ReportMetric(float64(y.files[len(y.files)/2]), "bundles-median")
	b.ReportMetric(float64(y.most), "bundles-most")
}
