package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bench"
	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// served serves a storage made of a golden Data.fs, or an empty one if there is
// no name, over TCP and a socket.
func served(t *testing.T, name string, secure *tls.Config) (url, socket string) {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		dir, base, err := vfs.Split(hometest.FileStorage(t, name))
		if err != nil {
			t.Fatal(err)
		}
		r, err := filestorage.Open(dir, base)
		if err != nil {
			t.Fatal(err)
		}
		_, err = transfer.Import(t.Context(), s, r, transfer.ImportOptions{})
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	srv, err := zeo.New(t.Context(), zeo.Options{Storages: []zeo.StorageOptions{{Name: "main", Storage: s}}, Clock: time.Now, TLS: secure})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "zeo") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for _, l := range []net.Listener{tcp, unix} {
		wait.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, zeo.ErrClosed) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		wait.Wait()
		s.Close()
		os.RemoveAll(dir)
	})
	return "zeo://" + tcp.Addr().String(), "zeo://" + filepath.Join(dir, "s") + "?storage=main"
}

// output is the output of a command; it may be looked at while that runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) await(t *testing.T, text string) {
	t.Helper()
	for range 30_000 {
		if strings.Contains(o.String(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q does not come: %s", text, o)
}

// command runs a command and returns its exit status and output.
func command(ctx context.Context, args ...string) (int, *output, *output) {
	return commandAt(ctx, time.Now, args...)
}

// commandAt is command with a clock.
func commandAt(ctx context.Context, now func() time.Time, args ...string) (int, *output, *output) {
	var stdout, stderr output
	e := &env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Now: now, Getenv: func(string) string { return "" }}
	return run(ctx, e, args), &stdout, &stderr
}

// want runs a command that must end with a status and have written a text.
func want(t *testing.T, code int, text string, args ...string) string {
	t.Helper()
	got, stdout, stderr := command(t.Context(), args...)
	return wanted(t, args, got, code, text, stdout, stderr)
}

func wanted(t *testing.T, args []string, got, code int, text string, stdout, stderr *output) string {
	t.Helper()
	if got != code || !strings.Contains(stdout.String()+stderr.String(), text) {
		t.Errorf("%v: status %d, want %d and %q\n%s%s", args, got, code, text, stdout, stderr)
	}
	return stdout.String()
}

func TestImportCopiesFromAServer(t *testing.T) {
	t.Parallel()
	url, socket := served(t, "undo.fs", nil)
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	want(t, 0, "imported 14 transactions with 53 records and 0 blobs", "import", "--format", "bushy", url+"/main", home)
	want(t, 0, `"transactions": 0,`, "import", "--json", socket, home)
	want(t, 0, "0 damaged, 0 warnings, 0 notes", "check", home)
	want(t, 0, "imported 14 transactions", "import", url+"?storage=main", filepath.Join(dir, "home2"))
	want(t, 0, "imported 0 transactions", "import", hometest.FileStorage(t, "undo.fs"), home)
}

func TestImportFromAServerTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	url, socket := served(t, "undo.fs", nil)
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	want(t, 1, "unknown storage", "import", url+"/nope", home)
	want(t, 1, "refused", "import", "zeo://127.0.0.1:1", home)
	want(t, 1, "refused", "import", "--follow", "zeo://127.0.0.1:1", home)
	want(t, 2, "neither a host nor a socket", "import", "zeo://", home)
	want(t, 2, "--renumber is for a Data.fs", "import", "--renumber", url+"/main", home)
	want(t, 2, "sends the blobs itself", "import", "--blobs", dir, url+"/main", home)
	want(t, 2, "cannot be combined with --salvage", "import", "--follow", "--salvage", "Data.fs", home)
	want(t, 2, "are for a server", "import", "--tls-key", "k", "Data.fs", home)
	want(t, 2, "a Unix socket has no TLS", "import", "--tls-certificate", "c", socket, home)
	want(t, 2, "give --tls-certificate", "import", "--tls-key", "c", url, home)
	if _, err := os.Stat(home); err == nil {
		t.Error("HOME was made")
	}
	want(t, 0, "", "import", url+"/main", home)
	empty, _ := served(t, "", nil)
	want(t, 1, "hint: import into a new HOME", "import", empty+"/main", home)
}

func TestImportFollowsUntilItIsTold(t *testing.T) {
	t.Parallel()
	url, _ := served(t, "undo.fs", nil)
	home := filepath.Join(t.TempDir(), "home")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr output
	e := &env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Now: time.Now, Getenv: func(string) string { return "" }}
	ended := make(chan int)
	go func() { ended <- run(ctx, e, []string{"import", "--follow", "--json", url + "/main", home}) }()
	stderr.await(t, "copied 14 transactions up to 03F6ED2545555555")
	z, err := zeoclient.ParseURL(url + "/main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := zeoclient.Dial(t.Context(), z)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	txn, err := c.Begin(zodb.TxnMeta{Description: []byte("later")}, zeoclient.BeginOptions{})
	if err == nil {
		err = txn.Store(0x1000, 0, []byte("\x80\x03cm\nC\n.\x80\x03N."))
	}
	if err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// It is there when the status of the running importer says so, in the end its log.
	for range 30_000 {
		_, out, _ := command(t.Context(), "log", home)
		if strings.Contains(out.String(), tid.String()) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("status %d: %s", code, &stderr)
	}
	states, done := followed(t, stdout.String())
	if done.LastTID != tid || done.Transactions != 15 {
		t.Errorf("%+v", done)
	}
	if len(states) == 0 || states[0].State != "caught-up" || states[0].Transactions != 14 || states[0].BehindBytes != 0 || states[0].BehindTransactions != 0 {
		t.Errorf("states: %+v", states)
	}
}

