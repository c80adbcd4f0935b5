package zeo

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// The recorded conversations of Python's client with Python's server are held again with our
// server: the client's side is sent byte by byte, only with the tids and the pack times of this
// run, in the order of the recording. The server's side must equal the recorded one, apart from the
// two tables here. docs/zeo.md has the second one for users.

// varying is a field of a result that has to differ from run to run or from storage to storage. Its
// value in this run is checked.
type varying struct {
	methods string // requests, or calls of the server, in whose results it is
	field   string // key of a dict, at any depth
	why     string
	fits    func(r *replay, in wire.Dict, want, got any) bool
}

var varyings = []varying{
	{"get_info info", "size", "bytes of another storage format", func(_ *replay, _ wire.Dict, _, got any) bool {
		n, ok := got.(int64)
		return ok && n >= 0
	}},
	{"get_info", "name", "the path of the storage", func(r *replay, _ wire.Dict, _, got any) bool {
		return got == r.storage.Home()
	}},
	{"undoLog undoInfo", "size", "bytes of another storage format", func(_ *replay, _ wire.Dict, _, got any) bool {
		n, ok := got.(int64)
		return ok && n > 0
	}},
	{"undoLog undoInfo", "time", "the time of the transaction, which its tid tells", func(_ *replay, in wire.Dict, _, got any) bool {
		id, ok := in.Get("id").([]byte)
		tid, valid := parseUndoID(id)
		return ok && valid && isTimeOf(tid, got)
	}},
	{"history", "time", "the time of the transaction, which its tid tells", func(_ *replay, in wire.Dict, _, got any) bool {
		tid, ok := in.Get("tid").([]byte)
		return ok && len(tid) == 8 && isTimeOf(zodb.TIDFromBytes(tid), got)
	}},
	{"server_status", "start", "when the server was started", func(_ *replay, _ wire.Dict, _, got any) bool {
		text, ok := got.(string)
		at, err := time.ParseInLocation(time.ANSIC, text, time.Local)
		return ok && err == nil && time.Since(at) < time.Hour
	}},
	{"server_status", "lock_time", "when the lock was taken; None stays None", func(_ *replay, _ wire.Dict, want, got any) bool {
		at, ok := got.(float64)
		return want == nil && got == nil || want != nil && ok && math.Abs(at-float64(time.Now().Unix())) < 3600
	}},
}

func isTimeOf(tid zodb.TID, v any) bool {
	got, ok := v.(float64)
	return ok && math.Abs(got-float64(tid.Time().UnixNano())/1e9) < 1e-6
}

// difference is a message in which our server is meant to differ.
type difference struct {
	scenario string // empty = all
	// message is “c2 reply 9” (connection and id), “c2 info 3” (the third info on it), or
	// “METHOD” for each answer to such a request.
	message string
	why     string
	absent  bool                                 // ours does not send it
	change  func(r *replay, want *wire.Message)  // turns Python's answer into ours
	then    func(r *replay, conn *replayClient)  // the additional calls of a client upon it
	only    func(r *replay, w wire.Message) bool // if not nil: whether it applies
}

// fails returns the change to another error.
func fails(class string, details any) func(*replay, *wire.Message) {
	return func(_ *replay, m *wire.Message) {
		m.Name, m.Flag, m.Args = ".reply", int64(2), wire.Tuple{class, details}
	}
}

// answers returns the change to another result.
func answers(v any) func(*replay, *wire.Message) {
	return func(_ *replay, m *wire.Message) { m.Name, m.Flag, m.Args = ".reply", int64(0), v }
}

var (
	lenOID = zodb.OID(1).Bytes()
	poOID  = zodb.OID(2).Bytes()
)

