package zeo

import (
	"fmt"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// storeBlob stores an object with a blob, as a part of a transaction.
func (c *rawClient) storeBlob(txn any, oid zodb.OID, content string) {
	c.t.Helper()
	c.oneWay("storeBlobStart")
	c.oneWay("storeBlobChunk", []byte(content))
	c.oneWay("storeBlobEnd", oid, zodb.TID(0), record("has a blob"), txn)
}

// TestBlobsOfLargeTransactionsFindFiles: where there are few files, that of a transaction with many
// bytes of records does not stand in the way of its own blobs.
func TestBlobsOfLargeTransactionsFindFiles(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	const clients = 4 // as many as there are files for blobs
	if files := ts.budgets.files.Free(); files != clients {
		t.Fatalf("there are %d files for blobs", files)
	}
	var all []*rawClient
	for i := range zodb.OID(clients) {
		c := ts.client(wire.Msgpack)
		c.begin(mine)
		c.oneWay("storea", 1000+i, zodb.TID(0), largeRecord(int(ts.budgets.spool)), mine)
		c.call("ping")
		all = append(all, c)
	}
	for i, c := range all {
		c.storeBlob(mine, zodb.OID(2000+i), fmt.Sprint("blob ", i))
		c.want(wire.List{}, c.call("vote", mine))
	}
	for _, c := range all {
		c.call("tpc_finish", mine)
	}
	if free := ts.budgets.files.Free(); free != clients {
		t.Errorf("%d files for blobs are free in the end", free)
	}
}

// TestTransactionsThatWaitLeaveFilesForDownloads: the steps of those that wait for memory are in
// files, of which there are more than files for blobs.
func TestTransactionsThatWaitLeaveFilesForDownloads(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	first := ts.client(wire.Msgpack)
	first.begin(mine)
	first.storeBlob(mine, 7, "blob")
	first.call("vote", mine)
	tid := first.call("tpc_finish", mine)
	first.storeMany(mine, 1<<40, 3000)
	files := int(ts.budgets.files.Free())
	spools := ts.budgets.spools.Free() + 1
	var waiting []*rawClient
	for i := range files + 1 {
		c := ts.client(wire.Msgpack)
		c.storeMany(mine, zodb.OID(1<<41)+zodb.OID(i*3000), 1500)
		c.request("vote", mine)
		waiting = append(waiting, c)
	}
	reader := ts.client(wire.Msgpack)
	if _, err := reader.try("sendBlob", zodb.OID(7), tid); err != nil {
		t.Fatal(err)
	}
	if free := ts.budgets.spools.Free(); free != spools-int64(files)-2 {
		t.Errorf("%d of %d large transactions may begin, beside %d that wait", free, spools, files+1)
	}
	for _, c := range waiting {
		c.conn.Close()
	}
	first.conn.Close()
	eventually(t, "everything was given back", func() bool { return ts.budgets.spools.Free() == spools })
}
