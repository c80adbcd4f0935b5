package zeo

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// callFrame is the frame of a call without an answer.
func (c *rawClient) callFrame(name string, args ...any) []byte {
	c.t.Helper()
	b, err := wire.AppendFrame(nil, func(b []byte) ([]byte, error) {
		return wire.AppendRequest(b, c.enc, int64(0), true, name, args...)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// TestPiecesOfAllSizesComeToTheirPlace: usual ones, which are read into the buffers of the blob,
// beside small and large ones, in frames that come in parts; a conversation goes on behind them.
func TestPiecesOfAllSizesComeToTheirPlace(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		sizes := []int{blobPiece, 1, 16<<10 - 1, 5000, 65_000, 65_535, 200_000, blobPiece, 0, 4096, blobPiece, blobPiece, 3 << 20, blobPiece, 77}
		for _, part := range []int{1 << 30, 100_000, 20_011} { // bytes that are written at a time
			var stream, want []byte
			for i, size := range sizes {
				piece := content(size + i)
				want = append(want, piece...)
				stream = append(stream, c.callFrame("storeBlobChunk", piece)...)
			}
			c.begin(mine)
			c.oneWay("storeBlobStart")
			for len(stream) > 0 {
				n := min(part, len(stream))
				if _, err := c.conn.Write(stream[:n]); err != nil {
					t.Fatal(err)
				}
				stream = stream[n:]
			}
			oid := zodb.OID(part)
			c.oneWay("storeBlobEnd", oid, zodb.TID(0), record("x"), mine)
			c.want(wire.List{}, c.call("vote", mine))
			tid := zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
			wantBlob(t, ts.dialCache(e), oid, tid, want)
		}
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
	})
}

// TestPieceThatDoesNotComeToItsEnd: its client counts as one that sends nothing, and when it goes
// nothing is left of the blob.
func TestPieceThatDoesNotComeToItsEnd(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		its := ts.lone()
		before := its.sends.bytes.Load()
		c.begin(mine)
		c.oneWay("storeBlobStart")
		c.oneWay("storeBlobChunk", content(2<<20))
		// More than the rest of a buffer of the blob, so that a part is seen to have come.
		frame := c.callFrame("storeBlobChunk", content(60_000))
		for range 9 {
			if _, err := c.conn.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.conn.Write(frame[:len(frame)-1]); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the whole pieces have come", func() bool { return its.sends.bytes.Load() >= before+2<<20+9*60_000 })
		eventually(t, "the server waits for the client", func() bool { return its.sends.last.Load() != 0 })
		c.conn.Close()
		eventually(t, "what was uploaded is gone", func() bool { return len(staged(t, ts.storages["1"])) == 0 })
		ts.servesOthers()
	})
}

// TestBytesBehindBlobsAreBounded: clients send, at once with the end of a blob, the beginning of a
// message for which there is no memory.
func TestBytesBehindBlobsAreBounded(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{Limits: Limits{Memory: 64 << 20}})
		ts.budgets.frames.Share(0).Add(ts.budgets.frames.Free())
		for i := range 20 {
			c := ts.client(e)
			c.begin(mine)
			c.oneWay("storeBlobStart")
			// These end at the beginning of a buffer of the blob.
			stream := bytes.Repeat(c.callFrame("storeBlobChunk", content(blobPiece)), 16)
			stream = append(stream, c.callFrame("storeBlobEnd", zodb.OID(i+1), zodb.TID(0), record("x"), mine)...)
			stream = binary.BigEndian.AppendUint32(stream, 1<<20)
			c.quiet(append(stream, make([]byte, 256<<10)...))
			eventually(t, "its message waits", func() bool { return ts.budgets.frames.Waiting() > i })
		}
		// The last one before the bound may have the whole room of a blob.
		if got, most := ts.budgets.early.Held(), int64(64<<20>>8+256<<10); got > most {
			t.Errorf("%d bytes were read too early, want %d at most", got, most)
		}
		for _, c := range ts.all() {
			c.end(ErrClosed)
		}
		eventually(t, "they have ended", func() bool { return ts.Connections() == 0 })
		if got := ts.budgets.early.Held(); got != 0 {
			t.Errorf("%d bytes are counted when all have ended", got)
		}
	})
}