var differences = []difference{
	{
		message: "get_info", why: "every DirectoryStorage has blobs, a FileStorage only with a blob directory",
		only: func(_ *replay, want wire.Message) bool {
			return len(want.Args.(wire.Dict).Get("interfaces").(wire.Tuple)) == len(fullInterfaces)+1
		},
		change: func(_ *replay, want *wire.Message) {
			d := want.Args.(wire.Dict)
			for i := range d {
				if d[i].Key == "interfaces" {
					d[i].Value = interfacePairs(blobInterfaces, fullInterfaces)
				}
			}
		},
	},
	{
		scenario: "blob", message: "c2 reply 9", why: "the record that a client sends twice with a blob is one revision, stored once",
		change: answers(nil),
	},
	{
		scenario: "blob", message: "c2 reply 10", why: "so the iteration ends one step earlier, and its id is gone",
		change: fails(classKey, wire.Tuple{int64(1)}),
	},
	{
		scenario: "conflict_server", message: "c1 reply 10",
		why: "conflicts are resolved by the client, who has the classes: records instead of the oids that the server resolved",
		change: func(r *replay, want *wire.Message) {
			want.Args = wire.List{wire.Dict{
				{Key: "oid", Value: lenOID}, {Key: "data", Value: length(1)},
				{Key: "serials", Value: wire.Tuple{r.tid("c1 reply 9"), r.tid("c1 reply 7")}},
			}}
		},
		then: func(r *replay, c *replayClient) { // as in conflict_client
			c.oneWay("storea", lenOID, r.tid("c1 reply 9"), length(2), r.ttid)
			c.want(wire.List{}, c.call("vote", r.ttid))
		},
	},
	{
		scenario: "conflict_server", message: "c1 reply 14",
		why: "also for a class that cannot be resolved: the client finds out, and raises the ConflictError itself",
		change: func(r *replay, want *wire.Message) {
			answers(wire.List{wire.Dict{
				{Key: "oid", Value: poOID}, {Key: "data", Value: r.stored},
				{Key: "serials", Value: wire.Tuple{r.tid("c1 reply 13"), r.tid("c1 reply 7")}},
			}})(r, want)
		},
	},
	{
		scenario: "delete_object", message: "c2 invalidateTransaction 2", why: "an object that was deleted is announced as changed",
		change: func(_ *replay, want *wire.Message) {
			want.Args.(wire.Tuple)[1] = wire.List{lenOID}
		},
	},
	{
		scenario: "errors", message: "c1 reply 8", why: "text",
		change: fails(classTransaction, wire.Tuple{"a transaction is open already: one connection has one at a time"}),
	},
	{
		scenario: "errors", message: "c1 reply 12", why: "no text",
		change: fails(classAssertion, wire.Tuple{}),
	},
	{
		scenario: "errors", message: "c1 reply 20", why: "text",
		change: fails(classUndo, wire.Dict{{Key: "_reason", Value: "there is no such transaction, or it was packed away"}, {Key: "_oid", Value: nil}}),
	},
	{
		scenario: "history", message: "c1 reply 9", why: "text",
		change: fails(classType, wire.Tuple{"argument 2 is not an integer"}),
	},
	{
		scenario: "undo", message: "c1 reply 18", why: "_errs has the reasons as text instead of exception objects, and nothing else is sent",
		change: func(r *replay, want *wire.Message) {
			reason := "it was changed later, by " + zodb.TIDFromBytes(r.tid("c1 reply 16")).String()
			fails(classUndos, wire.Dict{{Key: "_errs", Value: wire.List{wire.Tuple{lenOID, reason}}}})(r, want)
		},
	},
}

// length is a record of a BTrees.Length.
func length(n byte) []byte {
	return []byte("\x80\x03cBTrees.Length\nLength\nq\x00.\x80\x03K" + string(rune(n)) + ".")
}

// hold makes a message of a client wait for an event that the recording does not show.
type hold struct {
	scenario, message string // “c3 server_status”
	why               string
	until             func(r *replay) bool
}

var holds = []hold{
	{"disconnect_in_vote", "c3 server_status", "by then the vote of connection 2 waits", func(r *replay) bool {
		st := &r.ts.hubs["1"].stats
		return st.waiting.Load() == 1 && st.holding.Load() == 1
	}},
	{"disconnect_in_vote", "c4 register", "the commit of connection 2, which is under way, wins", func(r *replay) bool {
		return r.ts.hubs["1"].announced.Load() != 0
	}},
}

