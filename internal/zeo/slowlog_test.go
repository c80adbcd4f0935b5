package zeo

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// hangingLog is a file system on which writes into the journal can be made to wait.
type hangingLog struct {
	vfs.FS
	waits chan struct{} // gets a value when a write waits

	mu   sync.Mutex
	free chan struct{} // writes wait until it is closed; nil: they do not
}

// hang makes writes wait until release is called, which may be called more than once.
func (h *hangingLog) hang() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	free := make(chan struct{})
	h.free = free
	return sync.OnceFunc(func() { close(free) })
}

func (h *hangingLog) write() {
	h.mu.Lock()
	free := h.free
	h.mu.Unlock()
	if free == nil {
		return
	}
	select {
	case h.waits <- struct{}{}:
	default:
	}
	<-free
}

func (h *hangingLog) OpenWrite(name string) (vfs.File, error) {
	return h.wrap(name)(h.FS.OpenWrite(name))
}

func (h *hangingLog) Create(name string) (vfs.File, error) { return h.wrap(name)(h.FS.Create(name)) }

func (h *hangingLog) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.HasPrefix(name, "journal/log-") && !strings.HasPrefix(name, "journal/spare-") {
			return f, err
		}
		return &hangingFile{f, h}, nil
	}
}

type hangingFile struct {
	vfs.File
	h *hangingLog
}

func (f *hangingFile) WriteAt(b []byte, off int64) (int, error) {
	f.h.write()
	return f.File.WriteAt(b, off)
}

// TestOnlyTheLogWaitsForTheLog: while a write of the log hangs, each call that has no business with it
// is answered, and new clients come in.
func TestOnlyTheLogWaitsForTheLog(t *testing.T) {
	t.Parallel()
	home := memoryHome(t)
	newStorageAt(t, home)
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &hangingLog{FS: dir, waits: make(chan struct{}, 1)}
	s, err := engine.OpenOn(context.WithoutCancel(t.Context()), disk, home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, zodb.ErrClosed) {
			t.Error(err)
		}
	})
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}})
	writer := ts.client(wire.Pickle)
	first := writer.commit(1, 0, "first")
	second := writer.commit(1, first, "second")
	writer.begin(int64(5))
	writer.oneWay("storeBlobStart")
	writer.oneWay("storeBlobChunk", []byte("blob"))
	writer.oneWay("storeBlobEnd", zodb.OID(2), zodb.TID(0), record("with a blob"), int64(5))
	writer.call("vote", int64(5))
	blob := zodb.TIDFromBytes(writer.call("tpc_finish", int64(5)).([]byte))
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	unflushed := writer.commit(3, 0, "in the log")

	release := disk.hang()
	t.Cleanup(release)
	writer.begin(int64(6))
	writer.oneWay("storea", zodb.OID(9), zodb.TID(0), record("hangs"), int64(6))
	vote := writer.request("vote", int64(6))
	<-disk.waits

	var mu sync.Mutex
	now, late := "register", ""
	timer := time.AfterFunc(patience/5, func() {
		mu.Lock()
		defer mu.Unlock()
		late = now
		release()
	})
	defer timer.Stop()
	tried := map[string]bool{
		// They write into the log, or wait for a flush, which gives back parts of it.
		"vote": true, "tpc_finish": true, "pack": true, "enter_snapshot": true, "leave_snapshot": true,
		"storeBlobShared": true, // there is no shared directory
	}
	c := ts.client(wire.Pickle)
	step := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		now, tried[name] = name, true
	}
	asks := func(name string, args ...any) any {
		t.Helper()
		step(name)
		return c.call(name, args...)
	}
	sends := func(name string, args ...any) {
		t.Helper()
		step(name)
		c.oneWay(name, args...)
	}
	tried["register"] = true // by the client
	for _, call := range [][]any{
		{"get_info"}, {"lastTransaction"}, {"getInvalidations", first}, {"ping"}, {"set_client_label", "label"}, {"server_status"},
		{"new_oids"}, {"get_snapshot_code"}, {"is_directory_storage"},
		{"loadBefore", zodb.OID(1), second}, {"loadBefore", zodb.OID(3), unflushed + 1}, {"loadSerial", zodb.OID(1), first}, {"getTid", zodb.OID(3)},
		{"history", zodb.OID(1), int64(5)}, {"record_iternext", nil}, {"sendBlob", zodb.OID(2), blob},
		{"undoLog", int64(0), int64(-20)}, {"undoInfo", int64(0), int64(-20)},
	} {
		asks(call[0].(string), call[1:]...)
	}
	id := asks("iterator_start", nil, nil)
	asks("iterator_next", id)
	records := asks("iterator_record_start", id, first)
	asks("iterator_record_next", records)
	asks("iterator_gc", wire.List{id})
	for i, store := range [][]any{
		{"storea", zodb.OID(11), zodb.TID(0), record("x")}, {"deleteObject", zodb.OID(1), second}, {"undoa", undoID(second)},
		{"checkCurrentSerialInTransaction", zodb.OID(1), second}, {"storeBlobEnd", zodb.OID(12), zodb.TID(0), record("x")},
		{"restorea", zodb.OID(13), unflushed, record("x"), nil},
	} {
		ttid := int64(100 + i)
		step("tpc_begin")
		c.begin(ttid)
		if store[0] == "storeBlobEnd" {
			sends("storeBlobStart")
			sends("storeBlobChunk", []byte("data"))
		}
		sends(store[0].(string), append(store[1:], ttid)...)
		asks("tpc_abort", ttid)
	}
	mu.Lock()
	if late != "" {
		t.Errorf("%s waits for the log", late)
	}
	mu.Unlock()
	for name := range methods {
		if !tried[name] && name != "new_oid" {
			t.Errorf("%s is not tried", name)
		}
	}
	release()
	writer.want(wire.List{}, slices.Clone(must(writer.wait(vote)).(wire.List)))
	writer.call("tpc_abort", int64(6))
}

// must is a value that comes without an error.
func must(v any, err error) any {
	if err != nil {
		panic(err)
	}
	return v
}