// pair makes a certificate that is its own authority, without alternative
// names, as those that were made for ZEO often are. It returns the names of its files.
func pair(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: b}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestImportOverTLSBelievesTheRightServerOnly(t *testing.T) {
	t.Parallel()
	serverCert, serverKey := pair(t, "zodb.example.org")
	clientCert, clientKey := pair(t, "client")
	own, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := certs.Trusted(clientCert)
	if err != nil {
		t.Fatal(err)
	}
	url, _ := served(t, "undo.fs", &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	url += "/main"
	home := filepath.Join(t.TempDir(), "home")
	base := []string{"import", url, home, "--tls-certificate", clientCert, "--tls-key", clientKey}
	args := func(more ...string) []string { return append(append([]string(nil), base...), more...) }
	want(t, 1, "unknown authority", args("--tls-server-name", "zodb.example.org")...)
	want(t, 1, "no certificate is in it", args("--tls-authenticate", serverKey)...)
	want(t, 1, "x509", args("--tls-authenticate", serverCert)...) // for another name
	want(t, 1, "x509", args("--tls-authenticate", clientCert, "--tls-server-name", "zodb.example.org")...)
	want(t, 1, "", "import", url, home, "--tls-authenticate", serverCert, "--tls-server-name", "zodb.example.org") // without a certificate of its own
	want(t, 0, "imported 14 transactions", args("--tls-authenticate", serverCert, "--tls-server-name", "zodb.example.org")...)
	want(t, 0, "imported 0 transactions", args("--tls-authenticate", filepath.Dir(serverCert), "--tls-server-name", "zodb.example.org")...)
}

func TestBenchAsksBeforeItWrites(t *testing.T) {
	t.Parallel()
	full, _ := served(t, "undo.fs", nil)
	empty, _ := served(t, "", nil)
	// The clock goes on by a millisecond each time it is looked at: the measured time
	// depends on no machine.
	begin, ticks := time.Now(), new(atomic.Int64)
	now := func() time.Time { return begin.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
	want := func(t *testing.T, code int, text string, args ...string) string {
		t.Helper()
		got, stdout, stderr := commandAt(t.Context(), now, args...)
		return wanted(t, args, got, code, text, stdout, stderr)
	}
	small := []string{"--objects", "200", "--duration", "1s", "--only", "load-1x1,commit-1"}
	want(t, 1, "say --yes", append([]string{"bench", full + "/main"}, small...)...)
	want(t, 0, "load-1x1", append([]string{"bench", full + "/main", "--yes", "--msgpack"}, small...)...)
	out := want(t, 0, "", append([]string{"bench", empty + "/main", "--json"}, small...)...)
	var doc benchReport
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Encoding != "Z" || len(doc.Results) != 2 || doc.Results[1].Rate <= 0 {
		t.Errorf("%+v, %v", doc, err)
	}
	want(t, 2, "--only fly: want one of "+bench.Names()[0], "bench", "--only", "fly", empty)
	want(t, 2, "give --sustain", "bench", "--only", "sustain", empty)
	want(t, 2, "at least 200", "bench", "--objects", "3", empty)
	want(t, 2, "want seconds", "bench", "--duration", "1ms", empty)
	want(t, 2, "zeo://", "bench", "http://localhost")
}

// cancelling cancels when something is written that begins a line of progress.
type cancelling struct {
	output
	cancel context.CancelFunc
}

func (w *cancelling) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "\r") {
		w.cancel()
	}
	return w.output.Write(p)
}

// TestImportThatDidNotCatchUpIsNoCopy: a stop of the server would lose the rest.
func TestImportThatDidNotCatchUpIsNoCopy(t *testing.T) {
	t.Parallel()
	url, _ := served(t, "undo.fs", nil)
	home := filepath.Join(t.TempDir(), "home")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr := &cancelling{cancel: cancel}
	var stdout output
	e := &env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: stderr, Now: time.Now, Getenv: func(string) string { return "" }, Terminal: true, ProgressEvery: 1}
	code := run(ctx, e, []string{"import", "--follow", url + "/main", home})
	text := stderr.String()
	if code != exitInterrupted || !strings.Contains(text, "the source has more than was copied: interrupted\nhint: run it again, it goes on after transaction ") {
		t.Errorf("status %d, want %d: %s%s", code, exitInterrupted, &stdout, text)
	}
	if strings.Contains(stdout.String(), "imported") {
		t.Errorf("says %s", &stdout)
	}
	want(t, exitOK, "imported", "import", url+"/main", home)
	want(t, exitOK, "03F6ED2545555555", "log", home)
}
