package current

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// A page says how often it was written, and a file beside the table says so of each page, as of the
// last Commit. So a page that the disk has kept as it was before is not believed, though it is whole:
// a write of it was lost.
const (
	versionSize     = 8
	versionsInBlock = 512 // 4 KiB, read when one of their pages is first asked for
	// unknown is that of a page of which the file says nothing that can be believed. No page has it.
	unknown = ^uint32(0)
	// afterUnknown is the version that such a page gets when it is put.
	afterUnknown = 1 << 30
)

type versionBlock [versionsInBlock]atomic.Uint32

// versions may be asked concurrently, and beside set, which one goroutine calls at a time.
type versions struct {
	file   vfs.File
	mu     sync.Mutex // held while a block is read
	blocks atomic.Pointer[[]atomic.Pointer[versionBlock]]
	dirty  map[uint32]bool // blocks that the file does not have, of the goroutine that puts
}

func newVersions(f vfs.File) *versions {
	v := &versions{file: f, dirty: make(map[uint32]bool)}
	v.blocks.Store(new([]atomic.Pointer[versionBlock]))
	return v
}

// block returns the one that has a page.
func (v *versions) block(page uint32) (*versionBlock, error) {
	number := int(page / versionsInBlock)
	if all := *v.blocks.Load(); number < len(all) {
		if b := all[number].Load(); b != nil {
			return b, nil
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	all := *v.blocks.Load()
	if number >= len(all) {
		more := make([]atomic.Pointer[versionBlock], max(number+1, 2*len(all)))
		for i := range all {
			more[i].Store(all[i].Load())
		}
		v.blocks.Store(&more)
		all = more
	}
	if b := all[number].Load(); b != nil {
		return b, nil
	}
	b, err := v.readBlock(uint32(number))
	if err == nil {
		all[number].Store(b)
	}
	return b, err
}

func (v *versions) readBlock(number uint32) (*versionBlock, error) {
	raw := make([]byte, versionsInBlock*versionSize)
	if n, err := v.file.ReadAt(raw, int64(number)*int64(len(raw))); n < len(raw) {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		clear(raw[n:])
	}
	b := new(versionBlock)
	for i := range b {
		e := raw[i*versionSize:][:versionSize]
		version, sum := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		if (version != 0 || sum != 0) && sum != versionSum(number*versionsInBlock+uint32(i), version) {
			version = unknown
		}
		b[i].Store(version)
	}
	return b, nil
}

func versionSum(page, version uint32) uint32 {
	return crc32.Checksum(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, page), version), castagnoli)
}

// get returns how often a page was written, at least; 0: nothing is known of it.
func (v *versions) get(page uint32) (uint32, error) {
	b, err := v.block(page)
	if err != nil {
		return unknown, err
	}
	return b[page%versionsInBlock].Load(), nil
}

// set is called when the page was written.
func (v *versions) set(page, version uint32) error {
	b, err := v.block(page)
	if err != nil {
		return err
	}
	b[page%versionsInBlock].Store(version)
	v.dirty[page/versionsInBlock] = true
	return nil
}

// commit makes them durable. The pages are.
func (v *versions) commit() error {
	if len(v.dirty) == 0 {
		return nil
	}
	for _, number := range slices.Sorted(maps.Keys(v.dirty)) {
		b, err := v.block(number * versionsInBlock)
		if err != nil {
			return err
		}
		raw := make([]byte, 0, versionsInBlock*versionSize)
		for i := range b {
			version := b[i].Load()
			if version == 0 {
				raw = append(raw, make([]byte, versionSize)...)
				continue
			}
			raw = binary.BigEndian.AppendUint32(raw, version)
			sum := versionSum(number*versionsInBlock+uint32(i), version)
			if version == unknown {
				sum = ^sum // it stays so
			}
			raw = binary.BigEndian.AppendUint32(raw, sum)
		}
		if _, err := v.file.WriteAt(raw, int64(number)*int64(cap(raw))); err != nil {
			return err
		}
	}
	if err := v.file.Sync(); err != nil {
		return err
	}
	clear(v.dirty)
	return nil
}

// Of a page, behind its slots: its version, zeros, and the CRC-32C of its number and all before.
const (
	pageVersion = slotsInPage * slotSize
	pageSumAt   = pageSize - 4
)

func pageSum(b []byte, page uint32) uint32 {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], page)
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, b[:pageSumAt])
}

// believed reports whether a page is the last one written, or later than the known one.
func (v *versions) believed(b []byte, page uint32) (bool, error) {
	if binary.BigEndian.Uint32(b[pageSumAt:]) != pageSum(b, page) {
		return false, nil
	}
	known, err := v.get(page) // after the page was read: it is set after it was written
	return err == nil && known != unknown && binary.BigEndian.Uint32(b[pageVersion:]) >= known, err
}

// seal gives a page that is about to be written the next version.
func (v *versions) seal(b []byte, page uint32) (version uint32, err error) {
	known, err := v.get(page)
	if err != nil {
		return 0, err
	}
	if known == unknown {
		known = afterUnknown
	}
	version = max(known, binary.BigEndian.Uint32(b[pageVersion:])) + 1
	binary.BigEndian.PutUint32(b[pageVersion:], version)
	binary.BigEndian.PutUint32(b[pageSumAt:], pageSum(b, page))
	return version, nil
}
