package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// ErrNoIteration: the server does not let its transactions be listed.
var ErrNoIteration = errors.New("the storage on the server has no iteration, so its transactions cannot be copied")

// ErrDamagedRecord: a server gives a record out that cannot be believed.
var ErrDamagedRecord = errors.New("damaged record")

// ServerOptions of [ImportServer] and [Follow].
type ServerOptions struct {
	Policy   BlobPolicy     // blobs come from the server
	Progress func(Progress) // may be nil; called after each transaction
	Salvage  bool           // records that the server cannot read are passed over
	Load     *Load          // as in ImportOptions; Follow has none
}

// ImportServer is [Import] from a storage on a ZEO server, as it is when this begins. Then it compares the current
// revision of each object with that of the server, and the error matches ErrIncomplete if one differs; with Salvage it is in
// the result alone.
func ImportServer(ctx context.Context, s Target, c *zeoclient.Client, o ServerOptions) (Imported, error) {
	im := newImporter(s, nil, o.Policy, o.Progress)
	im.src, im.salvage, im.load = &server{c: c, skip: im.skipsTransaction}, o.Salvage, o.Load
	err := im.run(ctx)
	if err == nil {
		err = (&agreement{im: im, c: c, last: im.result.LastTID}).compareWhole(ctx)
	}
	if err == nil {
		err = im.dangling(ctx)
	}
	return im.result, err
}

// server is a storage on a ZEO server as a source.
type server struct {
	c     *zeoclient.Client
	skip  func(error) bool // whether to go on behind a transaction that cannot be read
	info  *zeoclient.Info
	read  int64 // bytes of records, about as a Data.fs has them
	whole bool  // it is copied from its beginning
}

// headerBytes is the size of a record in a Data.fs without its data.
const headerBytes = 42

func (v *server) name() string { return "the one on the server" }

func (v *server) begin(ctx context.Context, _ bool) (err error) {
	if v.info, err = v.c.GetInfo(ctx); err != nil {
		return err
	}
	if !v.info.Has("IStorageIteration") {
		return ErrNoIteration
	}
	return nil
}

func (v *server) transactions(ctx context.Context, from zodb.TID) iter.Seq2[*sourceTxn, error] {
	v.whole = from == 0
	return func(yield func(*sourceTxn, error) bool) {
		for txn, err := range v.c.IterateSalvage(ctx, from, 0, v.skip) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&sourceTxn{Transaction: txn.Transaction, records: v.records(txn)}, nil) {
				return
			}
		}
	}
}

// records yields the records of a transaction without those of blobs that are there
// again: a Python server keeps the record of each blob twice.
func (v *server) records(txn *zeoclient.Transaction) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		blobs := make(map[zodb.OID][]byte)
		for rec, err := range txn.Records() {
			if err == nil && rec.TID != txn.TID {
				err = &strayRecordError{rec.OID, rec.TID, txn.TID}
			}
			if err == nil && rec.Exists && filestorage.IsBlobRecord(rec.Data) {
				if bytes.Equal(blobs[rec.OID], rec.Data) {
					continue
				}
				blobs[rec.OID] = rec.Data
			} else {
				delete(blobs, rec.OID)
			}
			v.read += headerBytes + int64(len(rec.Data))
			if !yield(rec, err) {
				return
			}
		}
	}
}

// strayRecordError tells that a server gives a record out for that of a transaction, and another one in it: the header of the
// record is damaged, and may be that of another object.
type strayRecordError struct {
	oid      zodb.OID
	tid, txn zodb.TID
}

func (e *strayRecordError) Error() string {
	return fmt.Sprintf("the server gives a record of object %s that names transaction %s for one of transaction %s: its header is damaged there", e.oid, e.tid, e.txn)
}

// Is matches ErrDamagedRecord.
func (e *strayRecordError) Is(target error) bool { return target == ErrDamagedRecord }

func (*server) hasBlob(rec zodb.Record) bool { return filestorage.IsBlobRecord(rec.Data) }

// openBlob streams the blob from the server. A missing blob is an error of openBlob itself, not of
// the first read.
func (v *server) openBlob(ctx context.Context, rec zodb.Record) (io.ReadCloser, error) {
	if !v.info.Has("IBlobStorage") {
		return nil, &missingBlobError{rec.OID, "the server has no blobs"}
	}
	sending, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	b := &serverBlob{Reader: bufio.NewReaderSize(r, 64<<10), pipe: r, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		_, err := v.c.SendBlob(sending, rec.OID, rec.TID, w)
		w.CloseWithError(err) // nil is io.EOF
	}()
	_, err := b.Peek(1)
	if err == nil || errors.Is(err, io.EOF) {
		return b, nil
	}
	err = errors.Join(err, b.Close())
	if !errors.Is(err, zodb.ErrNotFound) {
		return nil, fmt.Errorf("blob of object %s: %w", rec.OID, err)
	}
	if _, err := v.c.LoadSerial(ctx, rec.OID, rec.TID); errors.Is(err, zodb.ErrNotFound) {
		return nil, &packedMeanwhileError{rec.OID, rec.TID}
	}
	return nil, &missingBlobError{rec.OID, "the server does not have it"}
}

// packedMeanwhileError tells that a revision that the server gave out is not there any
// more. Read again, its transaction is without it.
type packedMeanwhileError struct {
	oid zodb.OID
	tid zodb.TID
}

func (e *packedMeanwhileError) Error() string {
	return fmt.Sprintf("revision %s of object %s was packed away on the server while it was copied; run it again", e.tid, e.oid)
}

// serverBlob is a blob that is being sent.
type serverBlob struct {
	*bufio.Reader
	pipe   *io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

func (b *serverBlob) Close() error {
	b.cancel()
	err := b.pipe.Close()
	<-b.ended
	return err
}

// progress knows the whole only if nothing is there yet.
func (v *server) progress() (done, total int64) {
	if !v.whole {
		return v.read, 0
	}
	return v.read, max(v.info.Size, v.read)
}