// anyUpload returns a random stream of a blob, pieces of one size and others, with stores between
// them; and its content.
func (c *rawClient) anyUpload(rnd *rand.Rand, oid zodb.OID) (stream, want []byte) {
	usual := []int{blobPiece, 5000, 65_000, 4096 + rnd.IntN(60_000)}[rnd.IntN(4)]
	stream = c.callFrame("storeBlobStart")
	for range 1 + rnd.IntN(30) {
		size := usual
		switch rnd.IntN(12) {
		case 0:
			size = rnd.IntN(100_000)
		case 1:
			stream = append(stream, c.callFrame("storea", oid+1000, zodb.TID(0), record("y"), mine)...)
		}
		piece := content(size + rnd.IntN(10))[:size]
		want = append(want, piece...)
		stream = append(stream, c.callFrame("storeBlobChunk", piece)...)
	}
	return append(stream, c.callFrame("storeBlobEnd", oid, zodb.TID(0), record("x"), mine)...), want
}

// inParts sends a stream in parts of random sizes.
func (c *rawClient) inParts(rnd *rand.Rand, stream []byte) {
	for most := []int{1 << 30, 300_000, 60_000, 7000}[rnd.IntN(4)]; len(stream) > 0; {
		n := min(len(stream), 1+rnd.IntN(most))
		c.quiet(stream[:n])
		stream = stream[n:]
	}
}

// TestUploadsOfAnyFormAreWholeOrRefused: a blob that is larger than the limit at any piece is refused
// at the vote, others have their content, and the conversation goes on.
func TestUploadsOfAnyFormAreWholeOrRefused(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		for seed := range uint64(8) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			limit := 200_000 + rnd.IntN(1_000_000)
			ts := serve(t, Options{processors: 1 + int(seed%2), Limits: Limits{Blob: int64(limit), Memory: []int64{32 << 20, 1 << 30}[rnd.IntN(2)]}})
			c, other := ts.client(e), ts.dialCache(e)
			for oid := zodb.OID(1); oid <= 3; oid++ {
				stream, want := c.anyUpload(rnd, oid)
				c.begin(mine)
				c.inParts(rnd, stream)
				_, err := c.try("vote", mine)
				if tooLarge := len(want) > limit; tooLarge != (err != nil) {
					t.Fatalf("seed %d: a blob of %d bytes, limit %d: %v", seed, len(want), limit, err)
				}
				if err != nil {
					c.call("tpc_abort", mine)
					continue
				}
				tid := zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
				wantBlob(t, other, oid, tid, want)
			}
			if left := staged(t, ts.storages["1"]); len(left) > 0 {
				t.Errorf("seed %d: %v stays behind", seed, left)
			}
		}
	})
}

// shortBlob is a blob whose disk is full after some bytes.
type shortBlob struct {
	zodb.BlobWriter
	left int
}

func (b *shortBlob) Room() []byte { return b.BlobWriter.(roomyBlob).Room() }

func (b *shortBlob) Filled(n int) error {
	if b.left -= n; b.left < 0 {
		return syscall.ENOSPC
	}
	return b.BlobWriter.(roomyBlob).Filled(n)
}

// fullDisk is a storage whose blobs have only so much room.
type fullDisk struct {
	zodb.Storage
	room int
}

type fullTxn struct {
	zodb.Txn
	disk *fullDisk
}

func (s *fullDisk) Begin(ctx context.Context, m zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error) {
	t, err := s.Storage.Begin(ctx, m, o)
	return &fullTxn{t, s}, err
}

func (t *fullTxn) BeginBlob() (zodb.BlobWriter, error) {
	b, err := t.Txn.BeginBlob()
	return &shortBlob{b, t.disk.room}, err
}

// TestDiskThatIsFullWithinAPiece fails the vote, and nothing else of the connection.
func TestDiskThatIsFullWithinAPiece(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		disk := &fullDisk{Storage: newStorage(t, memoryHome(t))}
		ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: disk}}})
		c := ts.client(e)
		files := ts.budgets.files.Free()
		stream := append(c.callFrame("storeBlobStart"), bytes.Repeat(c.callFrame("storeBlobChunk", content(blobPiece)), 20)...)
		stream = append(stream, c.callFrame("storeBlobEnd", zodb.OID(1), zodb.TID(0), record("x"), mine)...)
		for seed := range uint64(12) {
			rnd := rand.New(rand.NewPCG(seed, 8))
			disk.room = rnd.IntN(400_000)
			c.begin(mine)
			c.inParts(rnd, stream)
			c.fails(classStorage, "vote", mine)
			c.call("tpc_abort", mine)
		}
		if got := ts.budgets.files.Free(); got != files {
			t.Errorf("%d files are free, want %d", got, files)
		}
	})
}
