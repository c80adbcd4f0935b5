package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	// smallFile is the size in bytes up to which files are read ahead.
	smallFile = 256 << 10
	// readAhead is how many files may be in memory.
	readAhead = 128
	// readers is how many files are read at the same time.
	readers = 8
	// readPacked is how many files of many things are looked at before they are read: the kernel
	// still has them in memory then.
	readPacked = 2
)

// content is one file that goes into an archive.
type content struct {
	name    string
	is      store.Description
	free    func() // gives back its place among those that are looked at; may be nil
	size    int64
	modTime time.Time
	data    []byte   // the whole of a small file; or
	file    vfs.File // a large one, which the receiver closes
	problem string   // the fault of the content
	hasBlob bool     // a revision to which a blob belongs
	err     error
	done    chan struct{}
}

func (c *content) reader() io.Reader {
	if c.file != nil {
		return c.file
	}
	return bytes.NewReader(c.data)
}

func (c *content) close() error {
	if c.free != nil {
		c.free()
	}
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// read yields the files in the order of their names, read ahead by several
// goroutines, which end before it returns.
func (h *home) read(ctx context.Context, names iter.Seq2[string, error]) iter.Seq2[*content, error] {
	return func(yield func(*content, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		jobs := make(chan *content)
		order := make(chan *content, readAhead)
		packed := make(chan struct{}, readPacked)
		var wait sync.WaitGroup
		defer wait.Wait()
		defer cancel()
		wait.Go(func() {
			defer close(order)
			defer close(jobs)
			for name, err := range names {
				c := &content{name: name, err: err, is: h.copies.Describe(name), done: make(chan struct{})}
				if c.is.Packed {
					// In order, so that the first one never waits for a later one.
					select {
					case packed <- struct{}{}:
						c.free = func() { <-packed }
					case <-ctx.Done():
						return
					}
				}
				select {
				case order <- c:
				case <-ctx.Done():
					return
				}
				if err != nil {
					close(c.done)
					return
				}
				select {
				case jobs <- c:
				case <-ctx.Done():
					close(c.done)
					return
				}
			}
		})
		for range readers {
			wait.Go(func() {
				for c := range jobs {
					c.err = h.readInto(c)
					close(c.done)
				}
			})
		}
		stopped := false
		for c := range order {
			<-c.done
			if stopped {
				c.close()
				continue
			}
			err := c.err
			if err == nil {
				err = ctx.Err()
			}
			if !yield(c, err) || err != nil {
				stopped = true
				cancel()
			}
			c.close() // it was read only
		}
	}
}

// readInto opens or reads one file, and looks at its content.
func (h *home) readInto(c *content) error {
	file, err := h.fs.Open(c.name)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode.IsRegular() {
		err = fmt.Errorf("%s is not an ordinary file", h.fs.Path(c.name))
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	c.size, c.modTime = info.Size, info.ModTime
	if c.size > smallFile && !c.is.Whole {
		c.file = file
		h.inspect(c, file)
		return nil
	}
	c.data = make([]byte, c.size)
	_, err = io.ReadFull(file, c.data)
	if err = errors.Join(err, file.Close()); err != nil {
		return &fs.PathError{Op: "read", Path: h.fs.Path(c.name), Err: err}
	}
	h.inspect(c, bytes.NewReader(c.data))
	return nil
}

// inspect looks at the content of a file. A faulty one is backed up all the same: it is all that
// there is.
func (h *home) inspect(c *content, in io.ReaderAt) {
	var problem error
	if c.hasBlob, problem = h.copies.Inspect(c.name, h.fs.Path(c.name), in, c.size); problem != nil {
		c.problem = problem.Error()
	}
}
