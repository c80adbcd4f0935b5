package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dirstorage/dirstorage/zodb"
)

// Maintenance serves a request of a tool through the control socket: “pack”, whose
// arguments are PackOptions, “undelete”, whose arguments are {"stamp": SECONDS}, or “reclaim”,
// whose arguments are ReclaimOptions. The result is that of Pack, Undelete or Reclaim; with an error
// it is the result until then. The operations of [Storage.Answer] have no arguments.
func (s *Storage) Maintenance(ctx context.Context, op string, arguments []byte) (result []byte, err error) {
	switch op {
	case "pack":
		var o zodb.PackOptions
		return maintain(op, arguments, &o, func() (zodb.PackResult, error) { return s.Pack(ctx, o) })
	case "undelete":
		var o struct {
			Stamp int64 `json:"stamp"`
		}
		return maintain(op, arguments, &o, func() (zodb.UndeleteResult, error) { return s.Undelete(ctx, o.Stamp) })
	case "reclaim":
		var o ReclaimOptions
		return maintain(op, arguments, &o, func() (ReclaimResult, error) { return s.Reclaim(ctx, o) })
	}
	if f := s.answers.find(op); f != nil {
		return f(arguments)
	}
	return nil, fmt.Errorf("%w: unknown operation %q", zodb.ErrUnsupported, op)
}

// maintain reads the arguments of an operation and writes its result.
func maintain[R any](op string, arguments []byte, options any, do func() (R, error)) ([]byte, error) {
	if err := json.Unmarshal(arguments, options); err != nil {
		return nil, fmt.Errorf("%s: bad arguments: %w", op, err)
	}
	r, err := do()
	b, failed := json.Marshal(r)
	if err == nil {
		err = failed
	}
	return b, err
}
