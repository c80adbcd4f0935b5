//go:build linux

package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

func filled(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func mustWrite(t *testing.T, d *disk, p []byte, off int64) {
	t.Helper()
	if n, err := d.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("WriteAt: %d, %v", n, err)
	}
}

func read(t *testing.T, d *disk, n int, off int64) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := d.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCutKeepsWhatWasFlushed: and of the rest of each unit one of the things
// that were written there, or the data before.
func TestCutKeepsWhatWasFlushed(t *testing.T) {
	t.Parallel()
	for kind := range cutKinds {
		lost, kept := 0, 0
		for seed := range uint64(200) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			d := newDisk(64<<10, 512)
			mustWrite(t, d, filled(8192, 'a'), 4096)
			d.Flush()
			mustWrite(t, d, filled(4096, 'b'), 4096)
			mustWrite(t, d, filled(2048, 'c'), 4096)
			r := d.Cut(kind, rnd, 0, 0, 0, func() {})
			mustWrite(t, d, filled(8192, 'x'), 4096) // after the cut
			d.Flush()
			d.PowerOn()
			if r.units != 12 || r.pending != 2 {
				t.Fatalf("%s: %+v, want 12 units in 2 writes", kind, r)
			}
			lost, kept = lost+r.lost, kept+r.units-r.lost
			got := read(t, d, 8192, 4096)
			for at := 0; at < len(got); at += 512 {
				unit := got[at : at+512]
				allowed := []byte("abc")
				if at >= 2048 {
					allowed = []byte("ab")
				}
				if at >= 4096 {
					allowed = []byte("a")
				}
				if !bytes.Equal(unit, filled(512, unit[0])) || !bytes.Contains(allowed, unit[:1]) {
					t.Fatalf("%s, seed %d: %q at %d, want one of %q", kind, seed, unit[:4], at, allowed)
				}
			}
		}
		if (kind == cutAll) != (lost == 0) || (kind == cutNone) != (kept == 0) {
			t.Errorf("%s: %d units lost, %d kept", kind, lost, kept)
		}
	}
}

// TestCutWaitsForAFlush of so many writes.
func TestCutWaitsForAFlush(t *testing.T) {
	t.Parallel()
	d := newDisk(64<<10, 512)
	r := make(chan cutResult, 1)
	go func() { r <- d.Cut(cutNone, rand.New(rand.NewPCG(1, 1)), 5, 5, time.Minute, func() {}) }()
	for armed := false; !armed; {
		d.mu.Lock()
		armed = d.armed != nil
		d.mu.Unlock()
	}
	for _, writes := range []int64{4, 1, 5, 2} { // the first flush is counted, the second has too few writes
		for i := range writes {
			mustWrite(t, d, filled(512, 'w'), i*512)
		}
		d.Flush()
	}
	if r := <-r; r.pending != 5 {
		t.Errorf("cut before a flush of %d writes, want 5", r.pending)
	}
}

func TestDiskGoesBackToWhatWasSaved(t *testing.T) {
	t.Parallel()
	d := newDisk(3*chunkSize+1000, 512)
	mustWrite(t, d, filled(1000, 's'), 3*chunkSize)
	d.Save()
	mustWrite(t, d, filled(2000, 'n'), 2*chunkSize-1000)
	mustWrite(t, d, filled(1000, 'n'), 3*chunkSize)
	d.Flush()
	d.Cut(cutAll, rand.New(rand.NewPCG(1, 1)), 0, 0, 0, func() {})
	d.Reset()
	if got := read(t, d, 1000, 3*chunkSize); !bytes.Equal(got, filled(1000, 's')) {
		t.Errorf("not what was saved: %q", got[:4])
	}
	if got := read(t, d, 2000, 2*chunkSize-1000); !bytes.Equal(got, make([]byte, 2000)) {
		t.Errorf("not what was saved: %q", got[:4])
	}
	mustWrite(t, d, filled(512, 'z'), 0)
	d.Flush()
	d.Cut(cutNone, rand.New(rand.NewPCG(1, 1)), 0, 0, 0, func() {})
	d.PowerOn()
	if got := read(t, d, 512, 0); !bytes.Equal(got, filled(512, 'z')) {
		t.Errorf("what was flushed after Reset is lost: %q", got[:4])
	}
	if _, err := d.WriteAt(make([]byte, 512), d.size()); err == nil {
		t.Error("a write behind the end of the disk succeeded")
	}
}

// TestCutComesBeforeAnOperation: the one that it was asked for, and before is
// called while nothing of that one is done.
func TestCutComesBeforeAnOperation(t *testing.T) {
	t.Parallel()
	for operations, want := range []byte{'0', '1', '2'} {
		d := newDisk(64<<10, 512)
		mustWrite(t, d, filled(512, '0'), 0)
		d.Flush()
		done := make(chan byte, 1)
		go func() {
			var at byte
			d.Cut(cutAll, rand.New(rand.NewPCG(1, 1)), operations, 0, time.Minute, func() { at = d.now[0] })
			done <- at
		}()
		for armed := false; !armed; {
			d.mu.Lock()
			armed = d.armed != nil
			d.mu.Unlock()
		}
		for n := byte('1'); n < '6'; n++ {
			mustWrite(t, d, filled(512, n), 0)
		}
		if at := <-done; at != want {
			t.Errorf("cut after %d operations: called at %q, want %q", operations, at, want)
		}
		d.PowerOn()
		if got := read(t, d, 1, 0); got[0] != want {
			t.Errorf("cut after %d operations: %q survived, want %q", operations, got, want)
		}
	}
}
