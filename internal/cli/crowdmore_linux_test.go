package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// Below are hostile programs that stop in the middle, speak msgpack, commit, or
// never come as far as to register.

const chunk = 59_000 // bytes of a blob in one message, as clients send them

// upload begins a blob and sends so many chunks.
func (c *crowdClient) upload(chunks int) error {
	if _, err := c.Write(append(c.begin(), c.request(true, "storeBlobStart")...)); err != nil {
		return err
	}
	piece := make([]byte, chunk)
	return c.many(chunks, func(int) []byte { return c.request(true, "storeBlobChunk", piece) })
}

// commitBlob stores a blob.
func (c *crowdClient) commitBlob(oid zodb.OID, chunks int) (zodb.TID, error) {
	err := c.upload(chunks)
	if err == nil {
		_, err = c.Write(c.request(true, "storeBlobEnd", oid, zodb.TID(0), []byte("blob"), crowdTxn))
	}
	if err != nil {
		return 0, err
	}
	return c.finish()
}

// finish votes and finishes.
func (c *crowdClient) finish() (zodb.TID, error) {
	if _, err := c.call("vote", crowdTxn); err != nil {
		return 0, err
	}
	tid, err := c.call("tpc_finish", crowdTxn)
	if b, ok := tid.([]byte); ok && len(b) == 8 {
		return zodb.TIDFromBytes(b), nil
	}
	return 0, errors.Join(err, fmt.Errorf("tpc_finish answers %v", tid))
}

// reset closes the connection without the courtesies of TCP.
func (c *crowdClient) reset() {
	conn := c.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	conn.Close()
}

// session runs f with a connection that is registered.
func session(f func(ctx context.Context, s *crowdServer, c *crowdClient) error) func(ctx context.Context, s *crowdServer) error {
	return func(ctx context.Context, s *crowdServer) error {
		c, err := s.client(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(ctx, s, c)
	}
}

// msgpack sends one frame on a connection that speaks msgpack.
func msgpack(payload []byte) func(ctx context.Context, s *crowdServer) error {
	register := frameOf(must(wire.AppendRequest(nil, wire.Msgpack, int64(1), false, "register", "1", false)))
	return func(ctx context.Context, s *crowdServer) error {
		c, err := s.connect(ctx)
		if err != nil {
			return errors.Join(errTurnedAway, err)
		}
		defer c.Close()
		for _, b := range [][]byte{append(frameOf([]byte("M5")), register...), frameOf(payload)} {
			if _, err := c.in.Next(); err != nil {
				return errors.Join(errTurnedAway, err)
			}
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
		_, err = c.in.Next()
		return err
	}
}

// strangers opens so many connections, sends the bytes on each, and waits.
func strangers(n int, hello string) func(ctx context.Context, s *crowdServer) error {
	return func(ctx context.Context, s *crowdServer) error {
		for range n {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write([]byte(hello)); err != nil {
				return err
			}
		}
		return pause(ctx, 100*time.Millisecond)
	}
}

func moreAttacks() []attack {
	var fresh atomic.Int64 // oids that nobody has
	return []attack{
		{"blobs that nobody reads", session(func(ctx context.Context, s *crowdServer, c *crowdClient) error {
			err := c.many(200, func(int) []byte { return c.request(false, "sendBlob", crowdBlob, s.blob) })
			return errors.Join(err, pause(ctx, time.Second))
		})},
		{"blobs that stop in the middle", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			return errors.Join(c.upload(20), pause(ctx, time.Second))
		})},
		{"votes in the middle of a blob, and a reset", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			err := c.upload(5)
			if err == nil {
				_, err = c.Write(c.request(false, "vote", crowdTxn))
			}
			c.reset()
			return err
		})},
		{"finishes, and a reset", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			b := append(c.begin(), c.request(true, "storea", zodb.OID(1<<43), zodb.TID(0), []byte("x"), crowdTxn)...)
			b = append(append(b, c.request(false, "vote", crowdTxn)...), c.request(false, "tpc_finish", crowdTxn)...)
			_, err := c.Write(b)
			c.reset()
			return err
		})},
		{"a message byte by byte", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			for _, b := range frameOf(make([]byte, 1<<20))[:100] {
				if _, err := c.Write([]byte{b}); err != nil {
					return err
				}
				if err := pause(ctx, time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})},
		{"long metadata", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			long := bytes.Repeat([]byte("m"), 60_000)
			for range 4 {
				_, err := c.Write(append(c.request(true, "tpc_begin", crowdTxn, long, long, wire.Dict{}, nil, " "),
					c.request(true, "storea", zodb.OID(1<<44+fresh.Add(1)), zodb.TID(0), []byte("x"), crowdTxn)...))
				if err == nil {
					_, err = c.finish()
				}
				if err != nil {
					return err
				}
			}
			return nil
		})},
		{"large transactions that are committed", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			const objects = 2_000
			first := zodb.OID(1<<45 + fresh.Add(objects))
			_, err := c.Write(c.begin())
			if err == nil {
				err = c.many(objects, func(i int) []byte {
					return c.request(true, "storea", first+zodb.OID(i), zodb.TID(0), []byte("x"), crowdTxn)
				})
			}
			if err == nil {
				_, err = c.finish()
			}
			return err
		})},
		{"undos of one transaction", func(ctx context.Context, s *crowdServer) error {
			return steps(2_000, "undoa", func(int) []any { return []any{s.blob, crowdTxn} })(ctx, s)
		}},
		{"walks that stop", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			for i := range 40 {
				if _, err := c.call("iterator_start", nil, nil); err != nil {
					return err
				}
				if _, err := c.call("iterator_next", int64(i)); err != nil {
					return err
				}
			}
			return nil
		})},
		{"snapshots", session(func(ctx context.Context, _ *crowdServer, c *crowdClient) error {
			_, err := c.call("enter_snapshot", "crowd")
			_ = pause(ctx, 20*time.Millisecond)
			_, left := c.call("leave_snapshot", "crowd")
			return errors.Join(err, left)
		})},
		{"msgpack: nothings", msgpack(append([]byte("\x94\x01\xc2\xa4ping\x91\xdd\x00\x80\x00\x00"), bytes.Repeat([]byte{0xc0}, 8<<20)...))},
		{"msgpack: arrays", msgpack(append([]byte("\x94\x01\xc2\xa4ping\x91"), bytes.Repeat([]byte{0x91}, 1<<20)...))},
		{"msgpack: a map of 4 G", msgpack([]byte("\x94\x01\xc2\xa4ping\x91\xdf\xff\xff\xff\xff"))},
		{"half handshakes", strangers(50, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")},
		{"messages before a hello", strangers(50, "\x3f\xff\xff\xff\x80\x03")},
		{"connections that say no hello", func(ctx context.Context, s *crowdServer) error {
			for range 20 {
				c, err := s.connect(ctx) // with TLS a whole handshake
				if err != nil {
					return err
				}
				defer c.Close()
			}
			return pause(ctx, 100*time.Millisecond)
		}},
		{"certificates of strangers", func(ctx context.Context, s *crowdServer) error {
			if s.stranger == nil {
				return pause(ctx, time.Second)
			}
			c, err := (&tls.Dialer{Config: s.stranger}).DialContext(ctx, "tcp", s.address)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Read(make([]byte, 1))
			return err
		}},
	}
}
