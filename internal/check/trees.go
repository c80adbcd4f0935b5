package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// maxDepth is far deeper than any format nests directories.
	maxDepth = 24
	// batchSize is the number of files that one task looks at.
	batchSize = 64
	// maxFile is the largest length that a file header can state.
	maxFile = 1<<32 - 1
	// largeFile is the size from which the length in the header is looked at before
	// the file is read.
	largeFile = 1 << 20
	// keptBuffer is the size up to which a worker keeps its buffer.
	keptBuffer = 4 << 20
)

// errLength is returned for a file that is so large, or differs so much from its header,
// that it isn't worth reading.
var errLength = errors.New("the length in the header is not that of the file")

// The two database directories.
const sideA, sideB = "A", "B"

// trees is the view of the formats of one file for each revision.
type trees struct {
	fs      vfs.FS
	format  layout.Format
	minimal bool
	roots   []string // those of B and A that count, newest first
	pending map[layout.Name]pendingFile
}

var _ view = (*trees)(nil)

// named returns the name of the file that a database name stands for.
func (v *trees) named(n layout.Name) layout.Name {
	if n.Kind == layout.KindObject && !v.minimal {
		return layout.Pointer(n.OID)
	}
	return n
}

func (v *trees) pend(n layout.Name, p pendingFile) { v.pending[n] = p }

func (v *trees) pendHead(oid zodb.OID, tid zodb.TID, where string) {
	b := record.AppendPointer(nil, tid)
	v.pending[layout.Pointer(oid)] = pendingFile{where, func() ([]byte, error) { return b, nil }}
}

func (v *trees) pended() iter.Seq2[layout.Name, pendingFile] { return maps.All(v.pending) }

// place returns where a file belongs once everything is recovered.
func (v *trees) place(n layout.Name) string { return sideA + "/" + v.format.Path(v.named(n)) }

// paths calls f with the places where a file can be, newest first, until it
// returns something else than fs.ErrNotExist. The path is that of the last
// place, A, if all do.
func (v *trees) paths(n layout.Name, f func(path string) error) (where string, err error) {
	for _, root := range v.roots {
		where = root + "/" + v.format.Path(n)
		if err = f(where); !errors.Is(err, fs.ErrNotExist) {
			return where, err
		}
	}
	return where, err
}

// read returns the content of a file, in w's buffer, and its path.
func (v *trees) read(w *worker, n layout.Name) (data []byte, where string, err error) {
	if p, ok := v.pending[n]; ok {
		if p.data != nil {
			data, err = p.data()
			return data, p.path, err
		}
		data, err = v.readFile(w, p.path)
		return data, p.path, err
	}
	where, err = v.paths(n, func(path string) (err error) {
		data, err = v.readFile(w, path)
		return err
	})
	return data, where, err
}

// open opens a file for reading as a stream.
func (v *trees) open(n layout.Name) (f vfs.File, where string, err error) {
	if p, ok := v.pending[n]; ok {
		f, err = v.fs.Open(p.path)
		return f, p.path, err
	}
	where, err = v.paths(n, func(path string) (err error) {
		f, err = v.fs.Open(path)
		return err
	})
	return f, where, err
}

// size returns the size of a file and its path.
func (v *trees) size(n layout.Name) (size int64, where string, err error) {
	if p, ok := v.pending[n]; ok {
		if p.data != nil {
			data, err := p.data()
			return int64(len(data)), p.path, err
		}
		info, err := v.fs.Stat(p.path)
		return info.Size, p.path, err
	}
	where, err = v.paths(n, func(path string) error {
		info, err := v.fs.Stat(path)
		size = info.Size
		return err
	})
	return size, where, err
}

// readFile reads a whole file into w's buffer, except one whose size can be
// told to be wrong without that: then the error is errLength and the data are
// its first 8 bytes.
func (v *trees) readFile(w *worker, name string) (data []byte, err error) {
	f, err := v.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size > largeFile {
		head := make([]byte, 8)
		if _, err := f.ReadAt(head, 0); err != nil {
			return nil, err
		}
		if info.Size > maxFile || int64(binary.BigEndian.Uint32(head[4:])) != info.Size {
			return head, errLength
		}
	}
	if int64(cap(w.buf)) < info.Size || cap(w.buf) > keptBuffer {
		w.buf = make([]byte, max(info.Size, 8<<10))
	}
	n, err := io.ReadFull(f, w.buf[:info.Size])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return w.buf[:n], nil
}

// walk visits each database file that counts once, and other files of A and B.
func (v *trees) walk(ctx context.Context, workers int, visit visitor) {
	run(ctx, workers, func(ctx context.Context, p *pool, w *worker) {
		k := &walker{v: v, p: p, visit: visit}
		k.journal(ctx, w)
		for i := range v.roots {
			p.do(ctx, w, func(ctx context.Context, w *worker) { k.directory(ctx, w, i, "", 0) })
		}
	})
}

