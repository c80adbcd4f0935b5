package zeo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/dirstorage/dirstorage/zodb"
)

// sendableBlob is a blob whose file the kernel can send.
type sendableBlob interface {
	zodb.Blob
	syscall.Conn
	// Unchanged returns *zodb.CorruptError if the file was written to since it was opened; the error of ctx if
	// that ends before this is known.
	Unchanged(ctx context.Context) error
}

// blobFile is a blob that the kernel sends over a connection.
type blobFile struct {
	blob     sendableBlob
	file, to syscall.RawConn
}

// blobFile returns a blob as one that the kernel sends; nil where it cannot: TLS encrypts here, and
// not every storage has its blobs in files.
func (o *outbox) blobFile(blob zodb.Blob) *blobFile {
	to := rawSocket(o.conn)
	from, ok := blob.(sendableBlob)
	if !canSendFile || to == nil || !ok {
		return nil
	}
	file, err := from.SyscallConn()
	if err != nil {
		return nil
	}
	return &blobFile{blob: from, file: file, to: to}
}

// rawSocket returns a connection that is nothing but a socket; nil: it is more.
func rawSocket(nc net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch nc := nc.(type) {
	case *net.TCPConn:
		raw, err = nc.SyscallConn()
	case *net.UnixConn:
		raw, err = nc.SyscallConn()
	}
	if err != nil {
		return nil
	}
	return raw
}

// section is a frame whose content is in a file.
type section struct {
	head, tail []byte
	n          int // bytes of content
}

// filePart is a part of a blob's file in frames, which was compared with the checksum.
type filePart struct {
	from     *blobFile
	at       int64 // offset in the file
	sections []section
}

// content returns how many bytes of the file it has.
func (p *filePart) content() (n int64) {
	for _, s := range p.sections {
		n += int64(s.n)
	}
	return n
}

// size returns how many bytes are sent.
func (p *filePart) size() int64 {
	n := p.content()
	for _, s := range p.sections {
		n += int64(len(s.head) + len(s.tail))
	}
	return n
}

func (p part) size() int64 {
	if p.file != nil {
		return p.file.size()
	}
	return int64(len(p.frames))
}

// writeTo sends it. After an error a part of a frame may have been sent.
func (p *filePart) writeTo(o *outbox) error {
	at := p.at
	var before []byte // the content of the next section
	for _, s := range p.sections {
		if err := o.allowWrite(len(before) + len(s.head) + s.n); err != nil {
			return err
		}
		before = append(before, s.head...)
		if err := sendMore(p.from.to, before); err != nil {
			return err
		}
		if err := p.from.send(o, at, s.n); err != nil {
			return fmt.Errorf("send the content of a blob: %w", err)
		}
		before = append(before[:0], s.tail...)
		at += int64(s.n)
	}
	return o.write(before)
}

// send sends n bytes of the file.
func (f *blobFile) send(o *outbox, at int64, n int) error {
	sent, err := sendFile(f.to, f.file, at, n)
	if sent == n || !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// A file system that does not offer it.
	_, err = io.CopyN(o.conn, io.NewSectionReader(f.blob, at+int64(sent), int64(n-sent)), int64(n-sent))
	return unexpectedEnd(err)
}

// unexpectedEnd returns the error for a file that has become shorter.
func unexpectedEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
