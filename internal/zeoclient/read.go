package zeoclient

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// LoadBefore returns the newest revision that is earlier than before; nil
// without an error if the object had none then. Errors as those of the engine.
func (c *Client) LoadBefore(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	return c.StartLoadBefore(oid, before, nil).Wait(ctx)
}

// PendingLoad is a LoadBefore that was begun.
type PendingLoad struct {
	p   *Pending
	rev *zodb.Revision
}

// StartLoadBefore is LoadBefore without waiting, see [Client.Start]. It calls entered, if
// that is not nil, with the result on the reader's goroutine: after all that arrived
// before the result, and before all that arrived later.
func (c *Client) StartLoadBefore(oid zodb.OID, before zodb.TID, entered func(rev *zodb.Revision, err error) error) *PendingLoad {
	l := &PendingLoad{}
	l.p = c.start(func(v any, err error) error {
		var fatal error
		if err == nil {
			l.rev, fatal = revision(v)
		}
		if fatal == nil && entered != nil {
			fatal = entered(l.rev, err)
		}
		return fatal
	}, "loadBefore", oid, clientTID(before))
	return l
}

// Wait returns the result.
func (l *PendingLoad) Wait(ctx context.Context) (*zodb.Revision, error) {
	if _, err := l.p.Wait(ctx); err != nil {
		return nil, err
	}
	return l.rev, nil
}

// clientTID cuts a tid to the largest one that clients send.
func clientTID(t zodb.TID) zodb.TID { return min(t, 1<<63-1) }

func revision(v any) (*zodb.Revision, error) {
	if v == nil {
		return nil, nil
	}
	list, err := sequence(v, 3)
	if err != nil {
		return nil, err
	}
	var r zodb.Revision
	if r.Data, err = asBytes(list[0]); err != nil {
		return nil, err
	}
	if r.Serial, err = asTID(list[1]); err != nil {
		return nil, err
	}
	r.End, err = tidOrNone(list[2])
	return &r, err
}

// LoadSerial returns the data of one revision.
func (c *Client) LoadSerial(ctx context.Context, oid zodb.OID, serial zodb.TID) ([]byte, error) {
	v, err := c.Call(ctx, "loadSerial", oid, serial)
	if err != nil {
		return nil, err
	}
	return asBytes(v)
}

// GetTid returns the serial of the current revision.
func (c *Client) GetTid(ctx context.Context, oid zodb.OID) (zodb.TID, error) {
	v, err := c.Call(ctx, "getTid", oid)
	if err != nil {
		return 0, err
	}
	return asTID(v)
}

// LastTransaction asks the server for the last transaction.
func (c *Client) LastTransaction(ctx context.Context) (zodb.TID, error) {
	v, err := c.Call(ctx, "lastTransaction")
	if err != nil {
		return 0, err
	}
	return asTID(v)
}

// GetInvalidations returns the objects changed after a transaction, up to and including the
// returned one; ok is false if the server does not know that far back.
func (c *Client) GetInvalidations(ctx context.Context, after zodb.TID) (upTo zodb.TID, oids []zodb.OID, ok bool, err error) {
	v, err := c.Call(ctx, "getInvalidations", after)
	if err != nil || v == nil {
		return 0, nil, false, err
	}
	pair, err := sequence(v, 2)
	if err != nil {
		return 0, nil, false, err
	}
	if upTo, err = asTID(pair[0]); err != nil {
		return 0, nil, false, err
	}
	oids, err = asOIDs(pair[1])
	return upTo, oids, err == nil, err
}

// Ping makes a round trip.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.Call(ctx, "ping")
	return err
}

// NewOIDs returns n oids that nobody was given before.
func (c *Client) NewOIDs(ctx context.Context, n int) ([]zodb.OID, error) {
	oids := make([]zodb.OID, 0, n)
	for len(oids) < n {
		v, err := c.Call(ctx, "new_oids", min(n-len(oids), 100))
		if err != nil {
			return oids, err
		}
		more, err := asOIDs(v)
		if err != nil {
			return oids, err
		}
		if len(more) == 0 {
			return oids, protocolError("new_oids gives none")
		}
		oids = append(oids, more[:min(len(more), n-len(oids))]...)
	}
	return oids, nil
}