// walker is one walk.
type walker struct {
	v     *trees
	p     *pool
	visit visitor
}

func (k *walker) journal(ctx context.Context, w *worker) {
	var batch []found
	for n, f := range k.v.pending {
		batch = k.add(ctx, w, batch, k.v.found(n, f.path))
	}
	k.visit.files(ctx, w, batch)
}

// add appends to a batch; a full one is handed to another worker.
func (k *walker) add(ctx context.Context, w *worker, batch []found, f found) []found {
	batch = append(batch, f)
	if len(batch) < batchSize {
		return batch
	}
	k.p.do(ctx, w, func(ctx context.Context, w *worker) { k.visit.files(ctx, w, batch) })
	return nil
}

func (k *walker) directory(ctx context.Context, w *worker, root int, rel string, depth int) {
	dir := path.Join(k.v.roots[root], rel)
	hidden := k.hiding(root, rel)
	var batch []found
	for e, err := range k.v.fs.List(dir) {
		if err != nil {
			if k.visit.failed != nil {
				k.visit.failed(dir, err)
			}
			break
		}
		if ctx.Err() != nil {
			return
		}
		name := path.Join(rel, e.Name)
		if e.IsDir() && depth < maxDepth {
			k.p.do(ctx, w, func(ctx context.Context, w *worker) { k.directory(ctx, w, root, name, depth+1) })
			continue
		}
		n, ok := k.v.format.Parse(name)
		if !ok || e.Type != 0 {
			if k.visit.other != nil {
				_, _, aside := k.v.format.ParseDeleted(name)
				k.visit.other(stranger{path: k.v.roots[root] + "/" + name, below: name, kind: e.Type, aside: aside})
			}
			continue
		}
		if !hidden(n, name) {
			f := k.v.found(n, k.v.roots[root]+"/"+name)
			f.waits = k.v.roots[root] == sideB
			batch = k.add(ctx, w, batch, f)
		}
	}
	if len(batch) > 0 {
		k.visit.files(ctx, w, batch)
	}
}

// hiding returns a function that tells whether a file of one directory does
// not count, because the journal or B has a newer one under the same name.
func (k *walker) hiding(root int, rel string) func(n layout.Name, name string) bool {
	above := k.v.roots[:root]
	for _, r := range above {
		// Mostly B has nothing of a directory: then one look suffices for all its files.
		if _, err := k.v.fs.Stat(path.Join(r, rel)); errors.Is(err, fs.ErrNotExist) {
			above = nil
		}
	}
	return func(n layout.Name, name string) bool {
		if _, ok := k.v.pending[n]; ok {
			return true
		}
		for _, r := range above {
			if _, err := k.v.fs.Stat(r + "/" + name); err == nil {
				return true
			}
		}
		return false
	}
}

// found returns the description of a file.
func (v *trees) found(n layout.Name, path string) found {
	f := found{name: n, path: path}
	switch {
	case n.Kind == layout.KindPointer && !v.minimal:
		f.name, f.head = layout.Object(n.OID), true
	case n.Kind == layout.KindObject:
		f.head = v.minimal
	}
	return f
}

// older goes by the names of files.
func (v *trees) older(before zodb.TID) (older zodb.TID, err error) {
	for n := range v.pending {
		if n.Kind == layout.KindTransaction && n.TID < before {
			older = max(older, n.TID)
		}
	}
	for _, side := range v.roots {
		tid, err := v.format.OlderTransaction(before, vfs.Names(v.fs, side))
		if err != nil {
			return 0, err
		}
		older = max(older, tid)
	}
	return older, nil
}

func (v *trees) opened() []Finding { return nil }

func (v *trees) recent(context.Context, int, zodb.TID, func(Finding)) {}

func (v *trees) close() {}

func (v *trees) olderIsCheap() bool { return v.format == layout.Bushy || v.format == layout.Chunky }

// oldPointerSize is the length of a pointer file in the old form, with a magic.
const oldPointerSize = 12

// head reads the pointer of an object.
func (v *trees) head(w *worker, oid zodb.OID) (p head, s state, defect Finding) {
	data, where, err := v.read(w, layout.Pointer(oid))
	p = head{path: where, size: int64(len(data)), old: len(data) == oldPointerSize}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, missing, Finding{}
	case err != nil && !errors.Is(err, errLength):
		return p, unusable, objectFinding(Unreadable, oid, 0, where, err.Error())
	}
	if err == nil {
		p.tid, err = record.ParsePointer(data, where, oid)
	}
	if err != nil {
		kind, detail := PointerLength, fmt.Sprintf("%d bytes", len(data))
		if len(data) == oldPointerSize {
			kind, detail = PointerMagic, fmt.Sprintf("begins with % X", data[:4])
		}
		return p, unusable, objectFinding(kind, oid, 0, where, detail)
	}
	return p, sound, Finding{}
}
