package cli

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// The authority's revocation list is beside its certificate. A renewal keeps the key, so that a
// certificate from before it lets the same thief in: issuedDir has each one that was issued, as
// NAME-SERIAL.pem.
const (
	listFile  = authorityName + ".crl"
	issuedDir = "issued"
)

func newCertsRevoke(e *env) *cobra.Command {
	o := revocation{certsCommand: certsCommand{env: e}}
	c := &cobra.Command{
		Use:   "revoke DIR [NAME...]",
		Short: "Revoke certificates whose keys are in wrong hands",
		Long: `Revoke the certificates DIR/NAME.pem, and those from before their renewals, in the
revocation list of the authority, DIR/ca.crl. Copy it to the server, whose option
--tls-revoked names it, and let the server read it (systemctl reload dirstorage, or
SIGHUP): it ends the connections of these clients, and refuses new ones. Without NAME the
list is made with a new end alone. A server that has a list refuses all clients once the
list has ended; certs renew renews it. NAME may also be a file that ends in .pem, with
a certificate by this authority.`,
		Example: "  dirstorage certs revoke ca zope1\n  dirstorage certs revoke ca --serial 5f0c1d",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.dir, o.names = args[0], args[1:]
			return o.run()
		},
	}
	c.Flags().StringArrayVar(&o.serials, "serial", nil, "revoke the certificate with this serial `NUMBER`, and those of its key, hexadecimal as certs list --json and the log of the server have it; may be repeated")
	c.Flags().IntVar(&o.days, "days", issuedDays, "the `NUMBER` of days for which the list is good; it ends no later than the authority")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line")
	return c
}

// revocation is one run of certs revoke.
type revocation struct {
	certsCommand
	dir     string
	names   []string
	serials []string
}

func (o *revocation) run() (err error) {
	end, err := o.end()
	if err != nil {
		return err
	}
	var serials []*big.Int
	for _, text := range o.serials {
		n, ok := new(big.Int).SetString(strings.ReplaceAll(text, ":", ""), 16)
		if !ok || n.Sign() <= 0 || n.BitLen() > 160 {
			return usage("--serial %s: want a hexadecimal number, as certs list --json shows it", text)
		}
		serials = append(serials, n)
	}
	dir, err := lockCerts(o.dir, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.lock.Close()) }()
	authority, err := dir.authority()
	if err != nil {
		return err
	}
	if o.env.Now().After(authority.Certificate.NotAfter) {
		return authorityEnded(authority, o.dir)
	}
	var all []certs.Found
	for _, name := range o.names {
		found, err := dir.certificatesOf(name, authority)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	known, err := dir.bySerials(serials, authority)
	if err != nil {
		return err
	}
	for _, n := range serials {
		if !slices.ContainsFunc(known, func(f certs.Found) bool { return f.Certificate.SerialNumber.Cmp(n) == 0 }) {
			o.env.warn(fmt.Sprintf("--serial %x: no certificate in %s has it; it is revoked, and no other one of its key", n, o.dir))
		}
	}
	all = unique(append(all, known...))
	for _, f := range all {
		serials = append(serials, f.Certificate.SerialNumber)
		if err := dir.keep(strings.TrimSuffix(filepath.Base(f.Path), certificateType), f.Certificate); err != nil {
			return err
		}
	}
	list, err := dir.writeList(authority, serials, o.env.Now(), end)
	if err != nil {
		return err
	}
	for _, f := range all {
		if err := o.tell(o.env.certificateLine(f.Path, f.Certificate), list, f.Certificate); err != nil {
			return err
		}
	}
	return o.env.printList(dir.Path(listFile), list, o.json)
}

// tell reports a certificate that is revoked now.
func (o *revocation) tell(l certificateLine, list *x509.RevocationList, c *x509.Certificate) error {
	at, _ := certs.RevokedAt(list, c)
	l.Revoked = &at
	if o.json {
		return o.env.printLine(l)
	}
	_, err := fmt.Fprintf(o.env.Stdout, "%s: %s %s, serial %s, is revoked\n", l.Path, l.Kind, printable([]byte(strings.Join(l.Names, ", "))), l.Serial)
	return err
}

