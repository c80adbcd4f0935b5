package cli

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// clientTLS are the flags of commands that connect to a ZEO server by TLS.
type clientTLS struct {
	certificate, key         string
	authenticate, serverName string
}

func (o *clientTLS) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.certificate, "tls-certificate", "", "the `FILE` (PEM) with the certificate of this client")
	c.Flags().StringVar(&o.key, "tls-key", "", "the `FILE` (PEM) with its private key, if that is not in the same file")
	c.Flags().StringVar(&o.authenticate, "tls-authenticate", "", "a `FILE` (PEM) or directory with the certificates by which the server is trusted, instead of the system's")
	c.Flags().StringVar(&o.serverName, "tls-server-name", "", "the `NAME` that the certificate of the server is for, if it is not the host")
}

// apply puts TLS into the options of a connection, if a flag asks for it.
func (o *clientTLS) apply(z *zeoclient.Options) error {
	if *o == (clientTLS{}) {
		return nil
	}
	if z.Network == "unix" {
		return usage("--tls-...: a Unix socket has no TLS; leave the flags out, or give HOST:PORT")
	}
	name := o.serverName
	if name == "" {
		var err error
		if name, _, err = net.SplitHostPort(z.Address); err != nil {
			return usage("%w", err)
		}
	}
	conf := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}
	conf.VerifyConnection = func(cs tls.ConnectionState) error { return verifyServer(cs, name, conf.RootCAs) }
	if o.key != "" && o.certificate == "" {
		return usage("--tls-key has no certificate; give --tls-certificate, too")
	}
	if o.certificate != "" {
		pair, err := certs.KeyPair(o.certificate, o.key, "")
		if err != nil {
			return err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if o.authenticate != "" {
		var err error
		if conf.RootCAs, err = certs.Trusted(o.authenticate); err != nil {
			return err
		}
	}
	z.TLS = conf
	return nil
}

// verifyServer verifies like crypto/tls by itself, except that a certificate without
// alternative names may have the name of the server as its common name, as Python's clients
// allow it: certificates that were made for ZEO are often like that. The name is given, because
// the state has none if it is an IP address.
func verifyServer(cs tls.ConnectionState, name string, roots *x509.CertPool) error {
	leaf := cs.PeerCertificates[0]
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return err
	}
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 && leaf.Subject.CommonName == name {
		return nil
	}
	return leaf.VerifyHostname(name)
}

// refusedCertificate is the advice on an alert of TLS: the server has refused this client.
func refusedCertificate(alert error) string {
	switch text := alert.Error(); {
	case strings.Contains(text, "expired"):
		return "the certificate of this client has ended: renew it (dirstorage certs renew), or look at the clock of the server"
	case strings.Contains(text, "unknown certificate authority"):
		return "the server does not trust the authority of this client's certificate: --tls-certificate wants one by the authority in its tls-authenticate"
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"):
		return "the server wants the certificate of a client: --tls-certificate names one that it trusts and has not revoked; the log of the server has the reason"
	}
	return "the log of the server has the reason"
}
