package cli

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/config"
)

// greeting is the text that serve prints for a person, and config --clients: how clients connect. Its lines work
// unchanged on this machine; files that only the client has are named client.pem, client.key and var/blobcache,
// or blobcache.
type greeting struct {
	conf      *config.Config
	addresses []net.Addr    // on which the server listens
	made      []string      // HOMEs that were made now
	server    *certs.Server // nil: no TLS
	container bool          // the server is in a container
	host      string        // name of this machine
	pages     string        // URL of the web pages; "": there are none
}

// offer is one storage at one address, as clients are told of it.
type offer struct {
	storage  config.Storage
	readOnly bool
	section  string // of zope.conf
	cache    string // a directory for blobs

	address  string // as ZConfig wants it
	python   string // as Python wants it
	loopback bool   // nobody else can reach it
	uri      string // without a query

	tls         bool
	trust, name string // of the server: the file that clients trust, its name
}

// writeGreeting writes the next steps of a person who starts a server.
func writeGreeting(w io.Writer, g greeting) error {
	var b strings.Builder
	for _, home := range g.made {
		fmt.Fprintf(&b, "made %s, a new and empty storage\n", home)
	}
	offers := g.offers()
	for _, t := range offers {
		fmt.Fprintf(&b, "serving storage %s of %s on %s\n", t.storage.Name, t.storage.Home, t.address)
	}
	for _, a := range g.addresses[1:] {
		fmt.Fprintf(&b, "and on %s\n", endpointOf(a).address)
	}
	g.notes(&b)
	if g.pages != "" {
		fmt.Fprintf(&b, "pages for a browser: %s\n", g.pages)
	}
	b.WriteString("\n")
	arguments := ", with the same arguments"
	if flags := slices.ContainsFunc(g.conf.Settings(), func(s config.Setting) bool { return strings.HasPrefix(s.Source, "flag ") }); !flags {
		arguments = " " + shellWord(offers[0].storage.Home)
	}
	if offers[0].tls {
		fmt.Fprintf(&b, "zope.conf, Python: dirstorage config --clients%s\n", arguments)
	} else {
		fmt.Fprintf(&b, "Python: import ZEO; db = ZEO.DB(%s)\n", strings.Join(offers[0].arguments(), ", "))
		for _, t := range offers {
			fmt.Fprintf(&b, "URI: %s\n", t.uri+t.query())
		}
		fmt.Fprintf(&b, "Zope, Plone, containers: dirstorage config --clients%s\n", arguments)
	}
	b.WriteString("Stop it with Ctrl-C.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// writeClients writes the lines for the configuration of clients of each kind.
func writeClients(w io.Writer, g greeting) error {
	var b strings.Builder
	offers := g.offers()
	b.WriteString("zope.conf, or any other ZODB configuration:\n\n%import ZEO\n")
	for i, t := range offers {
		t.zopeConf(&b, i == 0)
	}
	if !offers[0].tls {
		b.WriteString("\nbuildout, with plone.recipe.zope2instance:\n\n")
		offers[0].buildout(&b)
		b.WriteString("\nplone-backend (container image), on this machine:\n\n")
		offers[0].container(&b)
		b.WriteString("\nURI, for Pyramid (zodburi) and others:\n\n")
		for _, t := range offers {
			fmt.Fprintf(&b, "  %s\n", t.uri+t.query())
		}
	} else {
		b.WriteString("\nWith TLS there is no other way than a ZODB configuration, or Python: buildout's\nrecipe, the image plone-backend and zodburi have no settings for certificates.\n")
	}
	b.WriteString("\nPython:\n\n")
	offers[0].pythonCode(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// configuredAddresses returns the addresses of the settings as a listener there would tell them. Errors: an
// address that has no meaning here.
func configuredAddresses(list []string) (addresses []net.Addr, err error) {
	for _, a := range list {
		if strings.Contains(a, "/") {
			addresses = append(addresses, &net.UnixAddr{Net: "unix", Name: strings.TrimPrefix(a, "unix:")})
			continue
		}
		tcp, err := net.ResolveTCPAddr("tcp", a)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", a, err)
		}
		if tcp.IP == nil {
			tcp.IP = net.IPv6unspecified
		}
		addresses = append(addresses, tcp)
	}
	return addresses, nil
}

// notes adds further facts about the address.
func (g greeting) notes(b *strings.Builder) {
	first := g.addresses[0]
	a, tcp := first.(*net.TCPAddr)
	switch {
	case !tcp && g.container:
		fmt.Fprintf(b, "Clients outside of this container need the directory of the socket as a volume.\n")
	case tcp && a.IP.IsUnspecified() && g.container:
		fmt.Fprintf(b, "In another container, put the name of this one in place of the address (%s);\noutside, that of the machine, and the port that is published.\n", g.host)
	case tcp && a.IP.IsUnspecified():
		fmt.Fprintf(b, "On another machine, put the name of this one in place of the address (%s).\n", g.host)
	case tcp && a.IP.IsLoopback() && g.container:
		fmt.Fprintf(b, "Nobody outside of this container can connect: use --listen :%d\n", a.Port)
	}
}

// endpointOf returns an address at which a client on this machine reaches the server.
func endpointOf(a net.Addr) offer {
	if a.Network() == "unix" {
		path, err := filepath.Abs(a.String())
		if err != nil {
			path = a.String()
		}
		return offer{address: path, python: pythonString(path), loopback: true, uri: "zeo://" + uriPath(path)}
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return offer{address: a.String(), python: pythonString(a.String()), uri: "zeo://" + a.String()}
	}
	ip := net.ParseIP(host)
	if ip != nil && ip.IsUnspecified() {
		host, ip = "127.0.0.1", net.IPv4(127, 0, 0, 1) // one for IPv6 listens for IPv4, too
	}
	at := net.JoinHostPort(host, port)
	return offer{address: at, python: "(" + pythonString(host) + ", " + port + ")", loopback: ip != nil && ip.IsLoopback(), uri: "zeo://" + strings.Replace(at, "%", "%25", 1)}
}

// sectionName matches the names that ZConfig takes for a section.
var sectionName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

func (g greeting) offers() []offer {
	var list []offer
	seen := map[string]bool{"main": true}
	for i, st := range g.conf.Storages {
		t := endpointOf(g.addresses[0])
		t.storage, t.readOnly = st, st.ReadOnly || g.conf.ReadOnly
		t.section, t.cache = "main", g.cache()
		if i > 0 {
			t.section = st.Name
			if !sectionName.MatchString(st.Name) || seen[st.Name] {
				t.section = "db" + strconv.Itoa(i+1)
			}
			t.cache += "-" + t.section
			seen[t.section] = true
		}
		if t.tls = g.server != nil && g.addresses[0].Network() != "unix"; t.tls {
			t.trust, t.name = g.server.ForClients()
			if abs, err := filepath.Abs(t.trust); err == nil && t.trust != certs.OtherAuthority {
				t.trust = abs
			}
		}
		list = append(list, t)
	}
	return list
}

// cache is a directory for the blobs of a client, which is not in a HOME if the client is started where the
// server is.
func (g greeting) cache() string {
	const usual = "var/blobcache"
	path, err := filepath.Abs(usual)
	for _, st := range g.conf.Storages {
		home, herr := filepath.Abs(st.Home)
		if err != nil || herr != nil || strings.HasPrefix(path, home+string(filepath.Separator)) {
			return "blobcache"
		}
	}
	return usual
}

// zconfig is a value in a ZConfig file.
func zconfig(v string) string { return strings.ReplaceAll(v, "$", "$$") }

func (t offer) zopeConf(b *strings.Builder, first bool) {
	mount := "/"
	if !first {
		mount += t.section
	}
	fmt.Fprintf(b, "<zodb_db %s>\n  mount-point %s\n  <clientstorage>\n", t.section, mount)
	key := func(name, value string) { fmt.Fprintf(b, "    %s %s\n", name, zconfig(value)) }
	key("server", t.address)
	key("storage", t.storage.Name)
	if t.readOnly {
		key("read-only", "on")
	}
	if dir := t.shared(); dir != "" {
		key("blob-dir", dir)
		key("shared-blob-dir", "on")
	} else {
		key("blob-dir", t.cache)
		key("shared-blob-dir", "off")
	}
	if t.tls {
		b.WriteString("    <ssl>\n")
		key("  certificate", "client.pem")
		key("  key", "client.key")
		key("  authenticate", t.trust)
		key("  server-hostname", t.name)
		b.WriteString("    </ssl>\n")
	}
	b.WriteString("  </clientstorage>\n</zodb_db>\n")
}

// shared is the directory in which clients find blobs; "" if there is none.
func (t offer) shared() string {
	if t.storage.BlobDir == "" {
		return ""
	}
	abs, err := filepath.Abs(t.storage.BlobDir)
	if err != nil {
		return t.storage.BlobDir
	}
	return abs
}

func (t offer) buildout(b *strings.Builder) {
	if strings.Contains(t.address, " ") {
		b.WriteString("The recipe takes the address for several: choose a socket without a space in its name.\n")
		return
	}
	fmt.Fprintf(b, "[instance]\nzeo-client = on\nzeo-address = %s\nzeo-storage = %s\n", zconfig(t.address), zconfig(t.storage.Name))
	if dir := t.shared(); dir != "" {
		fmt.Fprintf(b, "blob-storage = %s\nshared-blob = on\n", zconfig(dir))
	} else {
		b.WriteString("shared-blob = off\n")
	}
	if t.readOnly {
		b.WriteString("read-only = true\n")
	}
}

func (t offer) container(b *strings.Builder) {
	b.WriteString("  docker run")
	if strings.HasPrefix(t.address, "/") {
		fmt.Fprintf(b, " -v %s", shellWord(t.address+":"+t.address))
	} else if t.loopback {
		b.WriteString(" --network host")
	}
	fmt.Fprintf(b, " -e %s -e %s", shellWord("ZEO_ADDRESS="+t.address), shellWord("ZEO_STORAGE="+t.storage.Name))
	if t.readOnly {
		b.WriteString(" -e ZEO_READ_ONLY=true")
	}
	b.WriteString(" plone/plone-backend\n")
}

// uriPath is the path of a socket in a URI. zodburi takes it as it is, so it is escaped only where
// it would be taken for something else.
func uriPath(path string) string {
	if strings.ContainsAny(path, "%?#") {
		return (&url.URL{Path: path}).EscapedPath()
	}
	return path
}

// query of the URI: all that differs from the default.
func (t offer) query() string {
	var list []string
	if t.storage.Name != "1" {
		list = append(list, "storage="+url.QueryEscape(t.storage.Name))
	}
	if t.readOnly {
		list = append(list, "read_only=1")
	}
	if len(list) == 0 {
		return ""
	}
	return "?" + strings.Join(list, "&")
}

// arguments are those of ZEO.DB, without TLS.
func (t offer) arguments() []string {
	arguments := []string{t.python}
	if t.storage.Name != "1" {
		arguments = append(arguments, "storage="+pythonString(t.storage.Name))
	}
	if t.readOnly {
		arguments = append(arguments, "read_only=True")
	}
	if dir := t.shared(); dir != "" {
		arguments = append(arguments, "blob_dir="+pythonString(dir), "shared_blob_dir=True")
	} else {
		arguments = append(arguments, "blob_dir="+pythonString(t.cache))
	}
	return arguments
}

func (t offer) pythonCode(b *strings.Builder) {
	arguments := t.arguments()
	if !t.tls {
		fmt.Fprintf(b, "import ZEO\ndb = ZEO.DB(%s)\n", strings.Join(arguments, ", "))
		return
	}
	fmt.Fprintf(b, "import ssl, ZEO\ncontext = ssl.create_default_context(cafile=%s)\ncontext.load_cert_chain(\"client.pem\", \"client.key\")\n", pythonString(t.trust))
	arguments = append(arguments, "ssl=context", "ssl_server_hostname="+pythonString(t.name))
	fmt.Fprintf(b, "db = ZEO.DB(%s)\n", strings.Join(arguments, ",\n            "))
}

// pythonString is a string literal; Go and Python write them alike.
func pythonString(s string) string { return strconv.Quote(s) }

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,\[\]-]+$`)

// shellWord is one word of a shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
