package read

import (
	"context"

	"github.com/dirstorage/dirstorage/zodb"
)

// OlderThan is olderThan for tests of package read_test.
func (r *Reader) OlderThan(ctx context.Context, tid zodb.TID) (zodb.TID, error) {
	return r.olderThan(ctx, tid)
}
