package backup

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/store"
)

// packer fills an archive from a storage.
type packer struct {
	c       *creation
	w       *archive.Writer
	counter store.Counter
	files   int64
	blobs   int64 // that revisions say they have

	mu sync.Mutex // guards the problems: names are found beside the reading
}

// addData adds the files of A.
func (p *packer) addData(ctx context.Context) error {
	h := p.c.home
	after, incremental := p.c.m.After()
	if !incremental {
		return errors.Join(p.add(ctx, h.whole(ctx)), p.lookForBlobs(ctx))
	}
	return p.add(ctx, h.a.FilesSince(ctx, after, p.c.below.has, p.problem))
}

// lookForBlobs tells which blobs are missing of a full backup of bundles.
func (p *packer) lookForBlobs(ctx context.Context) error {
	if len(p.c.m.Bundles) == 0 {
		return nil
	}
	all := func(string) bool { return true }
	for _, err := range p.c.home.a.FilesSince(ctx, 0, all, p.problem) {
		if err != nil {
			return err
		}
	}
	return nil
}

// counting returns the content of a file, which is counted while it is read.
func counting(c store.Counter, name string, size int64, content io.Reader) io.Reader {
	if to := c.File(name, size); to != nil {
		return io.TeeReader(content, to)
	}
	return content
}

func (p *packer) add(ctx context.Context, names iter.Seq2[string, error]) error {
	m := p.c.m
	for f, err := range p.c.home.read(ctx, names) {
		if err != nil {
			return err
		}
		content := counting(p.counter, f.name, f.size, f.reader())
		if _, err := p.w.AddAs(f.name, f.size, f.modTime, content, f.is.Packed); err != nil {
			return err
		}
		if f.is.Named {
			m.Bundles = append(m.Bundles, f.name)
		}
		if f.hasBlob {
			p.blobs++
		}
		if f.problem != "" {
			p.problem(f.problem)
		}
		p.files++
		p.c.read += f.size
		if p.c.o.Progress != nil {
			p.c.o.Progress(Progress{Files: p.files, Bytes: p.c.read})
		}
	}
	return nil
}

// maxProblems is how many are told one by one.
const maxProblems = 20

func (p *packer) problem(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.c.m
	if m.ProblemCount++; m.ProblemCount <= maxProblems {
		m.Problems = append(m.Problems, text)
		p.c.o.Warn("the storage has damage, which is backed up as it is: " + text)
	}
}

// finish makes the comparisons that are only possible at the end.
func (p *packer) finish() {
	p.c.m.Counts.add(p.counter.Counts())
	if len(p.c.m.Bundles) > 0 || len(p.c.below) > 0 {
		return // the blobs that bundles name were looked for
	}
	switch n := p.c.m.Counts.Blobs; {
	case n < p.blobs:
		p.problem(human.Plural(p.blobs, "revision says that it has", "revisions say that they have") + " a blob, and of blobs there are " + human.Number(n, "file"))
	case n > p.blobs:
		p.c.o.Warn(human.Plural(n-p.blobs, "blob has", "blobs have") + " no revision: a pack or an undelete that was interrupted leaves such, and the next pack removes them")
	}
}
