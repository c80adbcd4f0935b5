package bench

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// blobRecord is the record of a blob.
const blobRecord = "\x80\x03cZODB.blob\nBlob\n.\x80\x03N."

// blobID names a blob that was stored; 0 = none was.
type blobID struct {
	oid zodb.OID
	tid zodb.TID
}

// blobUp stores a new blob; from the begin of its transaction to the end.
func (b *bench) blobUp(ctx context.Context) (Result, error) {
	c, err := zeoclient.Dial(ctx, b.o.Server)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	oids, err := c.NewOIDs(ctx, 1)
	if err != nil {
		return Result{}, err
	}
	content := newNoise(b.o.BlobBytes)
	begun := b.o.Clock()
	txn, err := c.Begin(zodb.TxnMeta{Description: []byte("bench: blob")}, zeoclient.BeginOptions{})
	if err != nil {
		return Result{}, err
	}
	if err := txn.StoreBlob(oids[0], 0, []byte(blobRecord), content); err != nil {
		return Result{}, err
	}
	tid, err := txn.Commit(ctx)
	if err != nil {
		return Result{}, err
	}
	b.blob = blobID{oids[0], tid}
	return b.blobResult(b.o.Clock().Sub(begun)), nil
}

// blobDown fetches the blob that was stored last.
func (b *bench) blobDown(ctx context.Context) (Result, error) {
	if b.blob.tid == 0 {
		if _, err := b.blobUp(ctx); err != nil {
			return Result{}, err
		}
	}
	c, err := zeoclient.Dial(ctx, b.o.Server)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	begun := b.o.Clock()
	n, err := c.SendBlob(ctx, b.blob.oid, b.blob.tid, io.Discard)
	if err != nil {
		return Result{}, err
	}
	if n != b.o.BlobBytes {
		return Result{}, fmt.Errorf("a blob of %d bytes came back with %d", b.o.BlobBytes, n)
	}
	return b.blobResult(b.o.Clock().Sub(begun)), nil
}

func (b *bench) blobResult(d time.Duration) Result {
	var h histogram
	h.add(d)
	r := rates(&h, d, float64(b.o.BlobBytes))
	r.Connections = 1
	return r
}

// newNoise returns n bytes that don't compress well within some kilobytes.
func newNoise(n int64) io.Reader {
	block := make([]byte, 1<<16) // stays in the cache of a processor
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range block {
		block[i] = byte(rnd.Uint32())
	}
	return io.LimitReader(&repeated{block: block}, n)
}

// repeated gives the same bytes for ever.
type repeated struct {
	block []byte
	at    int
}

func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}
