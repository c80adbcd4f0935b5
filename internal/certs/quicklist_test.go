package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"maps"
	"math/big"
	"slices"
	"testing"
)

// listOf signs a list of entries.
func listOf(t *testing.T, p *party, entries ...x509.RevocationListEntry) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(7), ThisUpdate: today, NextUpdate: tomorrow, RevokedCertificateEntries: entries}, p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestAQuickListIsThatOfTheParser: the same numbers, facts and signature, whatever the form of the entries;
// an unusual form goes through the parser.
func TestAQuickListIsThatOfTheParser(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	long := new(big.Int).Lsh(big.NewInt(0xabcdef), 130)
	invalidity := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: []byte("\x18\x0f20260101000000Z")}
	for name, tc := range map[string]struct {
		entries []x509.RevocationListEntry
		quick   bool
	}{
		"none": {nil, false},
		"usual": {[]x509.RevocationListEntry{
			{SerialNumber: big.NewInt(5), RevocationTime: today}, {SerialNumber: big.NewInt(0x80), RevocationTime: today},
			{SerialNumber: big.NewInt(0xff00), RevocationTime: today, ReasonCode: 1}, {SerialNumber: big.NewInt(9), RevocationTime: today, ReasonCode: takenBack},
			{SerialNumber: long, RevocationTime: today.AddDate(40, 0, 0)}}, true},
		"another extension": {[]x509.RevocationListEntry{{SerialNumber: big.NewInt(5), RevocationTime: today, ReasonCode: takenBack, ExtraExtensions: []pkix.Extension{invalidity}},
			{SerialNumber: long, RevocationTime: today, ExtraExtensions: []pkix.Extension{invalidity}}}, false},
		"a number below 0": {[]x509.RevocationListEntry{{SerialNumber: big.NewInt(-5), RevocationTime: today}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			der := listOf(t, root, tc.entries...)
			if _, ok := quickList(der); ok != tc.quick {
				t.Errorf("quick: %t", ok)
			}
			l, err := x509.ParseRevocationList(der)
			if err != nil {
				t.Fatal(err)
			}
			want := newRevocations(l)
			got, err := readRevocations(der)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got.serials, want.serials) {
				t.Errorf("numbers %x, want %x", slices.Collect(maps.Keys(got.serials)), slices.Collect(maps.Keys(want.serials)))
			}
			if g, w := got.list, want.list; !bytes.Equal(g.RawIssuer, w.RawIssuer) || !g.NextUpdate.Equal(w.NextUpdate) || g.Number.Cmp(w.Number) != 0 || !bytes.Equal(g.RawTBSRevocationList, w.RawTBSRevocationList) || !bytes.Equal(g.Raw, w.Raw) {
				t.Errorf("%+v, want %+v", g, w)
			}
			if err := got.by(root.cert); err != nil {
				t.Error(err)
			}
			for _, serial := range []int64{5, 9, 0x80, 6} {
				if n := big.NewInt(serial); got.has(n) != want.has(n) {
					t.Errorf("%d: %t", serial, got.has(n))
				}
			}
		})
	}
}

// TestAChangedQuickListIsNotBelieved: no byte of a list can be changed or cut off without an error of the
// parser or of the signature.
func TestAChangedQuickListIsNotBelieved(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", 1, true, nil)
	der := listOf(t, root, x509.RevocationListEntry{SerialNumber: big.NewInt(500), RevocationTime: today, ReasonCode: 1}, x509.RevocationListEntry{SerialNumber: big.NewInt(0x8001), RevocationTime: today})
	believed := func(b []byte) bool {
		r, err := readRevocations(b)
		return err == nil && r.by(root.cert) == nil
	}
	if !believed(der) {
		t.Fatal("the list itself is not believed")
	}
	for i := range der {
		for _, bit := range []byte{1, 0x10, 0x80} {
			changed := bytes.Clone(der)
			changed[i] ^= bit
			if believed(changed) {
				t.Errorf("byte %d of %d may be changed by %#x", i, len(der), bit)
			}
		}
		if believed(der[:i]) {
			t.Errorf("%d of %d bytes are enough", i, len(der))
		}
	}
}
