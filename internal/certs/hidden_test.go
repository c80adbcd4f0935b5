package certs

import (
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAListThatTheParserDoesNotSeeIsRefused: without it, those that it revokes would be let in.
func TestAListThatTheParserDoesNotSeeIsRefused(t *testing.T) {
	t.Parallel()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca, err := NewAuthority(key, Request{Names: []string{"ca"}, From: now, End: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	list, err := (&Authority{ca, key}).Revoke(nil, []*big.Int{big.NewInt(7)}, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	text := string(ListPEM(list))
	for _, c := range []struct {
		name, text string
		refused    bool
	}{
		{"as it is", text, false},
		{"behind a line", "a comment\n" + text, false},
		{"a byte order mark", "\ufeff" + text, true},
		{"a space", " " + text, true},
		{"a tab", "\t" + text, true},
		{"line ends of old Macs", "x\r" + strings.ReplaceAll(text, "\n", "\r"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"ca.pem": string(CertificatePEM(ca)), "list.pem": c.text} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			trust, err := readTrust(dir)
			if (err != nil) != c.refused || err == nil && len(trust.lists) != 1 {
				t.Errorf("got %+v, %v", trust, err)
			}
		})
	}
}
