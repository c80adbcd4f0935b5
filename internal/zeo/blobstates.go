package zeo

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// comparedFirst is the size in bytes up to which a blob is compared as a whole before its first piece is
	// sent. A larger one would often be read from the disk twice, and begin late.
	comparedFirst = 256 << 20
	// mostWhole is how many blobs are known as whole.
	mostWhole = 1 << 16
	// mostBegun is how many blobs are known as damaged behind their beginning.
	mostBegun = 1 << 12
	// compareBytes is how much is read at once; it stays in a processor's cache.
	compareBytes = 128 << 10
)

// blobID names a blob.
type blobID struct {
	oid zodb.OID
	tid zodb.TID
}

// blobStates keep Python's clients from wrong bytes. Such a client keeps the beginning of a blob that did not come
// to its end, and puts the next one behind it. So the first download of a blob from this process begins when all of
// it was compared with its checksum; later ones are compared while they are sent. One that turns out to be damaged
// there, or cannot be read, after its beginning has left, is not sent again. If there are very many of these, each
// blob is compared before each download, so that nothing of others like them is sent. All methods may be called concurrently.
type blobStates struct {
	mu    sync.Mutex
	whole map[blobID]struct{} // guarded by mu: compared, or uploaded here; at most mostWhole
	begun map[blobID]error    // guarded by mu: those whose beginning was sent before an error, and the error; at most mostBegun
}

// uploaded notes blobs that were received: their checksums were made of the bytes that came.
func (s *blobStates) uploaded(oids []zodb.OID, tid zodb.TID) {
	for _, oid := range oids {
		s.setWhole(blobID{oid, tid})
	}
}

func (s *blobStates) setWhole(id blobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.whole == nil {
		s.whole = make(map[blobID]struct{})
	}
	for other := range s.whole {
		if len(s.whole) < mostWhole {
			break
		}
		delete(s.whole, other) // any one: it is compared again
	}
	s.whole[id] = struct{}{}
}

// begunDamaged notes a blob that was found damaged, or failed, after its beginning was sent, and returns the error to tell.
func (s *blobStates) begunDamaged(oid zodb.OID, tid zodb.TID, damage error) error {
	damage = fmt.Errorf("%w; the beginning was sent: remove the files *.blob.dl in the blob caches of the clients that asked for it, mend the blob, and restart the server, which does not send it before", damage)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun == nil {
		s.begun = make(map[blobID]error)
	}
	if len(s.begun) < mostBegun {
		s.begun[blobID{oid, tid}] = damage
	}
	return damage
}

// compareFirst compares a blob with its checksum, if it has to be before its first piece is sent, and goes back to its start.
// Errors: those of the blob; of ctx.
func (s *blobStates) compareFirst(ctx context.Context, blob zodb.Blob, oid zodb.OID, tid zodb.TID) error {
	id := blobID{oid, tid}
	s.mu.Lock()
	damage := s.begun[id]
	_, whole := s.whole[id]
	always := len(s.begun) >= mostBegun
	s.mu.Unlock()
	if damage != nil {
		return damage
	}
	if !always && (whole || blob.Size() > comparedFirst) {
		return nil
	}
	if summed, ok := blob.(interface{ Sum() string }); ok && summed.Sum() == "" {
		return nil
	}
	b := make([]byte, min(blob.Size()+1, compareBytes))
	for {
		_, err := blob.Read(b)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	s.setWhole(id)
	_, err := blob.Seek(0, io.SeekStart)
	return err
}
