package zeo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// fileBlob is a blob in a file.
type fileBlob struct {
	*os.File
	size int64
}

func (b *fileBlob) Size() int64 { return b.size }

func (b *fileBlob) Unchanged(context.Context) error { return nil }

// newFileBlob makes one; size is its known size.
func newFileBlob(t *testing.T, content []byte, size int) *fileBlob {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &fileBlob{f, int64(size)}
}

// connectedOutbox returns an outbox whose frames come out at the other end of a connection.
func connectedOutbox(t *testing.T, network string) (*outbox, net.Conn) {
	t.Helper()
	here, there := hometest.Connected(t, network)
	return newOutbox(here, 1<<30, 1<<20, budget.NewPool(1<<30).Share(1<<20), time.Now), there
}

// around is the frame around the pieces of a blob.
func around(e wire.Encoding) func(n int) (head, tail []byte, err error) {
	return func(n int) (head, tail []byte, err error) {
		return wire.AroundBytes(e, n, "receiveBlobChunk", zodb.OID(0x0102030405060708), zodb.TID(0x1112131415161718))
	}
}

// sendBlobParts sends the pieces of a blob as a connection does, and returns the received bytes.
func sendBlobParts(o *outbox, there net.Conn, p *pieces) ([]byte, error) {
	c := &conn{out: o}
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(there) // the bytes until the end
		got <- b
	}()
	var err error
	for part, perr := range p.readAhead() {
		if err = perr; err == nil {
			err = c.sendPart(context.Background(), part)
		}
		if err != nil {
			break
		}
	}
	err = errors.Join(err, o.conn.Close())
	return <-got, err
}

// TestFilePartsAreTheSameFrames: the kernel sends the same bytes of a file as a server without it,
// for blobs of many sizes and such whose file differs from its known size.
func TestFilePartsAreTheSameFrames(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
			for _, size := range []int{0, 1, 255, 256, blobPiece - 1, blobPiece, blobPiece + 1, 2*blobPiece + 255,
				filePieces*blobPiece - 1, filePieces * blobPiece, filePieces*blobPiece + 1, 5*filePieces*blobPiece + 77} {
				content := content(size)
				for wrong, known := range map[string]int{"": size, "longer": size + blobPiece, "shorter": size / 2} {
					var want []byte
					copied := pieces{r: bytes.NewReader(content), size: int64(known), around: around(e)}
					for part, err := range copied.readAhead() {
						if err != nil {
							t.Fatal(err)
						}
						want = append(want, part.frames...)
					}
					o, there := connectedOutbox(t, network)
					blob := newFileBlob(t, content, known)
					sent := pieces{r: blob, size: int64(known), file: o.blobFile(blob), around: around(e)}
					if sent.file == nil {
						t.Skip("the kernel sends no files here")
					}
					got, err := sendBlobParts(o, there, &sent)
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%s, %c, %d bytes, %s: %d came of %d, or others; %v", network, e, size, wrong, len(got), len(want), err)
					}
					if o.pending != 0 || o.share.Held() != 0 {
						t.Fatalf("%s, %c, %d bytes, %s: %d wait, %d bytes of memory are held", network, e, size, wrong, o.pending, o.share.Held())
					}
				}
			}
		}
	}
}

// TestFilesThatTheKernelCannotSend are copied: a directory is none that it can.
func TestFilesThatTheKernelCannotSend(t *testing.T) {
	t.Parallel()
	content := content(3*blobPiece + 5)
	o, there := connectedOutbox(t, "tcp")
	blob := newFileBlob(t, content, len(content))
	file := o.blobFile(blob)
	if file == nil {
		t.Skip("the kernel sends no files here")
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if file.file, err = dir.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	if _, err := sendFile(file.to, file.file, 0, 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("a directory: %v", err)
	}
	got, err := sendBlobParts(o, there, &pieces{r: blob, size: blob.size, file: file, around: around(wire.Msgpack)})
	var want []byte
	for part := range (&pieces{r: bytes.NewReader(content), size: blob.size, around: around(wire.Msgpack)}).readAhead() {
		want = append(want, part.frames...)
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came of %d, or others; %v", len(got), len(want), err)
	}
}

// TestFileThatIsCutWhileItIsSent ends the connection: missing bytes are not made up for.
func TestFileThatIsCutWhileItIsSent(t *testing.T) {
	t.Parallel()
	for name, unsupported := range map[string]bool{"sent": false, "copied": true} {
		content := content(2 * blobPiece)
		o, there := connectedOutbox(t, "tcp")
		blob := newFileBlob(t, content, len(content))
		file := o.blobFile(blob)
		if file == nil {
			t.Skip("the kernel sends no files here")
		}
		if unsupported {
			dir, err := os.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			if file.file, err = dir.SyscallConn(); err != nil {
				t.Fatal(err)
			}
		}
		p := &pieces{r: io.MultiReader(bytes.NewReader(content), &cutter{blob.File}), size: blob.size, file: file, around: around(wire.Msgpack)}
		got, err := sendBlobParts(o, there, p)
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) >= len(content) {
			t.Errorf("%s: %d bytes came; %v", name, len(got), err)
		}
	}
}