// cuts are the connections that the recorder cut: both ends were gone at once, and
// which was noted first was chance. The client's goes first here.
var cuts = map[string]int{"disconnect_in_vote": 1}

// scenarios are all that are recorded.
var scenarios = strings.Fields(`blob blob_shared commit conflict_client conflict_server connect delete_object
	disconnect_in_vote errors extension history iteration load pack ping poskeyerror readcurrent readonly restore
	ruok timeout undo verify`)

// TestRecordedConversations holds each of them in both encodings.
func TestRecordedConversations(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(filepath.Join("testdata", "recorded", "*.jsonl"))
	if err != nil || len(names) != 2*len(scenarios) {
		t.Errorf("%d files for %d scenarios: %v", len(names), len(scenarios), err)
	}
	var mu sync.Mutex
	met := make(map[string]bool)
	t.Run("all", func(t *testing.T) {
		for _, scenario := range scenarios {
			for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
				t.Run(scenario+"."+string(e)+"5", func(t *testing.T) {
					t.Parallel()
					r := newReplay(t, scenario, e)
					r.run()
					mu.Lock()
					defer mu.Unlock()
					for key := range r.met {
						met[key] = true
					}
				})
			}
		}
	})
	for _, v := range varyings {
		if !t.Failed() && !met[v.methods+"."+v.field] {
			t.Errorf("the varying field %s of %s never came", v.field, v.methods)
		}
	}
}

// recordedLine is one message.
type recordedLine struct {
	line     int
	conn     int
	toServer bool
	eof      bool
	payload  []byte
}

func (l recordedLine) String() string {
	dir := "server"
	if l.toServer {
		dir = "client"
	}
	return fmt.Sprintf("line %d, %s of connection %d", l.line, dir, l.conn)
}

// replay is a conversation that is being held.
type replay struct {
	t        *testing.T
	scenario string
	encoding wire.Encoding
	lines    []recordedLine
	at       recordedLine // the line that is being worked off
	ts       *testServer
	storage  *engine.Storage
	blobDir  string
	logged   lockedBuffer
	clients  map[int]*replayClient
	tids     map[string]string   // recorded tid, the tid after it, its undo id → of this run
	given    map[string]zodb.TID // message → the tid in it
	met      map[string]bool
	ttid     any    // the last transaction handle that a client used
	stored   []byte // the last record that a client stored
}

