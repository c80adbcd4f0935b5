package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// makeCertificate writes a self-signed certificate and its key.
func makeCertificate(t *testing.T, certificate, key, name string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// zconfigValue reads a value of a ZConfig file.
func zconfigValue(v string) string { return strings.ReplaceAll(v, "$$", "$") }

// clientStorages reads the sections that config --clients prints for zope.conf. Files are in dir.
func clientStorages(t *testing.T, dir, text string) []zeoclient.Options {
	t.Helper()
	var list []zeoclient.Options
	for _, section := range regexp.MustCompile(`(?s)<clientstorage>\n(.*?)</clientstorage>`).FindAllStringSubmatch(text, -1) {
		values := make(map[string]string)
		for line := range strings.Lines(section[1]) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			values[key] = zconfigValue(value)
		}
		o := zeoclient.Options{Network: "tcp", Address: values["server"], Storage: values["storage"], ReadOnly: values["read-only"] == "on"}
		if strings.Contains(o.Address, "/") {
			o.Network = "unix"
		}
		if name := values["certificate"]; name != "" {
			pair, err := certs.KeyPair(filepath.Join(dir, name), filepath.Join(dir, values["key"]), "")
			if err != nil {
				t.Fatal(err)
			}
			roots, err := certs.Trusted(values["authenticate"])
			if err != nil {
				t.Fatal(err)
			}
			o.TLS = &tls.Config{ServerName: values["server-hostname"], RootCAs: roots, Certificates: []tls.Certificate{pair}}
		}
		list = append(list, o)
	}
	return list
}

// printedURIs reads the other forms that it prints, as URIs.
func printedURIs(t *testing.T, text string) []zeoclient.Options {
	t.Helper()
	var list []zeoclient.Options
	add := func(address, storage string, readOnly bool) {
		o := zeoclient.Options{Network: "tcp", Address: address, Storage: storage, ReadOnly: readOnly}
		if strings.HasPrefix(address, "/") {
			o.Network = "unix"
		}
		list = append(list, o)
	}
	for _, m := range regexp.MustCompile(`(?m)^  (zeo://.*)$`).FindAllStringSubmatch(text, -1) {
		o, err := zeoclient.ParseURL(m[1])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
	if m := regexp.MustCompile(`(?m)^zeo-address = (.*)\nzeo-storage = (.*)$`).FindStringSubmatch(text); m != nil {
		add(zconfigValue(m[1]), zconfigValue(m[2]), strings.Contains(text, "\nread-only = true\n"))
	}
	if m := regexp.MustCompile(`(?m)^  docker run (.*)$`).FindStringSubmatch(text); m != nil {
		out, err := exec.Command("sh", "-c", "for word in "+m[1]+"; do echo \"$word\"; done").Output()
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Split(strings.TrimSpace(string(out)), "\n")
		value := func(prefix string) string {
			i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, prefix) })
			if i < 0 {
				t.Fatalf("%q has no %s", words, prefix)
			}
			return strings.TrimPrefix(words[i], prefix)
		}
		add(value("ZEO_ADDRESS="), value("ZEO_STORAGE="), slices.Contains(words, "ZEO_READ_ONLY=true"))
		if address := value("ZEO_ADDRESS="); strings.HasPrefix(address, "/") != slices.Contains(words, address+":"+address) {
			t.Errorf("the socket is not in the container: %q", words)
		}
	}
	return list
}

// pythonSource is the source trees of the Python client; the test goes on without it.
func pythonSource() (python string, env []string) {
	src := os.Getenv("ZODB_SRC")
	if src == "" {
		return "", nil
	}
	path := []string{src}
	for _, name := range []string{"ZEO", "ZODB", "ZConfig", "zdaemon", "zodburi"} {
		path = append(path, filepath.Join(src, name, "src"), filepath.Join(src, name))
	}
	env = append(os.Environ(), "PYTHONPATH="+strings.Join(path, string(os.PathListSeparator)), "PYTHONDONTWRITEBYTECODE=1")
	for _, python := range []string{os.Getenv("INTEROP_PYTHON"), "python3", "/usr/bin/python3"} {
		cmd := exec.Command(python, "-c", "import ZEO, ZODB.config")
		cmd.Env = env
		if python != "" && cmd.Run() == nil {
			return python, env
		}
	}
	return "", nil
}

