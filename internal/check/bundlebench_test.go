package check

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// text is a record of about 700 bytes: references, and words.
func text(rnd *rand.Rand, refs ...zodb.OID) []byte {
	b := data(refs...)
	b = b[:len(b)-1]
	var words []byte
	for n := 300 + rnd.IntN(700); len(words) < n; {
		words = strconv.AppendUint(append(words, "title description "...), uint64(rnd.Uint32()>>rnd.IntN(32)), 36)
	}
	b = append(b, 'T')
	b = binary.LittleEndian.AppendUint32(b, uint32(len(words)))
	return append(append(b, words...), "a."...)
}

// large makes a home of n objects, written by 1,000 transactions, in bundles of some transactions.
func large(tb testing.TB, n, transactions int) *testHome {
	tb.Helper()
	h := newTestHome(tb, layout.Bundled, settings.ClassFull)
	h.mkdir("A/bundles")
	h.remove("B")
	rnd := rand.New(rand.NewPCG(1, 2))
	const commits = 1000
	per := n / commits
	o := bundle.Options{Workers: 2}
	o.Identity = [16]byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	for k := 0; k < commits; k += transactions {
		o.Min, o.Max, o.Previous = firstTID+zodb.TID(k)<<32, firstTID+zodb.TID(k+transactions-1)<<32, h.last
		f, err := os.Create(filepath.Join(h.dir, "A/bundles", bundle.Name{Min: o.Min, Max: o.Max}.String()))
		if err != nil {
			tb.Fatal(err)
		}
		w, err := bundle.NewWriter(f, o)
		if err != nil {
			tb.Fatal(err)
		}
		for tid := o.Min; tid <= o.Max; tid += 1 << 32 {
			t := record.Transaction{TID: tid, Previous: h.last}
			for range per {
				oid := h.maxOID
				var refs []zodb.OID
				for child := 8*oid + 1; child <= 8*oid+8 && child < zodb.OID(n); child++ {
					refs = append(refs, child)
				}
				b := h.object(record.Object{OID: oid, Serial: tid, Data: text(rnd, refs...)})
				if err := w.Revision(oid, tid, 0, b); err != nil {
					tb.Fatal(err)
				}
				t.OIDs = append(t.OIDs, oid)
				h.maxOID++
			}
			if err := w.Transaction(tid, 0, h.transaction(t)); err != nil {
				tb.Fatal(err)
			}
			h.last = tid
		}
		if _, err := w.Close(); err != nil {
			tb.Fatal(err)
		}
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	h.marks()
	return h
}

// BenchmarkBundles checks a home of 20,000 objects for each of DIRSTORAGE_ROUNDS: 50 of them are
// 1,000,000 objects. Bytes are those of the bundles.
func BenchmarkBundles(b *testing.B) {
	rounds := 1
	if text := os.Getenv("DIRSTORAGE_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for _, transactions := range []int{10, 250} {
		b.Run(fmt.Sprintf("%d transactions a bundle", transactions), func(b *testing.B) {
			h := large(b, rounds*20_000, transactions)
			var size int64
			for _, path := range h.bundles() {
				info, err := os.Stat(filepath.Join(h.dir, path))
				if err != nil {
					b.Fatal(err)
				}
				size += info.Size()
			}
			b.SetBytes(size)
			var before, after syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				all, s := findings(b, Options{FS: h.fs, Root: true, Now: time.Now})
				if len(all) > 0 || s.Objects != int64(rounds*20_000) {
					b.Fatalf("%d objects, %v", s.Objects, kindsOf(all))
				}
			}
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/float64(b.N)/1e9, "cpu-s/op")
			b.ReportMetric(float64(after.Maxrss)/1024, "MiB-max")
		})
	}
}