// replayClient is a connection of the recorded client.
type replayClient struct {
	*rawClient
	greeted [2]bool                 // by client, by server
	asked   map[string]string       // id of an open request → method
	early   map[string]wire.Message // answers that came before others that were asked for at the same time
	calls   map[string]int
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newReplay reads a conversation and starts the server for it.
func newReplay(t *testing.T, scenario string, e wire.Encoding) *replay {
	t.Helper()
	r := &replay{t: t, scenario: scenario, encoding: e, clients: make(map[int]*replayClient), tids: make(map[string]string),
		given: make(map[string]zodb.TID), met: make(map[string]bool)}
	f, err := os.Open(filepath.Join("testdata", "recorded", scenario+"."+string(e)+"5.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var head struct {
		Options map[string]any `json:"server_options"`
		Storage string         `json:"storage"`
	}
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 16<<20)
	for line := 1; scanner.Scan(); line++ {
		if line == 1 {
			if err := json.Unmarshal(scanner.Bytes(), &head); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var m struct {
			Conn            int
			Dir, Hex, Event string
		}
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		payload, err := hex.DecodeString(m.Hex)
		if err != nil {
			t.Fatal(err)
		}
		r.lines = append(r.lines, recordedLine{line, m.Conn, m.Dir == "C>S", m.Event == "eof", payload})
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(r.lines); i++ {
		if a, b := &r.lines[i-1], &r.lines[i]; a.eof && b.eof && a.conn == cuts[scenario] && b.conn == a.conn && b.toServer {
			*a, *b = *b, *a
		}
	}
	dir := t.TempDir()
	r.storage = packStorage(t, filepath.Join(dir, "home"))
	r.restorePrior()
	so := StorageOptions{Name: "1", Storage: r.storage}
	if strings.Contains(head.Storage, "blob-dir") {
		r.blobDir = filepath.Join(dir, "blobs")
		so.BlobDir = r.blobDir
	}
	// Python's server has no transaction timeout unless it is told.
	o := Options{Storages: []StorageOptions{so}, Announce: e, TransactionTimeout: -1, Logger: slog.New(slog.NewTextHandler(&r.logged, nil))}
	for key, v := range head.Options {
		switch key {
		case "read-only":
			o.ReadOnly = v.(bool)
		case "transaction-timeout":
			o.TransactionTimeout = time.Duration(v.(float64) * float64(time.Second))
		case "invalidation-queue-size":
			o.InvalidationQueueSize = int(v.(float64))
		case "client-conflict-resolution": // ours has no other; the difference is in the table
		default:
			t.Fatalf("server option %s = %v", key, v)
		}
	}
	r.ts = serve(t, o)
	return r
}

// restorePrior gives the storage its state before the first client came: the revisions that the
// recording shows.
func (r *replay) restorePrior() {
	greeted := make(map[[2]any]bool)
	byTID := make(map[zodb.TID][]zodb.Record)
	first := true
	for _, l := range r.lines {
		key := [2]any{l.conn, l.toServer}
		if l.toServer || l.eof || !greeted[key] {
			greeted[key] = true
			continue
		}
		m, err := wire.Decode(r.encoding, l.payload)
		if err != nil || m.Name != ".reply" || m.Failed() {
			continue
		}
		if tid, ok := m.Args.([]byte); first && (!ok || zodb.TIDFromBytes(tid) == 0) {
			return // the storage was empty
		}
		first = false
		id, _ := m.ID.(wire.Tuple)
		result, _ := m.Args.(wire.Tuple)
		if len(id) != 2 || len(result) != 3 {
			continue
		}
		oid, tid := zodb.OIDFromBytes(id[0].([]byte)), zodb.TIDFromBytes(result[1].([]byte))
		if !slices.ContainsFunc(byTID[tid], func(rec zodb.Record) bool { return rec.OID == oid }) {
			byTID[tid] = append(byTID[tid], zodb.Record{OID: oid, TID: tid, Data: result[0].([]byte), Exists: true})
		}
	}
	var tids []zodb.TID
	for tid := range byTID {
		tids = append(tids, tid)
	}
	slices.Sort(tids)
	for _, tid := range tids {
		ctx := r.t.Context()
		txn, err := r.storage.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
		for _, rec := range byTID[tid] {
			if err == nil {
				err = txn.Restore(ctx, rec, nil)
			}
		}
		if err == nil {
			err = txn.Vote(ctx)
		}
		if err == nil {
			_, err = txn.Finish(ctx, func(zodb.TID) {})
		}
		if err != nil {
			r.t.Fatalf("restore what was there before: %v", err)
		}
		r.bind(tid.Bytes(), tid.Bytes())
	}
}

// run works off the lines one by one. So a message of a client is sent when
// everything that was recorded before it has happened.
func (r *replay) run() {
	for _, l := range r.lines {
		r.at = l
		c := r.clients[l.conn]
		if c == nil {
			if len(r.clients)+1 != l.conn {
				r.t.Fatalf("%s %s: out of order", r.scenario, l)
			}
			c = &replayClient{rawClient: r.ts.connect(), asked: make(map[string]string), early: make(map[string]wire.Message), calls: make(map[string]int)}
			c.enc = r.encoding
			r.clients[l.conn] = c
		}
		switch {
		case l.toServer && l.eof:
			if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.EPIPE) {
				r.fatalf("close: %v", err)
			}
		case l.toServer:
			r.send(c)
		case l.eof:
			r.expectEOF(c)
		default:
			r.receive(c)
		}
	}
	for _, d := range differences {
		if d.scenario == r.scenario && !r.met[d.scenario+" "+d.message] {
			r.t.Errorf("%s: the difference in %q never came", r.scenario, d.message)
		}
	}
	switch r.scenario {
	case "timeout":
		if log := r.logged.String(); !strings.Contains(log, "Transaction timeout after 1 seconds") || !strings.Contains(log, "ZEO.StorageServer") {
			r.t.Errorf("log:\n%s", log)
		}
		free(r.t, r.ts, r.encoding)
	case "errors", "disconnect_in_vote":
		free(r.t, r.ts, r.encoding)
	case "pack":
		h, err := r.storage.History(r.t.Context(), 0, 10)
		if err != nil || len(h) != 1 {
			r.t.Errorf("the object has %d revisions after the packs, want 1; %v", len(h), err)
		}
	case "blob_shared":
		tid := r.given["c1 reply 7"]
		name := filepath.Join(r.blobDir, filepath.FromSlash(filestorage.BlobBushy.Path(1, tid)))
		if b, err := os.ReadFile(name); err != nil || string(b) != sharedBlob {
			r.t.Errorf("the shared blob: %q, %v", b, err)
		}
	}
}

func (r *replay) fatalf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s.%c5 %s: %s", r.scenario, r.encoding, r.at, fmt.Sprintf(format, args...))
}

// sharedBlob is the content of a client's file in the shared directory; the recording does not have
// it.
const sharedBlob = "a blob in a shared directory"

// send sends the client's bytes.
func (r *replay) send(c *replayClient) {
	payload := r.translated(r.at.payload)
	if !c.greeted[0] {
		c.greeted[0] = true
		c.send(payload)
		return
	}
	m, err := wire.Decode(r.encoding, payload)
	if err != nil {
		c.send(payload) // nonsense that was sent on purpose
		return
	}
	if m.ID != int64(-1) && !m.OneWay() {
		c.asked[fmt.Sprintf("%x", m.RawID)] = m.Name
	}
	args, _ := m.Args.(wire.Tuple)
	switch m.Name {
	case "tpc_begin":
		r.ttid = args[0]
		if given, ok := args[4].([]byte); ok {
			r.bind(given, given)
		}
	case "storea":
		r.stored = args[2].([]byte)
	case "pack": // the time is after the transactions of this run, as it was then; it has the same bytes in both encodings
		now := float64(time.Now().UnixNano()) / 1e9
		from := binary.BigEndian.AppendUint64(nil, math.Float64bits(args[0].(float64)))
		payload = bytes.Replace(payload, from, binary.BigEndian.AppendUint64(nil, math.Float64bits(now)), 1)
	case "storeBlobShared":
		dir := filepath.Dir(filepath.Join(r.blobDir, filepath.FromSlash(filestorage.BlobBushy.Path(zodb.OIDFromBytes(args[0].([]byte)), 1))))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, args[3].(string)), []byte(sharedBlob), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, h := range holds {
		if h.scenario != r.scenario || h.message != fmt.Sprintf("c%d %s", r.at.conn, m.Name) {
			continue
		}
		for end := time.Now().Add(patience); !h.until(r); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				r.fatalf("waited in vain: %s", h.why)
			}
		}
	}
	c.send(payload)
}

