package read

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// A read-only storage takes no lock, so another process may flush, recombine and pack while
// it is read. A read in several steps then may meet pieces that do not fit together. That
// is not damage. So a read that fails is repeated, and its error is believed only if nothing
// has moved meanwhile: x.serial, x.packed, and the log.

// MaxAttempts bounds the repetitions of a read beside another process, and Pause is
// between those of an open.
const (
	MaxAttempts = 100
	Pause       = 2 * time.Millisecond
)

// Moves returns a value that changes whenever another process moves a file that a reader
// may be about to read.
func (r *Reader) Moves() string {
	var b strings.Builder
	for _, n := range []layout.Name{layout.XSerial, layout.XPacked} {
		data, where, err := r.o.Store.Get(n)
		fmt.Fprintf(&b, "%x %s %v\n", data, where, err)
	}
	return b.String()
}

// validatedBeside is [Reader.validated] for a storage that is read-only.
func (r *Reader) validatedBeside(ctx context.Context, read func() error) error {
	err := read()
	if err == nil {
		return nil
	}
	for range MaxAttempts {
		before := r.Moves()
		if err = read(); err == nil || r.Moves() == before {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// flushedMeanwhile reads a revision that was in the log when this read-only storage was
// opened. The process that writes here has flushed it since, and used its place in the
// log again, or the log cannot be read; cause says which.
func (r *Reader) flushedMeanwhile(oid zodb.OID, tid zodb.TID, cause error) (*record.Object, error) {
	n, serial := layout.Revision(oid, tid), tid
	if !r.o.Home.Full {
		n, serial = layout.Object(oid), 0 // or a later one, which is all that this class keeps
	}
	o, err := r.FromFile(n, oid, serial)
	if errors.Is(err, zodb.ErrNotFound) && r.PackedAway(tid) {
		return nil, &zodb.KeyError{OID: oid, TID: tid, Reason: "another process has packed this revision away since this one opened the storage read-only; open it again"}
	}
	if err == nil && o.Serial < tid {
		return nil, cause
	}
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, cause
	}
	return o, err
}
