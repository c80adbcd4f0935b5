package engine

import (
	"errors"
	"fmt"
	"io"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// spool keeps the data of an open transaction until its vote: in memory up to
// Options.SpoolSize bytes, the rest in a file in journal/, which a crash
// leaves behind and the next open removes.
type spool struct {
	s        *Storage
	inMemory int
	file     vfs.File
	name     string
	size     int64
}

// spooled is one record in a spool.
type spooled struct {
	data   []byte // nil: in the file
	offset int64
	length int
}

// add copies data.
func (p *spool) add(data []byte) (spooled, error) {
	if p.inMemory+len(data) <= p.s.o.SpoolSize {
		p.inMemory += len(data)
		return spooled{data: append(make([]byte, 0, len(data)), data...), length: len(data)}, nil
	}
	if p.file == nil {
		name := p.s.stagedName("spool")
		f, err := p.s.fs.Create(name)
		if err != nil {
			return spooled{}, p.s.refused(err)
		}
		p.file, p.name = f, name
	}
	// At a fixed offset: what a failed write left is overwritten by the next one.
	if _, err := p.file.WriteAt(data, p.size); err != nil {
		return spooled{}, p.s.refused(err)
	}
	d := spooled{offset: p.size, length: len(data)}
	p.size += int64(len(data))
	return d, nil
}

// get returns the data of a record. The caller must not change it.
func (p *spool) get(d spooled) ([]byte, error) {
	if d.data != nil || d.length == 0 {
		return d.data, nil
	}
	b := make([]byte, d.length)
	if n, err := p.file.ReadAt(b, d.offset); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read the spooled data of a transaction: %w", err)
	}
	return b, nil
}

// close drops everything.
func (p *spool) close() error {
	if p.file == nil {
		return nil
	}
	err := errors.Join(p.file.Close(), p.s.fs.Remove(p.name))
	p.file = nil
	return err
}