// Info holds a server's facts about a storage.
type Info struct {
	Length, Size           int64 // objects, bytes
	Name                   string
	SupportsUndo           bool
	SupportsRecordIternext bool
	Interfaces             []string // their names, without the module
	All                    wire.Dict
}

// Has reports whether the storage has one of ZODB's interfaces, such as IStorageIteration.
func (i *Info) Has(name string) bool {
	for _, n := range i.Interfaces {
		if n == name {
			return true
		}
	}
	return false
}

// GetInfo describes the storage. A server that answers nothing, see Options.Patience, ends the connection.
func (c *Client) GetInfo(ctx context.Context) (*Info, error) {
	defer c.patiently(ctx)()
	v, err := c.Call(ctx, "get_info")
	if err != nil {
		return nil, err
	}
	d, ok := v.(wire.Dict)
	if !ok {
		return nil, protocolError("get_info gives %T", v)
	}
	i := &Info{All: d}
	i.Length, _ = d.Get("length").(int64)
	i.Size, _ = d.Get("size").(int64)
	i.Name, _ = d.Get("name").(string)
	i.SupportsUndo, _ = d.Get("supportsUndo").(bool)
	i.SupportsRecordIternext, _ = d.Get("supports_record_iternext").(bool)
	list, _ := sequence(d.Get("interfaces"), -1)
	for _, v := range list {
		if pair, err := sequence(v, 2); err == nil {
			if name, ok := pair[1].(string); ok {
				i.Interfaces = append(i.Interfaces, name)
			}
		}
	}
	return i, nil
}

// Pack removes revisions and objects that no transaction since t needs. With wait it returns when
// that is done.
func (c *Client) Pack(ctx context.Context, t time.Time, wait bool) error {
	_, err := c.Call(ctx, "pack", float64(t.UnixNano())/1e9, wait)
	return err
}

// LogEntry is a line of the history of an object or of the undo log.
type LogEntry struct {
	TID               zodb.TID
	Time              float64 // seconds since 1970
	User, Description []byte
	Size              int64
	All               wire.Dict // as sent, with the keys of the extension
}

// History returns up to n revisions of an object, newest first.
func (c *Client) History(ctx context.Context, oid zodb.OID, n int) ([]LogEntry, error) {
	v, err := c.Call(ctx, "history", oid, n)
	if err != nil {
		return nil, err
	}
	return logEntries(v)
}

// UndoLog returns transactions, newest first: those with first <= index < last,
// or -last of them if last is negative.
func (c *Client) UndoLog(ctx context.Context, first, last int) ([]LogEntry, error) {
	v, err := c.Call(ctx, "undoLog", first, last)
	if err != nil {
		return nil, err
	}
	return logEntries(v)
}

// UndoInfo is UndoLog of those that match a filter; nil matches all.
func (c *Client) UndoInfo(ctx context.Context, first, last int, filter wire.Dict) ([]LogEntry, error) {
	var f any
	if filter != nil {
		f = filter
	}
	v, err := c.Call(ctx, "undoInfo", first, last, f)
	if err != nil {
		return nil, err
	}
	return logEntries(v)
}

func logEntries(v any) ([]LogEntry, error) {
	list, err := sequence(v, -1)
	if err != nil {
		return nil, err
	}
	entries := make([]LogEntry, len(list))
	for i, v := range list {
		d, ok := v.(wire.Dict)
		if !ok {
			return nil, protocolError("%T where an entry of a log should be", v)
		}
		e := &entries[i]
		e.All = d
		e.Time, _ = d.Get("time").(float64)
		e.User, _ = d.Get("user_name").([]byte)
		e.Description, _ = d.Get("description").([]byte)
		e.Size, _ = d.Get("size").(int64)
		if e.TID, err = entryTID(d); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// entryTID finds the tid where the kinds of logs have it.
func entryTID(d wire.Dict) (zodb.TID, error) {
	for _, key := range []string{"tid", "serial"} {
		if v := d.Get(key); v != nil {
			return asTID(v)
		}
	}
	id, _ := d.Get("id").([]byte)
	b, err := base64.StdEncoding.DecodeString(string(id))
	if err != nil {
		return 0, protocolError("the id %q of a transaction", id)
	}
	return asTID(b)
}

// undoID is how a transaction is named in an undo.
func undoID(tid zodb.TID) []byte {
	return []byte(base64.StdEncoding.EncodeToString(tid.Bytes()))
}