// expectEOF: the server has nothing more to say and closes.
func (r *replay) expectEOF(c *replayClient) {
	b, err := c.read()
	switch {
	case err == nil:
		r.fatalf("want the end of the connection, got %s", r.show(b))
	case !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		r.fatalf("want the end of the connection: %v", err)
	}
}

func (r *replay) show(frame []byte) string {
	m, err := wire.Decode(r.encoding, frame)
	if err != nil {
		return fmt.Sprintf("%q", frame)
	}
	return fmt.Sprintf("%v %v %s %q", m.ID, m.Flag, m.Name, m.Args)
}

// receive compares the messages of our server with those of the other one.
func (r *replay) receive(c *replayClient) {
	switch {
	case !c.greeted[1]:
		c.greeted[1] = true
		if got := c.next(); !bytes.Equal(got, r.at.payload) {
			r.fatalf("want %q, got %q", r.at.payload, got)
		}
		return
	case r.scenario == "ruok":
		r.compare("server_status", wire.Message{Args: r.jsonDict(r.at.payload)}, wire.Message{Args: r.jsonDict(c.next())})
		return
	}
	want, known := r.wanted(c)
	key, method := fmt.Sprintf("c%d reply %v", r.at.conn, want.ID), want.Name
	if want.Name == ".reply" {
		method = c.asked[fmt.Sprintf("%x", want.RawID)]
	} else {
		c.calls[want.Name]++
		key = fmt.Sprintf("c%d %s %d", r.at.conn, want.Name, c.calls[want.Name])
	}
	d := r.difference(key, method, want)
	if d != nil && d.absent {
		return
	}
	if d == nil && !known {
		r.fatalf("cannot be read: %q", r.at.payload)
	}
	got := r.next(c, want)
	if known && r.learn(key, method, want, got) {
		want, _ = r.wanted(c)
	}
	if d != nil {
		d.change(r, &want)
	}
	delete(c.asked, fmt.Sprintf("%x", want.RawID))
	r.compare(method, want, got)
	if d != nil && d.then != nil {
		d.then(r, c)
	}
}

