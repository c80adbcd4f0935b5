package engine

import (
	"context"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Home returns the path of HOME.
func (s *Storage) Home() string { return s.fs.Path(".") }

// HighestOID returns the highest oid that was handed out or stored.
func (s *Storage) HighestOID() zodb.OID { return s.highestOID() }

// Exists reports whether an object can be loaded, without reading its record.
func (s *Storage) Exists(ctx context.Context, oid zodb.OID) (bool, error) { return s.exists(ctx, oid) }

// Identity returns what is in config/identity, 32 hexadecimal digits.
func (s *Storage) Identity() string { return s.identity }

// Blobs yields every revision that has a blob, in no order. It reads the names
// of all files below A and B; what is committed meanwhile may be left out, and
// one that is moved meanwhile may come twice.
func (s *Storage) Blobs(ctx context.Context) iter.Seq2[zodb.BlobRevision, error] {
	return func(yield func(zodb.BlobRevision, error) bool) {
		var inLog []zodb.BlobRevision
		for _, c := range s.state.Unflushed() {
			for i := range c.Records {
				if c.Records[i].Blob {
					inLog = append(inLog, zodb.BlobRevision{OID: c.Records[i].OID, TID: c.TID})
				}
			}
		}
		for _, b := range inLog {
			if !yield(b, nil) {
				return
			}
		}
		for n, err := range s.store.Names(ctx, layout.KindBlob) {
			if err != nil {
				yield(zodb.BlobRevision{}, fmt.Errorf("list blobs: %w", err))
				return
			}
			if !yield(zodb.BlobRevision{OID: n.OID, TID: n.TID}, nil) {
				return
			}
		}
	}
}
