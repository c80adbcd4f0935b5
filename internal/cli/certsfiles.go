package cli

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// The directory of an authority has NAME.pem, a certificate, and NAME.key, its key, for each name;
// ca is that of the authority. A key is written once and never again. Writers hold the lock.
const (
	authorityName   = "ca"
	certificateType = ".pem"
	keyType         = ".key"
	certsLock       = ".lock"
	aside           = ".new" // behind the name of a file that is being written
)

// certsDir is the directory of an authority, with its lock.
type certsDir struct {
	vfs.FS
	lock vfs.Lock
}

// lockCerts opens the directory of an authority for writing; missing says whether it may be made.
func lockCerts(name string, missing bool) (*certsDir, error) {
	dir, err := vfs.OS(name)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat(".")
	if errors.Is(err, fs.ErrNotExist) && missing {
		var above vfs.FS
		path := dir.Path(".")
		if above, err = vfs.OS(filepath.Dir(path)); err != nil {
			return nil, err
		}
		if err = above.Mkdir(filepath.Base(path)); errors.Is(err, fs.ErrExist) {
			err = nil // at the same time by another process
		}
		if err == nil {
			err = above.SyncDir(".")
		}
		if err == nil {
			info, err = dir.Stat(".")
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && !missing:
		return nil, hint(err, "make an authority first: dirstorage certs authority %s", shellWord(name))
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint(err, "make the directory above it first")
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, usage("DIR %s is a file: want the directory of an authority", name)
	}
	lock, err := dir.Lock(certsLock)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, hint(err, "another dirstorage certs works there: run this one again when that has ended")
	}
	if err != nil {
		return nil, err
	}
	return &certsDir{dir, lock}, nil
}

// exists reports whether there is a file of this name, or a link.
func (d *certsDir) exists(name string) (bool, error) {
	_, err := d.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// key returns the key for a name. If there is none it makes one, with mode 0600 from its first byte;
// one that is there, as an interrupted command leaves it, is used as it is.
func (d *certsDir) key(name string) (key crypto.Signer, made bool, err error) {
	file := name + keyType
	there, err := d.exists(file)
	if err != nil {
		return nil, false, err
	}
	if there {
		key, err = readKey(d.Path(file))
		return key, false, err
	}
	if key, err = certs.NewKey(); err != nil {
		return nil, false, err
	}
	text, err := certs.KeyPEM(key)
	if err != nil {
		return nil, false, err
	}
	if err := vfs.PutAside(d.FS, file+aside, text, vfs.PutOptions{Sync: true, Private: true}); err != nil {
		return nil, false, err
	}
	// Unlike a rename, a link replaces nothing.
	if err := errors.Join(d.Link(file+aside, file), d.Remove(file+aside)); err != nil {
		return nil, false, err
	}
	return key, true, d.SyncDir(".")
}

// readKey reads a key that the program made, or openssl.
func readKey(path string) (crypto.Signer, error) {
	text, err := vfs.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, hint(fmt.Errorf("%s: %w", path, err), "it is never overwritten: move it away for a new one")
	}
	return key, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if s, ok := key.(crypto.Signer); ok {
				return s, nil
			}
			return nil, errors.New("the key cannot sign; want one of ECDSA, RSA or Ed25519")
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		}
	}
	return nil, errors.New("there is no unencrypted private key in PEM; want -----BEGIN PRIVATE KEY-----")
}

// put writes a certificate, whole or not at all.
func (d *certsDir) put(name string, c *x509.Certificate) error {
	file := name + certificateType
	return vfs.WriteFileAtomic(d.FS, file+aside, file, certs.CertificatePEM(c), vfs.SyncOptions{File: true, Dir: true})
}

// authority reads the authority.
func (d *certsDir) authority() (*certs.Authority, error) {
	a, err := certs.ReadAuthority(d.Path(authorityName+certificateType), d.Path(authorityName+keyType))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(err, "DIR wants the ca.pem and ca.key of an authority: dirstorage certs authority %s", shellWord(d.Path(".")))
	}
	return a, err
}

var (
	fileName = regexp.MustCompile(`^[A-Za-z0-9_*][A-Za-z0-9._@*-]*$`)
	dnsName  = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)
)

// certificateFile is the name of the files of a certificate, without its end.
func certificateFile(name string) (string, error) {
	file := strings.ReplaceAll(strings.ReplaceAll(name, "*", "any"), ":", "_")
	if !fileName.MatchString(file) || len(file) > 200 || file == authorityName {
		return "", usage("NAME %q cannot be the name of a file: want letters, digits, and . _ @ -, and not ca", name)
	}
	return file, nil
}
