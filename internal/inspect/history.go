package inspect

import (
	"context"

	"github.com/dirstorage/dirstorage/zodb"
)

// History is a part of the history of an object.
type History struct {
	Entries []zodb.HistoryEntry // the newest first
	// Next is the newest revision after the part, for the next one; 0: there is none.
	Next zodb.TID
	// Early: the time was over before the part was complete. The entries are right all the same.
	Early bool
}

// History returns up to n revisions of an object, from one back; from = 0 means the newest. Errors as
// zodb.Histories, but that the end of ctx is none if there is an entry already.
func (b *Browser) History(ctx context.Context, oid zodb.OID, from zodb.TID, n int) (*History, error) {
	h := &History{}
	for e, err := range b.s.HistoryBackward(ctx, oid) {
		if err != nil {
			if ctx.Err() != nil && len(h.Entries) > 0 {
				h.Early = true
				return h, nil
			}
			return h, err
		}
		if from != 0 && e.TID > from {
			continue
		}
		if len(h.Entries) == n {
			h.Next = e.TID
			break
		}
		h.Entries = append(h.Entries, e)
	}
	return h, nil
}
