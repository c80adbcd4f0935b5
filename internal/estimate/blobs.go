package estimate

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// blobSample and blobSampleBytes bound the blobs that are read of a server.
	blobSample      = 48
	blobSampleBytes = 256 << 20
)

// reservoir keeps a random sample of blobs whose number is not known in advance.
type reservoir struct {
	seen int64
	kept []blobName
	rnd  *rand.Rand
}

type blobName struct {
	oid zodb.OID
	tid zodb.TID
}

func (r *reservoir) add(oid zodb.OID, tid zodb.TID) {
	if r.rnd == nil {
		r.rnd = rand.New(rand.NewPCG(1, 2)) // the same source has the same sample
	}
	r.seen++
	if len(r.kept) < blobSample {
		r.kept = append(r.kept, blobName{oid, tid})
	} else if i := r.rnd.Int64N(r.seen); i < blobSample {
		r.kept[i] = blobName{oid, tid}
	}
}

// timeOfFile is how long a durable file of a size takes in a directory.
func timeOfFile(dir string, size int64, clock func() time.Time) (seconds float64, err error) {
	fsys, err := vfs.OS(dir)
	if err != nil {
		return 0, err
	}
	const name = "blob"
	begun := clock()
	f, err := fsys.Create(name)
	if err != nil {
		return 0, err
	}
	piece := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size && err == nil; at += int64(len(piece)) {
		_, err = f.WriteAt(piece, at)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	seconds = clock().Sub(begun).Seconds()
	return seconds, errors.Join(err, fsys.Remove(name))
}
