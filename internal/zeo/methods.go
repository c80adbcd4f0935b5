package zeo

// method is a call that registered clients may make. do runs on the reader; an
// error of it ends the connection.
type method struct {
	min, max int  // number of arguments
	writes   bool // refused on a connection that is read-only
	do       func(c *conn, r *request, a *arguments) error
}

// methods are all of them. “new_oid” is named by the protocol and exists nowhere.
var methods = map[string]method{
	// session.go
	"register":          {0, 9, false, (*conn).registerAgain},
	"get_info":          {0, 0, false, (*conn).getInfo},
	"lastTransaction":   {0, 0, false, (*conn).lastTransaction},
	"getInvalidations":  {1, 1, false, (*conn).getInvalidations},
	"ping":              {0, 0, false, (*conn).ping},
	"set_client_label":  {1, 1, false, (*conn).setClientLabel},
	"server_status":     {0, 0, false, (*conn).serverStatus},
	"new_oid":           {0, 0, false, (*conn).newOID},
	"new_oids":          {0, 1, true, (*conn).newOIDs},
	"enter_snapshot":    {1, 1, false, (*conn).enterSnapshot},
	"leave_snapshot":    {1, 1, false, (*conn).leaveSnapshot},
	"get_snapshot_code": {0, 0, false, (*conn).getSnapshotCode},

	"is_directory_storage": {0, 0, false, (*conn).isDirectoryStorage},

	// pack.go
	"pack": {1, 2, false, (*conn).pack},

	// read.go
	"loadBefore":      {2, 2, false, (*conn).loadBeforeAny},
	"loadSerial":      {2, 2, false, (*conn).loadSerial},
	"getTid":          {1, 1, false, (*conn).getTid},
	"history":         {1, 2, false, (*conn).history},
	"record_iternext": {0, 1, false, (*conn).recordIternext},
	"sendBlob":        {2, 2, false, (*conn).sendBlob},

	// undolog.go
	"undoLog":  {2, 2, false, (*conn).undoLog},
	"undoInfo": {0, 3, false, (*conn).undoInfo},

	// iterate.go
	"iterator_start":        {2, 2, false, (*conn).iteratorStart},
	"iterator_next":         {1, 1, false, (*conn).iteratorNext},
	"iterator_record_start": {2, 2, false, (*conn).iteratorRecordStart},
	"iterator_record_next":  {1, 1, false, (*conn).iteratorRecordNext},
	"iterator_gc":           {1, 1, false, (*conn).iteratorGC},

	// txn.go
	"tpc_begin":  {4, 6, true, (*conn).tpcBegin},
	"vote":       {1, 1, true, (*conn).vote},
	"tpc_finish": {1, 1, true, (*conn).tpcFinish},
	"tpc_abort":  {1, 1, true, (*conn).tpcAbort},

	// store.go
	"storea":                          {4, 4, true, (*conn).storea},
	"restorea":                        {5, 5, true, (*conn).restorea},
	"deleteObject":                    {3, 3, true, (*conn).deleteObject},
	"undoa":                           {2, 2, true, (*conn).undoa},
	"checkCurrentSerialInTransaction": {3, 3, true, (*conn).checkCurrent},

	// upload.go
	"storeBlobStart":  {0, 0, true, (*conn).storeBlobStart},
	"storeBlobChunk":  {1, 1, true, (*conn).storeBlobChunk},
	"storeBlobEnd":    {4, 4, true, (*conn).storeBlobEnd},
	"storeBlobShared": {5, 5, true, (*conn).storeBlobShared},
}
