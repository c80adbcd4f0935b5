package cli

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/certs"
)

// Days for which certificates are good, if no flag gives another number.
const (
	authorityDays = 3650
	issuedDays    = 825 // the limit of some programs
	renewDays     = 60
)

func newCerts(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "certs",
		Short: "Make, renew, revoke and list certificates for TLS between clients and server",
		Long: `Make, renew, revoke and list the certificates by which clients and server trust each other:
an authority in a directory DIR, one certificate for the server, and one for each
client. NAME.pem is a certificate, NAME.key its private key (mode 0600, never
overwritten). ca.key is the key of the authority: keep it, and DIR, away from server
and clients. They get ca.pem, and their own NAME.pem and NAME.key.`,
		Example: `  dirstorage certs authority ca
  dirstorage certs server ca zodb.example.org
  dirstorage certs client ca zope1
  dirstorage serve --listen :8100 --tls-certificate ca/zodb.example.org.pem \
    --tls-key ca/zodb.example.org.key --tls-authenticate ca/ca.pem /srv/zodb`,
		SuggestFor: []string{"tls", "cert", "certificate", "certificates"},
		RunE:       wantsCommand,
	}
	c.AddCommand(newCertsAuthority(e), newCertsServer(e), newCertsClient(e), newCertsRenew(e), newCertsRevoke(e), newCertsList(e), newCertsShow(e))
	return c
}

func newCertsAuthority(e *env) *cobra.Command {
	o := certsCommand{env: e}
	var name string
	c := &cobra.Command{
		Use:   "authority DIR",
		Short: "Make an authority in a directory",
		Long: `Make an authority in DIR, which is made if it does not exist: ca.pem, for the server and
the clients, and ca.key, which stays there. An authority that exists is never replaced.`,
		Example: "  dirstorage certs authority ca",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(name) > 64 {
				return usage("--name has %d bytes: want 64 at most", len(name))
			}
			return o.make(args[0], true, authorityName, certs.Request{Kind: certs.OfAuthority, Names: []string{name}})
		},
	}
	c.Flags().StringVar(&name, "name", "ZODB authority", "its `NAME`")
	o.addFlags(c, authorityDays)
	return c
}

func newCertsServer(e *env) *cobra.Command {
	o := certsCommand{env: e}
	c := &cobra.Command{
		Use:   "server DIR NAME...",
		Short: "Make a certificate for the server",
		Long: `Make DIR/NAME.pem and DIR/NAME.key for a server, with the authority in DIR. Each NAME is a
name or an IP address by which clients connect; the first one is that of the files.`,
		Example: "  dirstorage certs server ca zodb.example.org 10.0.0.5 localhost",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, name := range args[1:] {
				if net.ParseIP(name) == nil && (!dnsName.MatchString(name) || len(name) > 253) {
					return usage("NAME %q: want the name of a host, as zodb.example.org, or an IP address, without a port", name)
				}
			}
			file, err := certificateFile(args[1])
			if err != nil {
				return err
			}
			return o.make(args[0], false, file, certs.Request{Kind: certs.OfServer, Names: args[1:]})
		},
	}
	o.addFlags(c, issuedDays)
	return c
}

func newCertsClient(e *env) *cobra.Command {
	o := certsCommand{env: e}
	c := &cobra.Command{
		Use:   "client DIR NAME",
		Short: "Make a certificate for a client",
		Long: `Make DIR/NAME.pem and DIR/NAME.key for a client, with the authority in DIR. A client that
has them may use all storages of the server.`,
		Example: "  dirstorage certs client ca zope1",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := certificateFile(args[1])
			if err != nil {
				return err
			}
			if len(args[1]) > 64 {
				return usage("NAME has %d bytes: want 64 at most", len(args[1]))
			}
			return o.make(args[0], false, file, certs.Request{Kind: certs.OfClient, Names: args[1:]})
		},
	}
	o.addFlags(c, issuedDays)
	return c
}

// certsCommand is a command that makes certificates.
type certsCommand struct {
	env  *env
	days int
	json bool
}

func (o *certsCommand) addFlags(c *cobra.Command, days int) {
	c.Flags().IntVar(&o.days, "days", days, "the `NUMBER` of days for which it is good; a certificate ends no later than its authority")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line")
}

// end is the end of a certificate that is made now.
func (o *certsCommand) end() (time.Time, error) { return o.env.certificateEnd("--days", o.days) }

