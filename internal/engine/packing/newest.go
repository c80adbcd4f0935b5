package packing

import (
	"context"
	"fmt"
)

// markNewest marks the objects that the two newest transactions wrote, where these are older than
// the time that was asked for. It comes last, so that the result can tell the objects that stay for
// that reason alone. In a storage that was imported in two transactions these may be all.
func (r *packRun) markNewest(ctx context.Context) error {
	if len(r.newest) == 0 {
		return nil
	}
	if err := r.marker.Run(ctx); err != nil {
		return err
	}
	for _, tid := range r.newest {
		t, err := r.s.o.Read.Transaction(ctx, tid)
		if err != nil {
			return fmt.Errorf("one of the two newest transactions: %w", err)
		}
		for _, oid := range t.OIDs {
			if r.listed.Has(oid) && !r.marker.Reached(oid) {
				r.result.KeptNewest++
			}
			if err := r.marker.Keep(oid); err != nil {
				return err
			}
		}
	}
	return nil
}
