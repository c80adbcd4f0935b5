package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// filesOf sets how many descriptors a process may have, and returns how many it might before.
func filesOf(t *testing.T, pid int, n uint64) uint64 {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	return old.Cur
}

// webPage asks for a page on a connection that stays open.
func webPage(c *http.Client, url string) (status int, body string, err error) {
	r, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// TestServerLivesThroughAMomentWithoutDescriptors: connected clients are served as far as that needs
// no file, and told the reason for the rest; nothing is taken for missing or damaged; both ports and
// the control socket take up those who came meanwhile, and everything works again afterwards.
func TestServerLivesThroughAMomentWithoutDescriptors(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "fds") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	home := filepath.Join(dir, "var")
	want(t, 0, "imported 14 transactions", "import", hometest.FileStorage(t, "undo.fs"), home)
	s := startServe(t, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", home)
	address := s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	web := "http://" + s.await(&s.log, `listening for probes and metrics address=(127\.0\.0\.1:\d+)`)
	s.await(&s.out, "Stop it with")
	ctx := t.Context()
	c, err := zeoclient.Dial(ctx, zeoclient.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	oid := newOID(t, c)
	serial := commitWith(t, c, oid, 0)
	probe := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: 5 * time.Minute}
	if status, body, err := webPage(probe, web+"/live"); status != http.StatusOK {
		t.Fatalf("/live: %d %s, %v", status, body, err)
	}

	before := filesOf(t, s.cmd.Process.Pid, 3)
	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if rev, err := c.LoadBefore(ctx, oid, serial+1); err != nil || string(rev.Data) != string(anyRecord) {
		t.Errorf("what was just committed: %v, %v", rev, err)
	}
	for cold := range zodb.OID(3) { // files that nobody has read so far
		rev, err := c.LoadBefore(ctx, cold, serial)
		if err == nil && rev == nil || errors.Is(err, zodb.ErrNotFound) || err != nil && !strings.Contains(err.Error(), "too many open files") {
			t.Errorf("object %s is %v, %v", cold, rev, err)
		}
	}
	for _, page := range []string{"/live", "/metrics"} {
		if status, body, err := webPage(probe, web+page); status != http.StatusOK {
			t.Errorf("%s without descriptors: %d %s, %v", page, status, body, err)
		}
	}
	type answer struct {
		what string
		err  error
	}
	waiting := make(chan answer)
	for _, page := range []string{"/live", "/ready", "/metrics"} {
		go func() {
			other := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Minute}
			status, body, err := webPage(other, web+page)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%d %s", status, body)
			}
			waiting <- answer{page, err}
		}()
	}
	go func() { waiting <- answer{"a client", connectAs(ctx, zeoclient.Options{Address: address})} }()
	for _, at := range []string{address, strings.TrimPrefix(web, "http://")} {
		s.await(&s.log, `cannot accept a connection.*address=`+at+`.*too many open files`)
	}
	control, err := net.Dial("unix", filepath.Join(home, "misc", "control"))
	if err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, `cannot accept a connection.*control.*too many open files`)
	control.Close()

	filesOf(t, s.cmd.Process.Pid, before)
	for range 4 {
		if a := <-waiting; a.err != nil {
			t.Errorf("%s that came meanwhile: %v", a.what, a.err)
		}
	}
	for cold := range zodb.OID(3) {
		if rev, err := c.LoadBefore(ctx, cold, serial); err != nil || rev == nil {
			t.Errorf("object %s is %v, %v", cold, rev, err)
		}
	}
	serial = commitWith(t, c, oid, serial)
	want(t, 0, "state:             running", "status", home)
	if status, body, err := webPage(probe, web+"/ready"); status != http.StatusOK {
		t.Errorf("/ready: %d %s, %v", status, body, err)
	}
	s.end()
	want(t, 0, "0 damaged, 0 warnings", "check", home)
	want(t, 0, serial.String(), "history", home, oid.String())
}

func newOID(t *testing.T, c *zeoclient.Client) zodb.OID {
	t.Helper()
	oids, err := c.NewOIDs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return oids[0]
}

// commitWith changes one object on a connection.
func commitWith(t *testing.T, c *zeoclient.Client, oid zodb.OID, serial zodb.TID) zodb.TID {
	t.Helper()
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err == nil {
		err = txn.Store(oid, serial, anyRecord)
	}
	if err == nil {
		_, _, err = txn.Vote(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tid
}