// cutter cuts a file when it is read, which is after the whole was read.
type cutter struct{ f *os.File }

func (c *cutter) Read([]byte) (int, error) {
	if err := c.f.Truncate(blobPiece / 2); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// TestKernelSendsBlobsOfStorages over connections that are nothing but sockets.
func TestKernelSendsBlobsOfStorages(t *testing.T) {
	t.Parallel()
	if !canSendFile {
		t.Skip("the kernel sends no files here")
	}
	ts := serve(t, Options{})
	tid := commitBlob(t, ts.dialCache(wire.Msgpack), 1, 0, "blob", content(1000))
	blob, err := ts.storages["1"].OpenBlob(t.Context(), 1, tid)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	for _, network := range []string{"tcp", "unix"} {
		o, _ := connectedOutbox(t, network)
		if o.blobFile(blob) == nil {
			t.Errorf("not over %s", network)
		}
		if o.blobFile(struct{ zodb.Blob }{blob}) != nil {
			t.Errorf("over %s, without a file", network)
		}
		o.conn = struct{ net.Conn }{o.conn}
		if o.blobFile(blob) != nil {
			t.Errorf("over %s, past what is around the socket", network)
		}
	}
}

// changing is a storage whose blobs are written to while they are read.
type changing struct{ zodb.Storage }

func (s changing) OpenBlob(ctx context.Context, oid zodb.OID, tid zodb.TID) (zodb.Blob, error) {
	blob, err := s.Storage.OpenBlob(ctx, oid, tid)
	if err != nil {
		return nil, err
	}
	return &changingBlob{blob.(sendableBlob), sync.Once{}}, nil
}

type changingBlob struct {
	sendableBlob
	once sync.Once
}

// Read changes the file when its end was read: nothing of that is seen by who reads.
func (b *changingBlob) Read(p []byte) (n int, err error) {
	if n, err = b.sendableBlob.Read(p); err != io.EOF {
		return n, err
	}
	b.once.Do(func() {
		raw, cerr := b.SyscallConn()
		if cerr == nil {
			cerr = raw.Control(func(fd uintptr) {
				name := fmt.Sprintf("/proc/self/fd/%d", fd)
				err = errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, []byte("other"), 0o600), os.Truncate(name, b.Size()))
			})
		}
		if err = errors.Join(err, cerr); err == nil {
			err = io.EOF
		}
	})
	return n, err
}

// TestBlobThatIsChangedWhileItIsSent: the client is never told that this was all.
func TestBlobThatIsChangedWhileItIsSent(t *testing.T) {
	t.Parallel()
	if !canSendFile {
		t.Skip("the kernel sends no files here")
	}
	encodings(t, func(t *testing.T, e wire.Encoding) {
		home := memoryHome(t)
		s := newStorage(t, home)
		tid := commitBlob(t, serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}}).dialCache(e), 1, 0, "blob", content(300_000))
		ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: changing{s}}}})
		c := ts.client(e)
		said := fmt.Sprint(c.fails(classSystem, "sendBlob", zodb.OID(1), tid))
		if !strings.Contains(said, "0000000000000001") {
			t.Errorf("the error is %q", said)
		}
		for _, m := range c.told {
			if m.Name == "receiveBlobStop" {
				t.Error("the client was told that it has the whole")
			}
		}
	})
}
