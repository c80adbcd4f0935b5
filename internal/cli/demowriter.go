package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// newDemoWriter is the process that demo starts and kills.
func newDemoWriter(e *env) *cobra.Command {
	var pause time.Duration
	c := &cobra.Command{
		Use:    "demo-writer HOME",
		Short:  "Write to a storage until killed (a part of demo)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(c *cobra.Command, args []string) error { return writeForDemo(c.Context(), e, args[0], pause) },
	}
	c.Flags().DurationVar(&pause, "pause", 0, "time between two transactions")
	return c
}

// blobEvery is how many transactions of the demo come to one with a blob.
const blobEvery = 10

// writeForDemo commits until ctx ends, and prints the tid of each transaction
// once it is acknowledged.
func writeForDemo(ctx context.Context, e *env, home string, pause time.Duration) (err error) {
	s, err := engine.Open(ctx, home, engine.Options{Logger: e.logger()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := makeRoot(ctx, s); err != nil {
		return err
	}
	counter, err := s.NewOIDs(1)
	if err != nil {
		return err
	}
	var serial zodb.TID
	for n := uint32(1); ctx.Err() == nil; n++ {
		if serial, err = writeOnce(ctx, s, counter[0], serial, n); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(e.Stdout, serial); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	return nil
}

// makeRoot commits a root object if there is none: without one, check calls it damage.
func makeRoot(ctx context.Context, s *engine.Storage) (err error) {
	if found, err := s.Exists(ctx, zodb.RootOID); found || err != nil {
		return err
	}
	txn, err := s.Begin(ctx, zodb.TxnMeta{Description: []byte("initial database creation")}, zodb.BeginOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, txn.Abort()) }()
	if err := txn.Store(zodb.RootOID, 0, countPickles(0)); err != nil {
		return err
	}
	if err := txn.Vote(ctx); err != nil {
		return err
	}
	_, err = txn.Finish(ctx, nil)
	return err
}

// writeOnce commits a new value of a counter and a new object, with a blob now
// and then.
func writeOnce(ctx context.Context, s *engine.Storage, counter zodb.OID, serial zodb.TID, n uint32) (tid zodb.TID, err error) {
	txn, err := s.Begin(ctx, zodb.TxnMeta{User: []byte("demo"), Description: fmt.Appendf(nil, "number %d", n)}, zodb.BeginOptions{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, txn.Abort()) }()
	if err := txn.Store(counter, serial, countPickles(n)); err != nil {
		return 0, err
	}
	oids, err := s.NewOIDs(1)
	if err != nil {
		return 0, err
	}
	if n%blobEvery == 0 {
		content := strings.NewReader(strings.Repeat(fmt.Sprintf("blob %d\n", n), 1000))
		err = txn.StoreBlob(oids[0], 0, []byte(blobPickles), zodb.BlobSource{Reader: content})
	} else {
		err = txn.Store(oids[0], 0, countPickles(n))
	}
	if err != nil {
		return 0, err
	}
	if err := txn.Vote(ctx); err != nil {
		return 0, err
	}
	return txn.Finish(ctx, nil)
}

// blobPickles is the record of a ZODB.blob.Blob.
const blobPickles = "\x80\x03cZODB.blob\nBlob\n.\x80\x03N."

// countPickles is the record of a PersistentMapping({"count": n}).
func countPickles(n uint32) []byte {
	b := []byte("\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\x00\x00\x00data}X\x05\x00\x00\x00countJ")
	return append(binary.LittleEndian.AppendUint32(b, n&0x7FFFFFFF), "ss."...)
}
