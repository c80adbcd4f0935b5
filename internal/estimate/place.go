package estimate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Place is the file system of the target.
type Place struct {
	Directory  string `json:"directory"`
	FileSystem string `json:"file_system"` // such as ext4; "": not known
	BlockBytes int64  `json:"block_bytes"` // space of a file of one byte
	InodeBytes int64  `json:"inode_bytes"` // free space that each new inode takes, 0: none
	FreeBytes  int64  `json:"free_bytes"`
	FreeInodes int64  `json:"free_inodes"` // -1: without a limit

	dirBytes int64 // space of an empty directory
	dirGrows bool  // a directory with many names takes more
}

// usualBlock is the space of the smallest file on most file systems.
const usualBlock = 4096

// placeOf looks at a directory. The scratch directory, "" = none, is on the same file system; files
// are made in it and removed.
func placeOf(dir, scratch string) (p Place, err error) {
	p = Place{Directory: dir, BlockBytes: usualBlock, FreeInodes: -1, dirBytes: usualBlock, dirGrows: true}
	p.FileSystem, p.InodeBytes = vfs.FileSystem(dir)
	fsys, err := vfs.OS(dir)
	if err != nil {
		return p, err
	}
	free, err := fsys.Space()
	if err != nil {
		return p, err
	}
	p.FreeBytes = int64(free.FreeBytes)
	if free.TotalInodes > 0 {
		p.FreeInodes = int64(free.FreeInodes)
	}
	if scratch == "" {
		return p, nil
	}
	probe, err := vfs.OS(scratch)
	if err != nil {
		return p, err
	}
	if err := p.probe(probe); !vfs.SaysFull(err) {
		return p, err
	}
	return p, nil // with the usual sizes
}

// probeNames is how many long names make a directory grow beyond its first block.
const probeNames = 200

func (p *Place) probe(fsys vfs.FS) (err error) {
	const dir = "probe"
	if err := fsys.Mkdir(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vfs.RemoveAll(fsys, dir)) }()
	empty, err := fsys.Stat(dir)
	if err != nil {
		return err
	}
	if _, err := vfs.Put(fsys, dir+"/one", []byte{1}, true); err != nil {
		return err
	}
	one, err := fsys.Stat(dir + "/one")
	if err != nil {
		return err
	}
	for i := range probeNames {
		name := fmt.Sprintf("%s/%s%03d", dir, strings.Repeat("n", 40), i)
		if _, err := vfs.Put(fsys, name, nil, false); err != nil {
			return err
		}
	}
	full, err := fsys.Stat(dir)
	if err != nil {
		return err
	}
	if one.Disk > 0 {
		p.BlockBytes = one.Disk
	}
	if empty.Disk >= 0 {
		p.dirBytes, p.dirGrows = empty.Disk, full.Disk > empty.Disk
	}
	return nil
}

// file is the space of a file of a size.
func (p *Place) file(size int64) int64 {
	return (size + p.BlockBytes - 1) / p.BlockBytes * p.BlockBytes
}

const (
	entryBytes  = 8  // of a directory entry of ext4, beside the name
	entryAlign  = 4  // entries are padded to this
	entriesFull = 75 // percent of a block that entries take up on average where there are many
)

func entry(name int) int64 {
	return (int64(name) + entryBytes + entryAlign - 1) / entryAlign * entryAlign
}

// directory is the space of a directory with entries of a size.
func (p *Place) directory(entries int64) int64 {
	if !p.dirGrows || entries <= p.BlockBytes {
		return p.dirBytes
	}
	return max(p.dirBytes, p.file(entries*100/entriesFull)+p.BlockBytes)
}
