package zeo

import (
	"context"
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// upload is a blob that is being received.
type upload struct {
	blob zodb.BlobWriter // nil: the transaction has failed, or this did; further bytes are dropped
	size int64
	err  error // why this failed
	file bool  // one of has.files is held
}

// discardUpload drops a blob that was received in part.
func (c *conn) discardUpload() {
	if c.upload == nil {
		return
	}
	c.closeUpload()
	if c.upload.blob != nil {
		if err := c.upload.blob.Abort(); err != nil {
			c.log().Warn("could not remove a broken upload's temporary files; the next open will", "err", err)
		}
	}
	c.upload = nil
}

func (c *conn) storeBlobStart(r *request, _ *arguments) error {
	c.awaitFinish()
	x := c.open()
	switch {
	case c.upload != nil:
		return r.fail(transactionError("storeBlobStart while another blob is being sent"))
	case x == nil:
		return r.fail(transactionError(nil, nil))
	}
	state := x.stage.Use(func(w *work) {
		c.upload = &upload{}
		if w.failed == nil {
			w.failed = c.openUpload()
		}
		if w.failed == nil {
			c.upload.blob, w.failed = w.t.BeginBlob()
		}
		if w.failed != nil { // further pieces of the blob are dropped
			c.closeUpload()
			c.release(w)
		}
	})
	if !state.Open() {
		return r.fail(transactionError(nil, nil))
	}
	return r.answer(nil)
}

// storeBlobChunk writes a piece. The reader waits for the disk, and so does the
// client behind TCP's window: that is the flow control.
func (c *conn) storeBlobChunk(r *request, a *arguments) error {
	piece := a.bytes(0)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	if c.upload == nil {
		return r.fail(&typeError{"storeBlobChunk without storeBlobStart"})
	}
	c.pieceCame()
	c.countPiece(len(piece))
	if u := c.upload; u.blob != nil {
		if _, err := u.blob.Write(piece); err != nil {
			c.failUpload(err)
		}
	}
	return r.answer(nil)
}

// pieceCame notes that the client goes on.
func (c *conn) pieceCame() {
	if c.upload.file {
		c.uploadAt.Store(c.srv.o.Clock().UnixNano())
	}
}

// countPiece counts the bytes of a piece, and gives up a blob that is too large.
func (c *conn) countPiece(n int) {
	u := c.upload
	u.size += int64(n)
	if limit := c.srv.o.Limits.Blob; u.size > limit && u.blob != nil {
		c.srv.o.Observer.Refused("blob")
		c.failUpload(&pythonError{classStorage, wire.Tuple{fmt.Sprintf("a blob of more than %d bytes, which is the limit max-blob of the server", limit)}})
	}
}

// roomyBlob is a blob whose content can be put into its place, without a copy.
type roomyBlob interface {
	// Room returns memory for the next bytes, at least one; none after an error.
	Room() []byte
	// Filled adds the first n bytes of it.
	Filled(n int) error
}

// uploadPiece reads a piece of a blob into its place, if that is what comes, and those that arrive
// with it. It reports whether it was.
func (c *conn) uploadPiece(in *wire.Reader) (done bool, err error) {
	if c.upload == nil {
		return false, nil
	}
	blob, ok := c.upload.blob.(roomyBlob)
	if !ok {
		return false, nil
	}
	left, ok := in.BlobChunk(c.encoding)
	if !ok {
		return false, nil
	}
	c.worked(false)
	c.countPiece(left)
	for left > 0 {
		var room []byte
		if c.upload.blob != nil {
			room = blob.Room()
		}
		if len(room) == 0 { // the rest of the piece is dropped; those that follow are messages as any other
			room = make([]byte, min(left, 16<<10))
		}
		n, begun, err := in.ReadChunk(room)
		if err != nil {
			return true, c.readError(err)
		}
		left += begun - n
		c.countPiece(begun)
		if c.upload.blob != nil {
			c.sends.work()
			if err := blob.Filled(n); err != nil {
				c.failUpload(err)
			}
		}
		c.sends.came(c.srv.o.Clock(), int64(n))
		if begun > 0 {
			c.worked(false)
			c.pieceCame()
			if err := c.flushed(in); err != nil {
				return true, err
			}
		}
	}
	c.pieceCame()
	return true, nil
}

// failUpload keeps the fault for the vote; the rest of the blob is dropped.
func (c *conn) failUpload(err error) {
	u := c.upload
	u.err = err
	if err := u.blob.Abort(); err != nil {
		c.log().Warn("could not remove a broken upload's temporary files; the next open will", "err", err)
	}
	u.blob = nil
	c.closeUpload()
}

// openUpload waits for a file.
func (c *conn) openUpload() error {
	c.out.kick()
	ctx, cancel := context.WithTimeout(c.ctx, fileTime)
	defer cancel()
	if err := c.takeFile(ctx); err != nil {
		return c.noFile("a blob", "blobs")
	}
	c.upload.file = true
	c.uploadAt.Store(c.srv.o.Clock().UnixNano())
	return nil
}

func (c *conn) closeUpload() {
	if c.upload.file {
		c.has.files.Give(1)
		c.upload.file = false
		c.uploadAt.Store(0)
	}
}

func (c *conn) storeBlobEnd(r *request, a *arguments) error {
	u := c.upload
	if u == nil {
		return r.fail(&typeError{"storeBlobEnd without storeBlobStart"})
	}
	st := &step{kind: stepBlob, oid: a.oid(0), serial: a.tidOr0(1), data: a.bytes(2)}
	c.closeUpload()
	if u.blob == nil { // u.err says why, or the transaction's failed
		c.upload, st.failed = nil, u.err
		return c.operate(r, a, 3, st)
	}
	st.blob.Staged = u.blob
	c.tookBlob(u.size)
	err := c.operate(r, a, 3, st)
	c.upload = nil // the writer belongs to the transaction now, or goes with it
	return err
}

// storeBlobShared takes a file that the client put into the shared directory.
func (c *conn) storeBlobShared(r *request, a *arguments) error {
	name := a.text(3)
	st := &step{kind: stepBlob, oid: a.oid(0)}
	if a.err == nil {
		if err := checkSharedName(name); err != nil {
			if _, err := c.current(a, 4); err != nil {
				return r.fail(err)
			}
			return r.fail(&pythonError{"builtins.ValueError", wire.Tuple{err.Error()}})
		}
		st.blob.Path, st.failed = c.hub.uploaded(st.oid, name)
	}
	st.serial, st.data = a.tidOr0(1), a.bytes(2)
	return c.operate(r, a, 4, st)
}

// uploaded returns the path of a file that a client has put into the shared
// directory for an object.
func (h *hub) uploaded(oid zodb.OID, name string) (string, error) {
	if h.blobs == nil {
		return "", &pythonError{classStorage, wire.Tuple{"this server shares no blob directory: set shared_blob_dir to false in the client, or blob-dir in the server"}}
	}
	return h.blobs.uploaded(oid, name)
}

// maxSharedName is the length in bytes of the longest name of an upload, that of a file.
const maxSharedName = 255

// checkSharedName refuses a name that is not an upload's, as clients choose them.
func checkSharedName(name string) error {
	stem := strings.TrimSuffix(name, ".tmp")
	if stem == name && len(name) > 0 {
		stem = strings.TrimSuffix(name[:len(name)-1], ".tmp")
		if stem == name[:len(name)-1] {
			stem = name
		}
	}
	if len(name) > maxSharedName || stem == name || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is not the name of an uploaded blob", clipped(name))
	}
	return nil
}