// wanted is the recorded message with the tids of this run. An unreadable one answers the only open
// request.
func (r *replay) wanted(c *replayClient) (m wire.Message, known bool) {
	m, err := wire.Decode(r.encoding, r.translated(r.at.payload))
	if err == nil {
		return m, true
	}
	if len(c.asked) != 1 {
		r.fatalf("%v", err)
	}
	for id := range c.asked {
		raw, err := hex.DecodeString(id)
		if err != nil {
			r.t.Fatal(err)
		}
		request, err := wire.AppendReply(nil, r.encoding, raw, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if m, err = wire.Decode(r.encoding, request); err != nil {
			r.t.Fatal(err)
		}
	}
	return m, false
}

// next is the next message of our server. Only answers to simultaneous requests may come in another
// order.
func (r *replay) next(c *replayClient, want wire.Message) wire.Message {
	id := fmt.Sprintf("%x", want.RawID)
	if m, ok := c.early[id]; ok && want.Name == ".reply" {
		delete(c.early, id)
		return m
	}
	for {
		b, err := c.read()
		if err != nil {
			r.fatalf("want %v %v %s %q, got %v", want.ID, want.Flag, want.Name, want.Args, err)
		}
		m, err := wire.Decode(r.encoding, b)
		if err != nil {
			r.fatalf("got %v: %q", err, b)
		}
		if other := fmt.Sprintf("%x", m.RawID); m.Name == ".reply" && want.Name == ".reply" && other != id && c.asked[other] != "" {
			c.early[other] = m
			continue
		}
		return m
	}
}

func (r *replay) difference(key, method string, want wire.Message) *difference {
	for i := range differences {
		d := &differences[i]
		if d.scenario != "" && d.scenario != r.scenario || d.message != key && d.message != method || d.only != nil && !d.only(r, want) {
			continue
		}
		r.met[d.scenario+" "+d.message] = true
		return d
	}
	return nil
}

// learn takes the tid of a new transaction from a message that tells it, and
// reports whether there was one.
func (r *replay) learn(key, method string, want, got wire.Message) bool {
	recorded, isTID := want.Args.([]byte)
	actual, isToo := got.Args.([]byte)
	switch {
	case method == "tpc_finish" && isTID && isToo:
	case want.Name == "invalidateTransaction" && got.Name == want.Name:
		recorded, isTID = want.Args.(wire.Tuple)[0].([]byte)
		actual, isToo = got.Args.(wire.Tuple)[0].([]byte)
	default:
		return false
	}
	if !isTID || !isToo || len(recorded) != 8 || len(actual) != 8 {
		return false
	}
	r.given[key] = zodb.TIDFromBytes(actual)
	for _, known := range r.tids {
		if known == string(recorded) { // it is translated already
			return false
		}
	}
	r.bind(recorded, actual)
	return true
}

// tid is the one that a message had.
func (r *replay) tid(message string) []byte {
	tid, ok := r.given[message]
	if !ok {
		r.fatalf("no tid came with %s", message)
	}
	return tid.Bytes()
}

func (r *replay) bind(recorded, actual []byte) {
	from, to := zodb.TIDFromBytes(recorded), zodb.TIDFromBytes(actual)
	r.tids[string(recorded)] = string(actual)
	r.tids[string((from + 1).Bytes())] = string((to + 1).Bytes())
	r.tids[base64.StdEncoding.EncodeToString(recorded)] = base64.StdEncoding.EncodeToString(actual)
}

// translated replaces the tids. They have the same length in all forms.
func (r *replay) translated(b []byte) []byte {
	out := make([]byte, 0, len(b))
next:
	for i := 0; i < len(b); {
		for _, n := range []int{8, 12} {
			if i+n > len(b) {
				continue
			}
			if tid, ok := r.tids[string(b[i:i+n])]; ok {
				out = append(out, tid...)
				i += n
				continue next
			}
		}
		out = append(out, b[i])
		i++
	}
	return out
}

func (r *replay) jsonDict(b []byte) any {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		r.fatalf("%v: %q", err, b)
	}
	return dicts(v)
}

