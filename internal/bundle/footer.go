package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Version is that of the files that are written; a bundle that carries a list has listVersion. Others are
// refused.
const (
	Version     = 1
	listVersion = 2
)

const (
	skippableMagic = 0x184D2A5B // little-endian; zstd and every tool around it passes over such frames
	skippableHead  = 8          // magic and length
	footerContent  = 248
	// FooterSize is how many bytes the footer takes, its frame included.
	FooterSize = skippableHead + footerContent

	magicBegin = "DSbundle"
	magicEnd   = "elbdnuSD"
)

// Offsets in the content of the footer.
const (
	footVersion      = 8
	footIdentity     = 16
	footMin          = 32
	footMax          = 40
	footGeneration   = 48
	footPrevious     = 56
	footHighestOID   = 64
	footRevisions    = 72
	footTransactions = 80
	footFrames       = 88
	footBlobs        = 96
	footDataEnd      = 104
	footSections     = 112 // revisions, transactions, frames, fences: 8 bytes each
	footIndexSum     = 144
	footFencesSum    = 176 // CRC-32C, 4 bytes
	footListSize     = 180 // 4 bytes
	footReserved     = 184
	footSum          = 236
	footEnd          = 240
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Info is the content of the footer.
type Info struct {
	// Identity is that of the database, as in config/identity.
	Identity [16]byte
	// Min and Max are the first and the last transaction of the range, as in the name of the
	// file. A pack may have removed either.
	Min, Max zodb.TID
	// Generation counts how often the range was written again.
	Generation uint64
	// Previous is the last transaction of the range before; 0: there was none.
	Previous zodb.TID
	// HighestOID is the highest oid that was given out when Max was committed.
	HighestOID zodb.OID

	Revisions, Transactions, Frames, Blobs int64

	// Sum is the SHA-256 of the index. It stands for the content of the bundle.
	Sum [sha256.Size]byte

	dataEnd  int64 // behind the tar
	sections [4]int64
	fences   uint32 // CRC-32C of their section
	listSize int64  // of the list that it carries, see [Reader.Carried]; 0: there is none
}

// Sections, in the order of the file.
const (
	sectionRevisions = iota
	sectionTransactions
	sectionFrames
	sectionFences
)

func (i *Info) append(b []byte) []byte {
	f := make([]byte, footerContent)
	copy(f, magicBegin)
	binary.BigEndian.PutUint32(f[footVersion:], i.version())
	binary.BigEndian.PutUint32(f[footListSize:], uint32(i.listSize))
	copy(f[footIdentity:], i.Identity[:])
	for at, v := range map[int]uint64{
		footMin: uint64(i.Min), footMax: uint64(i.Max), footGeneration: i.Generation, footPrevious: uint64(i.Previous),
		footHighestOID: uint64(i.HighestOID), footRevisions: uint64(i.Revisions), footTransactions: uint64(i.Transactions),
		footFrames: uint64(i.Frames), footBlobs: uint64(i.Blobs), footDataEnd: uint64(i.dataEnd),
	} {
		binary.BigEndian.PutUint64(f[at:], v)
	}
	for k, at := range i.sections {
		binary.BigEndian.PutUint64(f[footSections+8*k:], uint64(at))
	}
	copy(f[footIndexSum:], i.Sum[:])
	binary.BigEndian.PutUint32(f[footFencesSum:], i.fences)
	binary.BigEndian.PutUint32(f[footSum:], checksum(f[:footSum]))
	copy(f[footEnd:], magicEnd)
	return append(appendSkippable(b, footerContent), f...)
}

// version is that of the file: a program that does not know lists in bundles refuses those that have one.
func (i *Info) version() uint32 {
	if i.listSize > 0 {
		return listVersion
	}
	return Version
}

// appendSkippable appends the head of a skippable frame with n bytes of content.
func appendSkippable(b []byte, n int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, skippableMagic)
	return binary.LittleEndian.AppendUint32(b, uint32(n))
}

// ReadFooter reads the last FooterSize bytes of a bundle of a size in bytes. The path is for errors.
func ReadFooter(tail []byte, size int64, path string) (Info, error) {
	i, err := parseFooter(tail, size)
	if err := newer(err, path); err != nil {
		return Info{}, err
	}
	if err != nil {
		return Info{}, &zodb.CorruptError{Path: path, Offset: max(0, size-FooterSize), Reason: "the footer is damaged", Err: err}
	}
	return i, nil
}

