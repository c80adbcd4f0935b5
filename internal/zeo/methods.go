package zeo

// method is a call that registered clients may make. do runs on the reader; an
// error of it ends the connection.
type method struct {
	min, max int  // number of arguments
	writes   bool // refused on a connection that is read-only
	long     bool // may be longer than maxCall
	do       func(c *conn, r *request, a *arguments) error
}

// maxCall is the length in bytes of the longest call of a method that takes no data.
const maxCall = 64 << 10

// methods are all of them. “new_oid” is named by the protocol and exists nowhere.
var methods = map[string]method{
	// session.go
	"register":          {0, 9, false, false, (*conn).registerAgain},
	"get_info":          {0, 0, false, false, (*conn).getInfo},
	"lastTransaction":   {0, 0, false, false, (*conn).lastTransaction},
	"getInvalidations":  {1, 1, false, false, (*conn).getInvalidations},
	"ping":              {0, 0, false, false, (*conn).ping},
	"set_client_label":  {1, 1, false, false, (*conn).setClientLabel},
	"server_status":     {0, 0, false, false, (*conn).serverStatus},
	"new_oid":           {0, 0, false, false, (*conn).newOID},
	"new_oids":          {0, 1, true, false, (*conn).newOIDs},
	"enter_snapshot":    {1, 1, true, false, (*conn).enterSnapshot},
	"leave_snapshot":    {1, 1, true, false, (*conn).leaveSnapshot},
	"get_snapshot_code": {0, 0, false, false, (*conn).getSnapshotCode},

	"is_directory_storage": {0, 0, false, false, (*conn).isDirectoryStorage},

	// pack.go
	"pack": {1, 2, false, false, (*conn).pack},

	// read.go
	"loadBefore":      {2, 2, false, false, (*conn).loadBeforeAny},
	"loadSerial":      {2, 2, false, false, (*conn).loadSerial},
	"getTid":          {1, 1, false, false, (*conn).getTid},
	"history":         {1, 2, false, false, (*conn).history},
	"record_iternext": {0, 1, false, false, (*conn).recordIternext},
	"sendBlob":        {2, 2, false, false, (*conn).download},

	// undolog.go
	"undoLog":  {2, 2, false, false, (*conn).undoLog},
	"undoInfo": {0, 3, false, false, (*conn).undoInfo},

	// iterate.go
	"iterator_start":        {2, 2, false, false, (*conn).iteratorStart},
	"iterator_next":         {1, 1, false, false, (*conn).iteratorNext},
	"iterator_record_start": {2, 2, false, false, (*conn).iteratorRecordStart},
	"iterator_record_next":  {1, 1, false, false, (*conn).iteratorRecordNext},
	"iterator_gc":           {1, 1, false, false, (*conn).iteratorGC},

	// txn.go
	"tpc_begin":  {4, 6, true, true, (*conn).tpcBegin},
	"vote":       {1, 1, true, false, (*conn).vote},
	"tpc_finish": {1, 1, true, false, (*conn).tpcFinish},
	"tpc_abort":  {1, 1, true, false, (*conn).tpcAbort},

	// store.go
	"storea":                          {4, 4, true, true, (*conn).storea},
	"restorea":                        {5, 5, true, true, (*conn).restorea},
	"deleteObject":                    {3, 3, true, false, (*conn).deleteObject},
	"undoa":                           {2, 2, true, false, (*conn).undoa},
	"checkCurrentSerialInTransaction": {3, 3, true, false, (*conn).checkCurrent},

	// upload.go
	"storeBlobStart":  {0, 0, true, false, (*conn).storeBlobStart},
	"storeBlobChunk":  {1, 1, true, true, (*conn).storeBlobChunk},
	"storeBlobEnd":    {4, 4, true, true, (*conn).storeBlobEnd},
	"storeBlobShared": {5, 5, true, true, (*conn).storeBlobShared},
}
