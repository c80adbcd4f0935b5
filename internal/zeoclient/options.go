package zeoclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options of [Dial]. The zero value of each field but Address gives the default.
type Options struct {
	Network string // "tcp" or "unix"; default "tcp"
	Address string // host:port, or the path of the socket
	// DefaultPort: nobody gave the port of Address. It changes nothing; it is for messages.
	DefaultPort bool
	TLS         *tls.Config // nil = none. Its ServerName is filled in from Address if it is empty

	Storage  string        // default "1"
	ReadOnly bool          // register for reading only
	Encoding wire.Encoding // default: the one that the server announces
	Label    string        // name of this client in the server's log

	// Wait is how long to go on trying while nobody accepts the connection.
	Wait time.Duration
	// KeepAlive is the time between messages that do nothing; default 60 s, negative = none.
	KeepAlive time.Duration
	// Patience is how long the server may answer nothing while an iteration or GetInfo is under way and something was
	// asked for; then the connection ends. A piece of a blob and 64 KiB of a message that is not whole yet count as
	// answers, what was not asked for does not. Default 15 minutes: Python's server answers nobody while it looks for the first
	// transaction in a long Data.fs.
	Patience time.Duration
	// Limit is the largest message from the server, in bytes. Default: the largest frame.
	Limit int64

	// OnInvalidate is told of each transaction of others, on the reader's
	// goroutine and before LastTID moves. It may be called before Dial returns.
	OnInvalidate func(tid zodb.TID, oids []zodb.OID)
	// OnInfo gets the server's facts about the storage after a commit or a pack.
	OnInfo func(wire.Dict)
}

const (
	defaultStorage   = "1"
	defaultKeepAlive = time.Minute
	defaultPatience  = 15 * time.Minute
)

// DefaultPort is that of an address without one, as zodburi has it.
const DefaultPort = "9991"

func (o Options) withDefaults() (Options, error) {
	if o.Network == "" {
		o.Network = "tcp"
	}
	if o.Storage == "" {
		o.Storage = defaultStorage
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = defaultKeepAlive
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Limit == 0 {
		o.Limit = math.MaxUint32
	}
	switch {
	case o.Address == "":
		return o, errors.New("no address of a server")
	case o.Encoding != 0 && o.Encoding != wire.Pickle && o.Encoding != wire.Msgpack:
		return o, fmt.Errorf("unknown encoding %q", byte(o.Encoding))
	}
	if o.TLS != nil && o.TLS.ServerName == "" && o.Network != "unix" {
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			return o, err
		}
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName = host
	}
	return o, nil
}

// IsURL reports whether a text names a ZEO server: begins with zeo:.
func IsURL(s string) bool { return strings.HasPrefix(s, "zeo:") }

// ofOtherClients reports whether an option of a URL, as sites have it for zodburi, says nothing of
// the server: it is about the caches, the patience and the database of a Python client.
func ofOtherClients(key string) bool {
	return key == "database_name" || strings.HasPrefix(key, "connection_") || slices.Contains([]string{
		"blob_cache_size", "blob_cache_size_check", "blob_dir", "cache_size", "client", "client_label", "debug",
		"drop_cache_rather_verify", "max_disconnect_poll", "min_disconnect_poll", "name", "read_only_fallback",
		"shared_blob_dir", "var", "wait", "wait_for_server_on_startup", "wait_timeout",
	}, key)
}

// ParseURL reads the name of a storage on a server:
//
//	zeo://HOST:PORT            port 9991 and storage 1 if they are left out
//	zeo://HOST:PORT/STORAGE
//	zeo://HOST:PORT?storage=STORAGE
//	zeo:///path/of/socket?storage=STORAGE
func ParseURL(s string) (Options, error) {
	var o Options
	u, err := url.Parse(s)
	if err != nil {
		return o, err
	}
	fail := func(format string, args ...any) (Options, error) {
		return Options{}, fmt.Errorf("%s: %s", s, fmt.Sprintf(format, args...))
	}
	if u.Scheme != "zeo" || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return fail("want zeo://HOST:PORT/STORAGE or zeo:///SOCKET?storage=STORAGE")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("%v", err)
	}
	for key, values := range query {
		switch {
		case key == "storage" && len(values) == 1:
			o.Storage = values[0]
		case key == "read_only" && len(values) == 1:
			o.ReadOnly = values[0] != "0" && values[0] != "false"
		case ofOtherClients(key):
		default:
			return fail("unknown option %q: there are storage=NAME and read_only=1, and those of zodburi, which have no effect", key)
		}
	}
	if u.Host == "" {
		if u.Path == "" || u.Path == "/" {
			return fail("there is neither a host nor a socket")
		}
		o.Network, o.Address = "unix", path.Clean(u.Path)
		return o, nil
	}
	port := u.Port()
	if port == "" {
		port, o.DefaultPort = DefaultPort, true
	}
	o.Network, o.Address = "tcp", net.JoinHostPort(u.Hostname(), port)
	if name := strings.TrimPrefix(u.Path, "/"); name != "" {
		if o.Storage != "" && o.Storage != name {
			return fail("two names of a storage: %s and %s", name, o.Storage)
		}
		o.Storage = name
	}
	return o, nil
}
