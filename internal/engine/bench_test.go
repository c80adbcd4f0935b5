package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func newBenchStorage(b *testing.B, set map[string]string) (*engine.Storage, string) {
	b.Helper()
	return engine.NewBenchStorageWith(b, set, engine.Options{})
}

// benchData is a record of about 700 bytes.
func benchData(i int) []byte { return pickletest.Record(fmt.Sprintf("%0650d", i)) }

// BenchmarkCommit commits transactions of one object, with so many writers, all
// of it durable. “burst” is as fast as the log alone is, without a flush;
// “lasting” is with the flush into A, the lasting part.
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
				if _, err := enginetest.TryCommit(s, zodb.TxnMeta{User: []byte("bench")}, enginetest.Change{OID: zodb.OID(i), Data: benchData(int(i))}); err != nil {
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
func fillBench(b *testing.B, s *engine.Storage, n int) {
	b.Helper()
	for i := 0; i < n; i += 10 {
		var list []enginetest.Change
		for j := i; j < min(i+10, n); j++ {
			list = append(list, enginetest.Change{OID: zodb.OID(j), Data: benchData(j)})
		}
		enginetest.Commit(b, s, list...)
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
			s, _ := engine.NewBenchStorageWith(b, nil, engine.Options{CacheSize: -1})
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
				enginetest.Commit(b, s, enginetest.Change{OID: zodb.OID(i), Data: benchData(i)})
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
		s, _ := engine.NewBenchStorageWith(b, nil, engine.Options{CacheSize: -1})
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
			var list []enginetest.Change
			for k := j; k < min(j+10, b.N); k++ {
				list = append(list, enginetest.Change{OID: zodb.OID(k), Data: benchData(k)})
			}
			enginetest.Commit(b, s, list...)
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
				s, err := engine.Open(b.Context(), home, engine.Options{})
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
				txn, err := s.Begin(b.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
				if err != nil {
					b.Fatal(err)
				}
				w, err := txn.BeginBlob()
				if err != nil {
					b.Fatal(err)
				}
				for left := size; left > 0; left -= piece {
					if _, err := w.Write(data[:min(left, piece)]); err != nil {
						b.Fatal(err)
					}
				}
				if err := txn.StoreBlob(zodb.OID(i), 0, pickletest.Record("blob"), zodb.BlobSource{Staged: w}); err != nil {
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
