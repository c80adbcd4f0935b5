package txn

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
	m        *Manager
	inMemory int
	kept     [][]byte // the records in memory
	file     vfs.File
	name     string
	size     int64
}

// spooled is one record in a spool.
type spooled struct {
	// where is the offset in the file, or, below 0, -1 - the number in spool.kept. In halves, so that
	// it has no padding.
	where  [2]uint32
	length uint32
}

func spooledAt(where int64, length int) spooled {
	return spooled{[2]uint32{uint32(where >> 32), uint32(where)}, uint32(length)}
}

func (d spooled) at() int64 { return int64(d.where[0])<<32 | int64(d.where[1]) }

// add copies data.
func (p *spool) add(data []byte) (spooled, error) {
	if p.inMemory+len(data) <= p.m.o.SpoolSize {
		p.inMemory += len(data)
		p.kept = append(p.kept, append(make([]byte, 0, len(data)), data...))
		return spooledAt(-int64(len(p.kept)), len(data)), nil
	}
	if p.file == nil {
		name := p.m.stagedName("spool")
		f, err := p.m.o.Home.FS.Create(name)
		if err != nil {
			return spooled{}, p.m.o.State.Refused(err)
		}
		p.file, p.name = f, name
	}
	// At a fixed offset: the next write overwrites the remains of a failed one.
	if _, err := p.file.WriteAt(data, p.size); err != nil {
		return spooled{}, p.m.o.State.Refused(err)
	}
	d := spooledAt(p.size, len(data))
	p.size += int64(len(data))
	return d, nil
}

// get returns the data of a record. The caller must not change it.
func (p *spool) get(d spooled) ([]byte, error) {
	if at := d.at(); at < 0 {
		return p.kept[-1-at], nil
	}
	if d.length == 0 {
		return nil, nil
	}
	b := make([]byte, d.length)
	if n, err := p.file.ReadAt(b, d.at()); n < len(b) {
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
	err := errors.Join(p.file.Close(), p.m.o.Home.FS.Remove(p.name))
	p.file = nil
	return err
}
