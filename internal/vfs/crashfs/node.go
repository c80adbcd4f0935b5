package crashfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// sectorSize is the unit that the disk writes whole or not at all.
const sectorSize = 512

// node is one inode. It stays while a name leads to it, now or on the disk, while it is open, and
// while an operation is pending that may give it a name, or one to something in it.
type node struct {
	ino     uint64
	mode    fs.FileMode
	links   int // names now
	stored  int // names on the disk
	waiting int // changes of names that are pending and lead to it, or are in it
	handles int // open files and locks now
	mtime   time.Time

	// Of a directory.
	names  map[string]uint64 // now
	disk   map[string]uint64 // durable
	parent uint64
	named  *nameOp // gave it the name that it has now; nil if that is durable

	// Of a file.
	content
	reserved int64
	durable  content
	onDisk   time.Time // the time of modification that is durable
	writes   []write   // since the last sync, in their order
	lost     bool      // a sync failed: the disk will not hold the contents that are in memory
	unseen   error     // of writing back, which the next Sync tells
}

// content is size bytes: data, and zeros from there on.
type content struct {
	data   []byte
	size   int64
	shared bool // with a clone: whoever changes data takes a copy first
}

// write is a change of a file that is not durable yet, with the size and time after it. Data may be
// empty.
type write struct {
	off   int64
	data  []byte
	size  int64
	mtime time.Time
}

func newDir(ino, parent uint64, now time.Time) *node {
	return &node{
		ino: ino, mode: fs.ModeDir | 0o750, links: 1, mtime: now, parent: parent,
		names: make(map[string]uint64), disk: make(map[string]uint64),
	}
}

func newFile(ino uint64, now time.Time) *node {
	return &node{ino: ino, mode: 0o640, mtime: now, onDisk: now}
}

func (n *node) isDir() bool { return n.mode.IsDir() }

// space is the bytes that the node takes up on the disk.
func (n *node) space() int64 { return sectorSize + n.extent() }

// extent is the bytes that the contents take up, in whole sectors.
func (n *node) extent() int64 { return sectors(max(int64(len(n.data)), n.reserved)) }

func sectors(bytes int64) int64 { return (bytes + sectorSize - 1) / sectorSize * sectorSize }

// put writes data at off.
func (c *content) put(off int64, data []byte) {
	end := off + int64(len(data))
	if c.shared {
		c.data, c.shared = append(make([]byte, 0, max(end, int64(len(c.data)))), c.data...), false
	}
	if have := int64(len(c.data)); have < end {
		c.data = slices.Grow(c.data, int(end-have))[:end]
		clear(c.data[have:])
	}
	copy(c.data[off:], data)
	c.size = max(c.size, end)
}

// apply does all writes.
func (c *content) apply(writes []write) {
	for _, w := range writes {
		if len(w.data) > 0 {
			c.put(w.off, w.data)
		}
	}
}

// resize sets the size; added bytes read as zeros.
func (c *content) resize(size int64) {
	if int64(len(c.data)) > size {
		c.data = c.data[:size]
	}
	c.size = size
}

// readAt fills p from off as far as the content goes.
func (c *content) readAt(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	n := int(min(int64(len(p)), c.size-off))
	have := 0
	if off < int64(len(c.data)) {
		have = copy(p[:n], c.data[off:])
	}
	clear(p[have:n])
	return n
}

// clone returns contents that change independently of these. Most never do, and a crash suite
// clones those of a disk hundreds of times.
func (c *content) clone() content {
	c.shared = true
	return *c
}

// write changes the contents.
func (n *node) write(off int64, data []byte, now time.Time) {
	n.put(off, data)
	n.note(off, slices.Clone(data), now)
}

// rewrite replaces the contents in place, as truncating and writing do.
func (n *node) rewrite(data []byte, now time.Time) {
	zeros := make([]byte, n.size)
	n.put(0, zeros)
	n.note(0, zeros, now)
	n.resize(0)
	n.put(0, data)
	n.note(0, slices.Clone(data), now)
}

// note remembers a change of the contents, the size or the time that was done.
func (n *node) note(off int64, data []byte, now time.Time) {
	n.mtime = now
	n.writes = append(n.writes, write{off: off, data: data, size: n.size, mtime: now})
}

