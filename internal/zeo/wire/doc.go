// Package wire is the format of ZEO protocol 5 on a connection: frames, the
// two encodings of messages, and the fast ways for the one request that makes
// up nearly all traffic. It knows no sockets and no methods.
//
// A frame is 4 bytes of length, big-endian, and a payload. After the handshake
// each payload is one message, a tuple of four:
//
//	(id, flag, name, args)      request; flag true: one-way, no reply is wanted
//	(id, 0, ".reply", result)   reply
//	(id, 2, ".reply", (class, details))  the request failed
//	(0, True, name, args)       call of the server
//
// The encoding is either pickle, of which protocol 3 without a memo is written
// and the plain values of protocols 0 to 3 are read, or msgpack. The possible contents of
// a message, as Go types, are listed at [Tuple].
//
// # Invariants
//
//   - The decoders never build anything but those values, from any pickle. Classes are
//     names in a table of a handful; everything else is an error.
//   - The cost of a frame is bound by its length, not by the numbers in it: depth,
//     number of values, and the growth of a value by references to the memo of a pickle.
//     See limits.go.
//   - Bytes in a decoded message are parts of the frame; text is copied. A frame
//     of [Reader] is good until the next one is asked for.
//   - An id is written back as it was sent, byte for byte ([Message.RawID]):
//     clients wait for ever for an answer whose id has another type.
//   - A client hangs on a message that it cannot read, so the encoders refuse values that
//     the other side does not accept, and then leave the buffer as it was.
//
// # Example
//
//	frame, err := reader.Next()
//	if raw, oid, tid, ok := wire.LoadBefore(enc, frame); ok {
//		r, err := storage.LoadBefore(ctx, oid, tid)
//		out, err = wire.AppendFrame(out, func(b []byte) ([]byte, error) {
//			return wire.AppendLoaded(b, enc, raw, r.Data, r.Serial, r.End), nil
//		})
//	}
//
// All functions may be called concurrently and keep nothing of their arguments;
// a Reader belongs to one goroutine.
//
// Source: the format of the messages is ZEO's; pickle is described by the
// comments of Python's pickletools, msgpack by its specification.
package wire
