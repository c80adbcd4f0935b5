// Command loads measures loads of random objects of a HOME that nobody has open, without the cache of
// the storage, by one goroutine on one processor. Whether the kernel has the files in memory is a matter
// of the caller.
// It prints one line of JSON.
//
//	go run ./bench/loads --loads 200000 HOME
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/zodb"
)

// result is the line that is printed.
type result struct {
	Loads   int     `json:"loads"`
	Bytes   int64   `json:"bytes"` // of their data
	Seconds float64 `json:"seconds"`
	Each    float64 `json:"microseconds_each"`
}

func main() {
	loads := flag.Int("loads", 200_000, "how many objects are loaded")
	flag.Parse()
	if flag.NArg() != 1 || *loads <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	r, err := measure(flag.Arg(0), *loads)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loads:", err)
		os.Exit(1)
	}
}

func measure(home string, loads int) (r result, err error) {
	runtime.GOMAXPROCS(1)
	ctx := context.Background()
	s, err := dirstorage.Open(ctx, home, dirstorage.Options{CacheSize: -1})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	highest := uint64(s.HighestOID())
	rnd := rand.New(rand.NewPCG(1, 0))
	begun := time.Now()
	for range loads {
		rec, err := s.Load(ctx, zodb.OID(rnd.Uint64N(highest+1)))
		if err != nil {
			return r, err
		}
		r.Bytes += int64(len(rec.Data))
	}
	r.Loads, r.Seconds = loads, time.Since(begun).Seconds()
	r.Each = r.Seconds / float64(loads) * 1e6
	return r, nil
}
