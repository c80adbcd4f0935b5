package engine

import "github.com/dirstorage/dirstorage/zodb"

// packHost is the storage as package packing sees it: it implements [packing.Host].
type packHost struct{ s *Storage }

func (h packHost) Counts() zodb.Counts { return h.s.Counts() }
func (h packHost) SameA() error        { return h.s.whyAnotherA() }

func (h packHost) Recount(n zodb.Counts, sign int64) {
	h.s.tally.Recount(n, sign)
}