// paste gives the output of config --clients to the Python client: each database is opened, and its
// root is read.
const paste = `
import re, sys
import ZODB.config
text = sys.stdin.read()
for section in re.findall(r'<clientstorage>.*?</clientstorage>', text, re.S):
    db = ZODB.config.databaseFromString('%import ZEO\n<zodb>\n' + section + '\n</zodb>')
    with db.transaction() as c: print('zconfig', len(c.root()))
    db.close()
recipe = re.search(r'zeo-address = (.*)\nzeo-storage = (.*)\n(?:blob-storage = (.*)\n)?shared-blob = (.*)\n(read-only = true)?', text)
if recipe: # as the recipe and the image write it
    lines = ['server ' + recipe[1], 'storage ' + recipe[2], 'shared-blob-dir ' + recipe[4], 'blob-dir ' + (recipe[3] or 'recipe')]
    lines += [(recipe[5] or '').replace(' = ', ' '), 'name zeostorage', 'cache-size 128MB', 'drop-cache-rather-verify false']
    db = ZODB.config.databaseFromString('<zodb>\n<zeoclient>\n%s\n</zeoclient>\n</zodb>' % '\n'.join(lines))
    with db.transaction() as c: print('recipe', len(c.root()))
    db.close()
try:
    from zodburi.resolvers import client_storage_resolver
except ImportError:
    uris = []
else:
    uris = re.findall(r'^  (zeo://.*)$', text, re.M)
for uri in uris:
    factory, rest = client_storage_resolver(uri)
    db = ZODB.DB(factory(), **rest)
    with db.transaction() as c: print('zodburi', len(c.root()))
    db.close()
code = text[text.index('\nPython:\n') + len('\nPython:\n'):]
exec(code)
with db.transaction() as c: print('python', len(c.root()))
db.close()
`

// clientLines is the output of config --clients with the arguments of a server, and with its port in place of 0.
func clientLines(t *testing.T, s *serverProcess, dir string, args []string) string {
	t.Helper()
	args = append([]string{"config", "--clients"}, args...)
	for i, a := range args {
		if host, ok := strings.CutSuffix(a, ":0"); ok {
			at := s.await(&s.log, `listening address=(\S+:\d+) `)
			args[i] = host + at[strings.LastIndexByte(at, ':'):]
		}
	}
	c := program(t, args...)
	c.Dir = dir
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, &errs)
	}
	return string(out)
}

// TestLinesForClientsCanBePasted connects with each form of each case.
func TestLinesForClientsCanBePasted(t *testing.T) {
	t.Parallel()
	python, env := pythonSource()
	t.Logf("with the Python client: %t", python != "")
	for _, tc := range []struct {
		name     string
		env      string
		args     []string // after --storage, with DIR for a directory
		storages []string // their names
		readOnly bool
		tls      bool
		says     string
	}{
		{name: "a port", args: []string{"--listen", "127.0.0.1:0"}, storages: []string{"1"}},
		{name: "all interfaces", args: []string{"--listen", ":0"}, storages: []string{"1"}, says: "put the name of this one in place of the address"},
		{name: "all interfaces, IPv4", args: []string{"--listen", "0.0.0.0:0"}, storages: []string{"1"}, says: "put the name of this one in place of the address"},
		{name: "in a container", env: "container=docker", args: []string{"--listen", ":0"}, storages: []string{"1"}, says: "In another container, put the name of this one"},
		{name: "alone in a container", env: "container=docker", args: []string{"--listen", "127.0.0.1:0"}, storages: []string{"1"}, says: "Nobody outside of this container can connect: use --listen :"},
		{name: "IPv6", args: []string{"--listen", "[::1]:0"}, storages: []string{"1"}},
		{name: "a socket", args: []string{"--listen", "DIR/zeo.sock"}, storages: []string{"1"}},
		{name: "a relative socket", args: []string{"--listen", "./a$$b.sock"}, storages: []string{"1"}},
		{name: "an odd socket", args: []string{"--listen", "./$odd name.sock"}, storages: []string{"1"}, says: "choose a socket without a space"},
		{name: "two addresses", args: []string{"--listen", "127.0.0.1:0", "--listen", "DIR/zeo.sock"}, storages: []string{"1"}, says: "and on /"},
		{name: "several storages", args: []string{"--listen", "127.0.0.1:0"}, storages: []string{"main", "catalog", "an odd $name&", "Übung"}},
		{name: "read-only", args: []string{"--listen", "127.0.0.1:0", "--read-only"}, storages: []string{"1"}, readOnly: true},
		{name: "shared blobs", args: []string{"--listen", "127.0.0.1:0", "--blob-dir", "blobs"}, storages: []string{"1"}, says: "shared-blob-dir on"},
		{name: "TLS", args: []string{"--listen", "127.0.0.1:0", "--tls-certificate", "server.pem", "--tls-key", "server.key", "--tls-authenticate", "client.pem"}, storages: []string{"1"}, tls: true},
		{name: "a socket beside TLS", args: []string{"--listen", "DIR/zeo.sock", "--listen", "127.0.0.1:0", "--tls-certificate", "server.pem", "--tls-key", "server.key", "--tls-authenticate", "client.pem"}, storages: []string{"1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.name == "IPv6" {
				l, err := net.Listen("tcp", "[::1]:0")
				if err != nil {
					t.Skip("there is no IPv6 here")
				}
				l.Close()
			}
			dir := t.TempDir()
			makeCertificate(t, filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), "zodb.example.org")
			makeCertificate(t, filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"), "zope1")
			args := []string{"serve"}
			for i, name := range tc.storages {
				home := filepath.Join(dir, "home"+strconv.Itoa(i))
				if err := engine.Create(home, engine.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				fillHome(t, home)
				args = append(args, "--storage", name+"="+home)
			}
			for _, a := range tc.args {
				args = append(args, strings.ReplaceAll(a, "DIR", dir))
			}
			s := &serverProcess{t: t, cmd: program(t, args...)}
			s.cmd.Dir = dir
			if tc.env != "" {
				s.cmd.Env = append(s.cmd.Env, tc.env)
			}
			s.start()
			s.await(&s.out, "Stop it with")
			s.mu.Lock()
			greeting := s.out.String()
			s.mu.Unlock()
			text := clientLines(t, s, dir, args[1:])
			if !strings.Contains(greeting+text, tc.says) {
				t.Errorf("it says nothing of %q:\n%s%s", tc.says, greeting, text)
			}
			if !tc.tls {
				for i, uri := range regexp.MustCompile(`(?m)^  (zeo://.*)$`).FindAllStringSubmatch(text, -1) {
					if !strings.Contains(greeting, "\nURI: "+uri[1]+"\n") {
						t.Errorf("the greeting does not have URI %d, %s:\n%s", i, uri[1], greeting)
					}
				}
			}
			sections, uris := clientStorages(t, dir, text), printedURIs(t, text)
			other := 2 // of buildout and the image
			if tc.name == "an odd socket" {
				other = 1
			}
			if len(sections) != len(tc.storages) || tc.tls != (len(uris) == 0) || !tc.tls && len(uris) != len(tc.storages)+other {
				t.Fatalf("%d sections and %d other forms in\n%s", len(sections), len(uris), text)
			}
			for _, o := range append(sections, uris...) {
				if err := connectAs(t.Context(), o); err != nil || o.ReadOnly != tc.readOnly {
					t.Errorf("%+v: %v\n%s", o, err, text)
				}
			}
			if python != "" {
				cmd := exec.CommandContext(t.Context(), python, "-c", paste)
				cmd.Env, cmd.Dir, cmd.Stdin = env, dir, strings.NewReader(text)
				var out, errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &errs
				want := strings.Repeat("zconfig 0\n", len(tc.storages))
				if !tc.tls && other == 2 {
					want += "recipe 0\n"
				}
				err := cmd.Run()
				if strings.Contains(out.String(), "zodburi") {
					want += strings.Repeat("zodburi 0\n", len(uris)-other)
				}
				if want += "python 0\n"; err != nil || out.String() != want {
					t.Errorf("Python: %v, it prints %q, want %q\n%s\n%s", err, out.String(), want, errs.String(), text)
				}
			}
			s.end()
		})
	}
}

