package inspect

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/pickle"
)

// Diff is diff, for tests.
var Diff = diff

// Parse is parse, for tests.
func (b *Browser) Parse(ctx context.Context, data []byte, use func(*pickle.Tree)) error {
	return b.parse(ctx, data, use)
}