// sync makes the contents durable, and the time of modification with a new size.
func (n *node) sync() {
	newSize := n.size != n.durable.size
	if len(n.durable.data) == 0 && !n.lost { // new, and perhaps never changed again
		n.durable = n.content.clone()
	} else {
		n.durable.apply(n.writes)
		n.durable.resize(n.size)
	}
	n.writes = nil
	if newSize {
		n.onDisk = n.mtime
	} else if !n.onDisk.Equal(n.mtime) {
		n.writes = []write{{size: n.size, mtime: n.mtime}}
	}
}

// lose puts a node into the state after a failed sync: memory holds the contents, and takes
// them for clean, so that no later sync writes them; the size may still get there.
func (n *node) lose() {
	data := false
	for _, w := range n.writes {
		data = data || len(w.data) > 0
	}
	n.lost = n.lost || data
	n.writes = nil
	if n.size != n.durable.size || !n.mtime.Equal(n.onDisk) {
		n.writes = []write{{size: n.size, mtime: n.mtime}}
	}
}

// idle returns the contents of the disk once every pending write has arrived.
func (n *node) idle() content {
	if !n.lost {
		return n.content.clone()
	}
	c := n.durable.clone()
	c.apply(n.writes)
	c.resize(n.size)
	return c
}

// syncAll makes the time of modification durable too.
func (n *node) syncAll() {
	n.sync()
	n.onDisk = n.mtime
	n.writes = nil
}

// after returns the node as it may be on the disk after a crash.
func (n *node) after(c choice) *node {
	m := &node{ino: n.ino, mode: n.mode, mtime: n.mtime}
	if n.isDir() {
		m.names, m.disk = make(map[string]uint64), make(map[string]uint64)
		return m
	}
	switch c.mode {
	case KeepNone:
		m.content, m.mtime = n.durable.clone(), n.onDisk
	case KeepAll:
		m.content = n.idle()
	default:
		m.content, m.mtime = n.torn(c.rand), n.tornTime(c.rand)
	}
	m.durable, m.onDisk = m.content.clone(), m.mtime
	return m
}

// torn returns contents that a crash may leave.
func (n *node) torn(r *rand.Rand) content {
	c := n.durable.clone()
	if len(n.writes) == 0 {
		return c
	}
	switch r.IntN(4) {
	case 0: // none
	case 1:
		return n.idle()
	default:
		// To write the states of a sector in order and stop somewhere is to choose one of them.
		stopped := make(map[int64]bool)
		keep := r.Float64()
		for _, w := range n.writes {
			for off, data := range bySector(w.off, w.data) {
				sector := off / sectorSize
				if stopped[sector] = stopped[sector] || r.Float64() > keep; !stopped[sector] {
					c.put(off, data)
				}
			}
		}
	}
	c.resize(n.tornSize(r))
	return c
}

// bySector yields the parts of data that are each in one sector.
func bySector(off int64, data []byte) func(yield func(int64, []byte) bool) {
	return func(yield func(int64, []byte) bool) {
		for len(data) > 0 {
			k := min(int64(len(data)), sectorSize-off%sectorSize)
			if !yield(off, data[:k]) {
				return
			}
			off, data = off+k, data[k:]
		}
	}
}

// tornSize returns one of the sizes that the file had since the last sync, or
// the end of a sector between the first and the last.
func (n *node) tornSize(r *rand.Rand) int64 {
	if low, high := n.durable.size, n.size; r.IntN(3) == 0 && low < high {
		return min(sectors(low+r.Int64N(high-low+1)), high)
	}
	if k := r.IntN(len(n.writes) + 1); k > 0 {
		return n.writes[k-1].size
	}
	return n.durable.size
}

// tornTime returns one of the times that the file had since they were durable.
func (n *node) tornTime(r *rand.Rand) time.Time {
	if k := r.IntN(len(n.writes) + 1); k > 0 {
		return n.writes[k-1].mtime
	}
	return n.onDisk
}

// clone returns a node that shares nothing with this one but the pending
// operations and the data of writes, which do not change.
func (n *node) clone() *node {
	m := *n
	m.names, m.disk = maps.Clone(n.names), maps.Clone(n.disk)
	m.content, m.durable = n.content.clone(), n.durable.clone()
	m.writes = slices.Clone(n.writes)
	m.handles = 0
	return &m
}
