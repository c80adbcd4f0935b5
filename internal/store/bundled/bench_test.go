package bundled_test

import (
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// filler is a transaction of new objects with data that compress to about a half.
type filler struct {
	tid, previous zodb.TID
	from, n       int
}

func (x *filler) TID() zodb.TID        { return x.tid }
func (x *filler) HighestOID() zodb.OID { return zodb.OID(x.from + x.n - 1) }
func (x *filler) Len() int             { return x.n }
func (x *filler) Revision(i int) store.Revision {
	return store.Revision{OID: zodb.OID(x.from + i), First: true}
}

func (x *filler) AppendRevision(dst []byte, i int) ([]byte, error) {
	data := make([]byte, 0, 640)
	seed := md5.Sum(binary.BigEndian.AppendUint64(nil, uint64(x.from+i)))
	for len(data) < 600 {
		data = append(data, "cpersistent.mapping\nPersistentMapping"...)
		data = append(data, seed[:]...)
		seed = md5.Sum(seed[:])
	}
	o := record.Object{OID: zodb.OID(x.from + i), Serial: x.tid, Data: data}
	return o.Append(dst, record.MD5)
}

func (x *filler) AppendTransaction(dst []byte) ([]byte, error) {
	t := record.Transaction{TID: x.tid, Previous: x.previous}
	for i := range x.n {
		t.OIDs = append(t.OIDs, zodb.OID(x.from+i))
	}
	return t.Append(dst, record.MD5)
}

// BenchmarkStore measures a store of 200,000 objects in 100 flushes: loads by chance from 100
// bundles and from merged ones, opening with and without the table, in the kernel's cache.
func BenchmarkStore(b *testing.B) {
	const flushes, each = 100, 2000
	disk, err := vfs.OS(b.TempDir())
	if err == nil {
		err = makeEmpty(disk)
	}
	if err != nil {
		b.Fatal(err)
	}
	open := func() *bundled.Store {
		s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	s := open()
	begun := time.Now()
	for i := range flushes {
		x := &filler{tid: zodb.TID(i+1) << 20, previous: zodb.TID(i) << 20, from: i * each, n: each}
		if err := s.Put(store.A, []store.Transaction{x}, new(store.Progress)); err != nil {
			b.Fatal(err)
		}
		if err := s.SetLast(store.A, x.tid); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("put: %.1f µs a record", time.Since(begun).Seconds()*1e6/flushes/each)
	loads := func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		took := make([]time.Duration, 0, b.N)
		for b.Loop() {
			begun := time.Now()
			if _, err := s.Load(zodb.OID(r.IntN(flushes * each))); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "median-ns")
	}
	b.Run("load", loads)
	b.Run("load, few files open", func(b *testing.B) {
		all := s
		defer func() { s = all }()
		var err error
		if s, err = bundled.New(bundled.Options{FS: disk, Clock: time.Now, Beside: true, OpenFiles: flushes / 10}); err != nil {
			b.Fatal(err)
		}
		loads(b)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			s = open()
		}
	})
	b.Run("open without the table", func(b *testing.B) {
		for b.Loop() {
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			if err := disk.Remove("misc/current"); err != nil {
				b.Fatal(err)
			}
			s = open()
		}
	})
	begun = time.Now()
	if _, _, err := s.Thaw(1); err != nil {
		b.Fatal(err)
	}
	for more := true; more; {
		if more, err = storetest.Tend(b.Context(), s, store.Tending{}); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("merges of all: %.1f µs a record", time.Since(begun).Seconds()*1e6/flushes/each)
	b.Run("load merged", loads)
	var bytes, files int64
	space, err := s.Space(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	bytes, files = space.Sides[store.A].Bytes, space.Sides[store.A].Files
	b.Logf("A has %d files, %.0f bytes a record", files, float64(bytes)/flushes/each)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkIncrements measures the size of incremental copies while merges go on: one after each
// 1, 8 and 64 flushes of 64 KiB or so, by time stamp, and by the files that the copy lacks. The unit is
// the size of the store at the end.
func BenchmarkIncrements(b *testing.B) {
	const flushes, each = 1024, 250
	for _, every := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(every), func(b *testing.B) {
			disk, err := vfs.OS(b.TempDir())
			if err == nil {
				err = makeEmpty(disk)
			}
			if err != nil {
				b.Fatal(err)
			}
			s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for _, empty, err := s.Thaw(1); !empty; _, empty, err = s.Thaw(1) {
				if err != nil {
					b.Fatal(err)
				}
			}
			had := make(map[string]bool)
			var stamped, since, live int64
			last := zodb.TID(0)
			size := func(name string) int64 {
				info, err := disk.Stat(name)
				if err != nil {
					b.Fatal(err)
				}
				return info.Size
			}
			for i := range flushes {
				x := &filler{tid: zodb.TID(i+1) << 20, previous: zodb.TID(i) << 20, from: i * each, n: each}
				if err := errors.Join(s.Put(store.A, []store.Transaction{x}, new(store.Progress)), s.SetLast(store.A, x.tid)); err != nil {
					b.Fatal(err)
				}
				for more := true; more; {
					if more, err = storetest.Tend(b.Context(), s, store.Tending{}); err != nil {
						b.Fatal(err)
					}
				}
				if (i+1)%every != 0 {
					continue
				}
				live = 0
				for name, err := range s.Files(b.Context()) {
					if err != nil {
						b.Fatal(err)
					}
					n := size(name)
					if live += n; !had[name] {
						stamped += n
					}
					had[name] = true
				}
				for name, err := range s.FilesSince(b.Context(), last, nil, nil) {
					if err != nil {
						b.Fatal(err)
					}
					since += size(name)
				}
				last = x.tid
			}
			b.ReportMetric(float64(live), "bytes")
			b.ReportMetric(float64(stamped)/float64(live), "times-by-stamp")
			b.ReportMetric(float64(since)/float64(live), "times-since-tid")
		})
	}
}
