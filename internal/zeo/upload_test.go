package zeo

import (
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