func dicts(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	var d wire.Dict
	for k, v := range m {
		d = append(d, wire.Pair{Key: k, Value: dicts(v)})
	}
	return d
}

// comparableMessage is the compared part of a message.
type comparableMessage struct {
	ID, Flag any
	Name     string
	Args     any
}

func (r *replay) compare(method string, want, got wire.Message) {
	r.t.Helper()
	want.Args = r.settled(method, want.Args, got.Args)
	if r.encoding == wire.Msgpack {
		want.Args = tuples(want.Args)
	}
	d := cmp.Diff(comparableMessage{want.ID, want.Flag, want.Name, maps(want.Args)}, comparableMessage{got.ID, got.Flag, got.Name, maps(got.Args)})
	if d == "" {
		return
	}
	r.t.Errorf("%s.%c5 %s, %s\nwant %v %v %s %q\n got %v %v %s %q\n-want +got\n%s", r.scenario, r.encoding, r.at, method,
		want.ID, want.Flag, want.Name, want.Args, got.ID, got.Flag, got.Name, got.Args, d)
}

// settled puts our server's values into the fields that vary, if they fit.
func (r *replay) settled(method string, want, got any) any {
	switch w := want.(type) {
	case wire.Tuple:
		if g, ok := got.(wire.Tuple); ok && len(g) == len(w) {
			out := make(wire.Tuple, len(w))
			for i := range w {
				out[i] = r.settled(method, w[i], g[i])
			}
			return out
		}
	case wire.List:
		if g, ok := got.(wire.List); ok && len(g) == len(w) {
			out := make(wire.List, len(w))
			for i := range w {
				out[i] = r.settled(method, w[i], g[i])
			}
			return out
		}
	case wire.Dict:
		g, ok := got.(wire.Dict)
		if !ok {
			return want
		}
		out := make(wire.Dict, len(w))
		for i, p := range w {
			key, _ := p.Key.(string)
			out[i] = wire.Pair{Key: p.Key, Value: r.settled(method, p.Value, g.Get(key))}
			for _, v := range varyings {
				if v.field != key || !slices.Contains(strings.Fields(v.methods), method) {
					continue
				}
				r.met[v.methods+"."+v.field] = true
				if v.fits(r, g, p.Value, g.Get(key)) {
					out[i].Value = g.Get(key)
				} else {
					r.t.Errorf("%s.%c5 %s: %s of %s is %v, which does not fit: %s", r.scenario, r.encoding, r.at, key, method, g.Get(key), v.why)
				}
			}
		}
		return out
	}
	return want
}

// maps makes dictionaries comparable, which have no order.
func maps(v any) any {
	switch v := v.(type) {
	case wire.Tuple:
		out := make(wire.Tuple, len(v))
		for i := range v {
			out[i] = maps(v[i])
		}
		return out
	case wire.List:
		out := make(wire.List, len(v))
		for i := range v {
			out[i] = maps(v[i])
		}
		return out
	case wire.Dict:
		out := make(map[string]any, len(v))
		for _, p := range v {
			out[fmt.Sprintf("%T %q", p.Key, p.Key)] = maps(p.Value)
		}
		return out
	}
	return v
}
