package zeoclient

import (
	"context"
	"errors"
	"iter"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// aheadTIDs is how many tids are asked for before the first of them is there. Python's server answers them one after the
	// other, and nobody else meanwhile: this is a few milliseconds.
	aheadTIDs = 64
	// flushTIDs is after how many of these requests they are sent, so that the server has some while others are answered.
	flushTIDs = aheadTIDs / 4
)

// Current is an object on the server, and the serial of its current revision.
type Current struct {
	OID zodb.OID
	TID zodb.TID
	Err *ServerError // in the place of the TID; nil: none
}

// GetTids is [Client.GetTid] for many objects: it yields the answers in the order of the objects, and asks for some ahead. An
// error of oids, or of the connection, ends it. A server that answers nothing, see Options.Patience, ends the connection.
func (c *Client) GetTids(ctx context.Context, oids iter.Seq2[zodb.OID, error]) iter.Seq2[Current, error] {
	type asked struct {
		oid zodb.OID
		p   *Pending
	}
	return func(yield func(Current, error) bool) {
		defer c.patiently(ctx)()
		var queue []asked
		answer := func() bool {
			a := queue[0]
			queue = queue[1:]
			v, err := a.p.Wait(ctx)
			got := Current{OID: a.oid}
			if errors.As(err, &got.Err) {
				err = nil
			} else if err == nil {
				got.TID, err = asTID(v)
			}
			return yield(got, err) && err == nil
		}
		n := 0
		for oid, err := range oids {
			if err != nil {
				yield(Current{}, err)
				return
			}
			queue = append(queue, asked{oid, c.Start("getTid", oid)})
			if n++; n%flushTIDs == 0 {
				_ = c.Flush() // the answers tell of an error
			}
			if len(queue) == aheadTIDs && !answer() {
				return
			}
		}
		for len(queue) > 0 && answer() {
		}
	}
}

// Currents yields each object that the server has, by record_iternext, which sends the data as well. An object that it cannot read comes
// with an error, if the server names it, and those behind it follow. A server that answers nothing, see Options.Patience,
// ends the connection.
func (c *Client) Currents(ctx context.Context) iter.Seq2[Current, error] {
	return func(yield func(Current, error) bool) {
		defer c.patiently(ctx)()
		var from any       // the oid to go on with
		var least zodb.OID // behind the last error
		for errorsBefore := 0; ; {
			v, err := c.Call(ctx, "record_iternext", from)
			if err == nil {
				var got Current
				if got, from, err = currentRecord(v); err != nil {
					yield(Current{}, err)
					return
				}
				if errorsBefore = 0; !yield(got, nil) || from == nil {
					return
				}
				continue
			}
			e, told := errors.AsType[*ServerError](err)
			if told && e.Class == "builtins.ValueError" { // there are no more
				return
			}
			// Tokens are oids on all servers whose errors name the object.
			at, known := oidOf(e)
			if errorsBefore++; !told || !known || at < least || at == ^zodb.OID(0) || errorsBefore > mostErrors {
				yield(Current{}, err)
				return
			}
			if !yield(Current{OID: at, Err: e}, nil) {
				return
			}
			least = at + 1
			from = least
		}
	}
}

func currentRecord(v any) (got Current, next any, err error) {
	list, err := sequence(v, 4)
	if err != nil {
		return got, nil, err
	}
	if got.OID, err = asOID(list[0]); err != nil {
		return got, nil, err
	}
	got.TID, err = asTID(list[1])
	return got, list[3], err
}

// oidOf is the object that an error of a server names.
func oidOf(e *ServerError) (zodb.OID, bool) {
	if e == nil {
		return 0, false
	}
	var v any
	switch d := e.Details.(type) {
	case wire.Dict:
		v = d.Get("oid")
	case wire.Tuple:
		v = append(d, nil)[0]
	case wire.List:
		v = append(d, nil)[0]
	}
	oid, err := asOID(v)
	return oid, err == nil
}
