package zodb

import "time"

// Removed is the space of the removals of packs that the file system does not have back yet.
type Removed struct {
	// InBundles: packs remove inside bundles, and put aside there. Else each removal is a file.
	InBundles bool `json:"in_bundles,omitempty"`
	// GoneBytes is the share of bundles that is gone for good. It is given back when these bundles are
	// written again.
	GoneBytes int64 `json:"gone_bytes,omitempty"`
	// Aside are the removals that can be brought back, by pack, the oldest first.
	Aside []Aside `json:"aside,omitempty"`
}

// Aside describes the removals of one pack that are put aside: files, and items inside bundles.
type Aside struct {
	Stamp int64 `json:"stamp"` // SECONDS of pack --undelete
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Until is when delay_delete has passed. Files are removed by the first pack after it, or the
	// first reclaim. Items inside bundles are gone for good then by themselves.
	Until time.Time `json:"until"`
}

// Free returns the bytes that a reclaim can give back at a moment, at most: a bundle of which another
// part is put aside still is not written again.
func (r *Removed) Free(now time.Time) int64 {
	bytes := r.GoneBytes
	for _, a := range r.Aside {
		if a.Until.Before(now) {
			bytes += a.Bytes
		}
	}
	return bytes
}
