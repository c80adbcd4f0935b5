package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// Room is an estimate of the room that an import takes up on the disk. Directories are not in it.
type Room struct {
	Bytes  int64
	Inodes int64
}

const (
	roomBlock = 4096 // room of the smallest file on most file systems
	// sampleSize and sampleRecords bound the part of a Data.fs that is read for an estimate.
	sampleSize    = 16 << 20
	sampleRecords = 20000
)

func (r *Room) file(size int64) {
	r.Inodes++
	r.Bytes += (size + roomBlock - 1) / roomBlock * roomBlock
}

// RoomOfFile estimates the room for a Data.fs by its first transactions, and for its
// blobs by all files in their directory; nil = there is none. It does not report damage.
func RoomOfFile(ctx context.Context, r *filestorage.Reader, blobs vfs.FS) (Room, error) {
	var sample Room
	read, records := int64(0), 0
	objects := make(map[zodb.OID]struct{})
	for txn, err := range r.Transactions(ctx, filestorage.Position{}) {
		if err != nil || read >= sampleSize || records >= sampleRecords {
			break
		}
		sample.file(1) // the transaction
		for rec, err := range txn.LastRecords() {
			if err != nil {
				break
			}
			records++
			sample.file(int64(len(rec.Data)) + 80)
			if _, seen := objects[rec.OID]; !seen {
				objects[rec.OID] = struct{}{}
				sample.file(8) // the pointer
			}
		}
		read = txn.Pos + txn.Len
	}
	room := sample
	if read > 0 && r.Size() > read {
		part := float64(r.Size()) / float64(read)
		room = Room{int64(float64(sample.Bytes) * part), int64(float64(sample.Inodes) * part)}
	}
	if blobs == nil {
		return room, ctx.Err()
	}
	of, err := roomOfBlobs(ctx, blobs)
	return Room{room.Bytes + of.Bytes, room.Inodes + of.Inodes}, err
}

// RoomOfFileInBundles is RoomOfFile for a HOME of the format bundled: bundles are no larger than
// a Data.fs, and few.
func RoomOfFileInBundles(ctx context.Context, r *filestorage.Reader, blobs vfs.FS) (Room, error) {
	if blobs == nil {
		return Room{Bytes: r.Size()}, nil
	}
	room, err := roomOfBlobs(ctx, blobs)
	room.Bytes += r.Size()
	return room, err
}

func roomOfBlobs(ctx context.Context, blobs vfs.FS) (room Room, err error) {
	for name, err := range vfs.Walk(blobs, ".") {
		if err == nil {
			err = ctx.Err()
		}
		var info vfs.Info
		if err == nil {
			info, err = blobs.Stat(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return room, fmt.Errorf("blobs: %w", err)
		}
		room.file(info.Size)
	}
	return room, nil
}

// RoomOfServer is the least that a storage on a server can need: it says how many objects it
// has and how large it is, blobs not counted. inBundles: HOME has the format bundled.
func RoomOfServer(ctx context.Context, c *zeoclient.Client, inBundles bool) (Room, error) {
	info, err := c.GetInfo(ctx)
	if err != nil {
		return Room{}, err
	}
	if inBundles {
		return Room{Bytes: info.Size}, nil
	}
	files := 2 * max(info.Length, 0) // a revision and a pointer
	return Room{Bytes: max(info.Size, files*roomBlock), Inodes: files}, nil
}

// RoomOfCounts estimates the room of a storage's content. inBundles: it has the format bundled,
// whose bundles are few, and no larger than their content.
func RoomOfCounts(n zodb.Counts, inBundles bool) Room {
	if inBundles {
		return Room{Bytes: n.Bytes}
	}
	return Room{Bytes: n.EstimateDisk(), Inodes: n.Objects + n.Revisions + n.Transactions}
}

// Without takes off room that is taken up already.
func (r Room) Without(there Room) Room { return Room{r.Bytes - there.Bytes, r.Inodes - there.Inodes} }

// RoomError tells that an import would not have room enough.
type RoomError struct {
	Need Room
	Free vfs.Space
}

func (e *RoomError) Error() string {
	text := fmt.Sprintf("it needs about %s, and %s are free", human.Bytes(e.Need.Bytes), human.Bytes(int64(e.Free.FreeBytes)))
	if e.Free.TotalInodes > 0 && e.Need.Inodes > int64(e.Free.FreeInodes) {
		text = fmt.Sprintf("it needs about %s (inodes), and %s are free", human.Number(e.Need.Inodes, "file"), human.Count(int64(e.Free.FreeInodes)))
	}
	return "not enough space on the disk: " + text
}

// Check returns a *RoomError if the room is not free.
func (r Room) Check(free vfs.Space) error {
	if r.Bytes > int64(free.FreeBytes) || free.TotalInodes > 0 && r.Inodes > int64(free.FreeInodes) {
		return &RoomError{Need: r, Free: free}
	}
	return nil
}
