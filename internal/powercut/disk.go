//go:build linux

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// chunkSize is the unit in which images are copied.
const chunkSize = 64 << 10

// cut says which part of the unflushed data survives.
type cut int

const (
	cutNone     cut = iota // nothing
	cutAll                 // everything: the cut is nothing but sudden
	cutPrefix              // the data written before some moment
	cutRequests            // each write as a whole, or not at all
	cutSectors             // each sector of each write by itself
	cutKinds
)

func (c cut) String() string {
	return [...]string{"none", "all", "prefix", "requests", "sectors"}[c]
}

// write is one write since the last flush.
type write struct {
	off  int64
	data []byte
}

// disk is a disk with a cache that a cut empties. Its methods may be called
// concurrently.
type disk struct {
	mu       sync.Mutex
	template []byte // the image that Reset goes back to
	durable  []byte // the flushed image
	now      []byte // the image that is read
	pending  []write
	written  map[int64]struct{} // chunks in which durable or now differ from template
	off      bool               // there was a cut: writes are lost
	unit     int64              // bytes that are written whole or not at all
	armed    *armed
	latency  atomic.Int64 // nanoseconds
}

// armed is a cut that comes with an operation of the near future.
type armed struct {
	left    int // operations until then
	atLeast int // then with a flush of so many writes, if it is not 0
	cut     func()
	done    chan struct{}
}

// newDisk makes a disk of zeros.
func newDisk(size, unit int64) *disk {
	return &disk{
		template: make([]byte, size), durable: make([]byte, size), now: make([]byte, size),
		written: make(map[int64]struct{}), unit: unit,
	}
}

func (d *disk) size() int64 { return int64(len(d.now)) }

// ReadAt reads the data written last, flushed or not.
func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off >= d.size() {
		return 0, io.EOF
	}
	n := copy(p, d.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// wait takes the time of an operation.
func (d *disk) wait(times int64) {
	if latency := d.latency.Load(); latency > 0 {
		time.Sleep(time.Duration(rand.Int64N(times * latency)))
	}
}

// SetLatency makes a write take up to this, and a flush up to four times as long.
func (d *disk) SetLatency(latency time.Duration) { d.latency.Store(int64(latency)) }

// WriteAt keeps a copy of p until the next flush.
func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.wait(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off+int64(len(p)) > d.size() {
		return 0, fmt.Errorf("write of %d bytes at %d is outside of the disk", len(p), off)
	}
	d.count(false)
	copy(d.now[off:], p)
	d.touch(off, int64(len(p)))
	if !d.off {
		d.pending = append(d.pending, write{off, append([]byte(nil), p...)})
	}
	return len(p), nil
}

func (d *disk) touch(off, length int64) {
	for c := off / chunkSize; c*chunkSize < off+length; c++ {
		d.written[c] = struct{}{}
	}
}

// Flush makes all writes durable.
func (d *disk) Flush() {
	d.wait(4)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count(true)
	for _, w := range d.pending {
		copy(d.durable[w.off:], w.data)
	}
	d.pending = d.pending[:0]
}

// cutResult describes a cut.
type cutResult struct {
	kind           cut
	pending, units int // writes since the last flush, and units of them
	lost           int // units that were lost
}

func (r cutResult) String() string {
	return fmt.Sprintf("cut %s: %d of %d units in %d writes lost", r.kind, r.lost, r.units, r.pending)
}

// Cut ends the life of the disk before the operation, a write or a flush, that
// comes after so many others, or if atLeast is not 0 before the next flush after
// them that would make so many writes durable; or after patience. Nothing that is written from
// then on counts. before is called just before the cut, in which the disk stands
// still.
func (d *disk) Cut(kind cut, rnd *rand.Rand, operations, atLeast int, patience time.Duration, before func()) cutResult {
	var r cutResult
	a := &armed{left: operations, atLeast: atLeast, done: make(chan struct{})}
	a.cut = func() {
		before()
		r = d.cut(kind, rnd)
		d.armed = nil
		close(a.done)
	}
	d.mu.Lock()
	d.armed = a
	d.mu.Unlock()
	select {
	case <-a.done:
	case <-time.After(patience):
		d.mu.Lock()
		if d.armed == a {
			a.cut()
		}
		d.mu.Unlock()
	}
	return r
}

// count counts an operation that begins. mu must be held.
func (d *disk) count(flush bool) {
	if d.armed == nil {
		return
	}
	switch {
	case d.armed.left > 0:
		d.armed.left--
	case d.armed.atLeast == 0 || flush && len(d.pending) >= d.armed.atLeast:
		d.armed.cut()
	}
}

// cut does it. mu must be held.
func (d *disk) cut(kind cut, rnd *rand.Rand) cutResult {
	r := cutResult{kind: kind, pending: len(d.pending)}
	end, share := rnd.IntN(len(d.pending)+1), rnd.Float64()
	for i, w := range d.pending {
		whole := kind == cutAll || kind == cutPrefix && i < end || kind == cutRequests && rnd.Float64() < share
		for at := int64(0); at < int64(len(w.data)); at += d.unit {
			r.units++
			if whole || kind == cutSectors && rnd.Float64() < share {
				to := min(at+d.unit, int64(len(w.data)))
				copy(d.durable[w.off+at:], w.data[at:to])
			} else {
				r.lost++
			}
		}
	}
	d.pending, d.off = nil, true
	return r
}

// PowerOn makes the disk that a cut left readable again. Nothing may be mounted.
func (d *disk) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copyWritten(d.now, d.durable)
	d.off = false
}

// Save makes the current image the one that Reset goes back to. Nothing may be mounted.
func (d *disk) Save() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copyWritten(d.template, d.now)
	d.copyWritten(d.durable, d.now)
	d.pending = nil
	clear(d.written)
}

// Reset goes back to the saved image. Nothing may be mounted.
func (d *disk) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copyWritten(d.now, d.template)
	d.copyWritten(d.durable, d.template)
	d.pending, d.off = nil, false
	clear(d.written)
}

func (d *disk) copyWritten(to, from []byte) {
	for c := range d.written {
		copy(to[c*chunkSize:min((c+1)*chunkSize, int64(len(to)))], from[c*chunkSize:])
	}
}

// Durable returns a copy of the flushed chunks that differ from the saved image.
func (d *disk) Durable() map[int64][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := make(map[int64][]byte, len(d.written))
	for c := range d.written {
		m[c] = append([]byte(nil), d.durable[c*chunkSize:min((c+1)*chunkSize, d.size())]...)
	}
	return m
}
