package transfer

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// packedSource has one transaction, the object of which a pack takes away while it is read
// the first few times. All transactions before it are gone.
type packedSource struct {
	tid   zodb.TID
	takes int // how often the pack does so
	reads int
}

func (s *packedSource) name() string                      { return "a server that is packed" }
func (s *packedSource) begin(context.Context, bool) error { return errors.New("begun anew") }
func (s *packedSource) progress() (done, total int64)     { return 0, 0 }
func (s *packedSource) hasBlob(zodb.Record) bool          { return false }
func (s *packedSource) openBlob(context.Context, zodb.Record) (io.ReadCloser, error) {
	return nil, errors.New("there are no blobs")
}

func (s *packedSource) transactions(_ context.Context, from zodb.TID) iter.Seq2[*sourceTxn, error] {
	return func(yield func(*sourceTxn, error) bool) {
		if from > s.tid {
			return
		}
		yield(&sourceTxn{Transaction: zodb.Transaction{TID: s.tid, Status: zodb.StatusDone}, records: s.records}, nil)
	}
}

func (s *packedSource) records(yield func(zodb.Record, error) bool) {
	if s.reads++; s.reads <= s.takes {
		yield(zodb.Record{}, &packedMeanwhileError{1, s.tid})
		return
	}
	yield(zodb.Record{OID: 1, TID: s.tid, Data: []byte("of the source"), Exists: true}, nil)
}

// TestFollowerGoesOnWhereAPackTookWhatItCopied: the connection is not made anew, because
// the last transaction that was copied is gone, too, and nothing would show the copy.
func TestFollowerGoesOnWhereAPackTookWhatItCopied(t *testing.T) {
	t.Parallel()
	for _, takes := range []int{1, triesBesidePacks, triesBesidePacks + 1} {
		dst := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{}), engine.Options{})
		commit(t, dst, zodb.BeginOptions{TID: 1 << 40}, 0, "root", "")
		src := &packedSource{tid: 1 << 41, takes: takes}
		f := &follower{im: newImporter(dst, src, BlobsNone, nil)}
		err := f.again(t.Context(), f.im.copyFrom(t.Context(), f.im.result.LastTID+1))
		if _, gone := errors.AsType[*packedMeanwhileError](err); gone != (takes > triesBesidePacks) || !gone && err != nil {
			t.Errorf("taken %d times: %v", takes, err)
		}
		if _, err := dst.Load(t.Context(), 1); (err == nil) != (takes <= triesBesidePacks) {
			t.Errorf("taken %d times, the object: %v", takes, err)
		}
	}
}

// TestFollowerNoticesThatTheServerIsSilent: the connection stays open, and nothing comes. It counts as lost, and a new one goes on.
func TestFollowerNoticesThatTheServerIsSilent(t *testing.T) {
	t.Parallel()
	src, _, second := sixObjects(t)
	l, address := lie(t, src, honest)
	f := followWith(t, emptyCopy(t), address, FollowOptions{Silence: 40 * time.Millisecond, Every: time.Millisecond})
	f.until(second)
	asked := l.called("lastTransaction")
	hometest.Eventually(t, "it asks again and again", func() bool { return l.called("lastTransaction") > asked+2 })
	l.hang()
	if err := <-f.lost; !strings.Contains(err.Error(), "answered nothing for 40ms") {
		t.Errorf("lost: %v", err)
	}
	f.until(changeOver(t, l.server, src, 2, enginetest.Record("behind the silence")))
	f.cancel()
	if o := <-f.ended; o.err != nil {
		t.Errorf("the end: %v", o.err)
	}
}
