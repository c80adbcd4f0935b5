package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// benchHome is where the benchmarks make their HOMEs, to measure a file system.
var benchHome = flag.String("home", "", "directory for the HOMEs of the benchmarks; empty = a temporary one")

// benchKeep leaves them there: to remove a million files takes longer than to make them.
var benchKeep = flag.Bool("keep", false, "leave the HOMEs of the benchmarks where they are")

// benchFormat is their format.
var benchFormat = flag.String("format", string(layout.Bundled), "format of the HOMEs of the benchmarks")

func newBenchStorage(b *testing.B, set map[string]string) (*Storage, string) {
	b.Helper()
	return newBenchStorageWith(b, set, Options{})
}

func newBenchStorageWith(b *testing.B, set map[string]string, o Options) (*Storage, string) {
	b.Helper()
	dir := *benchHome
	if dir == "" {
		dir = b.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "bench")
	if err != nil {
		b.Fatal(err)
	}
	if !*benchKeep {
		b.Cleanup(func() { os.RemoveAll(dir) })
	}
	home := filepath.Join(dir, "home")
	if err := Create(home, CreateOptions{Format: *benchFormat, Set: set}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(context.Background(), home, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s, home
}

// benchData is a record of about 700 bytes.
func benchData(i int) []byte { return rec(fmt.Sprintf("%0650d", i)) }

// BenchmarkCommit commits transactions of one object, with so many writers, all
// of it durable. “burst” is as fast as the log alone is, without a flush;
// “lasting” is with the flush into A, which is what lasts.
func BenchmarkCommit(b *testing.B) {
	never := map[string]string{"journal.flush_transaction_threshold": "100000000", "journal.flush_file_threshold": "100000000"}
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("burst/writers=%d", writers), func(b *testing.B) { benchCommit(b, writers, never) })
		b.Run(fmt.Sprintf("lasting/writers=%d", writers), func(b *testing.B) { benchCommit(b, writers, nil) })
	}
}

func benchCommit(b *testing.B, writers int, set map[string]string) {
	s, _ := newBenchStorage(b, set)
	var next atomic.Int64
	before := s.Status().JournalSyncs
	b.ResetTimer()
	work := make(chan error, writers)
	for range writers {
		go func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					work <- nil
					return
				}
				if _, err := tryCommit(s, zodb.TxnMeta{User: []byte("bench")}, change{oid: zodb.OID(i), data: benchData(int(i))}); err != nil {
					work <- err
					return
				}
			}
		}()
	}
	var errs []error
	for range writers {
		errs = append(errs, <-work)
	}
	b.StopTimer()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txn/s")
	b.ReportMetric(float64(s.Status().JournalSyncs-before)/float64(b.N), "fsyncs/txn")
}

// fillBench stores n objects, ten in a transaction, and flushes them.
func fillBench(b *testing.B, s *Storage, n int) {
	b.Helper()
	for i := 0; i < n; i += 10 {
		var list []change
		for j := i; j < min(i+10, n); j++ {
			list = append(list, change{oid: zodb.OID(j), data: benchData(j)})
		}
		commit(b, s, list...)
	}
	if err := errors.Join(s.WaitNormal(b.Context()), s.Flush(b.Context())); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLoad loads random objects from A, without the cache of the storage: hot, from the caches of the
// kernel, by one reader and by eight; cold, after they were dropped (as root). “memory” is with it.
func BenchmarkLoad(b *testing.B) {
	const objects = 20_000
	for _, readers := range []int{1, 8} {
		b.Run(fmt.Sprintf("hot/readers=%d", readers), func(b *testing.B) {
			s, _ := newBenchStorageWith(b, nil, Options{CacheSize: -1})
			fillBench(b, s, objects)
			var seed atomic.Uint64
			b.SetParallelism(readers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				rnd := rand.New(rand.NewPCG(seed.Add(1), 0))
				for pb.Next() {
					if _, err := s.Load(context.Background(), zodb.OID(rnd.IntN(objects))); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	for _, where := range []string{"log", "cache"} {
		b.Run("memory/"+where, func(b *testing.B) {
			s, _ := newBenchStorage(b, nil)
			for i := range 100 {
				commit(b, s, change{oid: zodb.OID(i), data: benchData(i)})
			}
			if where == "cache" {
				if err := errors.Join(s.WaitNormal(b.Context()), s.Flush(b.Context())); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.LoadBefore(context.Background(), zodb.OID(i%100), zodb.MaxTID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("cold", func(b *testing.B) {
		s, _ := newBenchStorageWith(b, nil, Options{CacheSize: -1})
		fillBench(b, s, objects)
		drop := func() {
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
				b.Skip("the caches cannot be dropped: ", err)
			}
		}
		rnd := rand.New(rand.NewPCG(1, 0))
		order := rnd.Perm(objects)
		drop()
		b.ResetTimer()
		for i := range b.N {
			if i > 0 && i%objects == 0 {
				b.StopTimer()
				drop()
				b.StartTimer()
			}
			if _, err := s.Load(context.Background(), zodb.OID(order[i%objects])); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFlush moves transactions of ten new objects from the log into A. An
// operation is one object, that is two files, and a tenth of a transaction.
func BenchmarkFlush(b *testing.B) {
	s, _ := newBenchStorage(b, nil)
	b.ResetTimer()
	b.StopTimer()
	for i := 0; i < b.N; i += 1000 {
		for j := i; j < min(i+1000, b.N); j += 10 {
			var list []change
			for k := j; k < min(j+10, b.N); k++ {
				list = append(list, change{oid: zodb.OID(k), data: benchData(k)})
			}
			commit(b, s, list...)
		}
		b.StartTimer()
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
}

// BenchmarkCheck reads every file of a storage of 20,000 objects. An operation
// is one check.
func BenchmarkCheck(b *testing.B) {
	s, home := newBenchStorage(b, nil)
	fillBench(b, s, 20_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		b.Fatal(err)
	}
	files := int64(0)
	for b.Loop() {
		sum, err := check.Run(b.Context(), check.Options{FS: dir}, func(f check.Finding) { b.Error(f) })
		if err != nil {
			b.Fatal(err)
		}
		files += sum.Files
	}
	b.ReportMetric(float64(files)/b.Elapsed().Seconds(), "files/s")
}

// BenchmarkOpen opens and closes a storage of 20,000 objects: it must not
// depend on how many there are.
func BenchmarkOpen(b *testing.B) {
	for _, objects := range []int{10, 20_000} {
		b.Run(fmt.Sprintf("objects=%d", objects), func(b *testing.B) {
			s, home := newBenchStorage(b, nil)
			fillBench(b, s, objects)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s, err := Open(b.Context(), home, Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBlob stages a blob of 100 MB in pieces of 59,000 bytes, as the server
// gets it, with its checksum; “durable” with the vote, which syncs it.
func BenchmarkBlob(b *testing.B) {
	const size, piece = 100_000_000, 59_000
	data := make([]byte, piece)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%v", durable), func(b *testing.B) {
			s, _ := newBenchStorage(b, nil)
			b.SetBytes(size)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				txn := begin(b, s)
				w, err := txn.BeginBlob()
				if err != nil {
					b.Fatal(err)
				}
				for left := size; left > 0; left -= piece {
					if _, err := w.Write(data[:min(left, piece)]); err != nil {
						b.Fatal(err)
					}
				}
				if err := txn.StoreBlob(zodb.OID(i), 0, rec("blob"), zodb.BlobSource{Staged: w}); err != nil {
					b.Fatal(err)
				}
				if durable {
					if err := txn.Vote(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if err := txn.Abort(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
