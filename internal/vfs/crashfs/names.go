package crashfs

import "slices"

// place is a name in a directory.
type place struct {
	dir  uint64
	name string
}

// set is the effect of an operation on one name: it leads to ino then, or to nothing if that is 0.
type set struct {
	at  place
	ino uint64
}

// nameOp is one operation on names that is pending, or was.
type nameOp struct {
	sets []set
	dir  uint64 // the directory whose SyncDir makes it durable
	// after are the operations that a crash keeps if it keeps this one. They come
	// earlier, so there are no cycles.
	after []*nameOp
	// under are those of them that gave a directory its name into which, or into
	// one below which, this one renames something.
	under   []*nameOp
	synced  bool // SyncDir was called, while one of under was pending
	durable bool
}

// do changes names now, and leaves the operation pending. dir is the one
// whose SyncDir makes it durable. mu is held.
func (f *FS) do(dir uint64, sets ...set) *nameOp {
	op := &nameOp{sets: sets, dir: dir}
	for _, s := range sets {
		if last := f.lastOf[s.at]; last != nil {
			op.after = append(op.after, last)
		}
		f.lastOf[s.at] = op
		f.await(s, 1)
		s.apply(f.nodes[s.at.dir].names)
		f.nodes[s.at.dir].mtime = f.clock()
	}
	f.pending = append(f.pending, op)
	return op
}

// await counts a change as pending, with 1, or as no longer pending, with -1. mu is held.
func (f *FS) await(s set, by int) {
	f.nodes[s.at.dir].waiting += by
	if s.ino != 0 {
		f.nodes[s.ino].waiting += by
	}
}

// apply does it to the names of its directory.
func (s set) apply(names map[string]uint64) {
	if s.ino == 0 {
		delete(names, s.at.name)
	} else {
		names[s.at.name] = s.ino
	}
}

// named lists the pending operations that gave a directory and those above it
// the names that they have now. mu is held.
func (f *FS) named(dir uint64) []*nameOp {
	var ops []*nameOp
	for n := f.nodes[dir]; n.ino != rootIno; n = f.nodes[n.parent] {
		if n.named != nil && !n.named.durable {
			ops = append(ops, n.named)
		}
	}
	return ops
}

// in lists the pending operations on names in a directory. mu is held.
func (f *FS) in(dir uint64) []*nameOp {
	var ops []*nameOp
	for _, op := range f.pending {
		if slices.ContainsFunc(op.sets, func(s set) bool { return s.at.dir == dir }) {
			ops = append(ops, op)
		}
	}
	return ops
}

// syncDir makes the changes in a directory durable. mu is held.
func (f *FS) syncDir(dir uint64) {
	for _, op := range f.pending {
		if op.dir == dir {
			op.synced = true
		}
	}
	f.hardenSynced()
}

// hardenSynced makes those durable that were synced and wait for no directory any
// more. mu is held.
func (f *FS) hardenSynced() {
	for again := true; again; {
		again = false
		for _, op := range f.pending {
			if op.synced && !op.durable && !op.waits() {
				f.harden(op)
				again = true
			}
		}
	}
	f.pending = slices.DeleteFunc(f.pending, func(op *nameOp) bool { return op.durable })
}

// waits reports whether a directory may be lost into which op renames.
func (op *nameOp) waits() bool {
	return slices.ContainsFunc(op.under, func(u *nameOp) bool { return !u.durable })
}

// harden makes an operation durable, and before it all that it waits for. mu is held.
func (f *FS) harden(op *nameOp) {
	if op.durable {
		return
	}
	for _, before := range op.after {
		f.harden(before)
	}
	op.durable, op.after, op.under = true, nil, nil
	for _, s := range op.sets {
		dir := f.nodes[s.at.dir]
		was, now := f.nodes[dir.disk[s.at.name]], f.nodes[s.ino]
		s.apply(dir.disk)
		if now != nil {
			now.stored++
		}
		if was != nil {
			was.stored--
		}
		if f.lastOf[s.at] == op {
			delete(f.lastOf, s.at)
		}
		f.await(s, -1)
		for _, n := range []*node{dir, was, now} {
			f.forget(n)
		}
	}
}

// forget drops a node that nothing leads to any more, neither now nor after any crash. mu is held.
func (f *FS) forget(n *node) {
	if n != nil && n.ino != rootIno && n.links == 0 && n.stored == 0 && n.waiting == 0 && n.handles == 0 {
		delete(f.nodes, n.ino)
	}
}
