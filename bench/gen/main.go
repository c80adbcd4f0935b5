// Command gen writes a Data.fs for measurements, always the same one for the same arguments:
// objects of a few kinds, in a tree that begins at the root, all of them reachable, and
// transactions that change some of them again.
//
//	go run ./bench/gen --objects 1000000 --txn 1000 --changed 1 Data.fs
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"time"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func main() {
	var g generator
	objects := flag.Uint64("objects", 1_000_000, "how many objects there are")
	perTxn := flag.Uint64("txn", 1000, "objects in a transaction")
	changed := flag.Float64("changed", 1, "how many percent of the objects have a second revision")
	flag.Parse()
	if flag.NArg() != 1 || *objects == 0 || *perTxn == 0 {
		flag.Usage()
		os.Exit(2)
	}
	g.objects, g.perTxn, g.changed = *objects, *perTxn, uint64(*changed/100*float64(*objects))
	if err := g.write(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// fanOut is how many objects one refers to.
const fanOut = 16

// first is the time of the first transaction; the others follow by one second each.
var first = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type generator struct {
	objects, perTxn, changed uint64
	rnd                      *rand.Rand
	words                    []string
	data                     []byte
}

func (g *generator) write(name string) error {
	dir, base, err := vfs.Split(name)
	if err != nil {
		return err
	}
	w, err := filestorage.Create(dir, base)
	if err != nil {
		return err
	}
	g.rnd = rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		g.words = append(g.words, g.word())
	}
	txn := uint64(0)
	add := func(from, to, step uint64) error {
		tid := zodb.TIDFromTime(first.Add(time.Duration(txn) * time.Second))
		t := &zodb.Transaction{TID: tid, Status: zodb.StatusDone, TxnMeta: zodb.TxnMeta{User: []byte("/ editor"), Description: fmt.Appendf(nil, "/site/folder-%d/edit", txn)}}
		txn++
		return w.Append(t, g.records(from, to, step, tid))
	}
	for from := uint64(0); from < g.objects; from += g.perTxn {
		if err := add(from, min(from+g.perTxn, g.objects), 1); err != nil {
			return err
		}
	}
	// A second revision of objects that lie far apart, as those are that people change.
	if g.changed > 0 {
		step := max(g.objects/g.changed, 1)
		for from := uint64(0); from < g.objects; from += step * g.perTxn {
			if err := add(from, min(from+step*g.perTxn, g.objects), step); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

func (g *generator) records(from, to, step uint64, tid zodb.TID) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		for oid := from; oid < to; oid += step {
			if !yield(zodb.Record{OID: zodb.OID(oid), TID: tid, Exists: true, Data: g.record(oid)}, nil) {
				return
			}
		}
	}
}

// kind is one kind of object.
type kind struct {
	share         int // of 100
	module, class string
	words         int // of text, at most
}

var kinds = [...]kind{
	{45, "plone.app.contenttypes.content", "Document", 95},
	{25, "BTrees.OOBTree", "OOBucket", 180},
	{20, "persistent.mapping", "PersistentMapping", 30},
	{8, "plone.namedfile.file", "NamedBlobFile", 10},
	{2, "Products.CMFEditions.ZVCStorageTool", "ZVCAwareWrapper", 1000},
}

// record makes the two pickles of an object. The result is good until the next one is made.
func (g *generator) record(oid uint64) []byte {
	k, n := kinds[0], g.rnd.IntN(100)
	if oid == 0 {
		k = kinds[2]
	} else {
		for _, k = range kinds {
			if n -= k.share; n < 0 {
				break
			}
		}
	}
	b := append(g.data[:0], "\x80\x03c"+k.module+"\n"+k.class+"\n."...)
	b = append(b, "\x80\x03}("...)
	b = g.pair(b, "id", fmt.Sprintf("%s-%d", g.words[g.rnd.IntN(len(g.words))], oid))
	b = g.pair(b, "title", g.text(1+g.rnd.IntN(8)))
	b = g.pair(b, "_plone.uuid", fmt.Sprintf("%016x%016x", g.rnd.Uint64(), g.rnd.Uint64()))
	b = g.pair(b, "creators", "editor-"+g.words[g.rnd.IntN(50)])
	for _, name := range []string{"created", "modified"} {
		b = appendText(b, name)
		b = binary.BigEndian.AppendUint64(append(b, 'G'), 0x41da_0000_0000_0000|g.rnd.Uint64()>>20)
	}
	b = g.pair(b, "text", g.text(g.rnd.IntN(k.words)))
	b = append(appendText(b, "children"), "]("...)
	for child := oid*fanOut + 1; child <= oid*fanOut+fanOut && child < g.objects; child++ {
		b = append(b, "C\x08"...)
		b = binary.BigEndian.AppendUint64(b, child)
		b = append(b, "cplone.app.contenttypes.content\nDocument\n\x86Q"...)
	}
	g.data = append(b, "eu."...)
	return g.data
}

func (g *generator) pair(b []byte, key, value string) []byte {
	return appendText(appendText(b, key), value)
}

func appendText(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(append(b, 'X'), uint32(len(s)))
	return append(b, s...)
}

// text has some words often and most of them seldom.
func (g *generator) text(n int) string {
	var b []byte
	for range n {
		x := g.rnd.Float64()
		b = append(append(b, g.words[int(x*x*x*float64(len(g.words)))]...), ' ')
	}
	return string(b)
}

func (g *generator) word() string {
	const vowels, consonants = "aeiou", "bcdfghjklmnprstvw"
	var b []byte
	for range 1 + g.rnd.IntN(4) {
		b = append(b, consonants[g.rnd.IntN(len(consonants))], vowels[g.rnd.IntN(len(vowels))])
	}
	return string(b)
}
