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
)

// content is one file that goes into an archive.
type content struct {
	name    string
	is      store.Description
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
		var wait sync.WaitGroup
		defer wait.Wait()
		defer cancel()
		wait.Go(func() {
			defer close(order)
			defer close(jobs)
			for name, err := range names {
				c := &content{name: name, err: err, done: make(chan struct{})}
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
	c.is = h.copies.Describe(c.name)
	if c.size > smallFile && !c.is.Whole {
		c.file = file
		return nil
	}
	c.data = make([]byte, c.size)
	_, err = io.ReadFull(file, c.data)
	if err = errors.Join(err, file.Close()); err != nil {
		return &fs.PathError{Op: "read", Path: h.fs.Path(c.name), Err: err}
	}
	// A faulty file is backed up all the same: it is all that there is.
	var problem error
	if c.hasBlob, problem = h.copies.Inspect(c.name, h.fs.Path(c.name), c.data); problem != nil {
		c.problem = problem.Error()
	}
	return nil
}
