package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Storage is the part of a storage that this package reads.
type Storage interface {
	zodb.Loader
	zodb.Objects
	zodb.Transactions
	zodb.Histories
	zodb.Describer
	OpenBlob(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Blob, error)
}

// Options of a [Browser]. The zero value of each field gives the default.
type Options struct {
	// Home has the index of references, misc/refs; nil: it is not used.
	Home vfs.FS
	// Memory is the size in bytes up to which the values of a record are decoded. Default 128 MiB, or
	// an eighth of the memory of the process.
	Memory int64
	// Record is the size in bytes up to which records are decoded; default 64 MiB.
	Record int64
	// Text is the size in bytes of a state as text; default 128 KiB. For a comparison it is eight
	// times as much.
	Text int
	// Bounds are shared with the browsers of other storages; nil: this one has its own.
	Bounds *Bounds
}

// Bounds limit the work of several browsers together.
type Bounds struct {
	decode  chan struct{} // has one place
	seeking chan struct{} // has one place, for a search through all objects

	mu   sync.Mutex
	sets int64 // guarded by mu; bytes that are left for sets of objects that may refer to one
}

// NewBounds returns the bounds of one process.
func NewBounds() *Bounds {
	return &Bounds{decode: make(chan struct{}, 1), seeking: make(chan struct{}, 1), sets: budget.Within(candidatesMemory, 16)}
}

// takeSet takes half of the memory that is left for sets: so there is some for the next one, too.
func (b *Bounds) takeSet() (bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes = b.sets / 2
	b.sets -= bytes
	return bytes
}

func (b *Bounds) giveSet(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sets += bytes
}

const (
	defaultMemory = 128 << 20
	defaultRecord = 64 << 20
	defaultText   = 128 << 10
)

// Browser answers questions about the objects of a storage. Its methods may be called concurrently.
type Browser struct {
	s Storage
	o Options
}

// NewBrowser returns one for a storage.
func NewBrowser(s Storage, o Options) *Browser {
	if o.Memory == 0 {
		o.Memory = budget.Within(defaultMemory, 8)
	}
	if o.Record == 0 {
		o.Record = defaultRecord
	}
	if o.Text == 0 {
		o.Text = defaultText
	}
	if o.Bounds == nil {
		o.Bounds = NewBounds()
	}
	return &Browser{s: s, o: o}
}

// ParseOID reads an oid in each of its forms: 16 hexadecimal digits, 0x and up to 16, a decimal
// number, or a hexadecimal number with a letter in it. note says how a form was understood that could
// have been meant otherwise; it is empty for the others.
func ParseOID(text string) (oid zodb.OID, note string, err error) {
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		if v, err := strconv.ParseUint(digits, 16, 64); err == nil && len(digits) <= 16 {
			return zodb.OID(v), "", nil
		}
	} else if v, err := strconv.ParseUint(text, 16, 64); err == nil && len(text) == 16 {
		return zodb.OID(v), "", nil
	} else if v, err := strconv.ParseUint(text, 10, 64); err == nil {
		if v > 9 && len(text) <= 16 {
			note = fmt.Sprintf("oid %s is read as a decimal number, 0x%x; write 0x%s if it is hexadecimal", text, v, text)
		}
		return zodb.OID(v), note, nil
	} else if v, err := strconv.ParseUint(text, 16, 64); err == nil {
		return zodb.OID(v), "", nil
	}
	return 0, "", fmt.Errorf("bad oid %q: want 16 hexadecimal digits, 0x and up to 16, or a decimal number", text)
}

// errTooLong is the reason why a record is not decoded.
type errTooLong struct{ size, limit int64 }

func (e *errTooLong) Error() string {
	return fmt.Sprintf("the record has %d bytes, and those of more than %d are not decoded here; dirstorage show reads it", e.size, e.limit)
}

// parse decodes a record; one at a time, so that many requests need the memory of one. The end of ctx
// ends it.
func (b *Browser) parse(ctx context.Context, data []byte, use func(*pickle.Tree)) error {
	if size := int64(len(data)); size > b.o.Record {
		return &errTooLong{size, b.o.Record}
	}
	select {
	case b.o.Bounds.decode <- struct{}{}:
		defer func() { <-b.o.Bounds.decode }()
	case <-ctx.Done():
		return ctx.Err()
	}
	t, err := pickle.Parse(data, pickle.Limits{Unpacked: b.o.Record, Memory: b.o.Memory, Stop: ctx.Err})
	if err != nil {
		return err
	}
	use(t)
	return nil
}

// class returns “module.name” of a record that is not decoded otherwise; empty if it has none.
func (b *Browser) class(data []byte) string {
	if int64(len(data)) > b.o.Record {
		return ""
	}
	module, name, err := pickle.ClassAtOnce(data)
	if err != nil {
		return ""
	}
	return module + "." + name
}

// current returns the current revision of an object: its data, whether it exists, and the reason for
// which it does not.
func (b *Browser) current(ctx context.Context, oid zodb.OID) (rev zodb.Revision, reason string, err error) {
	rev, err = b.s.Load(ctx, oid)
	if k, ok := errors.AsType[*zodb.KeyError](err); ok {
		return zodb.Revision{Serial: k.TID}, missing(k), nil
	}
	return rev, "", err
}

// missing says why there is no object.
func missing(k *zodb.KeyError) string {
	if k.Reason != "" {
		return k.Reason
	}
	return "there is no object of that oid"
}