// printList reports a revocation list that was written.
func (e *env) printList(path string, list *x509.RevocationList, json bool) error {
	l := e.listLine(path, list)
	if json {
		return e.printLine(l)
	}
	_, err := fmt.Fprintf(e.Stdout, "%s: revocation list with %s, good until %s; copy it to the server, and reload\n", path, human.Number(int64(*l.Entries), "entry"), l.End.Format(time.DateOnly))
	return err
}

// listLine is a revocation list as the commands print it.
func (e *env) listLine(path string, list *x509.RevocationList) certificateLine {
	n := len(list.RevokedCertificateEntries)
	l := certificateLine{Path: path, Kind: "revocation list", Names: []string{}, Issuer: list.Issuer.String(), Begin: list.ThisUpdate.UTC(), Entries: &n}
	if end := list.NextUpdate.UTC(); !end.IsZero() {
		days := daysUntil(end, e.Now())
		l.End, l.Days, l.Ended = &end, &days, !e.Now().Before(end)
	}
	return l
}

// list reads the revocation list of the authority; nil if there is none.
func (d *certsDir) list() (*x509.RevocationList, error) {
	text, err := d.ReadFile(listFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, hint(fmt.Errorf("%s: it is not one revocation list in PEM", d.Path(listFile)), "bring it back from a copy, as the server has one: without it the revoked certificates are good again")
	}
	l, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path(listFile), err)
	}
	return l, nil
}

// writeList writes the revocation list with more serial numbers, whole or not at all.
func (d *certsDir) writeList(a *certs.Authority, serials []*big.Int, now, end time.Time) (*x509.RevocationList, error) {
	before, err := d.list()
	if err != nil {
		return nil, err
	}
	list, err := a.Revoke(before, serials, now, end)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path(listFile), err)
	}
	return list, vfs.WriteFileAtomic(d.FS, listFile+aside, listFile, certs.ListPEM(list), vfs.SyncOptions{File: true, Dir: true})
}

// keep puts a certificate into the directory of those that were issued.
func (d *certsDir) keep(name string, c *x509.Certificate) error {
	if err := d.Mkdir(issuedDir); err == nil {
		err = d.SyncDir(".")
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	serial := fmt.Sprintf("-%x", c.SerialNumber)
	file := issuedDir + "/" + strings.TrimSuffix(name, serial) + serial + certificateType
	return vfs.WriteFileAtomic(d.FS, file+aside, file, certs.CertificatePEM(c), vfs.SyncOptions{File: true, Dir: true})
}

// issued are the certificates that the authority has issued, as far as they were kept.
func (d *certsDir) issued() ([]certs.Found, error) {
	if there, err := d.exists(issuedDir); err != nil || !there {
		return nil, err
	}
	return certs.FindAny(d.Path(issuedDir))
}

// certificatesOf are the certificate of a name, or of a file, and all that the authority has issued for
// the same key.
func (d *certsDir) certificatesOf(name string, a *certs.Authority) ([]certs.Found, error) {
	path := name
	if name == authorityName || name == authorityName+certificateType {
		return nil, usage("NAME %q is the authority, which its own list cannot revoke: want a server or a client; if the key of the authority is in wrong hands, make another one in a new directory, and trust that alone", name)
	}
	if filepath.Ext(name) != certificateType {
		file, err := certificateFile(name)
		if err != nil {
			return nil, err
		}
		path = d.Path(file + certificateType)
	}
	issued, err := d.issued()
	if err != nil {
		return nil, err
	}
	found, err := certs.Find(path)
	if errors.Is(err, fs.ErrNotExist) {
		for _, f := range issued { // the file was moved away
			if serial := fmt.Sprintf("-%x", f.Certificate.SerialNumber); strings.TrimSuffix(filepath.Base(f.Path), serial+certificateType) == strings.TrimSuffix(filepath.Base(path), certificateType) {
				found = append(found, f)
			}
		}
		if len(found) == 0 {
			return nil, usage("NAME %q: there is no %s; want one of those that dirstorage certs list %s shows, a file, or --serial", name, path, shellWord(d.Path(".")))
		}
	} else if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(f certs.Found) bool { return f.Certificate == nil })
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no certificate is in it; want PEM, -----BEGIN CERTIFICATE-----", path)
	}
	for _, f := range found {
		if f.Certificate.IsCA || f.Certificate.CheckSignatureFrom(a.Certificate) != nil {
			return nil, hint(fmt.Errorf("%s is no certificate of a client or server by the authority in %s", f.Path, d.Path(".")), "revoke it where its authority is")
		}
	}
	return withKeysOf(found, issued, a), nil
}

