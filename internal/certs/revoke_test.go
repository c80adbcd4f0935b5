package certs

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"
)

// TestRevokedIsSaidBeforeAMissingList: a connection from before ends when its intermediate authority is
// revoked, also if the lists of that one are missing or have ended.
func TestRevokedIsSaidBeforeAMissingList(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	between := issue(t, "between", 2, true, root)
	other := issue(t, "root", 9, true, root) // revoked
	leaf := issue(t, "leaf", 3, false, between)
	chain := []*x509.Certificate{leaf.cert, between.cert, root.cert}
	direct := []*x509.Certificate{leaf.cert, between.cert}
	for _, tc := range []struct {
		name, lists string
		chains      [][]*x509.Certificate
		revoked     bool
	}{
		{"of the root alone", root.list(t, tomorrow, 2), [][]*x509.Certificate{chain}, true},
		{"that of the intermediate has ended", root.list(t, tomorrow, 2) + between.list(t, today.Add(-time.Minute)), [][]*x509.Certificate{chain}, true},
		{"nothing is revoked", root.list(t, tomorrow) + between.list(t, tomorrow), [][]*x509.Certificate{chain}, false},
		{"no list, nothing is revoked", root.list(t, tomorrow), [][]*x509.Certificate{chain}, false},
		{"the other chain has no list", root.list(t, tomorrow, 2), [][]*x509.Certificate{chain, direct}, true},
		{"the other chain is good", root.list(t, tomorrow, 9) + between.list(t, tomorrow), [][]*x509.Certificate{{leaf.cert, between.cert, other.cert}, direct}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, f := setup(t, root.pem())
			write(t, f.Authenticate, root.pem()+tc.lists)
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
			err := s.Revoked(tls.ConnectionState{VerifiedChains: tc.chains})
			if (err != nil) != tc.revoked {
				t.Errorf("revoked: %v, want %t", err, tc.revoked)
			}
		})
	}
}

// manyRevoked is a list with many serial numbers.
func manyRevoked(t testing.TB, p *party, number int) string {
	t.Helper()
	serials := make([]int64, number)
	for i := range serials {
		serials[i] = int64(i)<<20 + 1000
	}
	return p.list(t, tomorrow, serials...)
}

// TestLargeListIsLookedUp: each number of it is revoked, the one between two is not, and the list keeps no
// entries beside the index.
func TestLargeListIsLookedUp(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	s, f := setup(t, root.pem())
	write(t, f.Authenticate, root.pem()+manyRevoked(t, root, 3000))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	for serial, want := range map[int64]bool{1000: true, 2999<<20 + 1000: true, 1500<<20 + 1000: true, 1001: false, 3000<<20 + 1000: false} {
		leaf := issue(t, "leaf", serial, false, root)
		if err := s.Revoked(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf.cert, root.cert}}}); (err != nil) != want {
			t.Errorf("serial %d: %v, want revoked %t", serial, err, want)
		}
	}
	l := s.trusted.Load().lists[0]
	if len(l.serials) != 3000 || l.list.RevokedCertificateEntries != nil {
		t.Errorf("%d numbers, %d entries", len(l.serials), len(l.list.RevokedCertificateEntries))
	}
	if len(l.signed) != 1 {
		t.Errorf("the signature was looked at for %d issuers, want the one root", len(l.signed))
	}
}

// TestListOfAnotherKeyRevokesNobody: the name of the issuer is not enough, also when asked again.
func TestListOfAnotherKeyRevokesNobody(t *testing.T) {
	t.Parallel()
	root, double := issue(t, "root", 1, true, nil), issue(t, "between", 2, true, nil)
	between := issue(t, "between", 3, true, root)
	leaf := issue(t, "leaf", 4, false, between)
	s, f := setup(t, root.pem())
	write(t, f.Authenticate, root.pem()+double.list(t, tomorrow, 4))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Revoked(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf.cert, between.cert, root.cert}}}); err != nil {
			t.Error(err)
		}
	}
}

// TestFilesThatAreBeingWrittenArePassedOver in a directory of lists, and of certificates. A list under a
// name of its own that is cut off is not.
func TestFilesThatAreBeingWrittenArePassedOver(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	leaf := issue(t, "leaf", 7, false, root)
	_, f := setup(t, root.pem())
	trusted, lists := t.TempDir(), t.TempDir()
	list := root.list(t, tomorrow, 7)
	write(t, filepath.Join(trusted, "root.pem"), root.pem())
	write(t, filepath.Join(lists, "root.crl"), list)
	for _, dir := range []string{trusted, lists} {
		for _, name := range []string{"root.crl.new", ".root.crl.Xa81bc"} {
			write(t, filepath.Join(dir, name), list[:len(list)/2])
		}
	}
	f.Authenticate, f.Revoked = trusted, lists
	s, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Revoked(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf.cert, root.cert}}}); err == nil {
		t.Error("the list is not in force")
	}
	write(t, filepath.Join(lists, "other.crl"), list[:len(list)/2])
	if err := s.Reload(); err == nil {
		t.Error("a list that was cut off is passed over")
	}
}

// TestEndOfAListIsAmongTheEnds with its issuer.
func TestEndOfAListIsAmongTheEnds(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	s, f := setup(t, root.pem())
	end := today.Add(50 * time.Hour)
	write(t, f.Authenticate, root.pem()+root.list(t, end))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Ends() {
		if e.Use == "revocation list" && e.Name == "root" && e.At.Equal(end) && e.Soon.Equal(end.Add(-17*time.Hour)) {
			return
		}
	}
	t.Errorf("%+v", s.Ends())
}

// BenchmarkRevoked asks about a certificate with a list of 300,000 entries in force.
func BenchmarkRevoked(b *testing.B) {
	root := issue(b, "root", 1, true, nil)
	leaf := issue(b, "leaf", 5, false, root)
	s, f := setup(b, root.pem())
	write(b, f.Authenticate, root.pem()+manyRevoked(b, root, 300_000))
	b.Run("reload", func(b *testing.B) {
		for b.Loop() {
			if err := s.Reload(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ask", func(b *testing.B) {
		for b.Loop() {
			if err := s.Revoked(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf.cert, root.cert}}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
