package zeo

import (
	"encoding/json"
	"errors"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// protocolVersion is the only one that is spoken.
const protocolVersion = '5'

// probe is the message of monitoring, in place of an answer to the announcement.
const probe = "ruok"

// errProbe ends the connection of a probe.
var errProbe = errors.New("status probe answered")

// hello announces the protocol and takes the client's choice of the encoding.
func (c *conn) hello(in *wire.Reader) error {
	c.out.putRaw([]byte{byte(c.srv.o.Announce), protocolVersion})
	if err := c.out.flush(); err != nil {
		return err
	}
	b, err := in.Next()
	if err != nil {
		return c.readError(err)
	}
	if string(b) == probe {
		return c.answerProbe()
	}
	if len(b) != 2 || b[1] != protocolVersion {
		return protocolError("the client wants the protocol %.40q", b)
	}
	switch e := wire.Encoding(b[0]); e {
	case wire.Pickle, wire.Msgpack:
		c.encoding = e
		return nil
	}
	return protocolError("the client wants the unknown encoding %.40q", b)
}

func (c *conn) answerProbe() error {
	all := make(map[string]any)
	for _, h := range c.srv.order {
		all[h.name] = c.srv.status(h)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	c.out.putRaw(b)
	if err := c.out.flush(); err != nil {
		return err
	}
	return errProbe
}

// register is the first call. If it fails it may be tried again, as clients do
// that can live with a read-only connection.
func (c *conn) register(r *request) error {
	a := &arguments{list: r.args}
	if len(r.args) < 1 || len(r.args) > 2 {
		return c.refused(r, &typeError{"register takes a storage and whether it is to be read only"})
	}
	name, readOnly := a.text(0), a.truth(1)
	if a.err != nil {
		return c.refused(r, &typeError{a.err.Error()})
	}
	h := c.srv.hubs[name]
	if h == nil {
		name = clipped(name)
		c.log().Warn("unknown storage asked for", "storage", name)
		return c.refused(r, &pythonError{"builtins.ValueError", wire.Tuple{"unknown storage: " + name}})
	}
	if !readOnly && (h.readOnly || h.storage.Status().ReadOnly) {
		return c.refused(r, zodb.ErrReadOnly)
	}
	if err := c.srv.admit(c); err != nil {
		if errors.Is(err, errFull) {
			c.srv.refuse(c)
		}
		return err
	}
	c.readOnly = readOnly
	c.hub = h
	var err error
	h.join(c, func(last zodb.TID) { err = r.answer(last) })
	c.srv.o.Observer.Connections(h.name, 1)
	return err
}
