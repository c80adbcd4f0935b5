package crashfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Mode says which of the effects that are not durable a crash keeps.
type Mode int64

const (
	// KeepNone keeps only durable changes.
	KeepNone Mode = -1 - iota
	// KeepAll keeps everything, as if the crash came after the disk was idle.
	KeepAll
)

// Random keeps a choice of effects. The same seed makes the same choice.
func Random(seed uint32) Mode { return Mode(seed) }

// String returns the mode as it is printed with a test that failed.
func (m Mode) String() string {
	switch m {
	case KeepNone:
		return "KeepNone"
	case KeepAll:
		return "KeepAll"
	}
	return fmt.Sprintf("Random(%d)", int64(m))
}

// choice makes the decisions of one crash.
type choice struct {
	mode Mode
	rand *rand.Rand
}

// Crashed returns the file system as it may be found after a power cut now, or
// at the moment of the crash if there was one. All that it holds is durable. It
// has the clock and the limit of space of this one, no locks, and counts its
// operations from 0. This one does not change.
func (f *FS) Crashed(mode Mode) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := choice{mode: mode, rand: rand.New(rand.NewPCG(uint64(mode), 0))}
	disk := make(map[uint64]map[string]uint64)
	for _, n := range f.nodes {
		if n.isDir() {
			disk[n.ino] = maps.Clone(n.disk)
		}
	}
	for _, op := range f.keep(c) {
		for _, s := range op.sets {
			s.apply(disk[s.at.dir])
		}
	}
	g := empty(f.seed, f.clock)
	g.limit, g.lastIno = f.limit, f.lastIno
	g.nodes[rootIno] = f.nodes[rootIno].after(c)
	g.nodes[rootIno].links = 1
	g.grow(f, g.nodes[rootIno], disk, c)
	return g
}

// grow brings the tree below a directory from f, with names from disk.
func (g *FS) grow(f *FS, dir *node, disk map[uint64]map[string]uint64, c choice) {
	names := disk[dir.ino]
	// In order, so that the same seed makes the same choices.
	for _, name := range slices.Sorted(maps.Keys(names)) {
		ino := names[name]
		dir.names[name], dir.disk[name] = ino, ino
		n := g.nodes[ino]
		if n == nil {
			n = f.nodes[ino].after(c)
			g.nodes[ino] = n
			g.used += n.space()
			if n.isDir() {
				n.parent = dir.ino
				g.grow(f, n, disk, c)
			}
		}
		n.links++
		n.stored++
	}
}

// keep chooses the pending operations that a crash keeps, in their order. mu is held.
func (f *FS) keep(c choice) []*nameOp {
	kept := make(map[*nameOp]bool)
	likely := c.rand.Float64()
	for _, op := range f.pending {
		switch c.mode {
		case KeepNone:
		case KeepAll:
			kept[op] = true
		default:
			all := !slices.ContainsFunc(op.after, func(b *nameOp) bool { return !b.durable && !kept[b] })
			kept[op] = c.rand.Float64() < likely && all
		}
	}
	// A synced change waits for directories only: it is kept with them.
	for again := true; again; {
		again = false
		for _, op := range f.pending {
			lost := func(u *nameOp) bool { return !u.durable && !kept[u] }
			if op.synced && !kept[op] && !slices.ContainsFunc(op.under, lost) {
				keepWith(op, kept)
				again = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(f.pending), func(op *nameOp) bool { return !kept[op] })
}

// keepWith keeps an operation and all that it waits for.
func keepWith(op *nameOp, kept map[*nameOp]bool) {
	if op.durable || kept[op] {
		return
	}
	kept[op] = true
	for _, before := range op.after {
		keepWith(before, kept)
	}
}

// Killed returns the file system as another process finds it after this one was
// killed: everything is there, nothing is durable that was not before, and the
// locks and open files are gone. It counts its operations from 0. This one
// does not change.
func (f *FS) Killed() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := empty(f.seed, f.clock)
	g.limit, g.lastIno = f.limit, f.lastIno
	copies := make(map[*nameOp]*nameOp, len(f.pending))
	live := func(ops []*nameOp) []*nameOp {
		var c []*nameOp
		for _, op := range ops {
			if !op.durable {
				c = append(c, copies[op])
			}
		}
		return c
	}
	for _, op := range f.pending {
		copies[op] = &nameOp{sets: op.sets, dir: op.dir, after: live(op.after), under: live(op.under), synced: op.synced}
		g.pending = append(g.pending, copies[op])
	}
	for at, op := range f.lastOf {
		g.lastOf[at] = copies[op]
	}
	for ino, n := range f.nodes {
		n = n.clone()
		n.named = copies[n.named]
		g.nodes[ino] = n
		if n.links > 0 && ino != rootIno {
			g.used += n.space()
		}
		g.forget(n) // only an open file led to it
	}
	return g
}
