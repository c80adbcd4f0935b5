package certs

import (
	"crypto/tls"
	"crypto/x509"
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