// emptyRoot is the record of a PersistentMapping without keys.
var emptyRoot = []byte("\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\x00\x00\x00data}s.")

// fillHome makes a root object.
func fillHome(t *testing.T, home string) {
	t.Helper()
	s := enginetest.Open(t, home, engine.Options{NoControlSocket: true})
	enginetest.Commit(t, s, enginetest.Change{Data: emptyRoot})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// connectAs reads the root object.
func connectAs(ctx context.Context, o zeoclient.Options) error {
	c, err := zeoclient.Dial(ctx, o)
	if err != nil {
		return err
	}
	tid, err := c.GetTid(ctx, 0)
	if err == nil && tid == 0 {
		err = fmt.Errorf("the root has tid %s", tid)
	}
	return errors.Join(err, c.Close())
}

// TestGreetingIsShort: a newcomer sees the address, two ways to connect, and the command that prints the others.
func TestGreetingIsShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServeIn(t, dir, "--listen", "127.0.0.1:0", "./var")
	address := s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	s.await(&s.out, "Stop it with Ctrl-C.\n")
	s.mu.Lock()
	text := s.out.String()
	s.mu.Unlock()
	port := address[strings.LastIndexByte(address, ':')+1:]
	want := "made ./var, a new and empty storage\nserving storage 1 of ./var on " + address + "\n"
	rest := "\nPython: import ZEO; db = ZEO.DB((\"127.0.0.1\", " + port + "), blob_dir=\"blobcache\")\nURI: zeo://" + address +
		"\nZope, Plone, containers: dirstorage config --clients, with the same arguments\nStop it with Ctrl-C.\n"
	if !strings.HasPrefix(text, want) || !strings.HasSuffix(text, rest) || strings.Count(text, "\n") > 8 {
		t.Errorf("it prints\n%s", text)
	}
	s.end()
	var b strings.Builder
	conf, err := config.Load(pflag.NewFlagSet("serve", pflag.ContinueOnError), "/srv/zodb", func(string) string { return "" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeGreeting(&b, greeting{conf: conf, addresses: []net.Addr{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8100}}}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if columnsOf(line) > usualColumns {
			t.Errorf("a line of %d columns: %s", columnsOf(line), line)
		}
	}
	if !strings.Contains(b.String(), ": dirstorage config --clients /srv/zodb\n") {
		t.Errorf("it prints\n%s", b.String())
	}
}
