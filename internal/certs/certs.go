package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Files are where the certificates of a server are.
type Files struct {
	Certificate, Key string // PEM; an empty Key means that the key is in the same file
	Authenticate     string // a PEM file, or a directory of them, with the trusted certificates
	Revoked          string // a PEM file, or a directory of them, with revocation lists; empty: none but those in Authenticate
	KeyPassword      string // empty: none

	// Refused is told of each client that showed a revoked certificate; nil: nobody is told.
	Refused func(client net.Addr, e *RevokedError)

	// Clock tells whether certificates and revocation lists have run out. Without it
	// crypto/tls looks at the system's clock for certificates, and lists never run out.
	Clock func() time.Time
}

// Same reports whether both name the same files, with the same password; nil: none.
func (f *Files) Same(g *Files) bool {
	if f == nil || g == nil {
		return f == g
	}
	return f.Certificate == g.Certificate && f.Key == g.Key && f.Authenticate == g.Authenticate && f.Revoked == g.Revoked && f.KeyPassword == g.KeyPassword
}

// Server is the TLS side of a server, whose files can be read again.
type Server struct {
	files   Files
	reload  sync.Mutex // one Reload at a time
	current atomic.Pointer[tls.Config]
	trusted atomic.Pointer[trust] // of the files in force
	ends    atomic.Pointer[[]End] // of the files in force
}

// Load reads the files.
func Load(f Files) (*Server, error) {
	s := &Server{files: f}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Config returns the configuration for connections that come in; it follows Reload.
func (s *Server) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.configOf(hello.Conn), nil
		},
	}
}

// ConfigIfGiven is Config for connections that need not show a certificate. One that they show has to
// be trusted all the same.
func (s *Server) ConfigIfGiven() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			conf := s.configOf(hello.Conn)
			conf.ClientAuth = tls.VerifyClientCertIfGiven
			verify := conf.VerifyConnection
			conf.VerifyConnection = func(cs tls.ConnectionState) error {
				if len(cs.PeerCertificates) == 0 {
					return nil
				}
				return verify(cs)
			}
			return conf, nil
		},
	}
}

// configOf returns the configuration for a connection: it tells whose certificate is revoked.
func (s *Server) configOf(c net.Conn) *tls.Config {
	conf := s.current.Load().Clone()
	verify := conf.VerifyConnection
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		err := verify(cs)
		if revoked, ok := errors.AsType[*RevokedError](err); ok && s.files.Refused != nil {
			s.files.Refused(c.RemoteAddr(), revoked)
		}
		return err
	}
	return conf
}

// Reload reads the files again. If that fails, those from before stay in force.
// It may be called at any time.
func (s *Server) Reload() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	pair, ofKey, err := keyPair(s.files.Certificate, s.files.Key, s.files.KeyPassword)
	switch {
	case ofKey && s.files.Key != "":
		return fmt.Errorf("tls-key: %w", err)
	case err != nil:
		return fmt.Errorf("tls-certificate: %w", err)
	}
	if s.files.Authenticate == "" {
		return errors.New("tls-authenticate: nothing says which clients are trusted")
	}
	t, err := readTrust(s.files.Authenticate)
	if err != nil {
		return fmt.Errorf("tls-authenticate: %w", err)
	}
	if s.files.Revoked != "" {
		if err := t.addRevoked(s.files.Revoked); err != nil {
			return fmt.Errorf("tls-revoked: %w", err)
		}
	}
	ends, err := endsOf(pair.Certificate, t)
	if err != nil {
		return fmt.Errorf("tls-certificate: %w", err)
	}
	t.now = s.files.Clock
	s.ends.Store(&ends)
	s.trusted.Store(t)
	s.current.Store(&tls.Config{
		MinVersion: tls.VersionTLS12, Time: s.files.Clock,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: t.pool(),
		VerifyConnection:       t.verify,
		SessionTicketsDisabled: true,
	})
	return nil
}

// KeyPair reads a certificate, with those that lead to its authority, and its
// key, which is in the same file if key is empty. A key in the old encrypted form
// of PEM (Proc-Type: 4,ENCRYPTED) is decrypted with password.
func KeyPair(certificate, key, password string) (tls.Certificate, error) {
	pair, _, err := keyPair(certificate, key, password)
	return pair, err
}

// keyPair also tells whether an error is about the key.
func keyPair(certificate, key, password string) (pair tls.Certificate, ofKey bool, err error) {
	cert, err := vfs.ReadFile(certificate)
	if err != nil {
		return pair, false, err
	}
	secret, both := cert, certificate
	if key == "" {
		key = certificate
	} else if secret, err = vfs.ReadFile(key); err != nil {
		return pair, true, err
	} else {
		both += " with the key of " + key
	}
	if secret, err = decrypted(key, secret, password); err != nil {
		return pair, true, err
	}
	if pair, err = tls.X509KeyPair(cert, secret); err != nil {
		return pair, false, fmt.Errorf("%s: %w", both, err)
	}
	return pair, false, nil
}

// decrypted returns the first key of a PEM file, not encrypted. If there is none, the
// text is returned as it is, for others to complain.
func decrypted(name string, text []byte, password string) ([]byte, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			return nil, fmt.Errorf("%s: the key is encrypted as PKCS#8, which is not supported; "+
				"convert it with openssl pkey -in %s -traditional -aes256 -out NEW, or leave out -aes256 and protect the file", name, name)
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		//lint:ignore SA1019 ZEO's users have the old form; it protects little, but is better than no key at all
		if !x509.IsEncryptedPEMBlock(block) {
			return pem.EncodeToMemory(block), nil
		}
		if password == "" {
			return nil, fmt.Errorf("%s: the key is encrypted and there is no password; set tls-key-password-file, or DIRSTORAGE_TLS_KEY_PASSWORD in the environment", name)
		}
		//lint:ignore SA1019 see above
		der, err := x509.DecryptPEMBlock(block, []byte(password))
		if err != nil {
			return nil, fmt.Errorf("%s: the key can't be decrypted with the password: %w", name, err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
	}
	return text, nil
}
