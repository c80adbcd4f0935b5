package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestHandshakesGoOnDuringAReload: while the files are read, clients come in by those from before, and earlier
// connections are asked about. The new list is in force when Reload returns. It comes through a pipe, which
// holds Reload for as long as the test wants.
func TestHandshakesGoOnDuringAReload(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	one := issue(t, "one", 3, false, root)
	_, f := setup(t, root.pem())
	f.Revoked = write(t, filepath.Join(t.TempDir(), "list.pem"), root.list(t, tomorrow))
	s, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, s)
	earlier := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{one.cert, root.cert}}}
	if err := os.Remove(f.Revoked); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(f.Revoked, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Reload() }()
	w, err := os.OpenFile(f.Revoked, os.O_WRONLY, 0) // returns when Reload has opened it, too
	if err != nil {
		t.Fatal(err)
	}
	text := root.list(t, tomorrow, 3)
	if _, err := w.WriteString(text[:100]); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := connect(addr, client(one)); err != nil {
			t.Error(err)
		}
		if err := s.Revoked(earlier); err != nil {
			t.Error(err)
		}
		if len(s.Ends()) == 0 {
			t.Error("no certificate has an end")
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the reload has ended: %v", err)
	default:
	}
	if _, err := w.WriteString(text[100:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := connect(addr, client(one)); err == nil {
		t.Error("a revoked client was let in")
	}
	if err := s.Revoked(earlier); err == nil {
		t.Error("a revoked client stays")
	}
}
