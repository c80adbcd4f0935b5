package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/human"
)

func newCertsRenew(e *env) *cobra.Command {
	o := renewal{certsCommand: certsCommand{env: e}}
	c := &cobra.Command{
		Use:   "renew DIR [NAME...]",
		Short: "Renew the certificates that end soon",
		Long: `Renew the certificates DIR/NAME.pem, ca for the authority; without NAME each one that
has ended, or ends within --within days, but not one that is revoked. Each keeps its
names and its key, so NAME.key need not be in DIR, and certificates that a renewed
authority has issued stay good. Copy the new NAME.pem to their places, and ca.pem to
all, then let the server read its own again (systemctl reload dirstorage, or SIGHUP).`,
		Example: "  dirstorage certs renew ca\n  dirstorage certs renew ca zodb.example.org",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.dir, o.names = args[0], args[1:]
			return o.run()
		},
	}
	o.addFlags(c, issuedDays)
	c.Flags().IntVar(&o.authorityDays, "authority-days", authorityDays, "the `NUMBER` of days for which a renewed authority is good")
	c.Flags().IntVar(&o.within, "within", renewDays, "renew those that end within this `NUMBER` of days")
	return c
}

// renewal is one run of certs renew.
type renewal struct {
	certsCommand
	authorityDays, within int
	dir                   string
	names                 []string // empty: all that end soon
}

func (o *renewal) run() (err error) {
	if o.within < 0 {
		return usage("--within %d: want 0 or more", o.within)
	}
	end, err := o.end()
	if err != nil {
		return err
	}
	authorityEnd, err := o.env.certificateEnd("--authority-days", o.authorityDays)
	if err != nil {
		return err
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
	found, err := certs.Find(dir.Path("."))
	if err != nil {
		return err
	}
	inFile := make(map[string][]*x509.Certificate) // by names
	for _, f := range found {
		name, ok := strings.CutSuffix(filepath.Base(f.Path), certificateType)
		if ok && f.Certificate != nil {
			inFile[name] = append(inFile[name], f.Certificate)
		}
	}
	for _, name := range o.names {
		if inFile[name] == nil {
			return usage("NAME %q: there is no %s; want one of those that dirstorage certs list %s shows", name, dir.Path(name+certificateType), shellWord(o.dir))
		}
	}
	renewed := 0
	if o.due(authorityName, authority.Certificate) {
		c, err := authority.Renew(o.env.Now(), authorityEnd)
		if err == nil {
			err = o.replace(dir, authorityName, inFile[authorityName], c)
		}
		if err != nil {
			return err
		}
		if authority, err = dir.authority(); err != nil {
			return err
		}
		renewed++
	}
	if o.env.Now().After(authority.Certificate.NotAfter) {
		return authorityEnded(authority, o.dir)
	}
	revoked, err := dir.list()
	if err != nil {
		return err
	}
	var errs []error
	for name, all := range sorted(inFile) {
		c := all[0]
		if name == authorityName || !o.due(name, c) {
			continue
		}
		kind := certs.KindOf(c)
		if kind != certs.OfServer && kind != certs.OfClient || c.CheckSignatureFrom(authority.Certificate) != nil {
			if slices.Contains(o.names, name) {
				errs = append(errs, hint(fmt.Errorf("%s is not by the authority in %s", dir.Path(name+certificateType), o.dir), "renew it where its authority is"))
			}
			continue
		}
		if revoked != nil {
			if _, is := certs.RevokedAt(revoked, c); is {
				if slices.Contains(o.names, name) {
					errs = append(errs, hint(fmt.Errorf("%s is revoked, and with it its key", dir.Path(name+certificateType)), "move it and %s away, and make it anew, with another key", name+keyType))
				}
				continue
			}
		}
		again, err := authority.Issue(c.PublicKey, certs.Request{Kind: kind, Names: certs.NamesOf(c), From: o.env.Now(), End: end})
		if err == nil {
			err = o.replace(dir, name, all, again)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		renewed++
	}
	again, err := o.renewList(dir, authority)
	if err != nil {
		errs = append(errs, err)
	}
	if again {
		renewed++
	}
	if renewed == 0 && len(errs) == 0 && !o.json {
		_, err = fmt.Fprintf(o.env.Stdout, "no certificate in %s ends within %s\n", o.dir, human.Number(int64(o.within), "day"))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// renewList gives the revocation list a new end, if it ends soon.
func (o *renewal) renewList(dir *certsDir, authority *certs.Authority) (bool, error) {
	now := o.env.Now()
	list, err := dir.list()
	if err != nil || list == nil || !list.NextUpdate.Before(now.AddDate(0, 0, o.within)) {
		return false, err
	}
	end, err := o.end()
	if err != nil {
		return false, err
	}
	if list, err = dir.writeList(authority, nil, now, end); err != nil {
		return false, err
	}
	return true, o.env.printList(dir.Path(listFile), list, o.json)
}

// due reports whether a certificate is to be renewed.
func (o *renewal) due(name string, c *x509.Certificate) bool {
	if len(o.names) > 0 {
		return slices.Contains(o.names, name)
	}
	return c.NotAfter.Before(o.env.Now().AddDate(0, 0, o.within))
}

// wantedAt says for a kind of certificate where a renewed one is wanted.
func wantedAt(kind string) string {
	switch certs.Kind(kind) {
	case certs.OfAuthority:
		return "copy it to server and clients, and reload the server"
	case certs.OfServer:
		return "copy it to the server, and reload"
	}
	return "copy it to the client, which reads it when it starts"
}

// replace writes a renewed certificate over the one in its file, if the file has nothing else: a key
// would get lost.
func (o *renewal) replace(dir *certsDir, name string, old []*x509.Certificate, c *x509.Certificate) error {
	path := dir.Path(name + certificateType)
	text, err := dir.ReadFile(name + certificateType)
	if err != nil {
		return err
	}
	if len(old) != 1 || strings.Count(string(text), "-----BEGIN ") != 1 {
		return hint(fmt.Errorf("%s was not renewed: it has more than one certificate, or a key", path), "move the rest to a file of its own, the key to %s", name+keyType)
	}
	if name != authorityName {
		if err := errors.Join(dir.keep(name, old[0]), dir.keep(name, c)); err != nil {
			return err
		}
	}
	if err := dir.put(name, c); err != nil {
		return err
	}
	line := o.env.certificateLine(path, c)
	kept := false
	line.Key, line.NewKey = dir.Path(name+keyType), &kept
	if o.json {
		return o.env.printLine(line)
	}
	_, err = fmt.Fprintf(o.env.Stdout, "%s: %s %s, good until %s; the key is the same; %s\n", path, line.Kind, printable([]byte(strings.Join(line.Names, ", "))), line.End.Format(time.DateOnly), wantedAt(line.Kind))
	return err
}