func (e *env) certificateEnd(flag string, days int) (time.Time, error) {
	const most = 100 * 365
	if days < 1 || days > most {
		return time.Time{}, usage("%s %d: want 1 to %d", flag, days, most)
	}
	return e.Now().AddDate(0, 0, days), nil
}

// make makes the certificate of a name, and its key.
func (o *certsCommand) make(name string, missing bool, file string, r certs.Request) (err error) {
	r.From = o.env.Now()
	if r.End, err = o.end(); err != nil {
		return err
	}
	dir, err := lockCerts(name, missing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.lock.Close()) }()
	there, err := dir.exists(file + certificateType)
	if err != nil {
		return err
	}
	if there {
		if revoked, err := dir.isRevoked(file); err != nil {
			return err
		} else if revoked {
			return hint(fmt.Errorf("%s exists already, and is revoked", dir.Path(file+certificateType)),
				"move it and %s away: then this makes a new certificate with a new key; the old one stays revoked", dir.Path(file+keyType))
		}
		return hint(fmt.Errorf("%s exists already", dir.Path(file+certificateType)), "it is not replaced: dirstorage certs renew gives it a new end; or choose another name")
	}
	issue := func(key crypto.Signer) (*x509.Certificate, error) { return certs.NewAuthority(key, r) }
	if r.Kind != certs.OfAuthority {
		authority, err := dir.authority()
		if err != nil {
			return err
		}
		if r.From.After(authority.Certificate.NotAfter) {
			return authorityEnded(authority, name)
		}
		issue = func(key crypto.Signer) (*x509.Certificate, error) { return authority.Issue(key.Public(), r) }
	}
	key, made, err := dir.key(file)
	if err != nil {
		return err
	}
	if !made {
		if err := dir.revokedKey(file, key.Public()); err != nil {
			return err
		}
	}
	c, err := issue(key)
	if err != nil {
		return err
	}
	if r.Kind != certs.OfAuthority {
		if err := dir.keep(file, c); err != nil {
			return err
		}
	}
	if err := dir.put(file, c); err != nil {
		return err
	}
	line := o.env.certificateLine(dir.Path(file+certificateType), c)
	line.Key, line.NewKey = dir.Path(file+keyType), &made
	return o.env.printCertificate(line, o.json)
}

func authorityEnded(a *certs.Authority, name string) error {
	return hint(fmt.Errorf("the authority in %s ended at %s", name, a.Certificate.NotAfter.UTC().Format(time.DateOnly)),
		"renew it first: dirstorage certs renew %s", shellWord(name))
}

// certificateLine is a certificate, or a revocation list, as the commands print it.
type certificateLine struct {
	Path    string     `json:"path"`
	Kind    string     `json:"kind"`
	Names   []string   `json:"names"`
	Issuer  string     `json:"issuer"`
	Serial  string     `json:"serial,omitempty"`
	Begin   time.Time  `json:"begin"`
	End     *time.Time `json:"end"` // null: never
	Days    *int       `json:"days"`
	Ended   bool       `json:"ended"`
	Revoked *time.Time `json:"revoked,omitempty"`
	Entries *int       `json:"entries,omitempty"` // of a revocation list
	Key     string     `json:"key,omitempty"`
	NewKey  *bool      `json:"new_key,omitempty"`
}

func (e *env) certificateLine(path string, c *x509.Certificate) certificateLine {
	end, days := c.NotAfter.UTC(), daysUntil(c.NotAfter, e.Now())
	return certificateLine{
		Path: path, Kind: string(certs.KindOf(c)), Names: certs.NamesOf(c), Issuer: c.Issuer.String(), Serial: fmt.Sprintf("%x", c.SerialNumber),
		Begin: c.NotBefore.UTC(), End: &end, Days: &days, Ended: !e.Now().Before(c.NotAfter),
	}
}

// printCertificate reports a certificate that was made.
func (e *env) printCertificate(l certificateLine, json bool) error {
	if json {
		return e.printLine(l)
	}
	key := ""
	if l.NewKey != nil {
		key = "; the key " + l.Key + " was there, and is kept"
		if *l.NewKey {
			key = "; the key " + l.Key + " is new"
		}
	}
	_, err := fmt.Fprintf(e.Stdout, "%s: %s %s, good until %s%s\n", l.Path, l.Kind, printable([]byte(strings.Join(l.Names, ", "))), l.End.Format(time.DateOnly), key)
	return err
}
