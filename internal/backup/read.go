package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
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
	db      layout.Name // zero for what is no database file
	size    int64
	modTime time.Time
	data    []byte   // the whole of a small file; or
	file    vfs.File // a large one, which the receiver closes
	problem string   // what is wrong with the content
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

// readInto opens or reads one file, and looks at what it holds.
func (h *home) readInto(c *content) error {
	file, err := h.fs.Open(c.name)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode.IsRegular() {
		err = fmt.Errorf("%s is no ordinary file", h.fs.Path(c.name))
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	c.size, c.modTime = info.Size, info.ModTime
	if path, ok := strings.CutPrefix(c.name, "A/"); ok {
		c.db, _ = h.format.Parse(path)
	}
	large := c.size > smallFile
	if large && c.db.Kind != layout.KindRevision && c.db.Kind != layout.KindObject && c.db.Kind != layout.KindTransaction {
		c.file = file
		return nil
	}
	c.data = make([]byte, c.size)
	_, err = io.ReadFull(file, c.data)
	if err = errors.Join(err, file.Close()); err != nil {
		return &fs.PathError{Op: "read", Path: h.fs.Path(c.name), Err: err}
	}
	h.inspect(c)
	return nil
}

// inspect says what is wrong with a database file. It is backed up all the same:
// what is left of it is all that there is.
func (h *home) inspect(c *content) {
	var err error
	switch c.db.Kind {
	case layout.KindRevision, layout.KindObject:
		var o *record.Object
		if o, err = record.ParseObjectAs(c.data, h.fs.Path(c.name), c.db.OID, c.db.TID, true); err == nil {
			c.hasBlob = o.HasBlob()
		}
	case layout.KindTransaction:
		_, err = record.ParseTransactionAs(c.data, h.fs.Path(c.name), c.db.TID, true)
	case layout.KindPointer:
		_, err = record.ParsePointer(c.data, h.fs.Path(c.name), c.db.OID)
	}
	if err != nil {
		c.problem = err.Error()
	}
}