// bySerials are those of the certificates with these serial numbers of which there are files, and all
// that the authority has issued for the same keys.
func (d *certsDir) bySerials(serials []*big.Int, a *certs.Authority) ([]certs.Found, error) {
	issued, err := d.issued()
	if err != nil || len(serials) == 0 {
		return nil, err
	}
	now, err := certs.FindAny(d.Path("."))
	if err != nil {
		return nil, err
	}
	var found []certs.Found
	for _, f := range append(now, issued...) {
		switch {
		case !slices.ContainsFunc(serials, func(n *big.Int) bool { return n.Cmp(f.Certificate.SerialNumber) == 0 }):
		case f.Certificate.CheckSignatureFrom(a.Certificate) != nil: // the number is that of another authority
		case f.Certificate.IsCA:
			return nil, usage("--serial %x is that of the authority itself: it would lock all clients out; want that of a client or server", f.Certificate.SerialNumber)
		default:
			found = append(found, f)
		}
	}
	return withKeysOf(found, issued, a), nil
}

// withKeysOf adds the certificates that were issued for the same keys.
func withKeysOf(found, issued []certs.Found, a *certs.Authority) []certs.Found {
	all := slices.Clone(found)
	for _, f := range issued {
		for _, one := range found {
			if bytes.Equal(f.Certificate.RawSubjectPublicKeyInfo, one.Certificate.RawSubjectPublicKeyInfo) && f.Certificate.CheckSignatureFrom(a.Certificate) == nil {
				all = append(all, f)
			}
		}
	}
	return unique(all)
}

// unique leaves one of each serial number, the first.
func unique(list []certs.Found) (all []certs.Found) {
	seen := make(map[string]bool)
	for _, f := range list {
		if serial := f.Certificate.SerialNumber.String(); !seen[serial] {
			seen[serial] = true
			all = append(all, f)
		}
	}
	return all
}

// isRevoked reports whether a certificate in a file is revoked.
func (d *certsDir) isRevoked(name string) (bool, error) {
	list, err := d.list()
	if err != nil || list == nil {
		return false, err
	}
	found, err := certs.FindAny(d.Path(name + certificateType))
	return slices.ContainsFunc(found, func(f certs.Found) bool {
		_, revoked := certs.RevokedAt(list, f.Certificate)
		return revoked
	}), err
}

// revokedKey refuses a key of which a certificate is revoked.
func (d *certsDir) revokedKey(name string, key crypto.PublicKey) error {
	list, err := d.list()
	if err != nil || list == nil {
		return err
	}
	issued, err := d.issued()
	if err != nil {
		return err
	}
	for _, f := range issued {
		public, ok := f.Certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if _, revoked := certs.RevokedAt(list, f.Certificate); revoked && ok && public.Equal(key) {
			return hint(fmt.Errorf("%s is the key of a certificate that was revoked", d.Path(name+keyType)), "move it away for a new key")
		}
	}
	return nil
}

// noListYet adds to the error of a server without its revocation list how the first one is made.
func noListYet(err error, list string) error {
	missing, ok := errors.AsType[*fs.PathError](err)
	if !ok || list == "" || !errors.Is(err, fs.ErrNotExist) || filepath.Base(missing.Path) != filepath.Base(list) {
		return err
	}
	return hint(err, "dirstorage certs revoke DIR, with the directory of the authority, makes an empty list: copy it there")
}