// newer returns the error about a file of a newer format with its path; nil: it is about something
// else. Such a file is not damaged.
func newer(err error, path string) error {
	n, ok := errors.AsType[*layout.NewerError](err)
	if !ok {
		return nil
	}
	at := *n
	at.Path = path
	return &at
}

// parseFooter reads the last FooterSize bytes of a file of a size. The error is the reason only, or a
// *layout.NewerError: magic, version and checksum keep their places in all versions.
func parseFooter(b []byte, size int64) (Info, error) {
	if len(b) != FooterSize || binary.LittleEndian.Uint32(b) != skippableMagic || binary.LittleEndian.Uint32(b[4:]) != footerContent {
		return Info{}, fmt.Errorf("the last %d bytes are not a footer: the file is not a bundle, or its end is missing", FooterSize)
	}
	f := b[skippableHead:]
	if string(f[:8]) != magicBegin || string(f[footEnd:]) != magicEnd {
		return Info{}, fmt.Errorf("the magic of the footer is % X … % X", f[:8], f[footEnd:])
	}
	if got, want := checksum(f[:footSum]), binary.BigEndian.Uint32(f[footSum:]); got != want {
		return Info{}, fmt.Errorf("the checksum of the footer is %08x, but that of its content is %08x", want, got)
	}
	version := binary.BigEndian.Uint32(f[footVersion:])
	if version > listVersion {
		return Info{}, &layout.NewerError{Kind: "bundle", Version: fmt.Sprint(version), Known: fmt.Sprint(listVersion)}
	}
	if version < Version {
		return Info{}, fmt.Errorf("version %d of the format; this program reads %d and %d", version, Version, listVersion)
	}
	u := func(at int) uint64 { return binary.BigEndian.Uint64(f[at:]) }
	n := func(at int) int64 { return int64(u(at)) }
	i := Info{
		Identity: [16]byte(f[footIdentity:]), Min: zodb.TID(u(footMin)), Max: zodb.TID(u(footMax)),
		Generation: u(footGeneration), Previous: zodb.TID(u(footPrevious)), HighestOID: zodb.OID(u(footHighestOID)),
		Revisions: n(footRevisions), Transactions: n(footTransactions), Frames: n(footFrames), Blobs: n(footBlobs),
		Sum: [sha256.Size]byte(f[footIndexSum:]), dataEnd: n(footDataEnd),
		fences: binary.BigEndian.Uint32(f[footFencesSum:]), listSize: int64(binary.BigEndian.Uint32(f[footListSize:])),
	}
	for k := range i.sections {
		i.sections[k] = n(footSections + 8*k)
	}
	if !bytes.Equal(f[footVersion+4:footIdentity], make([]byte, footIdentity-footVersion-4)) || !bytes.Equal(f[footReserved:footSum], make([]byte, footSum-footReserved)) {
		return Info{}, fmt.Errorf("reserved bytes of the footer are not zero")
	}
	if i.version() != version {
		return Info{}, fmt.Errorf("it has version %d, and carries a list of %d bytes", version, i.listSize)
	}
	if i.Min > i.Max || i.Min == 0 || i.Previous >= i.Min {
		return Info{}, fmt.Errorf("a range cannot reach from %s to %s and follow %s", i.Min, i.Max, i.Previous)
	}
	return i, i.checkPlaces(size)
}

// checkPlaces makes sure that the sections lie one behind the other and fill the file.
func (i *Info) checkPlaces(size int64) error {
	const most = 1 << 40 // keeps the sums below from overflowing
	end := i.dataEnd
	if end < 0 || end > size {
		return fmt.Errorf("the tar ends at %d of %d bytes", end, size)
	}
	counts := [4]int64{i.Revisions, i.Transactions, i.Frames, 0}
	for k, n := range counts {
		if n < 0 || n > most {
			return fmt.Errorf("section %d has a wrong number of entries, %d", k, n)
		}
		counts[sectionFences] += blocksOf(k, n)
	}
	for k, at := range i.sections {
		if at != end+skippableHead {
			return fmt.Errorf("section %d of the index is at %d, and ought to be at %d", k, at, end+skippableHead)
		}
		end = at + counts[k]*entrySize(k)
		if end > size {
			return fmt.Errorf("section %d of the index ends at %d of %d bytes", k, end, size)
		}
	}
	if i.listSize > 0 {
		end += skippableHead + i.listSize
	}
	if end+FooterSize != size {
		return fmt.Errorf("the index ends at %d, the footer begins at %d", end, size-FooterSize)
	}
	return nil
}
